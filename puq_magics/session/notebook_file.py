"""Order of the cells in the saved notebook: front ends send the id of the running cell, but not its place."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

_MAX_BYTES = 20_000_000  # a larger file takes too long to read for each new turn


def saved_cell_order(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the ids of the cells as they were last saved; empty if the notebook's file is not known or not small.

    Jupyter Server names the file when it starts the kernel.
    """
    path = Path(environ.get("JPY_SESSION_NAME", ""))
    try:
        if path.suffix != ".ipynb" or path.stat().st_size > _MAX_BYTES:
            return ()
        cells = json.loads(path.read_bytes())["cells"]
        return tuple(str(cell["id"]) for cell in cells)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ()
