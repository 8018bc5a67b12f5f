"""``python first_minutes.py JUPYTER``: what the README's first command gives a newcomer, as far as HTTP shows it.

Starts ``jupyter lab`` as that command does, fetches the page and the quickstart from it, and runs the quickstart
through the server's own kernel with nbconvert's executor. Exits with 0 if all of it works.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"


def main(jupyter: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PUQ_", "JUPYTER"))}
    with TemporaryDirectory() as home:
        env |= {"HOME": home, "JUPYTER_RUNTIME_DIR": f"{home}/runtime", "PUQ_LIVE": "0"}
        serves_lab(jupyter, env)
        runs_quickstart(jupyter, env, Path(home))
    print("the first command works: JupyterLab serves the quickstart, and it runs")


def serves_lab(jupyter: str, env: dict[str, str]) -> None:
    command = [
        jupyter,
        "lab",
        QUICKSTART,
        "--no-browser",
        "--allow-root",
        "--port=0",
        "--IdentityProvider.token=",
    ]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            url = next(
                word for line in server.stderr for word in line.split() if word.startswith("http://127")
            )
            with requests.Session() as session:
                # The server names its address a little before it listens there.
                session.mount("http://", HTTPAdapter(max_retries=Retry(connect=8, backoff_factor=0.2)))
                opened = session.get(url, timeout=60).content
            assert b"jupyter-config-data" in opened, "this is not JupyterLab's page"
        finally:
            server.terminate()
            server.communicate()


def runs_quickstart(jupyter: str, env: dict[str, str], home: Path) -> None:
    command = [jupyter, "nbconvert", "--to", "notebook", "--execute", "--output-dir", home, QUICKSTART]
    subprocess.run(command, env=env, check=True, stderr=subprocess.DEVNULL)
    executed = json.loads((home / QUICKSTART.name).read_text(encoding="utf-8"))
    outputs = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
    assert any("text/markdown" in output.get("data", {}) for output in outputs), "no answer is shown"
    assert not [output for output in outputs if output["output_type"] == "error"]


if __name__ == "__main__":
    main(sys.argv[1])
