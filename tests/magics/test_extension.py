from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from puq_magics.core.errors import ConfigurationError

HEAVY = ("requests", "urllib3", "ipywidgets", "anywidget", "pandas", "jinja2", "numpy", "puq_magics.sandbox")
MOST_MODULES = 40
EARLIER_THREADS: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def _earlier_threads() -> None:
    """Note the threads of earlier tests, which may end at any moment."""
    EARLIER_THREADS.clear()
    EARLIER_THREADS.update(threading.enumerate())


def snapshot(ip: Any) -> dict[str, Any]:
    """All that an extension can leave in a shell."""
    manager = ip.input_transformer_manager
    return {
        "magics": {kind: sorted(names) for kind, names in ip.magics_manager.magics.items()},
        "registry": sorted(ip.magics_manager.registry),
        "configurables": [type(each).__name__ for each in ip.configurables],
        "events": {name: len(callbacks) for name, callbacks in ip.events.callbacks.items()},
        "transformers": [list(manager.token_transformers), list(manager.line_transforms)],
        "matchers": [matcher.__qualname__ for matcher in ip.Completer.custom_matchers],
        "names": sorted(name for name in ip.user_ns if not name.startswith("_") or name.startswith("_puq")),
        # The threads of the sandbox's work are of the process, and are made when there is work.
        "threads": sorted(
            thread.name
            for thread in set(threading.enumerate()) - EARLIER_THREADS
            if not thread.name.startswith("puq-work")
        ),
    }


@pytest.fixture
def plain_shell(make_shell: Any) -> Any:
    """A shell without the extension, in which IPython has loaded what it loads late."""
    shell = make_shell()
    shell.attempt("%load_ext nothing_of_this_name")
    return shell


def use(shell: Any) -> None:
    shell.run("%puq_sandbox --pace 0")
    shell.run("%puq_chat -q hi")
    shell.run("%puq_chat -q --no-stream hi")
    for thread in threading.enumerate():
        if thread.name == "puq-models":  # the first look at the account, beside the call
            thread.join()


def test_load_and_unload_leave_nothing_behind(plain_shell: Any) -> None:
    shell = plain_shell
    before = snapshot(shell.ip)
    for _ in range(2):
        shell.run("%load_ext puq_magics")
        use(shell)
        assert snapshot(shell.ip) != before
        shell.run("%unload_ext puq_magics")
        assert snapshot(shell.ip) == before
    assert "not found" in str(shell.attempt("%puq_chat hi").error)


def test_unload_releases_the_session_and_its_connections(make_shell: Any) -> None:
    shell = make_shell()
    shell.run("%load_ext puq_magics")
    use(shell)
    session = weakref.ref(shell.session)
    sandbox = weakref.ref(shell.session.sandbox)
    shell.run("%unload_ext puq_magics")
    gc.collect()
    assert session() is None
    assert sandbox() is None


def test_unload_keeps_a_last_result_that_the_user_made(shell: Any) -> None:
    use(shell)
    shell.run("kept = _puq")
    shell.run("%unload_ext puq_magics")
    assert "Scripted" in shell.names["kept"].text


def test_reload_registers_the_magics_once_and_keeps_the_session(
    plain_shell: Any, getpass_answers: list[str]
) -> None:
    shell = plain_shell
    shell.run("%load_ext puq_magics")
    getpass_answers.append("a-key-for-the-router")
    shell.run("%puq_login")
    use(shell)
    before, sandbox = snapshot(shell.ip), shell.session.sandbox
    shell.run("%reload_ext puq_magics")
    assert snapshot(shell.ip) == before
    assert shell.session.sandbox is sandbox
    shell.run("%puq_chat -q hi\nusage = %puq_usage -q")
    assert sandbox.running
    assert shell.names["usage"].total.calls == 3
    shell.run("%puq_sandbox stop")
    assert "from %puq_login" in shell.run("%puq").out
    shell.run("%reload_ext puq_magics\n%unload_ext puq_magics\n%load_ext puq_magics")
    assert "no API key for api.puq.ai" in shell.run("%puq").out


@pytest.mark.parametrize(
    ("name", "good", "bad"), [("chat", "main", "a b"), ("footer", "short", "loud"), ("timeout", 5, -1)]
)
def test_an_invalid_setting_is_an_error_and_not_applied_again(
    shell: Any, caplog: pytest.LogCaptureFixture, name: str, good: Any, bad: Any
) -> None:
    shell.run(f"%config PuqMagics.{name} = {good!r}")
    assert caplog.text == ""
    shell.run(f"%config PuqMagics.{name} = {bad!r}")  # which logs what is wrong: it raises nothing, ever
    assert repr(bad) in caplog.text
    assert getattr(shell.session.settings, name) == good
    shell.run("%reload_ext puq_magics")
    assert getattr(shell.session.settings, name) == good


def test_a_second_load_changes_nothing(shell: Any) -> None:
    from puq_magics import load_ipython_extension

    before, old = snapshot(shell.ip), shell.session
    shell.run("%load_ext puq_magics")
    load_ipython_extension(shell.ip)
    assert shell.session is old
    assert snapshot(shell.ip) == before


def test_unload_without_load_does_nothing(make_shell: Any) -> None:
    from puq_magics import unload_ipython_extension

    shell = make_shell()
    before = snapshot(shell.ip)
    unload_ipython_extension(shell.ip)
    assert snapshot(shell.ip) == before


def test_settings_of_a_configuration_file(make_shell: Any) -> None:
    shell = make_shell(Config(PuqMagics={"chat_model": "sandbox/short", "footer": "none", "max_tokens": 50}))
    shell.run("%load_ext puq_magics")
    assert shell.session.settings.chat_model == "sandbox/short"
    assert shell.session.settings.max_tokens == 50


@pytest.mark.parametrize(
    "wrong", [{"timeout": -1}, {"base_url": "no url"}, {"footer": "loud"}, {"max_tokens": 0}]
)
def test_wrong_settings_of_a_configuration_file(make_shell: Any, wrong: dict[str, Any]) -> None:
    shell = make_shell(Config(PuqMagics=wrong))
    shell.attempt("%load_ext nothing_of_this_name")
    before = snapshot(shell.ip)
    error = shell.error("%load_ext puq_magics")
    assert isinstance(error, ConfigurationError)
    assert next(iter(wrong)) in str(error) or "base URL" in str(error)
    assert snapshot(shell.ip) == before


_PROBE = """
import json, socket, sys
from IPython.terminal.interactiveshell import TerminalInteractiveShell
from traitlets.config import Config
ip = TerminalInteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
class Refuse(socket.socket):
    def __init__(self, *args, **kwargs):
        raise AssertionError("a socket was opened")
socket.socket = Refuse
sys.path.insert(0, sys.argv[1])
ip.run_cell("%load_ext does_nothing")
before = set(sys.modules)
assert ip.run_cell("%load_ext puq_magics").success
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_loading_is_light_and_touches_no_network(tmp_path: Path) -> None:
    (tmp_path / "does_nothing.py").write_text("def load_ipython_extension(ip): pass\n")
    command = [sys.executable, "-c", _PROBE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    new = json.loads(done.stdout)
    assert "puq_magics" in new
    assert [name for name in new if name.startswith(HEAVY)] == []
    assert len(new) <= MOST_MODULES, new


def test_loading_is_light_in_a_kernel(make_kernel: Any) -> None:
    kernel = make_kernel()
    (kernel.folder / "does_nothing.py").write_text("def load_ipython_extension(ip): pass\n")
    kernel.run("%load_ext does_nothing")
    kernel.run("import json as _json, sys; before = set(sys.modules)")
    assert kernel.run("%load_ext puq_magics").kinds == []
    new = kernel.value("sorted(set(sys.modules) - before)")
    assert [name for name in new if name.startswith(HEAVY)] == []
    assert len(new) <= MOST_MODULES, new


def test_a_kernel_unloads_and_reloads(fresh_kernel: Any) -> None:
    fresh_kernel.run("import threading\nearlier = set(threading.enumerate())")
    cells = ["%puq_sandbox --pace 0", "%puq_chat -q hi", "%reload_ext puq_magics", "%puq_sandbox --pace 0"]
    looking = "[thread.join() for thread in threading.enumerate() if thread.name == 'puq-models']"
    cells += ["%puq_chat -q hi", looking, "%unload_ext puq_magics"]
    assert [cell.reply["status"] for cell in fresh_kernel.run_all(cells)] == ["ok"] * len(cells)
    assert fresh_kernel.value("[t.name for t in threading.enumerate() if t not in earlier]") == []
    sockets = "__import__('psutil').Process().net_connections('tcp')"
    assert fresh_kernel.value(f"[str(c) for c in {sockets} if c.status == 'CLOSE_WAIT']") == []
    assert fresh_kernel.value("'_puq' in globals()") is False
