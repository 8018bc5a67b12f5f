"""Plugin for pytest: ``--puq-cassette=replay`` runs notebooks from their cassettes; inert without the option."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import pytest

    from puq_magics.api.request import Request

_OPTION = "--puq-cassette"
_set: dict[str, str | None] = {}
_patched: list[tuple[Any, Any]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("puq_magics").addoption(
        _OPTION,
        choices=("replay", "none"),
        help="replay: run notebooks from the cassettes of their names, without a network; none: fail on any request",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment of kernels, and of sessions in this process."""
    mode = config.getoption(_OPTION, None)
    if mode is None:
        return
    from puq_magics.replay.notebook_run import REPLAY_ENVIRONMENT

    if mode == "none":
        _refuse_requests()
    for name, value in {**REPLAY_ENVIRONMENT, "PUQ_CASSETTE_MODE": mode, "PUQ_LEDGER": "0"}.items():
        _set_variable(name, value)


def pytest_unconfigure() -> None:
    """Restore the environment, and the transport."""
    for transport, send in _patched:
        transport.send = send
    _patched.clear()
    for name in list(_set):
        before = _set.pop(name)
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Name the cassette of a notebook before its kernel starts."""
    if item.config.getoption(_OPTION, None) is not None and item.path.suffix == ".ipynb":
        _set_variable("PUQ_CASSETTE", str(item.path.with_suffix(".cassette")))


def _refuse_requests() -> None:
    """Let every request of this process fail, also those of a Router without a session."""
    from puq_magics.api.transport import RequestsTransport
    from puq_magics.core.errors import RecordingError

    def refuse(_: object, request: Request, *__: object, **___: object) -> NoReturn:
        raise RecordingError(f"no request is allowed here ({request.method} {request.path}).")

    _patched.append((RequestsTransport, RequestsTransport.send))
    RequestsTransport.send = refuse  # type: ignore[method-assign, assignment]


def _set_variable(name: str, value: str) -> None:
    _set.setdefault(name, os.environ.get(name))
    os.environ[name] = value
