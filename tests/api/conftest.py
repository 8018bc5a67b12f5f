from __future__ import annotations

import sys
from pathlib import Path

import pytest

FAULTS = str(Path(__file__).parent.parent / "faults")

# The raw server and its clients are plain modules.
if FAULTS not in sys.path:
    sys.path.insert(0, FAULTS)


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
