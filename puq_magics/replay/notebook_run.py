"""Run of a notebook from its cassette, to see which recordings it uses."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.text import one_line
from puq_magics.replay.cassette import Cassette

#: Variable of the environment with the path of a file that gets the names of the recordings that are used.
USE_LOG = "PUQ_CASSETTE_LOG"
#: Environment in which a notebook is replayed whatever mode its cells choose.
REPLAY_ENVIRONMENT = {
    "PUQ_CASSETTE_MODE": "replay",
    "PUQ_CASSETTE_FORCED": "1",
    "PUQ_CASSETTE_PACE": "0",
    "PUQ_LIVE": "0",
}
_CELL_TIMEOUT = 600  # seconds


def used_recordings(cassette: Cassette, notebook: Path) -> set[str]:
    """Run a notebook, and return the recordings that it uses. Raises InputError if a cell fails."""
    from jupyter_client.manager import start_new_kernel

    cells = _code_cells(notebook)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "used")
        environment = {**os.environ, **REPLAY_ENVIRONMENT, USE_LOG: str(log)}
        environment |= {"PUQ_CASSETTE": str(cassette.folder), "PUQ_LEDGER": "0"}
        manager, client = start_new_kernel(
            cwd=str(notebook.parent), env=environment, extra_arguments=["--log-level=ERROR"]
        )
        try:
            _run_cells(client.execute_interactive, cells, notebook.name)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
        return set(log.read_text(encoding="utf-8").split()) if log.exists() else set()


def _code_cells(notebook: Path) -> list[tuple[str, bool]]:
    """Return the source of each cell, and whether it may fail. Raises InputError."""
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        return [
            ("".join(cell["source"]), "raises-exception" in cell.get("metadata", {}).get("tags", ()))
            for cell in cells
            if cell["cell_type"] == "code"
        ]
    except OSError as error:
        raise InputError(f"{notebook} cannot be read ({error.strerror}).", hint="Check its path.") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InputError(f"{notebook.name} is not a notebook.", hint="Name a file of .ipynb.") from None


def _run_cells(execute: Callable[..., Any], cells: list[tuple[str, bool]], name: str) -> None:
    for number, (source, may_fail) in enumerate(cells, 1):
        reply = execute(
            source, allow_stdin=False, timeout=_CELL_TIMEOUT, output_hook=lambda _: None, stop_on_error=False
        )["content"]
        if reply["status"] == "error" and not may_fail:
            words = one_line(f"{reply.get('ename')}: {reply.get('evalue')}", 400)
            raise InputError(
                f"code cell {number} of {name} fails in the replay: {words}", hint="Nothing was deleted."
            )
