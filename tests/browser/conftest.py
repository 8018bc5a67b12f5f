"""Fixtures for tests that drive a real front end; `lab.py` says how to use them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab import Chromium, JupyterServer, LabNotebook

HERE = Path(__file__).parent

# The helpers are plain modules, which benchmarks import too.
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

# Who runs the other tests needs no playwright; `-m browser` then finds no test, which is a failure.
if find_spec("playwright") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder as `browser`, and let them be the last.

    While playwright is up an event loop runs in this thread, and no other test could start its own.
    """
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    for item in ours:
        item.add_marker(pytest.mark.browser)
    items[:] = [item for item in items if not item.path.is_relative_to(HERE)] + ours


@pytest.fixture(scope="session")
def jupyter_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """One Jupyter server for all tests of this folder, with folders of its own."""
    from lab import serve

    with serve(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture(scope="session")
def chromium(jupyter_server: JupyterServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One browser for all tests of this folder, whose pages belong to `jupyter_server`."""
    from lab import browse

    with browse(jupyter_server.origin, tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def lab(jupyter_server: JupyterServer, chromium: Chromium) -> Iterator[Callable[..., LabNotebook]]:
    """`lab(*cells, frontend="lab", name="notebook.ipynb")` writes a notebook and opens it.

    Afterwards it is closed, and the test fails if a page asked anybody but the server for anything,
    or had an uncaught error.
    """
    from lab import notebooks

    with notebooks(jupyter_server, chromium) as start:
        yield start
