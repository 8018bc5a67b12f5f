from __future__ import annotations

import json
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from clients import KEY, MODEL, router_for
from raw_server import (
    DONE,
    LAST_CHUNK,
    Connection,
    RawServer,
    answer,
    chunk,
    chunked,
    delta,
    event,
    head,
    responds,
    responds_and_closes,
)

from puq_magics.api import Router, Transcript, TranscriptSegment, TranscriptStream, Upload
from puq_magics.api.transcription import read_transcript
from puq_magics.api.types import Usage
from puq_magics.core.errors import APIConnectionError, InvalidResponseError, PuqError, StreamError
from puq_magics.sandbox import Sandbox

SRT = "1\n00:00:00,000 --> 00:00:01,500\nHello.\n\n2\n00:00:01,500 --> 00:00:02,000\nBye."
VERBOSE = {
    "task": "transcribe",
    "language": "english",
    "duration": 2.5,
    "text": "Hello. Bye.",
    "segments": [
        {"id": 0, "start": 0.0, "end": 1.5, "text": " Hello.", "tokens": [1]},
        {"id": 1, "start": 1.5, "end": "2", "text": " Bye."},
    ],
}


def read(answer: Any) -> Transcript:
    return read_transcript([json.dumps(answer).encode()], "r1")


def test_the_short_answer() -> None:
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 4, "total_tokens": 18}
    transcript = read({"text": "Hello, \ud83d\ude00", "usage": usage})
    assert transcript.text == "Hello, 😀"
    assert transcript.usage == Usage(14, 4, 18)
    assert transcript.request_id == "r1"
    assert (transcript.language, transcript.duration, transcript.segments) == ("", None, ())


def test_the_verbose_answer() -> None:
    transcript = read(VERBOSE)
    assert (transcript.text, transcript.language, transcript.duration) == ("Hello. Bye.", "english", 2.5)
    assert transcript.segments == (
        TranscriptSegment(0.0, 1.5, " Hello."),
        TranscriptSegment(1.5, 2.0, " Bye."),
    )
    assert transcript.raw == VERBOSE


def test_segments_alone_are_a_text() -> None:
    assert read({"segments": VERBOSE["segments"]}).text == "Hello. Bye."


def test_a_duration_in_the_usage() -> None:
    transcript = read({"text": "a", "usage": {"type": "duration", "seconds": 9}})
    assert (transcript.duration, transcript.usage) == (9.0, None)


@pytest.mark.parametrize(
    "segments",
    [
        None,
        "x",
        {},
        [None, 5, "x", {}, {"text": "a"}, {"text": 5, "start": 0}, {"start": "x", "end": 1, "text": "a"}],
    ],
)
def test_odd_segments_are_taken_as_none(segments: Any) -> None:
    transcript = read({"text": "a", "segments": segments, "language": 5, "duration": "long", "usage": []})
    assert transcript.text == "a"
    assert (transcript.segments, transcript.language, transcript.duration, transcript.usage) == (
        (),
        "",
        None,
        None,
    )


def test_a_segment_without_an_end() -> None:
    assert read({"text": "a", "segments": [{"start": 2, "text": "a"}]}).segments == (
        TranscriptSegment(2.0, 2.0, "a"),
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"Hello there.\n", "Hello there."),
        (b"\xef\xbb\xbfHello\r\nthere.\n\n", "Hello\nthere."),
        ("Grüße\n".encode(), "Grüße"),
        ("Grüße\n".encode("latin-1"), "Gr\ufffd\ufffde"),
        (SRT.encode(), SRT),
        (b"WEBVTT\n\n00:00.000 --> 00:01.000\nHi", "WEBVTT\n\n00:00.000 --> 00:01.000\nHi"),
        (b"42\n", "42"),
        (b"1", "1"),
        (b"{laughs} Hello there", "{laughs} Hello there"),
        (b"{ Hello", "{ Hello"),
        (b"<v Roger> hello", "<v Roger> hello"),
        (b"<i>Hello</i>", "<i>Hello</i>"),
        (b"[]!", "[]!"),
        (b"[music]", "[music]"),
        (b'["music"]', '["music"]'),
        (b'"A quoted word" he said', '"A quoted word" he said'),
        (b'"Hello"', "Hello"),
        (b"\n", ""),
        (b'{"text": ""}', ""),
    ],
)
def test_plain_text(body: bytes, text: str) -> None:
    assert read_transcript([body]).text == text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is empty"),
        (
            b"<html><title>504 Gateway Time-out</title></html>",
            "holds HTML where a transcript should be: an HTML page",
        ),
        (b'<?xml version="1.0"?><Error/>', "holds XML"),
        (b"\x00\x01\x02", "holds something else"),
        (b'{"text": "Hello th', "holds an incomplete JSON object"),
        (b' {\n "te', "holds an incomplete JSON object"),
        (b"{", "holds an incomplete JSON object"),
        (b"{}}", "holds an incomplete JSON object"),
        (b"<!DOCTYPE html><p>no", "holds HTML"),
        (b"[]", "holds no text"),
        (b"{}", "holds no text"),
        (b"null\n", "holds no text"),
        (b"true", "holds no text"),
        (b"false", "holds no text"),
        (b'{"error": {"message": "Bad audio"}}', "with an error: Bad audio"),
        (b'{"words": []}', "holds no text"),
        (b'{"text": null, "segments": []}', "holds no text"),
    ],
)
def test_what_is_no_transcript(body: bytes, said: str) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        read_transcript([body])
    assert said in caught.value.message
    assert caught.value.partial == body.decode()
    assert caught.value.hint


def test_a_body_that_breaks_off_is_kept_as_text() -> None:
    def parts() -> Iterator[bytes]:
        yield "{laughs} Gr\u00fc".encode()
        raise APIConnectionError("cut")

    with pytest.raises(APIConnectionError) as caught:
        read_transcript(parts())
    assert caught.value.partial == "{laughs} Gr\u00fc"


SOUND = Upload.from_bytes(b"ID3" + bytes(200))
USAGE = {"type": "tokens", "input_tokens": 40, "output_tokens": 5, "total_tokens": 45}


def typed_event(kind: str, **fields: Any) -> bytes:
    return event({"type": f"transcript.text.{kind}", **fields})


def segment(start: float, end: float, text: str, **more: Any) -> bytes:
    return typed_event("segment", id="seg_0", start=start, end=end, text=text, **more)


HELLO = (
    typed_event("delta", delta="Hello")
    + segment(0, 1.5, "Hello", duration=4.0)
    + typed_event("delta", delta=" there.")
)
EVENTS = (
    HELLO + segment(1.5, 4.0, " there.", duration=4.0) + typed_event("done", text="Hello there.", usage=USAGE)
)


@pytest.fixture
def open_stream() -> Iterator[Any]:
    """Gives the stream of a server that answers so."""
    opened: list[Any] = []

    def _open_stream(said: bytes, script: Any = responds) -> TranscriptStream:
        server = RawServer(script(said)).__enter__()
        router = router_for(server)
        stream = router.stream_transcription(SOUND, model=MODEL)
        opened.extend((server, router, stream))
        return stream

    yield _open_stream
    for each in reversed(opened):
        each.__exit__(None, None, None)


def test_the_events_that_openai_documents(open_stream: Any) -> None:
    stream = open_stream(chunked(EVENTS, X_Request_Id="r7"))
    assert "".join(stream) == "Hello there."
    heard = stream.transcript
    assert (heard.text, heard.duration, heard.request_id) == ("Hello there.", 4.0, "r7")
    assert heard.segments == (TranscriptSegment(0, 1.5, "Hello"), TranscriptSegment(1.5, 4.0, " there."))
    assert heard.usage == Usage(40, 5, 45)
    assert (stream.transcribed_seconds, stream.duration, stream.finished) == (4.0, 4.0, True)
    assert stream.first_received_at is not None
    assert stream.receive() is None


def test_events_that_are_split_anywhere(open_stream: Any) -> None:
    said = typed_event("delta", delta="Grüße 😀") + typed_event("done", text="Grüße 😀")
    pieces = [bytes([byte]) for byte in b": PROCESSING\r\n\r\n" + said]
    stream = open_stream(chunked(*pieces))
    assert "".join(stream) == stream.text == stream.transcript.text == "Grüße 😀"


def test_the_words_are_given_as_they_come(body_reader: str) -> None:
    heard = Event()

    def script(connection: Connection) -> None:
        asked = connection.read_request()
        assert b'name="stream"\r\n\r\ntrue\r\n' in asked.body
        assert asked.headers["accept"].startswith("text/event-stream")
        connection.send(head(Transfer_Encoding="chunked"), chunk(HELLO))
        connection.wait(heard)
        connection.send(chunk(typed_event("done", text="Hello there.")), LAST_CHUNK)
        connection.wait_for_close()

    with RawServer(script) as server, router_for(server) as router:
        with router.stream_transcription(SOUND, model=MODEL, language="en") as stream:
            assert next(iter(stream)) == "Hello there."
            assert (stream.text, stream.transcribed_seconds, stream.duration) == ("Hello there.", 1.5, 4.0)
            assert stream.receive(0) is None
            assert not stream.finished
            heard.set()
            assert list(stream) == []
        assert stream.transcript.text == "Hello there."


@pytest.mark.parametrize("end", [typed_event("done", text=f"The key is {KEY}."), DONE])
def test_streamed_words_do_not_hold_the_key(end: bytes) -> None:
    paused, more = Event(), Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        first = typed_event("delta", delta=f"The key is {KEY[:5]}") + typed_event("delta", delta=KEY[5:12])
        connection.send(head(Transfer_Encoding="chunked"), chunk(first))
        connection.wait(paused)
        connection.send(chunk(typed_event("delta", delta=KEY[12:20])))
        connection.wait(more)
        connection.send(chunk(typed_event("delta", delta=f"{KEY[20:]}.") + end), LAST_CHUNK)
        connection.wait_for_close()

    with RawServer(script) as server, router_for(server) as router:
        with router.stream_transcription(SOUND, model=MODEL) as stream:
            came = ""
            while "key is" not in came:
                came += stream.receive() or ""
            assert came == stream.text == "The key is "
            assert stream.receive(0) == KEY[:12]  # released in a pause
            assert stream.text == f"The key is {KEY[:12]}"
            paused.set()
            assert not stream.receive()
            more.set()
            came += "".join(stream)
        assert came == stream.text == stream.transcript.text == "The key is …."
        assert KEY not in str(stream.transcript.raw)


@pytest.mark.parametrize(
    "said",
    [
        event(delta("Hello")) + event(delta(" there.")) + event(delta(finish="stop")) + DONE,
        event({"text": "Hello"}) + event({"text": "there."}),
        event({"text": "Hello"}) + event({"text": "there."}).rstrip(b"\n"),
        typed_event("done", text="Hello there."),
        typed_event("delta", delta="Hello the")
        + typed_event("delta", delta=None)
        + typed_event("odd")
        + typed_event("done", text="Hello there."),
    ],
    ids=["vllm", "objects", "no last line", "at once", "the last word counts"],
)
def test_other_shapes_of_a_stream(open_stream: Any, said: bytes) -> None:
    stream = open_stream(chunked(said))
    list(stream)
    assert stream.transcript.text == "Hello there."


@pytest.mark.parametrize(
    "said",
    [
        answer({"text": "Hello there.", "duration": 4, "usage": USAGE}),
        chunked(b" ", b" \n", b'{"text": "Hello there.", "duration": 4}', content_type="application/json"),
        chunked(b'{"text": "Hello there.", "duration": 4}'),
        answer("Hello there.\n", content_type="text/plain"),
        answer({"segments": [{"start": 0, "end": 4, "text": "Hello there."}], "duration": 4}),
    ],
    ids=["json", "kept alive", "says it streams", "text", "segments"],
)
def test_a_router_that_does_not_stream_answers_as_a_whole(open_stream: Any, said: bytes) -> None:
    stream = open_stream(said)
    assert list(stream) == ["Hello there."]
    assert stream.text == stream.transcript.text == "Hello there."
    assert stream.duration in (4.0, None)


def test_a_text_that_begins_like_a_stream(open_stream: Any) -> None:
    assert list(open_stream(answer("data: they said.", content_type="text/plain"))) == ["data: they said."]


@pytest.mark.parametrize(
    ("said", "kind", "words", "partial"),
    [
        (chunked(HELLO + event({"error": "no ears left"})), StreamError, "no ears left", "Hello there."),
        *(
            (chunked(HELLO + error + DONE), StreamError, "no ears left", "Hello there.")
            for error in (
                b"event: failed\n" + event(b"no ears left"),
                b"event: exception\n" + event(b"no ears left"),
                event({"type": "exception", "message": "no ears left"}),
                event({"exception": "no ears left"}),
            )
        ),
        (chunked(HELLO), StreamError, "ended before it was finished", "Hello there."),
        (chunked(HELLO + event(b"{oops")), StreamError, "not JSON", "Hello there."),
        (head(Transfer_Encoding="chunked") + chunk(HELLO), APIConnectionError, "", "Hello there."),
        (chunked(b": PROCESSING\n\n"), InvalidResponseError, "holds no text", ""),
        (
            answer({"error": {"message": "Bad audio"}}),
            InvalidResponseError,
            "Bad audio",
            '{"error": {"message": "Bad audio"}}',
        ),
        (
            answer("<html><title>Down</title></html>", content_type="text/html"),
            InvalidResponseError,
            "Down",
            "<html>",
        ),
        (
            answer('{"text": "Hello th', content_type="application/json"),
            InvalidResponseError,
            "incomplete",
            '{"text": "Hello th',
        ),
    ],
)
def test_what_breaks_off_is_kept(
    open_stream: Any, said: bytes, kind: type[PuqError], words: str, partial: str
) -> None:
    stream = open_stream(said, responds_and_closes)
    with pytest.raises(kind) as caught:
        list(stream)
    assert words in str(caught.value)
    assert str(caught.value.partial).startswith(partial)
    assert caught.value.hint
    assert stream.finished


def test_an_answer_that_is_too_large() -> None:
    with RawServer(responds(chunked(EVENTS))) as server, router_for(server) as router:
        response = router._send(router.transcription_request(SOUND, model=MODEL, stream=True))
        with (
            TranscriptStream(response, max_size=100) as stream,
            pytest.raises(InvalidResponseError) as caught,
        ):
            list(stream)
        assert "larger than 100 bytes" in str(caught.value)


def test_only_the_stream_is_asked_to_stream() -> None:
    with RawServer(responds(answer({"text": "a"}))) as server, router_for(server) as router:
        assert router.transcribe(SOUND, model=MODEL, extra_body={"stream": True}).text == "a"
    assert b"stream" not in server.requests[0].body


def test_the_sandbox_streams_what_it_knows() -> None:
    with Sandbox(pace=0) as sandbox, Router(sandbox.token, sandbox.base_url) as router:
        speech = router.speech("Hello there. How are you?", model="sandbox/tts")
        upload = Upload.from_bytes(speech.data)
        with router.stream_transcription(upload, model="sandbox/whisper") as stream:
            assert "".join(stream) == "Hello there. How are you?"
        whole = router.transcribe(upload, model="sandbox/whisper", response_format="verbose_json")
    assert stream.transcript.text == whole.text
    assert stream.transcript.usage == whole.usage
    assert [(each.start, each.end) for each in stream.transcript.segments] == [
        (each.start, each.end) for each in whole.segments
    ]
    assert stream.duration == pytest.approx(whole.duration, abs=0.001)
