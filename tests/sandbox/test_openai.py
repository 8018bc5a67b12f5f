"""The official client against the sandbox: the shapes are right when it can read them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import openai
import pydantic
import pytest
import requests

from puq_magics.sandbox import Sandbox

HELLO = [{"role": "user", "content": "Hello"}]


def connect(sandbox: Sandbox, token: str) -> openai.OpenAI:
    return openai.OpenAI(
        api_key="not used",
        base_url=f"{sandbox.base_url}/v1",
        default_headers={"Authorization": f"Token {token}"},
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    )


@pytest.fixture
def router(sandbox: Sandbox) -> Iterator[openai.OpenAI]:
    with connect(sandbox, sandbox.token) as client:
        yield client


def test_an_answer(router: openai.OpenAI) -> None:
    answer = router.chat.completions.create(model="sandbox/short", messages=HELLO)
    assert "> Hello" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream(router: openai.OpenAI) -> None:
    options = {"include_usage": True}
    stream = router.chat.completions.create(
        model="sandbox/tour", messages=HELLO, stream=True, stream_options=options
    )
    *chunks, last = stream
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert (
        text
        == router.chat.completions.create(model="sandbox/tour", messages=HELLO).choices[0].message.content
    )
    assert last.choices == []
    assert last.usage.completion_tokens == len(chunks) - 2


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"model": "sandbox/nothing"}, openai.NotFoundError),
        ({"model": "sandbox/forbidden"}, openai.PermissionDeniedError),
        ({"temperature": 9}, openai.BadRequestError),
        ({"messages": []}, openai.UnprocessableEntityError),
        ({"model": "sandbox/fail"}, openai.InternalServerError),
    ],
)
def test_refusals(router: openai.OpenAI, fields: dict, kind: type[openai.APIStatusError]) -> None:
    with pytest.raises(kind) as caught:
        router.chat.completions.create(**{"model": "sandbox/short", "messages": HELLO, **fields})
    assert caught.value.request_id.startswith("req_")


class Person(pydantic.BaseModel):
    name: str
    age: int
    nick: str | None


def test_an_answer_that_fits_a_model(router: openai.OpenAI) -> None:
    question = {"role": "user", "content": "Who is it? Ada Lovelace, 36 years old."}
    answer = router.chat.completions.parse(model="sandbox/chat", messages=[question], response_format=Person)
    person = answer.choices[0].message.parsed
    assert (person.name, person.age) == ("Ada Lovelace", 36)


def test_a_wrong_key(sandbox: Sandbox) -> None:
    with connect(sandbox, "wrong") as router, pytest.raises(openai.AuthenticationError) as caught:
        router.chat.completions.create(model="sandbox/short", messages=HELLO)
    assert caught.value.response.json() == {"error": "Unauthorized: Invalid or expired API key"}


def test_it_tries_again_after_a_429(sandbox: Sandbox, router: openai.OpenAI) -> None:
    sandbox.configure(fail="429:3")
    with pytest.raises(openai.RateLimitError):
        router.chat.completions.create(model="sandbox/short", messages=HELLO)
    patient = router.with_options(max_retries=1)
    sandbox.configure(fail="429:1")
    assert patient.chat.completions.create(model="sandbox/short", messages=HELLO).choices
    assert [asked.status for asked in sandbox.requests] == [429, 429, 200]


def test_no_credits(sandbox: Sandbox, router: openai.OpenAI) -> None:
    sandbox.configure(balance=0)
    with pytest.raises(openai.APIStatusError) as caught:
        router.chat.completions.create(model="sandbox/short", messages=HELLO)
    assert caught.value.status_code == 402


def test_an_error_in_mid_stream(router: openai.OpenAI) -> None:
    received: list = []
    with pytest.raises(openai.APIError):
        received.extend(router.chat.completions.create(model="sandbox/fail", messages=HELLO, stream=True))
    assert len(received) > 10


def test_a_cut_connection(sandbox: Sandbox, router: openai.OpenAI) -> None:
    sandbox.configure(drop_after=4)
    received: list = []
    with pytest.raises(openai.APIConnectionError):
        received.extend(router.chat.completions.create(model="sandbox/tour", messages=HELLO, stream=True))
    assert len(received) == 4


def test_images(router: openai.OpenAI) -> None:
    answer = router.images.generate(model="sandbox/image", prompt="A fox", size="256x256", n=2)
    one, other = (base64.b64decode(image.b64_json) for image in answer.data)
    assert one != other
    assert one.startswith(b"\x89PNG")
    assert "A fox" in answer.data[0].revised_prompt
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_images_by_address(router: openai.OpenAI) -> None:
    answer = router.images.generate(
        model="sandbox/image", prompt="A fox", size="256x256", response_format="url"
    )
    assert requests.get(answer.data[0].url, timeout=30).content.startswith(b"\x89PNG")


def test_speech_and_back(router: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    with router.audio.speech.with_streaming_response.create(
        model="sandbox/tts", voice="nova", input="Hello there. How are you?", response_format="wav"
    ) as answer:
        answer.stream_to_file(path)
    plain = router.audio.transcriptions.create(model="sandbox/whisper", file=path)
    assert plain.text == "Hello there. How are you?"
    rich = router.audio.transcriptions.create(
        model="sandbox/whisper", file=path, response_format="verbose_json"
    )
    assert [segment.text for segment in rich.segments] == ["Hello there.", "How are you?"]
    assert rich.duration > 0.5
    bare = router.audio.transcriptions.create(model="sandbox/whisper", file=path, response_format="text")
    assert bare.strip() == "Hello there. How are you?"
    with path.open("rb") as file:
        *parts, done = router.audio.transcriptions.create(model="sandbox/whisper", file=file, stream=True)
    assert [part.delta for part in parts[::2]] == ["Hello there.", " How are you?"]
    assert [part.end for part in parts[1::2]] == [segment.end for segment in rich.segments]
    assert (done.type, done.text) == ("transcript.text.done", bare.strip())
    assert done.usage.input_tokens > 0


def test_refusals_of_media(router: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        router.images.generate(model="sandbox/image", prompt="A fox", size="potato")
    assert "potato" in caught.value.response.json()["error"]
    with pytest.raises(openai.BadRequestError) as caught:
        router.audio.speech.create(model="sandbox/tts", voice="nobody", input="Hello")
    assert "alloy, echo" in caught.value.response.json()["error"]
    with pytest.raises(openai.BadRequestError) as caught:
        router.audio.transcriptions.create(model="sandbox/whisper", file=("talk.mp3", b"Just words."))
    assert "no audio" in caught.value.response.json()["error"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_that_is_passed_on(upstream_sandbox: Sandbox, stream: bool) -> None:
    with connect(upstream_sandbox, upstream_sandbox.token) as client:
        answer = client.chat.completions.create(model="upstream/tiny", messages=HELLO, stream=stream)
        if stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
        else:
            text = answer.choices[0].message.content
    assert text == "Hello there."
