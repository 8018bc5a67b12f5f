from __future__ import annotations

from pathlib import Path

import pytest

from puq_magics.api.transcription import TranscriptSegment
from puq_magics.core.errors import InputError
from puq_magics.outputs.results import TranscriptResult

SEGMENTS = (
    TranscriptSegment(0, 1.5, " Hello <there> & you."),
    TranscriptSegment(1.5, 1.5, "Two\n\nlines."),
    TranscriptSegment(59.9996, 3675.25, "End."),
)
SRT = """1
00:00:00,000 --> 00:00:01,500
Hello <there> & you.

2
00:00:01,500 --> 00:01:00,000
Two
lines.

3
00:01:00,000 --> 01:01:15,250
End.
"""
VTT = """WEBVTT

00:00:00.000 --> 00:00:01.500
Hello &lt;there&gt; &amp; you.

00:00:01.500 --> 00:01:00.000
Two
lines.

00:01:00.000 --> 01:01:15.250
End.
"""


def transcript(**fields: object) -> TranscriptResult:
    return TranscriptResult(**{"model": "m", "text": "Hello.", "segments": SEGMENTS, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.srt", SRT), ("a.SRT", SRT), ("a.vtt", VTT), ("a.txt", "Hello."), ("a", "Hello.")],
)
def test_the_name_of_the_file_decides(tmp_path: Path, name: str, expected: str) -> None:
    saved = transcript().save(tmp_path / name)
    assert saved.read_text() == expected


@pytest.mark.parametrize("name", ["a.srt", "a.vtt"])
def test_without_times_there_are_no_subtitles(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="the router sent no times") as caught:
        transcript(segments=()).save(tmp_path / name)
    assert ".txt" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "text"), [("a.srt", SRT), ("a.vtt", VTT)])
def test_a_text_that_holds_subtitles_is_saved_as_it_is(tmp_path: Path, name: str, text: str) -> None:
    assert transcript(segments=(), text=text.strip()).save(tmp_path / name).read_text() == text
