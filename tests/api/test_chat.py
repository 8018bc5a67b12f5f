"""What real routers send, as text. The bytes come from memory here; `test_body.py` has them come over sockets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_server import COMPLETION, DONE, STOP, delta, event, event_stream

from puq_magics.api.chat import ChatStream, read_completion
from puq_magics.api.types import Delta, Usage
from puq_magics.core.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    InvalidResponseError,
    PuqError,
    StreamError,
)


class FakeResponse:
    """A response that gives its parts one by one; an error among them is raised."""

    def __init__(self, *parts: bytes | PuqError | None, content_type: str = "text/event-stream") -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {"content-type": content_type}
        self.closed = False
        self._parts = list(parts)

    def receive(self, wait: float | None = None) -> bytes | None:  # noqa: ARG002
        part = self._parts.pop(0) if self._parts else b""
        if isinstance(part, PuqError):
            raise part
        return part

    def redact(self, text: str) -> str:
        return text

    def close(self) -> None:
        self.closed = True


def stream(
    *parts: bytes | PuqError | None, content_type: str = "text/event-stream", **settings: Any
) -> ChatStream:
    return ChatStream(FakeResponse(*parts, content_type=content_type), "maker/model", **settings)


def read(answer: ChatStream) -> str:
    """The text, which is what the deltas made together."""
    text = "".join(part.text for part in answer)
    assert text == answer.text == answer.completion.text
    assert answer.finished
    assert answer._response.closed  # type: ignore[attr-defined]
    return text


def fail(answer: ChatStream, kind: type[APIError] = StreamError) -> APIError:
    with pytest.raises(kind) as caught:
        list(answer)
    assert answer.finished
    assert answer._response.closed  # type: ignore[attr-defined]
    assert caught.value.message.endswith((".", "…", "!", "?"))
    assert caught.value.partial == answer.text
    return caught.value


CHUNKS_WITHOUT_WORDS = [
    {"id": "c1"},
    {"choices": []},
    {"choices": None},
    {"choices": [None, "x", 3]},
    {"choices": [{}]},
    {"choices": [{"delta": None}]},
    {"choices": [{"delta": []}]},
    {"choices": [{"index": "zero", "delta": {"content": 3}}]},
    delta(role="assistant"),
    delta(content=None, role="assistant"),
    delta(tool_calls=[{"index": 0}]),
    {"usage": None, "choices": [{"delta": {"content": ""}}]},
    {"error": None, "choices": []},
    [],
    None,
    "words",
    17,
    {},
]


@pytest.mark.parametrize("odd", CHUNKS_WITHOUT_WORDS)
def test_chunks_without_words(odd: Any) -> None:
    for first in ([event(odd), event(delta("a"))], [event(delta("a")) + event(odd)]):
        assert read(stream(*first, event(delta("b")) + event(odd), STOP + DONE)) == "ab"


def test_comments_and_fields_that_mean_nothing_here() -> None:
    said = (
        b": PROCESSING\n\n: PROCESSING\n\nretry: 3\nevent: x\n"
        + event(delta("a"))
        + b":\n\nid: 7\n\n"
        + STOP
        + DONE
    )
    assert read(stream(said)) == "a"


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_and_missing_spaces(line_end: str) -> None:
    said = event_stream(["a", "é\u2028\x85b"]).replace(b"data: ", b"data:").replace(b"\n", line_end.encode())
    assert read(stream(said)) == "aé\u2028\x85b"
    assert read(stream(*(bytes([byte]) for byte in said))) == "aé\u2028\x85b"


def test_one_event_over_several_data_lines() -> None:
    lines = json.dumps(delta("a"), indent=1).splitlines()
    assert read(stream("".join(f"data: {line}\n" for line in lines).encode() + b"\n" + STOP + DONE)) == "a"


def test_raw_separators_that_json_allows_in_strings() -> None:
    said = b'data: {"choices":[{"delta":{"content":"a\xe2\x80\xa8b\xc2\x85c"},"finish_reason":"stop"}]}\n\n'
    assert read(stream(said)) == "a\u2028b\x85c"


def test_several_choices() -> None:
    answer = stream(
        event(delta("a")),
        event(delta("x", index=1)) + event(delta("b")),
        event(delta("y", index=1)) + STOP + DONE,
    )
    assert read(answer) == "ab"
    assert answer.completion.alternatives == {1: "xy"}


def test_a_choice_ends_on_its_own() -> None:
    answer = stream(event(delta("x", "length", index=1)), event(delta("a", "stop")), DONE)
    assert read(answer) == "a"
    assert answer.completion.finish_reason == "stop"


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "tool_calls"])
def test_how_it_finished(reason: str) -> None:
    answer = stream(event(delta("a")) + event(delta("b", reason)))
    assert read(answer) == "ab"
    assert answer.completion.finish_reason == reason


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, **fields}]}


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (choice(delta={}, finish_reason=None, stop_reason="max_tokens"), "max_tokens"),
        (choice(delta={}, finishReason="MAX_TOKENS"), "MAX_TOKENS"),
        (choice(delta={"content": "", "finish_reason": "length"}), "length"),
        (choice(message={"stop_reason": "length"}), "length"),
        (choice(delta={}, finish_reason={"type": "length"}), "length"),
        (choice(delta={}, finish_reason="stop", native_finish_reason="MAX_TOKENS"), "MAX_TOKENS"),
        (choice(delta={}, finish_reason="length", native_finish_reason="SAFETY"), "length"),
        (choice(delta={}, finish_reason="stop", native_finish_reason="end_turn"), "stop"),
        (choice(delta={}, finish_reason="stop", stop_reason="###"), "stop"),
        (choice(delta={}, finish_reason="tool_calls", stop_reason=None), "tool_calls"),
        ({"choices": [], "finish_reason": "length"}, "length"),
        ({"choices": [], "incomplete_details": {"reason": "max_output_tokens"}}, "max_output_tokens"),
        (delta("", "stop") | {"incomplete_details": None, "finish_reason": "null"}, "stop"),
    ],
)
def test_a_finish_reason_is_found_wherever_it_stands(last: dict[str, Any], reason: str) -> None:
    for first in (delta("a"), delta("a", "null"), delta("a") | {"finish_reason": "None"}):
        answer = stream(event(first) + event(last))
        assert read(answer) == "a"
        assert answer.completion.finish_reason == reason
        assert "finish_reason" not in answer.completion.raw["choices"][0]["message"]
    whole = last | choice(**{"message": {"content": "a"}, **(last["choices"] or [{}])[0]})
    assert read_completion(whole, "m", None).finish_reason == reason


@pytest.mark.parametrize("reason", ["null", "None", "", "FINISH_REASON_UNSPECIFIED", {}, {"type": None}, 3])
def test_a_reason_that_is_none_ends_nothing(reason: Any) -> None:
    broken = event(choice(delta={"content": "a"}, finish_reason=reason))
    assert fail(stream(broken)).partial == "a"
    assert fail(stream(broken + event({"error": "engine died"}))).partial == "a"
    answer = stream(broken + DONE)
    assert read(answer) == "a"
    assert answer.completion.finish_reason is None


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_kept_apart(name: str) -> None:
    answer = stream(
        event(delta(**{name: "hm "})),
        event(delta(None, None, **{name: "so", "content": None})),
        event_stream(["a"]),
    )
    deltas = list(answer)
    assert deltas == [Delta("", "hm "), Delta("", "so"), Delta("a")]
    assert (answer.text, answer.reasoning) == ("a", "hm so")
    assert answer.completion.reasoning == "hm so"
    assert answer.completion.raw["choices"][0]["message"]["reasoning"] == "hm so"


def test_usage_and_head() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    head = {"id": "c7", "model": "maker/model-2026", "created": 5, "object": "chat.completion.chunk"}
    answer = stream(
        event(head | delta(role="assistant") | {"id": "c7"}),
        event_stream(["a"]).replace(DONE, b""),
        event({"choices": [], "usage": usage}) + DONE,
    )
    assert read(answer) == "a"
    completion = answer.completion
    assert completion.usage == Usage(3, 2, 5)
    assert completion.model == "maker/model-2026"
    assert completion.raw["id"] == "c7"
    assert completion.raw["usage"] == usage


def test_without_a_name_of_its_own_the_model_is_the_one_asked_for() -> None:
    answer = stream(event_stream(["a"]), request_id="r1")
    read(answer)
    assert answer.completion.model == "maker/model"
    assert answer.completion.request_id == "r1"


@pytest.mark.parametrize(
    "end",
    [
        STOP + DONE,
        STOP,
        STOP[:-1],
        STOP.rstrip(b"\n"),
        DONE,
        DONE.rstrip(b"\n"),
        STOP + DONE.rstrip(b"\n"),
        b"data:[DONE]\n\n",
        b"data:  [DONE] \r\n\r\n",
        STOP + b"data: {half",
        STOP + b": comment",
        DONE + event(delta("not this")),
    ],
)
def test_ends_that_are_fine(end: bytes) -> None:
    assert read(stream(event(delta("a")) + end)) == "a"
    assert read(stream(event(delta("a")), end)) == "a"
    assert read(stream(event(delta("a")), *(bytes([byte]) for byte in end))) == "a"


@pytest.mark.parametrize(
    "end", [b"", b"data: {half", b": comment\n\n", b"data", b'data: {"choices": [{"delta": {"con']
)
def test_an_answer_that_ends_early_is_an_error_with_what_came(end: bytes) -> None:
    error = fail(stream(event(delta("some ")), event(delta("words")) + end))
    assert error.partial == "some words"
    assert "before it was finished" in error.message


def test_a_last_event_without_its_blank_line_has_its_words() -> None:
    answer = stream(event(delta("a")), event(delta("b", "stop")).rstrip(b"\n"))
    assert read(answer) == "ab"


@pytest.mark.parametrize("error", [APIConnectionError("cut."), APITimeoutError("silent.")])
def test_a_cut_connection(error: APIConnectionError) -> None:
    cut = fail(stream(event(delta("some words")), error), type(error))
    assert cut.partial == "some words"


def test_a_cut_behind_the_end_is_no_error() -> None:
    assert read(stream(event(delta("a")) + STOP, APIConnectionError("cut."))) == "a"
    assert read(stream(event(delta("a")) + STOP + DONE, APIConnectionError("cut."))) == "a"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"error": {"message": "Overloaded.", "code": 529}}, "an error during the answer (529): Overloaded."),
        ({"error": "overloaded", "code": "BUSY"}, "an error during the answer (BUSY): overloaded."),
        ({"error": True, "message": "overloaded"}, "an error during the answer: overloaded."),
        ({"error": {"type": "x"}}, "an error during the answer (x)."),
        (
            delta("", "error") | {"error": {"message": "overloaded"}},
            "an error during the answer: overloaded.",
        ),
    ],
)
def test_an_error_in_mid_stream(said: Any, words: str) -> None:
    for parts in (
        [event(delta("some ")), event(delta("words")) + event(said)],
        [event(delta("some words")), event(said).rstrip()],
    ):
        error = fail(stream(*parts))
        assert error.message.endswith(words)
        assert error.partial == "some words"
        assert error.hint


@pytest.mark.parametrize(
    "status", [{"message": "Position 3 in the queue"}, {"msg": "Loading the model", "progress": 0.5}]
)
def test_a_message_that_reads_like_no_error_is_none(status: Any) -> None:
    assert read(stream(event(status) + event(delta("a")) + event(status) + event(delta("b")) + STOP)) == "ab"
    error = fail(stream(event(delta("a")) + event(status)))
    assert next(iter(status.values())) in error.message


def test_an_error_behind_the_end_is_a_note() -> None:
    for parts, words in (
        ([STOP + event({"error": "no usage"})], ": no usage."),
        ([STOP, event({"message": "could not count"}), DONE], ": could not count."),
        ([STOP, event({"error": {"message": "no usage", "code": 529}})], " (529): no usage."),
        ([STOP, event({"error": {"type": "x"}})], " (x)."),
    ):
        answer = stream(event(delta("a")), *parts)
        assert read(answer) == "a"
        assert answer.completion.note == f"the router reported an error after the answer{words}"
    error = fail(stream(event(delta("a", "error")) + event({"error": "engine died"})))
    assert error.partial == "a"


HALF = event(delta("half an "))


@pytest.mark.parametrize(
    "error",
    [
        event({"error": "engine died"}),
        event({"object": "error", "message": "engine died", "code": 500}),
        event({"type": "error", "message": "engine died"}),
        event({"type": "error", "error": {"type": "overloaded_error", "message": "engine died"}}),
        event({"detail": "engine died"}),
        event({"detail": [{"msg": "engine died", "type": "x"}]}),
        event({"code": 50002, "msg": "engine died"}),
        event({"code": "InternalError", "message": "engine died", "request_id": "r"}),
        event({"success": False, "errorMsg": "engine died"}),
        event({"status": "error", "reason": "engine died"}),
        event({"base_resp": {"status_code": 1002, "status_msg": "engine died"}}),
        event(
            {
                "error": {
                    "message": "Provider error",
                    "metadata": {"raw": '{"error": {"message": "engine died"}}'},
                }
            }
        ),
        event(
            {
                "choices": [
                    {"index": 0, "delta": {}, "finish_reason": "error", "error": {"message": "engine died"}}
                ]
            }
        ),
        event({"choices": [{"delta": {"content": ""}}], "error": {"message": "engine died"}}),
        event({"error_code": 336100, "error_msg": "engine died"}),
        event({"statusCode": 500, "message": "engine died"}),
        event({"status": 503, "message": "engine died"}),
        event({"message": "engine died"}),
        event({"err": "engine died"}),
        event({"fault": {"faultstring": "engine died"}}),
        event({"Error": {"Message": "engine died", "Code": "x"}}),
        event({"header": {"code": 10013, "message": "engine died"}, "payload": {}}),
        event({"event": "error", "data": {"message": "engine died"}}),
        event({"type": "response.failed", "response": {"error": {"message": "engine died"}}}),
        event({"choices": [{"index": 0, "delta": {"error": {"message": "engine died"}}}]}),
        event({"error": {"message": "", "innererror": {"message": "engine died"}}}),
        event([{"error": {"message": "engine died"}}]),
        b'{"error": {"message": "engine died"}}\n\n',
        b'error: {"code": 500, "message": "engine died"}\n\n',
        b"event: error\n" + event({"text": "engine died"}),
        b"event: error\n" + event({"message": "engine died"}),
        b"event: error\n" + event(b"engine died"),
        b"event: error\n" + event(b'"engine died"'),
        b"event: error\n" + event({"code": 500, "data": {}, "error_msg": "engine died"}),
        b"event: exception\n" + event(b"engine died"),
        b"event: failed\n" + event(b"engine died"),
        b"event: stream_error\n" + event({"message": "engine died"}),
        b"event: throttlingException\n" + event({"message": "engine died"}),
        event({"text": "**NETWORK ERROR** engine died", "error_code": 50001}),
        event({"type": "exception", "message": "engine died"}),
        event({"type": "server_error", "message": "engine died"}),
        event({"ok": False, "description": "engine died"}),
        event({"is_error": True, "result": "engine died"}),
        event({"exception": "engine died"}),
        event({"err_no": 5, "err_tips": "engine died"}),
        event({"data": {"error": "engine died"}}),
        event(b'"engine died"'),
        event({"modelStreamErrorException": {"message": "engine died"}}),
        event({"choices": [{"index": 0, "message": {"error": "engine died"}}]}),
        event(delta("") | {"object": "chat.completion.chunk", "code": 500, "message": "engine died"}),
        event(
            delta("", "stop") | {"base_resp": {"status_code": 1027, "status_msg": "sensitive: engine died"}}
        ),
    ],
)
def test_an_error_in_each_spelling_ends_the_stream(error: bytes) -> None:
    assert fail(stream(HALF + error.rstrip(b"\n"))).partial == "half an "
    for behind in (DONE, b""):
        failure = fail(stream(HALF + error + behind))
        assert failure.partial == "half an "
        assert "engine died" in failure.message


@pytest.mark.parametrize("behind", [b"", DONE])
def test_an_error_event_without_data_is_an_error(behind: bytes) -> None:
    assert "reported an error" in fail(stream(HALF + b"event: error\n\n" + behind)).message


@pytest.mark.parametrize("error", [None, "", {}, {"message": None, "code": None}, False])
def test_fields_of_errors_that_are_empty_are_none(error: Any) -> None:
    fine = {
        "error": error,
        "code": 0,
        "message": "success",
        "base_resp": {"status_code": 0, "status_msg": "ok"},
    }
    assert read(stream(event(delta("a") | fine) + event(delta("b", "stop") | fine) + DONE)) == "ab"


@pytest.mark.parametrize(
    "fields",
    [
        {"code": 200, "message": "OK"},
        {"code": 20000, "message": "Request successful."},
        {"code": 1000, "message": "from the cache"},
        {"code": "maker/model", "message": "an exception to the rule"},
        {"code": 500},
        {"error_code": 0, "error_msg": ""},
        {"status_code": 200, "type": "exception"},
        {"is_error": False, "ok": True, "exception": None},
        {"data": {"error": None}},
    ],
)
def test_other_fields_beside_the_choices_are_no_error(fields: dict[str, Any]) -> None:
    for text in ("an exception: it failed", ""):
        chunk = delta(text) | {"object": "chat.completion.chunk"} | fields
        assert read(stream(event(delta("a")) + event(chunk) + STOP + event(chunk) + DONE)) == "a" + 2 * text


@pytest.mark.parametrize(
    "code", [{"code": 500}, {"code": 1, "error_code": 1}, {"base_resp": {"status_code": 7}}]
)
def test_an_error_code_beside_text_is_none(code: dict[str, Any]) -> None:
    chunk = delta("hello") | {"object": "chat.completion.chunk", "message": "it failed"} | code
    assert read(stream(event(chunk) + STOP + DONE)) == "hello"


@pytest.mark.parametrize(
    ("unread", "note"),
    [
        ({"oops": "the engine restarts"}, ': {"oops": "the engine restarts"}.'),
        ({"notice": {"text": "the engine restarts"}}, ': {"text": "the engine restarts"}.'),
        ({"message": "the engine restarts"}, ": the engine restarts."),
        ({"type": "ping", "time": "2026-11-29 10:00"}, ""),
        ({"conversation": "c7"}, ""),
        ({"usage": {"prompt_tokens": 1}, "object": "a b"}, ""),
    ],
)
def test_words_at_the_end_that_are_no_part_of_an_answer_are_a_note(unread: dict[str, Any], note: str) -> None:
    answer = stream(HALF + event(unread) + event({"choices": []}) + DONE)
    assert read(answer) == "half an "
    assert answer.completion.note.endswith(note)
    assert bool(answer.completion.note) is bool(note)
    for parts in (HALF + event(unread) + STOP + DONE, event(unread) + HALF + DONE):
        finished = stream(parts)
        assert read(finished) == "half an "
        assert not finished.completion.note


@pytest.mark.parametrize(
    "frame",
    [
        b"data:\n\n", b"data: \n\n", b"data: ping\n\n", b"data: [PING]\n\n", b"data: keep-alive\n\n",
        b"data: : OPENROUTER PROCESSING\n\n", b"data: OPENROUTER PROCESSING\n\n", b"data: heartbeat\n\n",
        b"retry: 3000\n\n", b": ping\n\n", b":\n\n", b"id: 3\n\n", b"event: ping\n\n",
        b'event: ping\ndata: {"type": "ping"}\n\n', b"event: ping\ndata: now\n\n", b"event: heartbeat\ndata:\n\n",
        b'event: status\ndata: {"code": 102, "message": "queued"}\n\n', b'data: {"type": "ping"}\n\n',
        b"data: ping - 2026-11-29 10:00:00.1\n\n", b"data: 2026-11-29T10:00:00Z\n\n", b"data: <ping>\n\n",
        b'data: {"message": "ping"}\n\n', b'data: {"status": "queued", "message": "waiting"}\n\n',
        b"data: []\n\n", b"data: 1764410000\n\n", b'data: "ping"\n\n', b"data: .\n\n",
        b"data: [START]\n\n", b"data: connected\n\n", b"data: please wait\n\n",
        b'data: {"code": 20000, "message": "success"}\n\n',
        b"data: null\n\n", b"data: {}\n\n", b'data: {"object": "chat.completion.chunk", "code": 0, "msg": "ok"}\n\n',
    ],
)  # fmt: skip
def test_control_frames_are_passed_over(frame: bytes) -> None:
    for parts in (
        [frame + HALF + frame + event(delta("answer", "stop")) + frame + DONE],
        [frame, HALF, frame, event(delta("answer", "stop")), DONE],
    ):
        assert read(stream(*parts)) == "half an answer"


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("prefix", ["data: ", "data:", ""])
def test_events_without_blank_lines(prefix: str, size: int, end: bytes) -> None:
    chunks = [delta("Hello "), delta("{"), delta("}"), delta("", "stop")]
    lines = [prefix + json.dumps(chunk) for chunk in chunks] + ([f"{prefix}[DONE]"] if prefix else [])
    body = "\n".join(lines).encode() + end
    parts = [body[n : n + size] for n in range(0, len(body), size)]
    content_type = "text/event-stream" if prefix else "application/x-ndjson"
    answer = stream(*parts, content_type=content_type)
    assert read(answer) == "Hello {}"
    if size == 1 and prefix:
        again = stream(*parts, content_type=content_type)
        first = next(iter(again))
        assert first == Delta("Hello ")


@pytest.mark.parametrize(
    "start",
    [
        b"", b"\n", b"{}\n", b'{"id": "x", "choices": []}\n', b": ping\n", b"\n\n: ping\n{}\n",
        b'{"id": "x", "object": "chat.completion.chunk"}\n', b'{"choices": [{"index": 0}]}\n',
    ],
)  # fmt: skip
def test_lines_are_shown_as_they_come(start: bytes) -> None:
    lines = [json.dumps(chunk).encode() + b"\n" for chunk in (delta("a"), delta("b"), delta("c", "stop"))]
    answer = stream(start + lines[0], *lines[1:], content_type="application/json")
    shown = [part.text for part in answer]
    assert "".join(shown) == "abc"
    assert shown == ["a", "b", "c"] or start == b": ping\n"  # these are server-sent events
    body = start + b"".join(lines)[:-1]
    assert read(stream(body[:5], body[5:], content_type="application/x-ndjson")) == "abc"


@pytest.mark.parametrize("start", [b"", b'{"choices": []}', b'{"id": "}{"}'])
def test_objects_one_after_the_other(start: bytes) -> None:
    chunks = [json.dumps(chunk).encode() for chunk in (delta("a }{ "), delta("b"), delta("", "stop"))]
    body = start + b"".join(chunks)
    for size in (1, 7, 10_000):
        parts = [body[n : n + size] for n in range(0, len(body), size)]
        assert read(stream(*parts, content_type="application/json")) == "a }{ b"
    assert read(stream(event(body) + DONE)) == "a }{ b"
    error = fail(stream(start + b"".join(chunks[:2]), content_type="application/json"))
    assert error.partial == "a }{ b"
    fail(stream(start + b"".join(chunks)[:-1], content_type="application/json"), InvalidResponseError)


@pytest.mark.parametrize("line", [b"{", b"words", b"[1]", b'{"id": "' + b"x" * 4096 + b'"}', b"{}\n" * 20])
def test_a_body_whose_first_lines_are_no_events_is_read_at_its_end(line: bytes) -> None:
    answer = stream(line + b"\n", json.dumps(delta("a", "stop")).encode() + b"\n", content_type="text/html")
    assert answer.receive() == Delta()
    assert answer._is_body
    fail(answer, InvalidResponseError)


@pytest.mark.parametrize(
    "events",
    [
        [delta("a"), delta("", "stop"), {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}],
        [delta("a"), delta("", "stop") | {"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}}],
        [delta("a"), {"choices": [{"delta": {}, "finish_reason": "stop",
                                   "usage": {"prompt_tokens": "3", "completion_tokens": 2.0}}]}],
        [delta("a"), {"choices": [{"delta": {"usage": {"prompt_tokens": 3, "completion_tokens": 2}},
                                   "finish_reason": "stop"}]}],
        [delta("a"), delta("", "stop") | {"usage": {"promptTokens": 3, "completionTokens": 2}}],
        [delta("a"), delta("", "stop") | {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}}],
        [delta("a"), delta("", "stop") | {"response": {"usage": {"input_tokens": 3, "output_tokens": 2}}}],
        [delta("a"), delta("", "stop") | {"usage": {"prompt_tokens": 3, "completion_tokens": 2}},
         {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}],
        [delta("a"), delta("", "stop"), b"[DONE]", {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}],
        [delta("a") | {"usage": {"prompt_tokens": 3}}, delta("", "stop") | {"usage": {"completion_tokens": 2}}],
        [delta("a") | {"usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}},
         delta("", "stop") | {"usage": {"input_tokens": 0, "output_tokens": 2}}],
        [delta("a") | {"usage": {"prompt_tokens": 3}}, delta("", "stop"), b"[DONE]",
         {"usage": {"prompt_tokens": None, "completion_tokens": 2}}],
    ],
)  # fmt: skip
def test_usage_is_found_wherever_it_stands(events: list[Any]) -> None:
    answer = stream(b"".join(event(each) for each in events))
    assert read(answer) == "a"
    assert answer.completion.usage == Usage(3, 2, 5)


def test_what_stands_beside_the_text_is_in_raw() -> None:
    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    chunks = [
        delta("a") | {"citations": ["https://example.org/a"]},
        delta("b") | {"citations": ["https://example.org/a", "https://example.org/b"]},
        delta(tool_calls=[call]),
        {"choices": [{"index": 0, "delta": {"content": "c"}, "logprobs": {"content": [{"token": "c"}]}}]},
        {"choices": [{"index": 0, "delta": {"content": "d"}, "logprobs": {"content": [{"token": "d"}]}}]},
        delta("x", index=2),
        delta("", "tool_calls"),
    ]
    answer = stream(b"".join(event(chunk) for chunk in chunks) + DONE)
    assert read(answer) == "abcd"
    raw = answer.completion.raw
    assert raw["citations"] == ["https://example.org/a", "https://example.org/b"]
    first, other = raw["choices"]
    assert first["message"]["tool_calls"] == [call]
    assert first["logprobs"] == {"content": [{"token": "c"}, {"token": "d"}]}
    assert other["message"]["content"] == "x"
    assert answer.completion.alternatives == {2: "x"}


def test_a_single_choice_of_another_index_is_the_answer() -> None:
    answer = stream(event(delta("a", index=1)) + event(delta("b", "stop", index=1)) + DONE)
    assert "".join(part.text for part in answer) in ("", "ab")
    assert (answer.completion.text, answer.completion.finish_reason) == ("ab", "stop")


@pytest.mark.parametrize("content", [None, "", []])
def test_a_refusal_is_the_text(content: Any) -> None:
    parts = [
        delta(content=content, refusal=""),
        delta(refusal="I can"),
        delta(refusal="not."),
        delta("", "stop"),
    ]
    answer = stream(b"".join(event(part) for part in parts) + DONE)
    assert read(answer) == "I cannot."
    assert answer.completion.refusal == "I cannot."
    whole = {"choices": [{"message": {"content": content, "refusal": "I cannot."}, "finish_reason": "stop"}]}
    completion = read_completion(whole, "m", None)
    assert (completion.text, completion.refusal) == ("I cannot.", "I cannot.")


def test_a_message_beside_the_deltas_is_no_second_text() -> None:
    chunks = [
        {"choices": [{"delta": {"content": "Hello "}, "message": {"content": "Hello "}}]},
        {"choices": [{"delta": {"content": "you"}, "message": {"content": "Hello you"}}]},
        {"choices": [{"delta": {}, "message": {"content": "Hello you!"}, "finish_reason": "stop"}]},
    ]
    assert read(stream(b"".join(event(chunk) for chunk in chunks))) == "Hello you!"


@pytest.mark.parametrize(
    "last",
    [
        {"choices": [{"delta": None, "message": {"content": "Hello you"}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": "Hello you"}, "finish_reason": "stop"}]},
        {
            "choices": [
                {"delta": {"content": ""}, "message": {"content": "Hello you"}, "finish_reason": "stop"}
            ]
        },
        {
            "choices": [
                {"delta": {"content": "you"}, "message": {"content": "Hello you"}, "finish_reason": "stop"}
            ]
        },
    ],
)
@pytest.mark.parametrize("behind_the_finish", [False, True])
def test_a_whole_message_at_the_end_is_no_second_text(last: Any, behind_the_finish: bool) -> None:
    has_part = (last["choices"][0].get("delta") or {}).get("content")
    chunks = [delta("Hello "), *([] if has_part else [delta("you")])]
    chunks += [delta("", "stop")] if behind_the_finish else []
    body = b"".join(event(chunk) for chunk in [*chunks, last])
    assert read(stream(body)) == "Hello you"
    assert read(stream(*(event(chunk) for chunk in [*chunks, last]))) == "Hello you"


def test_tool_calls_of_a_whole_message_are_no_second_ones() -> None:
    call = {"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}
    last = {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    answer = stream(event(delta(tool_calls=[call])) + event(last))
    assert read(answer) == ""
    assert answer.completion.raw["choices"][0]["message"]["tool_calls"] == [call]


def test_messages_can_be_parts() -> None:
    chunks = [{"choices": [{"message": {"content": text}}]} for text in ("Hello ", "you")]
    assert read(stream(b"".join(event(chunk) for chunk in [*chunks, delta("", "stop")]))) == "Hello you"


def test_chunks_in_a_list() -> None:
    body = json.dumps([delta("Hello "), delta("you", "stop")]).encode()
    assert read(stream(body, content_type="application/json")) == "Hello you"


def test_a_prefix_that_is_written_twice() -> None:
    body = b"".join(b"data: " + event(chunk) for chunk in (delta("Hello "), delta("you", "stop")))
    assert read(stream(body + b"data: data: [DONE]\n\n")) == "Hello you"


def test_a_text_without_an_end_is_quoted_in_the_error() -> None:
    failure = fail(stream(HALF + event({"status": "x", "message": "the engine restarts"})))
    assert "the engine restarts" in failure.message


@pytest.mark.parametrize(
    "data", [b"nonsense", b"{", b"[DONE", b'{"a": 1} {"b": 2}', b"[" * 100_000, b'{"a":' * 100_000]
)
def test_an_event_that_is_not_json(data: bytes) -> None:
    for parts in ([event(delta("a")), event(data)], [event(delta("a")) + event(data) + event(delta("b"))]):
        error = fail(stream(*parts))
        assert "not JSON" in error.message
        assert error.partial == "a"
        assert len(error.message) < 200


def test_events_that_are_json_only_together_are_not() -> None:
    error = fail(stream(event(b'{"choices": []') + event(b'"id": 1}')))
    assert "not JSON" in error.message


JSON_ANSWERS = [
    (json.dumps(COMPLETION).encode(), "Hello."),
    (b"\n " + json.dumps(COMPLETION, indent=2).encode(), "Hello."),
]


@pytest.mark.parametrize(("body", "text"), JSON_ANSWERS)
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/plain", ""])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_json_answer_where_a_stream_was_asked_for(
    body: bytes, text: str, content_type: str, size: int
) -> None:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    answer = stream(*parts, content_type=content_type)
    assert read(answer) == text
    assert answer.completion.usage == Usage(3, 2, 5)
    assert answer.completion.finish_reason == "stop"


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_a_json_error_with_status_200(content_type: str) -> None:
    error = fail(stream(b'{"error": {"message": "no such model"}}', content_type=content_type))
    assert "no such model" in error.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html><title>Sign in</title></html>", "an HTML page, “Sign in”"),
        (b"upstream connect error", "upstream connect error"),
        (b"[1, 2]", "holds no text"),
        (b"{}", "holds no text"),
        (b"{half", "{half"),
        (b"", "empty"),
    ],
)
def test_a_page_with_status_200(body: bytes, words: str) -> None:
    assert words in fail(stream(body, content_type="text/html"), InvalidResponseError).message


def test_a_page_that_claims_to_be_events() -> None:
    assert "Sign in" in fail(stream(b"\n<html><title>Sign in</title>"), InvalidResponseError).message


@pytest.mark.parametrize(
    "start", [b"", b"\n", b"\r\n\r\n", b"\xef\xbb\xbf", b": hi\n\n", b"event: x\n", b"id: 1\n", b"retry: 1\n"]
)
def test_events_that_claim_to_be_something_else(start: bytes) -> None:
    said = start + event_stream(["a", "b"])
    assert read(stream(said, content_type="application/json")) == "ab"
    assert read(stream(*(bytes([byte]) for byte in said), content_type="")) == "ab"


def test_an_answer_has_a_largest_size() -> None:
    parts = [event(delta("0123456789"))] * 3
    error = fail(stream(*parts, max_size=len(parts[0]) * 2), InvalidResponseError)
    assert "larger than" in error.message
    assert error.partial == "0123456789" * 2
    fail(stream(b"{" + b" " * 500, content_type="application/json", max_size=400), InvalidResponseError)


LONG = 1 << 20
TOO_LONG = "longer than 4,194,304 characters"


@pytest.mark.parametrize("name", ["content", "reasoning"])
def test_an_answer_has_a_largest_length(name: str) -> None:
    parts = [event(delta(**{name: letter * LONG})) for letter in "abcde"]
    answer = stream(*parts)
    with pytest.raises(InvalidResponseError, match=TOO_LONG) as caught:
        list(answer)
    assert len(caught.value.partial) == (5 * LONG if name == "content" else 0)
    assert len(answer.text + answer.reasoning) == 4 * LONG
    whole = {"choices": [{"message": {name: "ab" * 3 * LONG}, "finish_reason": "stop"}]}
    for body in (event(delta(**{name: "ab" * 3 * LONG})), json.dumps(whole).encode()):
        with pytest.raises(InvalidResponseError, match=TOO_LONG):
            list(stream(body))
    with pytest.raises(InvalidResponseError, match=TOO_LONG):
        read_completion(whole, "m", None)


def test_a_text_that_comes_again_and_again_counts_once() -> None:
    texts = ["word " * n for n in range(1, 60)]
    long = ["x" * LONG + text for text in texts[:8]]
    answer = stream(*(event(delta(text)) for text in long), event(delta("", "stop")))
    assert len("".join(part.text for part in answer)) < len(long[-1]) + 2 * LONG + 100
    assert answer.text == long[-1]


def test_newlines_without_end_are_not_kept() -> None:
    answer = stream(*[b"\n" * 1000] * 8, event_stream(["a"]))
    answer.receive()
    for _ in range(7):
        answer.receive()
    assert len(answer._undecided or b"") <= 4096
    assert read(answer) == "a"


@pytest.mark.parametrize("name", ["content", "reasoning"])
def test_half_a_character_waits_for_its_other_half(name: str) -> None:
    face = '{"choices":[{"index":0,"delta":{"%s":"%s"},"finish_reason":null}]}'
    first, second = (event((face % (name, words)).encode()) for words in ("a\\ud83d", "\\ude00b"))
    answer = stream(first, second, STOP + DONE)
    deltas = [part.text or part.reasoning for part in answer]
    assert deltas == ["a", "😀b"]
    assert (answer.text or answer.reasoning) == "a😀b"


def test_half_a_character_that_stays_alone() -> None:
    half = b'{"choices":[{"index":0,"delta":{"content":"a\\ud83d"},"finish_reason":null}]}'
    assert read(stream(event(half), event(delta("b")) + STOP + DONE)) == "a\ufffdb"
    assert read(stream(event(half), STOP, DONE)) == "a\ufffd"
    assert read(stream(event(half) + STOP)) == "a\ufffd"
    assert fail(stream(event(half))).partial == "a\ufffd"


@given(
    texts=st.lists(st.text(alphabet=["a", "😀", "\ud83d", "\ude00", "\u2028"], max_size=3), max_size=8),
    size=st.integers(1, 90),
    slow=st.booleans(),
)
def test_the_deltas_are_the_text_however_they_come(texts: list[str], size: int, slow: bool) -> None:
    more: dict[str, Any] = {"role": "assistant"} if slow else {}
    said = b"".join(event(delta(text, **more)) for text in texts) + STOP + DONE
    answer = stream(*(said[at : at + size] for at in range(0, len(said), size)))
    read(answer).encode("utf-8")
    assert len(answer.text) == len(
        "".join(texts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )


def test_nothing_within_the_time_is_none() -> None:
    answer = stream(None, event(delta("a")), None, STOP + DONE)
    assert answer.receive(0.1) is None
    assert answer.first_received_at is None
    assert answer.receive(0.1) == Delta("a")
    assert answer.first_received_at is not None
    assert answer.receive(0.1) is None
    assert not answer.finished
    assert answer.receive(0.1) == Delta()
    assert answer.finished
    assert answer.receive(0.1) is None


def test_closing_keeps_what_came() -> None:
    with stream(event(delta("some words")), event(delta("more"))) as answer:
        assert answer.receive() == Delta("some words")
    assert answer.text == "some words"
    assert answer.finished
    assert list(answer) == []


def test_an_interrupt_closes_the_stream() -> None:
    class Interrupted(FakeResponse):
        def receive(self, wait: float | None = None) -> bytes | None:  # noqa: ARG002
            raise KeyboardInterrupt

    answer = ChatStream(Interrupted(), "m")
    with pytest.raises(KeyboardInterrupt):
        answer.receive()
    assert answer.finished
    assert answer._response.closed  # type: ignore[attr-defined]


# A whole answer


def test_a_whole_answer() -> None:
    completion = read_completion(COMPLETION, "asked/for", "r1")
    assert (completion.text, completion.model, completion.request_id) == ("Hello.", "maker/model", "r1")
    assert (completion.finish_reason, completion.usage) == ("stop", Usage(3, 2, 5))
    assert completion.raw == COMPLETION
    assert read_completion(COMPLETION | {"model": None}, "asked/for", None).model == "asked/for"


def test_a_whole_answer_with_alternatives_parts_and_reasoning() -> None:
    choices = [
        {"index": 1, "message": {"content": [{"type": "text", "text": "b\ud83d"}]}},
        {"index": 0, "message": {"content": None, "reasoning": "hm"}, "finish_reason": "length"},
    ]
    completion = read_completion({"choices": choices}, "m", None)
    assert (completion.text, completion.reasoning, completion.finish_reason) == ("", "hm", "length")
    assert completion.alternatives == {1: "b\ufffd"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([], "not a JSON object"),
        ({}, "no choices"),
        ({"choices": []}, "no choices"),
        ({"choices": [], "error": {"message": "It broke."}}, "an error: It broke."),
        ({"error": True}, "an error."),
    ],
)
def test_what_is_no_answer(answer: Any, words: str) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        read_completion(answer, "m", None)
    assert words in caught.value.message
    assert not caught.value.message.endswith("..")
