"""The harness itself: on a tiny run its figures are of the right kind and size. Nothing here judges a speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

_RUN = Path(__file__).with_name("run.py")
_NAIVE = "update per chunk"
_CHUNKS = 500  # of the tiny plan's burst


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of a tiny run of the two subjects that need nothing but `requests`."""
    path = tmp_path_factory.mktemp("bench") / "report.json"
    command = [sys.executable, str(_RUN), "--tiny", "--subjects", "bare loop", _NAIVE, "--json", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def _samples(report: dict[str, Any], title: str, label: str) -> dict[str, list[float]]:
    (table,) = (table for table in report["tables"] if table["title"].startswith(title))
    (row,) = (row for row in table["rows"] if row["label"] == label)
    samples: dict[str, list[float]] = row["samples"]
    return samples


def test_nothing_failed_and_every_scenario_has_a_table(report: dict[str, Any]) -> None:
    assert report["failed"] == {}
    titles = [table["title"].split()[0].strip(":,") for table in report["tables"]]
    assert titles == ["Burst", "Paced", "First", "Sent", "A", "Interrupt", "Loading"]


def test_an_update_per_chunk_is_a_message_per_chunk(report: dict[str, Any]) -> None:
    # one for the display, one for each chunk, one each for the role and the finish
    assert _samples(report, "Burst", "messages shown") == {_NAIVE: [_CHUNKS + 3]}


def test_whole_text_updates_cost_the_square(report: dict[str, Any]) -> None:
    (wire,) = _samples(report, "Burst", "IOPub bytes, all frames ÷ text")[_NAIVE]
    (content,) = _samples(report, "Burst", "IOPub bytes, content only ÷ text")[_NAIVE]
    assert _CHUNKS < content < wire  # two MIME types, on average half the text each


def test_showing_costs_more_than_showing_nothing(report: dict[str, Any]) -> None:
    (ratio,) = _samples(report, "Burst", "CPU ÷ bare loop, by pair")[_NAIVE]
    assert ratio > 1


def test_every_chunk_was_published_after_it_was_sent(report: dict[str, Any]) -> None:
    for body in ("chunked", "close-delimited", "gzip", "TLS"):
        (middle,) = _samples(report, "Sent", f"200/s, {body}: p50")[_NAIVE]
        (late,) = _samples(report, "Sent", f"200/s, {body}: p99")[_NAIVE]
        assert 0 < middle <= late  # a chunk that was never published is null in the JSON


def test_a_stub_loads_almost_nothing(report: dict[str, Any]) -> None:
    modules = _samples(report, "Loading", "new modules")
    assert modules["stub extension"] < modules["bare loop"]
