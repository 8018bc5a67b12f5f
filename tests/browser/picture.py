"""``python tests/browser/picture.py FILE.png``: the README's picture, of the quickstart in a real JupyterLab."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from lab import browse, notebooks, serve

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"


def main(target: Path) -> None:
    cells = json.loads(QUICKSTART.read_text(encoding="utf-8"))["cells"]
    fresh = [cell | ({"outputs": []} if cell["cell_type"] == "code" else {}) for cell in cells]
    with TemporaryDirectory() as name, serve(Path(name)) as server:
        folder = Path(name) / "browser"
        with browse(server.origin, folder) as chromium, notebooks(server, chromium) as lab:
            notebook = lab(*fresh, name="quickstart.ipynb")
            notebook.page.set_viewport_size({"width": 1180, "height": 1330})
            notebook.page.keyboard.press("Control+b")  # the sidebar
            notebook.run_cell(1)
            notebook.run_cell(3)
            notebook.wait_until_stable()
            notebook.screenshot(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
