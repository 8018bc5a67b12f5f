"""Broken HTTP over raw sockets: every test here is marked `faults`."""

from __future__ import annotations

from pathlib import Path

import pytest
from clients import record_retry_delays

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("faults")


@pytest.fixture
def retry_delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses before retries instead of waiting."""
    return record_retry_delays(monkeypatch)


@pytest.fixture(params=["polled", "threaded"])
def body_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two ways to read a body."""
    if request.param == "threaded":
        monkeypatch.setattr("puq_magics.api.body._buffered_socket", lambda _: None)
    return str(request.param)
