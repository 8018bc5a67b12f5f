"""Which key goes where, and that it is nowhere else."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from puq_magics.api.base_url import BaseURL
from puq_magics.core.secret import Secret
from puq_magics.session.credentials import Credentials
from puq_magics.session.settings import EffectiveSettings, PuqMagics

KEY = "sk-THE-REAL-KEY-0123456789-wxyz"


def credentials(**environ: str) -> Credentials:
    return Credentials(EffectiveSettings(PuqMagics(), environ))


def found(credentials: Credentials, url: str) -> str | None:
    credential = credentials.find(BaseURL.parse(url, allow_http=True))
    return None if credential is None else credential.key.reveal()


@pytest.mark.parametrize(
    ("base", "url", "given"),
    [
        ("", "https://api.puq.ai", True),
        ("", "https://api.puq.ai/v1/", True),
        ("", "http://api.puq.ai", False),
        ("", "https://api.puq.ai:8443", False),
        ("", "https://api.puq.ai.example", False),
        ("", "https://other.example", False),
        ("", "http://127.0.0.1:8000", False),
        ("https://router.example/v1", "https://router.example", True),
        ("https://router.example/v1", "https://ROUTER.example:443/", True),
        ("https://router.example", "https://api.puq.ai", False),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", True),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8001", False),
        ("sandbox", "http://127.0.0.1:8000", False),
        ("sandbox", "https://api.puq.ai", False),
        ("no url", "https://api.puq.ai", False),
    ],
)
def test_the_environments_key_is_for_the_host_of_its_url(base: str, url: str, given: bool) -> None:
    assert found(credentials(PUQ_API_KEY=KEY, PUQ_BASE_URL=base), url) == (KEY if given else None)


def test_a_kept_key_wins_and_is_forgotten() -> None:
    keys, address = credentials(PUQ_API_KEY=KEY), BaseURL.parse("https://api.puq.ai")
    keys.add(address, Secret("another-key-of-mine"), "%puq_login")
    assert found(keys, "https://api.puq.ai") == "another-key-of-mine"
    assert found(keys, "https://other.example") is None
    assert keys.forget(address)
    assert not keys.forget(address)
    assert found(keys, "https://api.puq.ai") == KEY


def test_where_the_environments_key_belongs() -> None:
    keys = credentials(PUQ_API_KEY=KEY)
    assert keys.environment_key_origin(BaseURL.parse("https://other.example")) == "https://api.puq.ai"
    assert keys.environment_key_origin(BaseURL.parse("https://api.puq.ai")) is None
    assert credentials().environment_key_origin(BaseURL.parse("https://other.example")) is None


def answer(connection: Any) -> None:
    connection.send_head()
    connection.send_event("An answer.")
    connection.send_done()


def test_a_strangers_notebook_gets_no_key(shell: Any, serve: Any, monkeypatch: Any) -> None:
    own, strangers = serve(answer), serve(answer)
    monkeypatch.setenv("PUQ_API_KEY", KEY)
    monkeypatch.setenv("PUQ_BASE_URL", own.url)
    shell.run("%puq_chat -m a/b hi")
    shell.run(f"%config PuqMagics.base_url = '{strangers.url}'\n%puq_chat -m a/b hi")
    assert own.requests[0].headers["authorization"] == f"Token {KEY}"
    assert "authorization" not in strangers.requests[0].headers
    assert KEY not in str(strangers.requests)


def test_another_host_is_told_whose_key_there_is(shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("PUQ_API_KEY", KEY)
    shell.run("%config PuqMagics.base_url = 'https://collector.example'")
    error = shell.error("%puq_chat -m a/b hi")
    assert "no API key for collector.example (PUQ_API_KEY is for https://api.puq.ai)" in str(error)


@pytest.mark.parametrize(("scheme", "header"), [("Bearer", f"Bearer {KEY}"), ("none", None)])
def test_the_scheme(shell: Any, serve: Any, monkeypatch: Any, scheme: str, header: str | None) -> None:
    server = serve(answer)
    monkeypatch.setenv("PUQ_API_KEY", KEY)
    monkeypatch.setenv("PUQ_BASE_URL", server.url)
    monkeypatch.setenv("PUQ_AUTH_SCHEME", scheme)
    shell.run("%puq_chat -m a/b hi")
    assert server.requests[0].headers.get("authorization") == header


def test_a_new_key_is_used_at_once(shell: Any, serve: Any, monkeypatch: Any) -> None:
    server = serve(answer)
    monkeypatch.setenv("PUQ_BASE_URL", server.url)
    for key in ("first-key-of-many", "second-key-of-many"):
        monkeypatch.setenv("PUQ_API_KEY", key)
        shell.run("%puq_chat -m a/b hi")
    sent = [heard.headers["authorization"] for heard in server.requests]
    assert sent == ["Token first-key-of-many", "Token second-key-of-many"]


def test_a_wrong_key_of_the_environment(shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("PUQ_API_KEY", "two words")
    error = shell.error("%puq_chat -m a/b hi")
    assert "this is not an API key" in str(error)
    assert "two words" not in str(error)


# --- in a kernel -----------------------------------------------------------------------------------------------

_LOGGING = "import logging; logging.basicConfig(level=logging.DEBUG, force=True)\n%xmode Verbose"


def contents(path: Path) -> bytes:
    """What a file holds; nothing when it has just gone, as SQLite's journals do."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def refuse(connection: Any) -> None:
    connection.send_head("401 Unauthorized", "application/json")
    connection.send(b'{"error": "Unauthorized: Invalid or expired API key"}')


def test_login_asks_without_an_echo_and_the_key_is_nowhere(fresh_kernel: Any, serve: Any) -> None:
    answers = [answer, refuse, lambda connection: connection.send_head("200 OK", "text/html")]
    server = serve(lambda connection: (answers.pop(0) if answers else refuse)(connection))
    fresh_kernel.run(f"{_LOGGING}\n%config PuqMagics.base_url = '{server.url}'")
    login = fresh_kernel.run("%puq_login", answer=f"{KEY}\n")
    (question,) = login.questions
    assert question["password"] is True
    assert server.url.removeprefix("http://") in question["prompt"]
    codes = ["%puq_chat -m a/b hi", "%puq_chat -m a/b hi", "%tb", "%puq_chat -m a/b hi", "%tb"]
    codes += [
        "try:\n    %puq_chat -m a/b hi\nexcept Exception as e:\n    raise ValueError('mine') from e",
        "%tb",
    ]
    codes += [
        "%puq",
        "%config PuqMagics",
        "%puq_chat --dry-run -m a/b hi",
        "%whos",
        "%history -n",
        "_puq",
        "Out",
    ]
    kept = len(codes)
    for magic in ("puq_models", "puq_balance", "puq_image -m a/b hi", "puq_speak -m a/b hi"):
        codes += [f"%{magic}", "%tb"]
    codes += [
        "import io, wave\nsound = io.BytesIO()\nwith wave.open(sound, 'wb') as file:\n"
        "    file.setparams((1, 2, 8000, 0, 'NONE', ''))\n    file.writeframes(bytes(800))\n"
        "sound = sound.getvalue()",
        "%puq_transcribe -m a/b sound",
        "%tb",
        "%puq_usage",
        "%puq_image --dry-run -m a/b hi",
        "%puq_speak --dry-run -m a/b hi",
        "%puq_transcribe --dry-run -m a/b sound",
    ]
    cells = [login, *[fresh_kernel.run(code) for code in codes]]
    assert [heard.headers["authorization"] for heard in server.requests[:3]] == [f"Token {KEY}"] * 3
    logged = "".join(cell.out for cell in cells)
    assert "DEBUG" in logged  # or nothing was looked for
    assert "mine" in "".join(cell.all_content_json for cell in cells)
    failed = [cell for cell in cells[kept:] if cell.reply["status"] == "error"]
    assert len([cell for cell in failed if "401" in cell.all_content_json]) >= 3  # or nothing was asked
    assert [cell for cell in cells if KEY in cell.all_content_json] == []
    assert [cell for cell in cells if KEY[:12] in cell.all_content_json] == []
    assert "…wxyz" in cells[8].screen[0]["text/plain"]
    looked = (
        "import copy, pickle, sys\nfound = {}\n"
        "found['names'] = [n for n, v in list(globals().items()) if n != 'found' and {key!r} in repr(v)]\n"
        "found['pickle'] = {key!r}.encode() in pickle.dumps(_puq)\n"
        "found['copy'] = {key!r} in repr(vars(copy.deepcopy(_puq)))\n"
        "frames, tb = [], sys.last_traceback\n"
        "while tb is not None:\n    frames.append(tb.tb_frame); tb = tb.tb_next\n"
        "found['frames'] = [f.f_code.co_name for f in frames if {key!r} in repr(f.f_locals)]\n"
        "found['looked at frames'] = len(frames) > 2\n"
        "found['history'] = any({key!r} in line for _, _, line in get_ipython().history_manager.get_range(0))\n"
    )
    halves = f"({KEY[:8]!r} + {KEY[8:]!r})"
    fresh_kernel.run(looked.replace("{key!r}", halves))
    found = fresh_kernel.value("found")
    assert found.pop("looked at frames")
    assert found == {"names": [], "pickle": False, "copy": False, "frames": [], "history": False}
    written = {path: contents(path) for path in fresh_kernel.folder.rglob("*") if path.is_file()}
    assert "history.sqlite" in [path.name for path in written]
    assert [path for path, data in written.items() if KEY.encode() in data] == []


def test_a_saved_notebook_and_the_ledger_do_not_hold_it(serve: Any, tmp_path: Any) -> None:
    """Here the key is the environment's, as nbconvert and papermill would have it."""
    answers = [answer, refuse, refuse]
    server = serve(lambda connection: (answers.pop(0) if answers else refuse)(connection))
    own = nbformat.v4.new_notebook()
    cells = [
        "%load_ext puq_magics",
        "%puq_chat -m a/b hi",
        "%puq_chat -m a/b hi",
        "%tb",
        "%puq",
        "%puq_usage --all",
    ]
    own.cells = [nbformat.v4.new_code_cell(code) for code in cells]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PUQ_")}
    environment |= {
        "PUQ_API_KEY": KEY,
        "PUQ_BASE_URL": server.url,
        "PUQ_LEDGER": str(tmp_path / "calls.sqlite"),
    }
    client = nbclient.NotebookClient(own, allow_errors=True, kernel_name="python3")
    with client.setup_kernel(env=environment):
        for number, cell in enumerate(own.cells):
            client.execute_cell(cell, number)
    nbformat.write(own, tmp_path / "saved.ipynb")
    saved = (tmp_path / "saved.ipynb").read_text(encoding="utf-8")
    assert [heard.headers["authorization"] for heard in server.requests] == [f"Token {KEY}"] * 2
    assert "wxyz from PUQ_API_KEY" in saved
    assert "401 Unauthorized" in saved
    held = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert "calls.sqlite" in held
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and KEY[:12].encode() in path.read_bytes()
    ] == []


def test_nothing_that_a_result_leads_to_shows_the_key(fresh_kernel: Any, serve: Any) -> None:
    server = serve(answer)
    fresh_kernel.run(f"%config PuqMagics.base_url = '{server.url}'")
    fresh_kernel.run("%puq_login", answer=KEY)
    fresh_kernel.run("%puq_chat -m a/b hi")
    walk = (
        "import gc, types\nseen, queue, shown = set(), [_puq], []\n"
        "while queue and len(seen) < 20_000:\n"
        "    one = queue.pop()\n"
        "    if id(one) in seen or isinstance(one, (type, types.ModuleType, types.FunctionType)): continue\n"
        "    seen.add(id(one))\n"
        f"    if {KEY[:8]!r} + {KEY[8:]!r} in repr(one): shown.append(type(one).__name__)\n"
        "    queue += gc.get_referents(one)\n"
    )
    fresh_kernel.run(walk)
    assert fresh_kernel.value("shown") == []
    assert fresh_kernel.value("len(seen)") > 10


def test_without_stdin_the_environment_is_named(fresh_kernel: Any) -> None:
    cell = fresh_kernel.run("%puq_login")
    assert cell.error["ename"] == "ConfigurationError"
    assert "PUQ_API_KEY" in "\n".join(cell.error["traceback"])
    assert len(cell.error["traceback"]) == 2


def test_login_works_when_the_extension_was_loaded_before_any_cell(make_kernel: Any, tmp_path: Any) -> None:
    """At the kernel's start getpass is still the terminal's: that one must not be the one that is used."""
    profile = tmp_path / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    lines = ["c = get_config()", "c.InteractiveShellApp.extensions = ['puq_magics']"]
    lines += ["c.PuqMagics.base_url = 'http://127.0.0.1:9'", "c.PuqMagics.footer = 'short'"]
    (profile / "ipython_config.py").write_text("\n".join(lines))
    kernel = make_kernel()
    login = kernel.run("%puq_login", answer=KEY)
    assert login.reply["status"] == "ok"
    assert login.questions[0]["password"] is True
    status = kernel.run("%puq").screen[0]["text/plain"]
    assert "http://127.0.0.1:9 (%config PuqMagics.base_url)" in status
    assert "…wxyz from %puq_login" in status
    assert (
        kernel.run("%config PuqMagics.footer").contents("execute_result")[0]["data"]["text/plain"]
        == "'short'"
    )


@pytest.mark.parametrize("is_reloaded", [False, True])
def test_a_notebook_that_changes_the_environment_gets_no_key_for_another_host(
    make_shell: Any, monkeypatch: Any, is_reloaded: bool
) -> None:
    monkeypatch.setenv("PUQ_BASE_URL", "https://mine.example")
    monkeypatch.setenv("PUQ_API_KEY", "sk-THE-REAL-KEY-0123456789")
    shell = make_shell()
    shell.run("%load_ext puq_magics")
    shell.run("import os; os.environ['PUQ_BASE_URL'] = 'https://other.example'")
    if is_reloaded:
        shell.run("%reload_ext puq_magics")
        shell.run("%unload_ext puq_magics")
        shell.run("%load_ext puq_magics")
    error = shell.error("%puq_chat -m a/b hi")
    assert "no API key for other.example (PUQ_API_KEY is for https://mine.example)" in str(error)
    shell.run("os.environ['PUQ_API_KEY'] = 'sk-another-key-of-that-host'")
    address = shell.session.address()
    assert shell.session.credentials.find(address).key.reveal() == "sk-another-key-of-that-host"
    shell.run("%unload_ext puq_magics")
