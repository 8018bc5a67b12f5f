from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from puq_magics.api import Transcript, TranscriptSegment
from puq_magics.api.transcription import read_transcript
from puq_magics.api.types import Usage
from puq_magics.core.errors import APIConnectionError, InvalidResponseError

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
        (b'{"text": "Hello th', "holds half of a JSON object"),
        (b' {\n "te', "holds half of a JSON object"),
        (b"{", "holds half of a JSON object"),
        (b"{}}", "holds half of a JSON object"),
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
