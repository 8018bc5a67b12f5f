"""A Jupyter server of its own, in a folder of its own, that asks nobody else for anything."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

#: Seconds until a server that has not said that it runs counts as broken.
START_TIMEOUT = 120
#: Seconds a server gets to end its kernels and itself.
STOP_TIMEOUT = 60

#: The server chooses its port, listens, and only then logs its address.
_ORIGIN = re.compile(r"http://127\.0\.0\.1:\d+(?=/)")

_SERVER_CONFIG: dict[str, Any] = {
    "ServerApp": {
        "ip": "127.0.0.1",
        "port": 0,
        "open_browser": False,
        "allow_root": True,
        "terminals_enabled": False,
        "jpserver_extensions": {
            "jupyterlab": True,
            "notebook": True,
            "jupyter_server_terminals": False,
        },
    },
    "LabApp": {
        "news_url": None,
        "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "extension_manager": "readonly",
        "expose_app_in_browser": True,
    },
    "JupyterNotebookApp": {"expose_app_in_browser": True},
    "KernelSpecManager": {"allowed_kernelspecs": ["python3"]},
}

_SETTINGS: dict[str, Any] = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    # A test saves when it says so, not after two minutes on a slow machine.
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    # Completions that a slow machine's kernel gives after a second count as well.
    "@jupyterlab/completer-extension:manager": {"providerTimeout": 60_000},
}


@dataclass(frozen=True)
class JupyterServer:
    """A running server: where it listens, its token, its folder, and the last lines it logged."""

    origin: str
    token: str
    root: Path
    log: deque[str]

    def page_url(self, path: str) -> str:
        """The address of a page (`/lab/…`) with the token, which the server turns into a cookie."""
        return f"{self.origin}{quote(path)}?token={self.token}"

    def end_sessions(self, path: str | None = None) -> None:
        """End the kernels of the notebook `path` (relative to the root), or of all notebooks."""
        with requests.Session() as http:
            http.trust_env = False
            http.headers["Authorization"] = f"token {self.token}"
            answer = http.get(f"{self.origin}/api/sessions", timeout=STOP_TIMEOUT)
            answer.raise_for_status()
            for session in answer.json():
                if path in (None, session["path"]):
                    gone = http.delete(f"{self.origin}/api/sessions/{session['id']}", timeout=STOP_TIMEOUT)
                    gone.raise_for_status()


@contextmanager
def serve(folder: Path, env: Mapping[str, str] | None = None) -> Iterator[JupyterServer]:
    """Run a server for JupyterLab and Notebook 7 whose every file is under `folder`, until the block ends.

    `env` is added to the environment of the server and its kernels; what the caller's environment
    says of Jupyter, IPython, proxies or the router is left out. Raises `RuntimeError` with the
    server's log when it does not come up.
    """
    token = secrets.token_hex(16)
    environment = _own_environment(folder) | {"JUPYTER_TOKEN": token} | dict(env or {})
    _configure(folder)
    root = folder / "root"
    root.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab"],
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    log: deque[str] = deque(maxlen=400)
    started = threading.Event()
    reader = threading.Thread(target=_follow, args=(process, log, started), daemon=True)
    reader.start()
    try:
        started.wait(START_TIMEOUT)
        origin = _ORIGIN.search("".join(log))
        if origin is None:
            raise RuntimeError("The Jupyter server did not start:\n" + "".join(log))
        yield JupyterServer(origin[0], token, root, log)
    finally:
        _stop(process)
        reader.join(STOP_TIMEOUT)


def _own_environment(folder: Path) -> dict[str, str]:
    foreign = ("JUPYTER", "IPYTHON", "JPY_", "PUQ_", "XDG_", "PYTEST_")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(foreign) and not name.lower().endswith("_proxy")
    }
    places = {
        "HOME": "home",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    for name in places.values():
        (folder / name).mkdir(parents=True, exist_ok=True)
    # Without this an environment's own kernel spec would win over ours.
    return (
        kept
        | {name: str(folder / place) for name, place in places.items()}
        | {"JUPYTER_PREFER_ENV_PATH": "0"}
    )


def _configure(folder: Path) -> None:
    kernel = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
    }
    disabled = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    for place, content in {
        "config/jupyter_server_config.json": _SERVER_CONFIG,
        "config/labconfig/page_config.json": disabled,
        "config/labconfig/default_setting_overrides.json": _SETTINGS,
        "data/kernels/python3/kernel.json": kernel,
    }.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _follow(process: subprocess.Popen[str], log: deque[str], started: threading.Event) -> None:
    """Keep the server's pipe empty; tell when it runs, or when it has ended without ever running."""
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            log.append(line)
            if _ORIGIN.search(line):
                started.set()
    started.set()


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)  # the server then ends its kernels
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
