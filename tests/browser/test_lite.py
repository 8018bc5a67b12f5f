"""Notebooks in JupyterLite: they replay in the browser alone, and nothing but the site's own files is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lab import Chromium

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 400_000  # milliseconds; Pyodide and the packages are loaded first

FIND = (
    "name => [...(window.jupyterapp?.shell.widgets('main') ?? [])].find(each => each.context?.path === name)"
)
RUN_ALL = f"""async (name) => {{
  const app = window.jupyterapp;
  const notebook = ({FIND})(name);
  app.shell.activateById(notebook.id);
  await notebook.context.ready;
  await notebook.sessionContext.ready;
  await app.commands.execute('notebook:run-all-cells');
  // JupyterLite stops at an error, also in a cell that is tagged for it; the user goes on below.
  const cells = notebook.content.widgets;
  const failed = cells.findIndex(cell => (cell.model.metadata.tags ?? []).includes('raises-exception'));
  if (failed >= 0) {{
    notebook.content.activeCellIndex = failed + 1;
    await app.commands.execute('notebook:run-all-below');
  }}
  return notebook.context.model.toJSON();
}}"""


class SiteHandler(SimpleHTTPRequestHandler):
    """Serves files quietly, with the types that browsers insist on."""

    extensions_map = {  # noqa: RUF012 - as it is declared there
        **SimpleHTTPRequestHandler.extensions_map,
        ".wasm": "application/wasm",
        ".mjs": "text/javascript",
    }

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the site that binder/lite.py builds."""
    folder = tmp_path_factory.mktemp("lite") / "site"
    subprocess.run([sys.executable, ROOT / "binder" / "lite.py", folder], check=True)
    config = folder / "jupyter-lite.json"
    settings = json.loads(config.read_text())
    settings["jupyter-config-data"]["exposeAppInBrowser"] = True
    plugin = settings["jupyter-config-data"]["litePluginSettings"][
        "@jupyterlite/pyodide-kernel-extension:kernel"
    ]
    plugin["loadPyodideOptions"]["env"]["PUQ_CASSETTE_PACE"] = "0"
    config.write_text(json.dumps(settings))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SiteHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.timeout(900)  # the site is built, too
@pytest.mark.parametrize("name", ["quickstart", "teaching"])
def test_a_notebook_replays_in_the_browser_alone(site: str, chromium: Chromium, name: str) -> None:
    page = chromium.context.new_page()
    page.goto(f"{site}/lab/index.html?path={name}.ipynb")
    page.wait_for_function(f"name => ({FIND})(name) !== undefined", arg=f"{name}.ipynb", timeout=TIMEOUT)
    document: dict[str, Any] = page.evaluate(RUN_ALL, f"{name}.ipynb")
    page.close()
    saved = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())
    for cell, expected in zip(compared(document), compared(saved), strict=True):
        assert shown(cell) == shown(expected), "".join(cell["source"])
    requests = chromium.traffic.accept_external_requests()
    assert all(request.startswith(site) for request in requests)


def compared(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the code cells whose outputs are the same wherever they run."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    left_out = {"nbval-ignore-output", "nbval-skip", "raises-exception"}
    return [
        cell
        for cell in cells
        if not left_out & set(cell["metadata"].get("tags", ()))
        and "%puq_compare" not in "".join(cell["source"])  # a vote shows the names in an output above
    ]


def shown(cell: dict[str, Any]) -> list[str]:
    """Return the Markdown and the printed text of a cell."""
    return [text for output in cell["outputs"] for text in _texts(output)]


def _texts(output: dict[str, Any]) -> list[str]:
    text = output.get("text") or output.get("data", {}).get("text/markdown") or output.get("traceback") or ""
    return ["".join(text)] if text else []
