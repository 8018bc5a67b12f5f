"""An IPython shell with the extension, in this process."""

from __future__ import annotations

import atexit
import builtins
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


@dataclass
class CellOutcome:
    """Outcome of one cell."""

    out: str
    value: Any
    error: BaseException | None


class Shell:
    """An InteractiveShell with the extension; ``run`` raises a cell's error, ``attempt`` returns it."""

    def __init__(self, ip: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        self.ip = ip
        self._capsys = capsys

    @property
    def names(self) -> dict[str, Any]:
        return self.ip.user_ns

    @property
    def session(self) -> Any:
        return self.ip.magics_manager.registry["PuqCommands"].session

    def attempt(self, code: str) -> CellOutcome:
        vars(builtins).pop("_", None)  # doctest leaves it, and IPython then sets no _ of its own
        self._capsys.readouterr()
        result = self.ip.run_cell(code, store_history=True)
        captured = self._capsys.readouterr()
        error = result.error_in_exec or result.error_before_exec
        return CellOutcome(captured.out + captured.err, result.result, error)

    def run(self, code: str) -> CellOutcome:
        ran = self.attempt(code)
        if ran.error is not None:
            raise ran.error
        return ran

    def error(self, code: str) -> Any:
        """The error of a cell that must fail, and be shown as one or two plain lines."""
        ran = self.attempt(code)
        assert ran.error is not None
        lines = ran.out.rstrip("\n").split("\n")
        shown = ran.error._render_traceback_()  # type: ignore[attr-defined]
        assert len(shown) in (1, 2)
        assert lines[-len(shown) :] == shown
        assert "Traceback" not in ran.out
        return ran.error

    def echoed_request(self, code: str) -> dict[str, Any]:
        """Run a cell whose model is sandbox/echo; return the request as it arrived."""
        self.run(code)
        return echoed(self.names["_puq"].text)


def echoed(text: str) -> dict[str, Any]:
    """Parse the JSON in an answer of sandbox/echo."""
    request: dict[str, Any] = json.loads(text.split("```json\n", 1)[1].rsplit("```", 1)[0])
    return request


def create_shell(folder: Path, config: Config | None) -> InteractiveShell:
    settings = Config(HistoryManager={"hist_file": ":memory:"}, InteractiveShell={"colors": "nocolor"})
    settings.merge(config or Config())
    InteractiveShell.clear_instance()
    vars(builtins).pop("_", None)  # as in `attempt`
    ip: InteractiveShell = InteractiveShell.instance(config=settings, ipython_dir=str(folder))
    return ip


def close_shell(ip: InteractiveShell) -> None:
    ip.extension_manager.unload_extension("puq_magics")
    ip.displayhook.do_full_cache = False  # or it would collect all garbage, twice
    ip.atexit_operations()
    atexit.unregister(ip.atexit_operations)
    if ip.history_manager is not None:
        ip.history_manager.end_session()
        ip.history_manager.db.close()
    InteractiveShell.clear_instance()
