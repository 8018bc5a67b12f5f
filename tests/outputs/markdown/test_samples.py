"""Samples of the sanitiser: small texts, each at a border of a rule, and what becomes of them.

They are data, in samples.json: whole texts, texts that are still arriving (a frame of them, or one at each step),
texts cut into segments, and names in a line. A change of the sanitiser that is meant changes their ``safe`` with it.
"""

import json
from pathlib import Path
from typing import Any

import oracles
import pytest

from puq_magics.outputs.markdown.feed import MarkdownFeed, escape_inline, sanitize_markdown

SAMPLES: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "samples.json").read_text(encoding="utf-8")
)


def samples(kind: str) -> Any:
    return pytest.mark.parametrize("sample", SAMPLES[kind], ids=range(len(SAMPLES[kind])))


@samples("texts")
def test_a_text(sample: dict[str, Any]) -> None:
    assert sanitize_markdown(sample["text"]) == sample["safe"]
    assert oracles.faults(sample["safe"]) == []


@samples("frames")
def test_a_frame_of_a_text_that_is_still_arriving(sample: dict[str, Any]) -> None:
    feed = MarkdownFeed(segment_size=None)
    feed.feed(sample["text"])
    assert feed.frame() == sample["safe"]
    assert oracles.faults(sample["safe"]) == []


@samples("steps")
def test_the_frames_of_a_text_that_arrives(sample: dict[str, Any]) -> None:
    feed, frames = MarkdownFeed(segment_size=None), []
    for start in range(0, len(sample["text"]), 5):
        feed.feed(sample["text"][start : start + 5])
        frames.append(feed.frame())
    assert frames == sample["safe"]
    assert [fault for frame in frames for fault in oracles.faults(frame)] == []


@samples("segments")
def test_a_text_in_segments(sample: dict[str, Any]) -> None:
    feed, text, segments = MarkdownFeed(segment_size=sample["size"]), sample["text"], []
    for start in range(0, len(text), 7):
        segments += feed.feed(text[start : start + 7])
    segments.append(feed.finish())
    assert [segment.markdown for segment in segments] == sample["safe"]
    assert [fault for segment in segments for fault in oracles.faults(segment.markdown)] == []


@samples("names")
def test_a_name_in_a_line(sample: dict[str, Any]) -> None:
    assert escape_inline(sample["text"], sample["limit"]) == sample["safe"]
