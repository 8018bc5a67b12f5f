"""The router's endpoints: against the sandbox, and against servers that answer in other shapes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from clients import KEY, MODEL, ask, router_for, words
from raw_server import (
    COMPLETION,
    DONE,
    STOP,
    RawServer,
    answer,
    chunked,
    delta,
    event,
    event_stream,
    head,
    responds,
)

import puq_magics.api
from puq_magics.api import Router, Upload
from puq_magics.api.types import Model, Usage, model_kind
from puq_magics.core.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    InputError,
    InvalidResponseError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnprocessableEntityError,
)
from puq_magics.sandbox import Sandbox

HELLO = chunked(event_stream(["Hel", "lo"]))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(pace=0) as running:
        yield running


@pytest.fixture
def router(sandbox: Sandbox) -> Iterator[Router]:
    with Router(sandbox.token, sandbox.base_url, max_retries=0) as connected:
        yield connected


def chat_model(router: Router) -> str:
    return next(model.code for model in router.models() if model_kind(model.code) == "chat")


# The sandbox


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_models_of_the_sandbox(sandbox: Sandbox, end: str) -> None:
    with Router(sandbox.token, sandbox.base_url + end) as router:
        models = router.models()
        assert models
        assert all(model.enabled and "/" in model.code and model.name and model.provider for model in models)
        everything = router.models(enabled_only=False)
    assert set(models) == {model for model in everything if model.enabled}


def test_the_balance_of_the_sandbox(sandbox: Sandbox, router: Router) -> None:
    assert router.balance() == pytest.approx(sandbox.balance)


def test_a_chat_with_the_sandbox(router: Router) -> None:
    model = chat_model(router)
    completion = router.chat("Hello", model=model)
    assert completion.text
    assert completion.model == model
    assert completion.finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0


def test_a_streamed_chat_with_the_sandbox(router: Router) -> None:
    with router.stream_chat([{"role": "user", "content": "Hello"}], model=chat_model(router)) as stream:
        deltas = list(stream)
    assert "".join(part.text for part in deltas) == stream.text
    assert stream.text
    assert stream.completion.finish_reason == "stop"
    assert stream.completion.usage is not None


@pytest.mark.parametrize("how", ["b64_json", "url"])
def test_images_of_the_sandbox(sandbox: Sandbox, router: Router, how: str) -> None:
    model = sandbox.default_models["image"]
    images = router.image("A cat", model=model, size="256x256", n=2, response_format=how)
    assert [(image.type.format, image.width, image.height) for image in images.images] == [
        ("png", 256, 256)
    ] * 2
    assert images.usage is not None


def test_speech_and_transcription_of_the_sandbox(sandbox: Sandbox, router: Router) -> None:
    speech = router.speech("Hello there.", model=sandbox.default_models["speech"], voice="alloy")
    assert speech.type.format == "wav"
    model = sandbox.default_models["transcription"]
    verbose = router.transcribe(Upload.from_bytes(speech.data), model=model, response_format="verbose_json")
    plain = router.transcribe(Upload.from_bytes(speech.data), model=model, response_format="text")
    assert verbose.text == plain.text == "Hello there."
    assert [segment.text for segment in verbose.segments] == ["Hello there."]


@pytest.mark.parametrize(
    ("fail", "kind"),
    [
        ("400", BadRequestError),
        ("401", AuthenticationError),
        ("402", PaymentRequiredError),
        ("403", PermissionDeniedError),
        ("404", NotFoundError),
        ("422", UnprocessableEntityError),
        ("429", RateLimitError),
        ("500", ServerError),
        ("503", ServerError),
    ],
)
def test_refusals_of_the_sandbox(sandbox: Sandbox, router: Router, fail: str, kind: type[Exception]) -> None:
    model = chat_model(router)
    sandbox.configure(fail=fail)
    with pytest.raises(kind):
        router.chat("Hello", model=model)
    with pytest.raises(kind):
        router.stream_chat("Hello", model=model)


def test_a_wrong_key_a_spent_balance_and_an_unknown_model(sandbox: Sandbox, router: Router) -> None:
    with Router("wrong-key", sandbox.base_url) as stranger, pytest.raises(AuthenticationError):
        stranger.balance()
    with pytest.raises(NotFoundError):
        router.chat("Hello", model="no/such-model")
    model = chat_model(router)
    sandbox.configure(balance=0)
    with pytest.raises(PaymentRequiredError):
        router.chat("Hello", model=model)


def test_the_sandbox_s_faults_pass(sandbox: Sandbox, retry_delays: list[float]) -> None:
    sandbox.configure(fail="429:1,503:1")
    with Router(sandbox.token, sandbox.base_url, max_retries=2) as router:
        assert words(router.stream_chat("Hello", model=chat_model(router)))
    assert len(retry_delays) == 2


# Lists


@pytest.mark.parametrize(
    "said",
    [
        {"models": [{"code": "a/b", "name": "B", "provider": {"name": "A"}}, {"code": "a/c", "status": 0}]},
        {"object": "list", "data": [{"id": "a/b", "name": "B", "owned_by": "A"}]},
    ],
)
def test_both_shapes_of_the_model_list(said: Any) -> None:
    with RawServer(responds(answer(said))) as server, router_for(server) as router:
        assert router.models() == (Model("a/b", "B", "A"),)
    assert server.requests[0].path == "/v1/models?enabled=1"


def test_all_models() -> None:
    with (
        RawServer(responds(answer({"models": [{"code": "a/c", "status": 0}]}))) as server,
        router_for(server) as router,
    ):
        (model,) = router.models(enabled_only=False)
    assert not model.enabled
    assert server.requests[0].path == "/v1/models"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (answer("<html><title>Sign in</title>"), "“Sign in”"),
        (answer(""), "the answer is empty"),
        (head(204, None), "the answer is empty"),
        (answer("plain"), "not JSON: plain."),
        (answer("[" * 100_000), "not JSON"),
        (answer(b"\xff\xfe\xfd"), "not JSON"),
        (answer({"success": False}), "no balance"),
    ],
)
def test_answers_that_are_none(said: bytes, found: str) -> None:
    with (
        RawServer(responds(said)) as server,
        router_for(server) as router,
        pytest.raises(InvalidResponseError) as caught,
    ):
        router.balance()
    assert found in caught.value.message
    assert caught.value.message.endswith((".", "…"))


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"error": "text", "code": "VALIDATION_ERROR"}, "text"),
        ({"error": {"message": "text", "code": "VALIDATION_ERROR"}}, "text"),
        ("<html><title>Bad</title></html>", "an HTML page, “Bad”"),
        ("plain words", "plain words"),
        ("", ""),
    ],
)
def test_both_shapes_of_errors_and_pages_and_nothing(body: Any, detail: str) -> None:
    said = answer(body, 400, X_Request_Id="req-\x811", Retry_After="3")
    with (
        RawServer(responds(said)) as server,
        router_for(server) as router,
        pytest.raises(BadRequestError) as caught,
    ):
        router.chat("Hello", model=MODEL)
    error = caught.value
    assert error.detail == detail
    assert error.request_id == "req-1"
    assert error.retry_after == 3
    if isinstance(body, dict):
        assert error.code == "VALIDATION_ERROR"


# Chat


def test_only_what_was_given_is_sent() -> None:
    with RawServer(responds(answer(COMPLETION), HELLO)) as server, router_for(server) as router:
        completion = router.chat(
            "Hi", model=MODEL, temperature=0, max_completion_tokens=None, extra_body={"stream": True}
        )
        assert completion.usage == Usage(3, 2, 5)
        assert words(ask(router, temperature=0.5, extra_body={"stream": False})) == "Hello"
    assert server.requests[0].json == {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0,
    }
    assert server.requests[1].json == {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_messages_are_sent_as_they_are() -> None:
    messages = [
        {"role": "system", "content": "Be brief: é😀\ud83d."},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
    ]
    with RawServer(responds(answer(COMPLETION))) as server, router_for(server) as router:
        router.chat(messages, model=MODEL)
    assert server.requests[0].json["messages"] == messages


def test_the_vendor_s_models_have_a_provider() -> None:
    with Router(KEY) as router, pytest.raises(InputError, match="provider/model") as caught:
        router.chat("Hello", model="gpt-4o")
    assert "openai/gpt-4o-mini" in caught.value.hint


def test_what_cannot_be_sent_is_refused_before() -> None:
    with RawServer() as server, router_for(server) as router, pytest.raises(InputError):
        router.stream_chat("Hello", model=MODEL, temperature=float("nan"))
    assert server.connections == 0


def test_the_request_s_id_is_kept() -> None:
    named = HELLO.replace(b"\r\n", b"\r\nX-Request-Id: r7\r\n", 1)
    with (
        RawServer(responds(named, answer(COMPLETION, X_Request_Id="r8"))) as server,
        router_for(server) as router,
    ):
        stream = ask(router)
        words(stream)
        assert stream.completion.request_id == "r7"
        assert router.chat("Hello", model=MODEL).request_id == "r8"


def test_a_json_answer_where_a_stream_was_asked_for() -> None:
    with RawServer(responds(answer(COMPLETION))) as server, router_for(server) as router:
        assert words(ask(router)) == "Hello."


# Usage


REFUSALS = [
    ({"error": {"message": "Unrecognized request argument supplied: stream_options"}}, 400),
    ({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}, 422),
    ({"error": "Unknown field in request"}, 400),
    ({"error": "unsupported parameter"}, 422),
    ("", 400),
    ("", 422),
]


@pytest.mark.parametrize(("body", "status"), REFUSALS)
def test_usage_is_given_up_where_it_is_refused_and_that_is_remembered(body: Any, status: int) -> None:
    with RawServer(responds(answer(body, status), HELLO, HELLO)) as server, router_for(server) as router:
        assert words(ask(router)) == "Hello"
        assert words(ask(router)) == "Hello"
    assert ["stream_options" in asked.json for asked in server.requests] == [True, False, False]
    assert all(asked.json["stream"] for asked in server.requests)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": "temperature must be at most 2"}, 400),
        ({"error": "Unknown model maker/model"}, 400),
        ({"error": "unexpected value"}, 422),
        ({"error": "Unrecognized request argument supplied: top_k"}, 400),
        ({"error": "Unrecognized request argument: stream_options"}, 500),
        ({"error": "Unauthorized"}, 401),
        ("", 404),
    ],
)
def test_a_refusal_of_something_else_is_told_at_once(body: Any, status: int) -> None:
    with RawServer(responds(answer(body, status), HELLO)) as server, router_for(server) as router:
        with pytest.raises(Exception, match=str(status)):
            ask(router, extra_body={"top_k": 1})
        assert words(ask(router)) == "Hello"
    assert ["stream_options" in asked.json for asked in server.requests] == [True, True]


def test_a_refusal_that_stays_is_not_held_against_the_usage() -> None:
    said = [answer("", 400), answer({"error": "too long"}, 400), HELLO]
    with RawServer(responds(*said)) as server, router_for(server) as router:
        with pytest.raises(BadRequestError, match="too long"):
            ask(router)
        assert words(ask(router)) == "Hello"
    assert ["stream_options" in asked.json for asked in server.requests] == [True, False, True]


def test_one_s_own_stream_options_are_kept() -> None:
    options = {"include_usage": False}
    said = [HELLO, answer({"error": "stream_options?"}, 400)]
    with RawServer(responds(*said)) as server, router_for(server) as router:
        assert words(ask(router, stream_options=options)) == "Hello"
        with pytest.raises(BadRequestError):
            ask(router, stream_options=options)
    assert [asked.json["stream_options"] for asked in server.requests] == [options, options]


def test_the_usage_behind_the_end_is_read() -> None:
    usage = event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}})
    with (
        RawServer(responds(chunked(event(delta("a")), STOP, usage, DONE))) as server,
        router_for(server) as router,
    ):
        stream = ask(router)
        assert words(stream) == "a"
    assert stream.completion.usage == Usage(1, 2, 3)


# Importing

WITHOUT_IPYTHON = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("IPython", "ipykernel", "ipywidgets", "anywidget", "traitlets", "tornado"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import puq_magics.api
assert not {"requests", "urllib3", "ssl"} & set(sys.modules), "imported at once"
puq_magics.api.Router("0123456789-key").close()
assert "requests" in sys.modules
"""


def test_it_needs_no_ipython_and_imports_requests_only_when_used() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT_IPYTHON], check=True)


def test_public_names() -> None:
    assert puq_magics.api.__all__ == sorted(puq_magics.api.__all__)
    for name in puq_magics.api.__all__:
        assert getattr(puq_magics.api, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = puq_magics.api.nothing


# What is not sent at all


@pytest.mark.parametrize(
    "messages", [5, None, b"words", [], {}, {"role": "user"}, ["words"], [None], iter(())]
)
def test_messages_are_words_or_messages(messages: Any) -> None:
    with Router(KEY) as router, pytest.raises(InputError, match="messages"):
        router.chat(messages, model=MODEL)


@pytest.mark.parametrize("model", [None, 5, "", " ", b"a/b", ["a/b"]])
def test_a_model_is_named_by_words(model: Any) -> None:
    with Router(KEY) as router, pytest.raises(InputError, match="the model is missing"):
        router.stream_chat("Hello", model=model)


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": None},
        {"base_url": 5},
        {"base_url": b"https://h.example"},
        {"api_key": 5},
        {"api_key": b"key"},
        {"auth_scheme": None},
        {"auth_scheme": 5},
        {"timeout": "5"},
        {"timeout": True},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"max_retries": None},
        {"max_retries": -1},
        {"max_retries": 1.5},
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Router(**settings)
    assert caught.value.hint
