"""Format a transcript as subtitles: SRT and WebVTT."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from puq_magics.core.errors import InputError
from puq_magics.outputs.results.base import SegmentLike

#: File names of subtitles end with these.
SUBTITLE_EXTENSIONS = (".srt", ".vtt")
_IS_SUBTITLES = re.compile(r"\ufeff?(?:WEBVTT\b|\s*\d+\s*\n[\d:]+[,.]\d+ *-->)")


def format_subtitles(text: str, segments: Sequence[SegmentLike], extension: str) -> str:
    """Return a transcript in the format of a file's extension. Raises InputError without the times of segments."""
    if not segments:
        if _IS_SUBTITLES.match(text):
            return f"{text}\n"
        raise InputError(
            f"the transcript cannot be saved as {extension}: the router sent no times.",
            hint="Save it as .txt, or use another model.",
        )
    is_vtt = extension == ".vtt"
    cues = list(_iter_cues(segments, is_vtt))
    if is_vtt:
        return "\n".join(["WEBVTT\n", *cues])
    return "\n".join(f"{number}\n{cue}" for number, cue in enumerate(cues, 1))


def _iter_cues(segments: Sequence[SegmentLike], is_vtt: bool) -> Iterator[str]:
    for number, segment in enumerate(segments):
        end = segment.end
        if end <= segment.start and number + 1 < len(segments):  # a router that sends no ends
            end = segments[number + 1].start
        words = "\n".join(line.strip() for line in segment.text.splitlines() if line.strip())
        if is_vtt:
            words = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        point = "." if is_vtt else ","
        yield f"{_format_time(segment.start, point)} --> {_format_time(max(end, segment.start), point)}\n{words}\n"


def _format_time(seconds: float, point: str) -> str:
    milliseconds = round(max(seconds, 0) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
