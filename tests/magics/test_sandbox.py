from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from puq_magics.core.errors import InputError

KEY = "sk-THE-REAL-KEY-0123456789-wxyz"


def test_the_sandbox_starts_answers_and_stops(shell: Any) -> None:
    out = shell.run("%puq_sandbox").out
    sandbox = shell.session.sandbox
    assert sandbox.base_url in out
    assert "sandbox/chat" in out
    assert sandbox.token not in out
    shell.run("%puq_chat -q hi")
    assert shell.run("%puq_sandbox status").out.startswith(f"A local router answers at {sandbox.base_url}")
    assert "stopped" in shell.run("%puq_sandbox stop").out
    assert not sandbox.running
    assert "was not running" in shell.run("%puq_sandbox stop").out
    assert "not running" in shell.run("%puq_sandbox status").out
    assert "no API key" in str(shell.error("%puq_chat -m a/b hi"))


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("--pace 0", "pace", 0),
        ("--pace=7.5", "pace", 7.5),
        ("start --pace 3", "pace", 3),
        ("--pace 3 start", "pace", 3),
        ("--pace 0 start --balance 5", "pace", 0),
        ("--balance 0", "balance", 0),
        ("--balance 0 start", "balance", 0),
        ("--balance -2.5", "balance", -2.5),
        ("--fail 429:2", "fail", "429:2"),
        ("--fail 429:2,500", "fail", "429:2,500"),
        ("--drop-after 5", "drop_after", 5),
    ],
)
def test_the_sandbox_behaves_as_asked(shell: Any, line: str, name: str, value: object) -> None:
    shell.run(f"%puq_sandbox {line}")
    assert getattr(shell.session.sandbox.settings, name) == value
    other = shell.session.sandbox
    shell.run("%puq_sandbox")
    assert shell.session.sandbox is other
    assert getattr(other.settings, name) == value


def test_faults_can_be_turned_off(shell: Any) -> None:
    shell.run("%puq_sandbox --pace 0 --fail 500")
    assert shell.error("%puq_chat hi").status == 500
    shell.run("%puq_sandbox --fail 0")
    shell.run("%puq_chat -q hi")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--pace fast", "'fast' is not a number"),
        ("--pace -1", "not a number of chunks"),
        ("--pace nan", "not a number of chunks"),
        ("--balance much", "not a number of credits"),
        ("--balance nan", "number of credits"),
        ("--fail soon", "'soon' is no fault"),
        ("--fail 200", "'200' is no fault"),
        ("--fail 429:x", "no fault"),
        ("--drop-after -1", "whole number above 0"),
        ("--drop-after x", "whole number above 0"),
        ("--pce 5", "Did you mean --pace?"),
        ("--pace", "expected one argument"),
        ("sotp", "unknown action 'sotp'"),
        ("start now", "unexpected argument 'now'"),
    ],
)
def test_wrong_values_change_nothing(shell: Any, line: str, words: str) -> None:
    assert words in str(shell.error(f"%puq_sandbox {line}"))
    assert shell.session.sandbox is None
    assert shell.session.settings.base_url is None
    shell.run("%puq_sandbox --pace 5 --balance 7")
    before = shell.session.sandbox.settings
    assert words in str(shell.error(f"%puq_sandbox {line}"))
    assert shell.session.sandbox.settings == before


def test_if_needed_starts_it_only_without_key_and_router(shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("PUQ_API_KEY", KEY)
    assert "Using https://api.puq.ai" in shell.run("%puq_sandbox --if-needed").out
    assert shell.session.sandbox is None
    monkeypatch.delenv("PUQ_API_KEY")
    monkeypatch.setenv("PUQ_BASE_URL", "https://router.example")
    assert "Using https://router.example (PUQ_BASE_URL)" in shell.run("%puq_sandbox --if-needed").out
    assert shell.session.sandbox is None
    monkeypatch.delenv("PUQ_BASE_URL")
    shell.run("%puq_sandbox --if-needed")
    assert shell.session.sandbox is not None


def test_if_needed_does_nothing_after_login(shell: Any, getpass_answers: list[str]) -> None:
    getpass_answers.append(KEY)
    shell.run("%puq_login")
    assert "Using https://api.puq.ai" in shell.run("%puq_sandbox --if-needed").out
    assert shell.session.sandbox is None


def test_a_real_key_never_reaches_the_sandbox(
    shell: Any, getpass_answers: list[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("PUQ_API_KEY", KEY)
    monkeypatch.setenv("PUQ_BASE_URL", "sandbox")
    shell.run("%puq_sandbox --pace 0")
    address = shell.session.address()
    assert shell.session.credential(address).key.reveal() == shell.session.sandbox.token
    assert "No key was entered for api.puq.ai" in shell.run("%puq_logout").out
    getpass_answers.append(KEY)
    shell.run("%puq_login\n%puq_sandbox")
    assert getpass_answers == ["API key for api.puq.ai: "]
    assert shell.session.credential(address).key.reveal() == shell.session.sandbox.token
    shell.run("%puq_chat -q hi")


def test_simulated_faults_are_shown_and_turned_off(shell: Any) -> None:
    assert "cut after 3 chunks" in shell.run("%puq_sandbox --pace 0 --drop-after 3 --fail 429:1").out
    assert shell.session.sandbox.settings.drop_after == 3
    said = shell.run("%puq_sandbox --pace 5").out
    assert "Streams come at 5 chunks a second.\nSimulated faults: " in said
    said = shell.run("%puq_sandbox --drop-after 0 --fail 0 --pace 0").out
    assert "Simulated faults" not in said
    assert "Streams" not in said
    assert shell.session.sandbox.settings.drop_after is None


def test_stopping_restores_the_router_that_was_set(shell: Any) -> None:
    shell.run("%config PuqMagics.base_url = 'http://127.0.0.1:9'")
    shell.run("%puq_sandbox")
    shell.run("%puq_sandbox --pace 0")
    shell.run("%puq_sandbox stop")
    assert shell.session.settings.base_url == "http://127.0.0.1:9"


def test_the_sandbox_uses_its_own_auth_scheme(shell: Any) -> None:
    shell.run("%config PuqMagics.auth_scheme = 'Bearer'\n%puq_sandbox --pace 0")
    shell.run("%puq_chat -q hi")


def test_status_of_an_unused_sandbox_sends_no_request(shell: Any) -> None:
    shell.run("%puq_sandbox --pace 0\n%config PuqMagics.base_url = 'https://router.example'")
    assert "sandbox/chat" in shell.run("%puq_sandbox status").out


def test_the_sandbox_stays_the_router_when_other_settings_change(shell: Any) -> None:
    shell.run("%config PuqMagics.base_url = 'https://router.example'")
    shell.run("%puq_sandbox --pace 0\n%config PuqMagics.footer = 'short'")
    assert shell.session.address().url == shell.session.sandbox.base_url


def test_local_models_whose_packages_are_missing(shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)  # Python's own way to say that it is not installed
    for line in ("--local", "--fetch", "start --local --pace 0"):
        error = shell.error(f"%puq_sandbox {line}")
        assert "xllamacpp" in str(error)
        assert 'pip install "puq_magics[local]"' in str(error)
        assert shell.session.sandbox is None
        assert shell.session.settings.base_url is None
    monkeypatch.setenv("PUQ_BASE_URL", "sandbox-local")
    assert "xllamacpp" in str(shell.error("%puq_chat hi"))
    assert "xllamacpp" in str(shell.error("%puq_sandbox"))
    out = shell.run("%puq").out
    assert any(line.startswith("problem") and "xllamacpp" in line for line in out.splitlines())
    assert "model" not in [line.split()[0] for line in out.splitlines()]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ("folder", "cannot be read"),
        (b"PK and more of a zip", "is not a GGUF file"),
        (b"", "is not a GGUF file"),
        (b"GGUF\x03\x00\x00\x00", "is cut short"),
    ],
)
def test_an_invalid_model_file_is_an_error_before_anything_starts(
    shell: Any, tmp_path: Path, content: object, words: str
) -> None:
    path = tmp_path / "my model.gguf"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "folder":
        path.mkdir()
    shell.run("%puq_sandbox --pace 0")
    before = shell.session.sandbox
    error = shell.error(f"%puq_sandbox --local --gguf '{path}'")
    assert isinstance(error, InputError)
    assert f"{path.name} {words}" in str(error)
    assert shell.session.sandbox is before
    shell.run("%puq_chat -q hi")


def respond_like_openai(connection: Any) -> None:
    """An OpenAI-compatible server with one model."""
    if connection.request.path == "/v1/models":
        answer = {"object": "list", "data": [{"id": "tiny", "object": "model"}]}
    else:
        message = {"role": "assistant", "content": "From upstream."}
        answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    connection.send_head(kind="application/json")
    connection.send(json.dumps(answer).encode())


def test_an_upstream_server(shell: Any, serve: Any) -> None:
    server = serve(respond_like_openai, serves_lists=True)
    shell.run("%puq_sandbox --pace 0 --balance 5 --drop-after 7\n%puq_chat -q -c talk --no-stream Hello.")
    scripted = shell.session.sandbox
    out = shell.run(f"%puq_sandbox --upstream {server.url}/v1").out
    assert f"The models of {server.url}/v1 are listed as upstream/…." in out
    assert not scripted.running
    fresh = shell.session.sandbox
    assert fresh.balance == scripted.balance
    assert fresh.settings.drop_after == 7
    assert shell.run("%puq_chat -m upstream/tiny --no-stream -c talk And now?").value.text == "From upstream."
    asked = next(heard for heard in server.requests if heard.path == "/v1/chat/completions")
    assert [message["content"] for message in asked.json["messages"]][::2] == ["Hello.", "And now?"]
    assert "authorization" not in asked.headers
    shell.run(f"%puq_sandbox --upstream {server.url}/v1 --balance 9")
    assert shell.session.sandbox is fresh
    assert fresh.balance == 9
    down = shell.run("%puq_sandbox --upstream http://127.0.0.1:9/v1").out
    assert "The models of http://127.0.0.1:9/v1 cannot be listed: " in down
    assert "no chat model is chosen" in down  # least of all a script
    assert "cannot be listed (nothing listens there)" in str(shell.error("%puq_chat hi"))
    assert shell.run("%puq_chat -m sandbox/short --no-stream hi").value.text
    assert "not set" in shell.run("%puq").out
    shell.run("%puq_sandbox --upstream 0")
    assert "upstream" not in shell.run("%puq_sandbox status").out
    assert "upstream/tiny" in str(shell.error("%puq_chat -m upstream/tiny hi"))


@pytest.mark.parametrize(
    ("named", "key"),
    [("", KEY), ("http://127.0.0.1:1", None), ("https://127.0.0.1:1/v1", None), ("{url}", KEY)],
)
def test_the_upstreams_key_goes_to_its_own_host(
    shell: Any, serve: Any, monkeypatch: Any, named: str, key: str | None
) -> None:
    server = serve(respond_like_openai, serves_lists=True)
    monkeypatch.setenv("PUQ_UPSTREAM_KEY", KEY)
    monkeypatch.setenv("PUQ_UPSTREAM", named.format(url=server.url))
    out = shell.run(f"%puq_sandbox --pace 0 --upstream {server.url}").out
    assert KEY not in out
    shell.run("%puq_chat -q -m upstream/tiny --no-stream hi")
    sent = {heard.headers.get("authorization") for heard in server.requests}
    assert sent == ({f"Bearer {key}"} if key else {None})


def test_a_strangers_notebook_does_not_get_the_upstreams_key(
    shell: Any, monkeypatch: Any, getpass_answers: list[str]
) -> None:
    monkeypatch.setenv("PUQ_UPSTREAM_KEY", KEY)
    getpass_answers.append("  ")
    shell.run("%puq_sandbox --pace 0 --upstream https://router.invalid/v1")
    assert getpass_answers == ["API key for router.invalid (empty if it needs none): "]
    assert shell.session.sandbox_manager.backends.upstream_key is None
    getpass_answers[:] = [KEY]
    shell.run("%puq_sandbox --upstream https://other.invalid/v1")
    assert shell.session.sandbox_manager.backends.upstream_key.reveal() == KEY
    shell.run("%puq_sandbox --upstream https://other.invalid/v1 --pace 5")
    assert shell.session.sandbox_manager.backends.upstream_key.reveal() == KEY
    assert KEY not in repr(shell.session.sandbox_manager.backends)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ollama", "is not a base URL"),
        ("https://me:secret@router.example/v1", "user name"),
        ("http://router.example/v1", "plain http"),
    ],
)
def test_an_upstream_that_is_refused(shell: Any, url: str, words: str) -> None:
    error = shell.error(f"%puq_sandbox --upstream {url}")
    assert words in str(error)
    assert "secret" not in str(error)
    assert shell.session.sandbox is None
