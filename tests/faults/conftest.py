"""Broken HTTP over raw sockets: every test here is marked `faults`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# The server is a plain module, which other tests import too.
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("faults")


@pytest.fixture
def retry_delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses before retries, which are noted and not waited for."""
    from clients import record_retry_delays

    return record_retry_delays(monkeypatch)


@pytest.fixture(params=["polled", "threaded"])
def body_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two ways to read a body."""
    if request.param == "threaded":
        monkeypatch.setattr("puq_magics.api.body._buffered_socket", lambda _: None)
    return str(request.param)
