from __future__ import annotations

import json
from collections.abc import Mapping
from threading import Event
from typing import Any

import pytest
from clients import KEY, MODEL, router_for
from media_samples import FLAC_START, ID3, MP3_FRAME, OGG_PAGE, png, wav
from raw_server import LAST_CHUNK, Connection, RawServer, answer, chunk, head, responds, responds_and_closes

from puq_magics.api import Router, Speech
from puq_magics.api.speech import SpeechStream
from puq_magics.core.errors import APIConnectionError, InputError, InvalidResponseError
from puq_magics.core.media_types import MP3, WAV

AUDIO = ID3 + MP3_FRAME * 20


def refused(body: bytes | dict[str, Any], content_type: str = "audio/mpeg") -> InvalidResponseError:
    said = answer(body, content_type=content_type)
    with (
        RawServer(responds(said)) as server,
        router_for(server) as router,
        pytest.raises(InvalidResponseError) as caught,
    ):
        router.speech("Hello", model=MODEL)
    assert caught.value.hint
    return caught.value


def test_speech_as_a_whole() -> None:
    said = answer(AUDIO, content_type="audio/mpeg", X_Request_Id="r3")
    with RawServer(responds(said, said)) as server, router_for(server) as router:
        for _ in range(2):
            speech = router.speech(
                "Hello", model=MODEL, voice="alloy", speed=None, extra_body={"stream": True}
            )
            assert speech == Speech(AUDIO, MP3, "r3")
    assert server.connections == 1
    asked = server.requests[0]
    assert (asked.method, asked.path) == ("POST", "/v1/audio/speech")
    assert asked.json == {"model": MODEL, "input": "Hello", "voice": "alloy"}
    assert repr(AUDIO[:10])[2:-1] not in repr(speech)


def test_speech_is_given_as_it_comes(body_reader: str) -> None:
    heard = Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(content_type="audio/mpeg", Transfer_Encoding="chunked"), chunk(AUDIO[:200]))
        connection.wait(heard)
        connection.send(chunk(AUDIO[200:]), LAST_CHUNK)

    with RawServer(script) as server, router_for(server) as router:
        with router.stream_speech("Hello", model=MODEL) as stream:
            first = next(iter(stream))
            assert first == AUDIO[:200]
            assert stream.type is MP3
            assert stream.receive(0) is None
            assert not stream.finished
            heard.set()
            assert b"".join(stream) == AUDIO[200:]
        assert stream.finished
        assert stream.receive() is None
        assert stream.first_received_at is not None


def test_no_byte_is_given_before_it_is_known_to_be_audio() -> None:
    seen, go = Event(), Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(content_type="audio/wav", Content_Length=len(wav())), wav()[:10])
        seen.set()
        connection.wait(go)
        connection.send(wav()[10:])

    with (
        RawServer(script) as server,
        router_for(server) as router,
        router.stream_speech("Hello", model=MODEL) as stream,
    ):
        assert seen.wait(15)
        assert stream.receive(0) is None
        assert stream.type is None
        go.set()
        assert b"".join(stream) == wav()
        assert stream.type is WAV


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/html", "application/octet-stream", "audio/mpeg"]
)
@pytest.mark.parametrize("audio", [OGG_PAGE, FLAC_START, wav(), b"fLaC"])
def test_the_bytes_decide_and_not_the_header(audio: bytes, content_type: str) -> None:
    with (
        RawServer(responds(answer(audio, content_type=content_type))) as server,
        router_for(server) as router,
    ):
        assert router.speech("Hello", model=MODEL).data == audio


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the answer is empty"),
        (b'{"error": {"message": "No such voice"}}', "holds JSON where audio should be: No such voice"),
        (b'{"audio": "UklGRg=="}', "holds JSON where audio should be"),
        (b"<html><title>502 Bad Gateway</title></html>", "holds HTML where audio should be: an HTML page"),
        (b"no such voice", "holds text where audio should be: no such voice"),
        (b"data: {}\n\n" * 9000, "holds text where audio should be"),
        (png(), "is not audio that can be played (audio/mpeg)"),
        (bytes(1000), "is not audio that can be played (audio/mpeg)"),
        (b"ID3 is text", "holds text where audio should be: ID3 is text"),
        (wav()[:20], "is not audio that can be played (audio/mpeg)"),
    ],
    ids=[
        "nothing",
        "an error",
        "base64",
        "HTML",
        "text",
        "events",
        "an image",
        "samples",
        "words like a tag",
        "a header",
    ],
)
def test_what_is_not_audio(body: bytes, said: str) -> None:
    error = refused(body)
    assert said in error.message
    assert isinstance(error.partial, bytes)
    assert body.startswith(error.partial)
    assert len(error.partial) >= min(len(body), 1 << 16)


class FakeResponse:
    """A response of so many bytes of nothing; notes how many were taken."""

    headers: Mapping[str, str] = {}

    def __init__(self, size: int) -> None:
        self.taken = 0
        self._size = size

    def receive(self, _wait: float | None = None) -> bytes:
        self.taken += 1000
        return bytes(1000) if self.taken <= self._size else b""

    def redact(self, text: str) -> str:
        return text

    def close(self) -> None:
        pass


def test_what_is_not_audio_is_not_read_to_its_end() -> None:
    response = FakeResponse(60_000_000)
    with pytest.raises(InvalidResponseError, match="is not audio") as caught:
        list(SpeechStream(response))  # type: ignore[arg-type]
    assert caught.value.partial == bytes(response.taken)
    assert 1 << 20 <= response.taken < (1 << 20) + 1000
    assert "the error's .partial" in caught.value.python_hint


def test_a_key_that_comes_back_is_not_shown() -> None:
    assert KEY not in str(refused({"error": f"no credit for {KEY}"}))


@pytest.mark.parametrize("framed", [True, False])
def test_a_connection_that_is_cut_keeps_what_came(framed: bool) -> None:
    length = {"Content_Length": 5000} if framed else {"Transfer_Encoding": "chunked"}
    sent = AUDIO[:1000] if framed else chunk(AUDIO[:1000])
    said = head(content_type="audio/mpeg", **length) + sent
    with (
        RawServer(responds_and_closes(said)) as server,
        router_for(server) as router,
        router.stream_speech("Hello", model=MODEL) as stream,
    ):
        with pytest.raises(APIConnectionError) as caught:
            list(stream)
        assert caught.value.partial == AUDIO[:1000]
        assert stream.finished


def test_a_stream_without_end_is_closed() -> None:
    said = head(content_type="audio/mpeg") + AUDIO
    with RawServer(responds_and_closes(said)) as server, router_for(server) as router:
        response = router.stream_speech("Hello", model=MODEL)._response
        stream = SpeechStream(response, max_size=1000)
        with pytest.raises(InvalidResponseError, match="larger than"):
            list(stream)
        assert stream.finished


def test_closing_tells_the_router() -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(content_type="audio/mpeg") + AUDIO[:100])
        assert connection.wait_for_close()

    with RawServer(script) as server, router_for(server) as router:
        with router.stream_speech("Hello", model=MODEL) as stream:
            assert stream.receive() == AUDIO[:100]
        assert stream.receive() is None


@pytest.mark.parametrize("text", ["", "\t", None, 5, b"words"])
def test_what_is_spoken_is_words(text: Any) -> None:
    with Router(KEY) as router, pytest.raises(InputError, match="the text to speak"):
        router.stream_speech(text, model=MODEL)


def test_the_request_of_speech() -> None:
    with Router(KEY) as router:
        request = router.speech_request("Hello", model=MODEL, response_format="wav", speed=1.5)
        assert json.loads(request.body) == {  # type: ignore[arg-type]
            "model": MODEL,
            "input": "Hello",
            "response_format": "wav",
            "speed": 1.5,
        }
        assert request.timeouts.read == 300
        with pytest.raises(InputError, match="pcm"):
            router.speech_request("Hello", model=MODEL, response_format="pcm")
