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
TIMEOUT = 180_000  # milliseconds; Pyodide and the packages are loaded first

RUN_ALL = """async (path) => {
  const app = window.jupyterapp;
  await app.restored;
  const notebook = await app.commands.execute('docmanager:open', { path });
  app.shell.activateById(notebook.id);
  await notebook.context.ready;
  await notebook.sessionContext.ready;
  await app.commands.execute('notebook:run-all-cells');
  return notebook.context.model.toJSON();
}"""


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
    config.write_text(json.dumps(settings))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SiteHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


#: The lesson checks answers against a schema, and jsonschema needs rpds-py, of which there is no pure wheel.
NO_SCHEMA = pytest.mark.xfail(reason="the browser has no jsonschema")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["quickstart", pytest.param("teaching", marks=NO_SCHEMA)])
def test_a_notebook_replays_in_the_browser_alone(site: str, chromium: Chromium, name: str) -> None:
    page = chromium.context.new_page()
    page.goto(f"{site}/lab/index.html?path={name}.ipynb")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=TIMEOUT)
    page.set_default_timeout(TIMEOUT)
    document: dict[str, Any] = page.evaluate(RUN_ALL, f"{name}.ipynb")
    page.close()
    assert shown(document) == shown(json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text()))
    requests = chromium.traffic.accept_external_requests()
    assert all(request.startswith(site) for request in requests)


def shown(notebook: dict[str, Any]) -> list[list[str]]:
    """Return the Markdown and the printed text of each cell whose output is to be the same each time."""
    cells = [
        cell
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and "nbval-ignore-output" not in cell["metadata"].get("tags", ())
    ]
    return [[text for output in cell["outputs"] for text in _texts(output)] for cell in cells]


def _texts(output: dict[str, Any]) -> list[str]:
    text = output.get("text") or output.get("data", {}).get("text/markdown") or output.get("traceback") or ""
    return ["".join(text)] if text else []
