"""%puq_cassette: record, replay, and what a shell shows of it."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from puq_magics.core.errors import ConfigurationError, InputError, RecordingError
from puq_magics.magics.completion.completer import Completer
from puq_magics.session.cassette import notebook_name


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def replay(media_shell: Any, monkeypatch: pytest.MonkeyPatch, here: Path) -> Any:
    """Function that records cells, and returns a shell that replays them without a router or a network."""

    def _record(*cells: str, options: str = "") -> Any:
        media_shell.run("%puq_cassette record lesson")
        media_shell.recorded = [media_shell.attempt(cell).out for cell in cells]
        for name in ("PUQ_BASE_URL", "PUQ_API_KEY", "PUQ_CHAT_MODEL", "PUQ_IMAGE_MODEL", "PUQ_SPEECH_MODEL"):
            monkeypatch.delenv(name)

        def refuse(*_: object) -> None:
            pytest.fail("a connection was made")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        media_shell.run("%reload_ext puq_magics")
        media_shell.run(f"%puq_cassette replay lesson --pace 0 {options}")
        return media_shell

    return _record


CELLS = (
    "%puq_chat -t 0 Why is the sky blue?",
    "%puq_chat --no-stream Why is the sky blue?",
    "%puq_chat -c trip Where to?",
    "%puq_chat -c trip And then?",
    "%%puq_compare -m sandbox/chat -m sandbox/short --blind\nWhat is it?",
    "%%puq_map [{'x': 1}, {'x': 2}]\nDouble {{x}}",
    "rows = [{'x': 1}, {'x': 2}]\n",
    "%%puq_map rows -o doubled\nDouble {{x}}",
    "%%puq_grid --over rows --vary temperature=0,1 --repeat 2\nTriple {{x}}",
    "%puq_speak -o speech Hello there",
    "%puq_transcribe speech",
    "%puq_balance",
    "%puq_models --kind image",
)


def without_numbers(out: str) -> str:
    return re.sub(r"(Out|In) ?\[\d+\] *", "", out)


def test_a_session_is_replayed_with_the_same_outputs(replay: Any) -> None:
    shell = replay(*CELLS)
    for _ in range(2):
        shell.ip.meta.clear()
        shell.run("%unload_ext puq_magics\n%load_ext puq_magics\n%puq_cassette replay lesson --pace 0")
        for cell, out in zip(CELLS, shell.recorded, strict=True):
            assert without_numbers(shell.attempt(cell).out) == without_numbers(out), cell


def test_on_replay_no_function_is_run(replay: Any) -> None:
    shell = replay(
        "calls = []\ndef weather(city: str) -> str:\n    'The weather.'\n    calls.append(city)\n"
        "    return f'{city}: {len(calls)} degrees'\n",
        "%puq_chat -m sandbox/chat --tools-auto weather -o answer What is the weather in Oslo and Bergen?",
        "before, n = answer, len(calls)",
    )
    shell.run("%puq_chat -m sandbox/chat --tools weather -o answer What is the weather in Oslo and Bergen?")
    before, answer = shell.names["before"], shell.names["answer"]
    assert len(shell.names["calls"]) == shell.names["n"] == 2
    assert [call.result for call in answer.calls] == [call.result for call in before.calls]
    assert answer.text == before.text


def test_a_request_without_a_recording_is_an_error_of_two_lines(replay: Any) -> None:
    shell = replay("%puq_chat Why is the sky blue?")
    error = shell.error("%puq_chat Why is the sea blue?")
    assert isinstance(error, RecordingError)
    assert "message 1 (user) has 'Why is the sea blue?' here" in error.message
    assert "%puq_cassette auto" in error.hint
    shell.run("%puq_chat Why is the sky blue?")


def test_a_run_without_recordings_ends_with_the_error(replay: Any) -> None:
    shell = replay("%puq_chat Why is the sky blue?")
    shell.run("rows = [{'x': 1}]")
    assert isinstance(shell.attempt("%%puq_map rows\nDouble {{x}}").error, RecordingError)


def test_a_model_of_any_router_is_replayed(
    use_responses: Any, shell: Any, here: Path, monkeypatch: Any
) -> None:
    use_responses({"choices": [{"message": {"content": "Hi."}}]})
    shell.run("%puq_cassette record lesson\n%puq_chat --no-stream -m llama Hello")
    monkeypatch.delenv("PUQ_BASE_URL", raising=False)
    monkeypatch.delenv("PUQ_API_KEY", raising=False)
    shell.run("%config PuqMagics.base_url = None\n%puq_cassette replay lesson")
    assert "Hi." in shell.run("%puq_chat --no-stream -m llama Hello").out


def test_an_unknown_balance_is_no_error_in_a_chat_cell(replay: Any, here: Path) -> None:
    shell = replay("%puq_chat Why is the sky blue?")
    for path in [*here.glob("lesson.cassette/balance-*"), *here.glob("lesson.cassette/models-*")]:
        path.unlink()
    assert "Scripted" in shell.run("%puq_chat Why is the sky blue?").out
    assert "not known: balance-" in shell.run("%puq").out
    assert isinstance(shell.error("%puq_models"), RecordingError)


def test_the_status_and_the_modes(replay: Any, here: Path) -> None:
    shell = replay("%puq_chat Why is the sky blue?", options="")
    out = shell.run("%puq_cassette").out
    assert "replay: the cassette answers; nothing is sent" in out
    assert "1 chat" in out
    assert f"{here}" not in out
    assert "none: lesson.cassette answers" in shell.run("%puq").out
    assert "at once" in out
    assert "2 times as fast" in shell.run("%puq_cassette replay --pace 2").out
    assert "lesson.cassette.zip (" in shell.run("%puq_cassette pack").out
    shutil.rmtree(here / "lesson.cassette")
    assert "lesson.cassette.zip" in shell.run("%puq_cassette").out
    assert "replay lesson.cassette" in shell.run("%puq").out
    assert "in place of a router; the sandbox is not started" in shell.run("%puq_sandbox").out
    assert "off: the router answers" in shell.run("%puq_cassette off").out


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("rewind", InputError, "unknown action 'rewind'"),
        ("record a b", InputError, "unexpected argument 'b'"),
        ("replay --pace -1", InputError, "'-1' is not a speed"),
        ("status --errors", InputError, "--errors is for record and auto"),
        ("replay nothing", ConfigurationError, "there is no cassette nothing.cassette in"),
        ("record no/such/folder", ConfigurationError, "cannot be made (no such file or directory)"),
        ("record .", InputError, ". is not the name of a cassette"),
        ("record .cassette", InputError, ".cassette is not the name of a cassette"),
        ("record damaged", RecordingError, "damaged.cassette.zip is cut, or is no zip file"),
        ("replay nothing", ConfigurationError, "There is damaged.cassette.zip. Name another one"),
        ("pack nothing", ConfigurationError, "there is no cassette"),
    ],
)
def test_bad_input(shell: Any, here: Path, line: str, kind: type, words: str) -> None:
    (here / "damaged.cassette.zip").write_bytes(b"PK")
    error = shell.error(f"%puq_cassette {line}")
    assert isinstance(error, kind)
    assert words in str(error)
    assert shell.session.effective.cassette_mode == "off"
    assert [path.name for path in here.iterdir()] == ["damaged.cassette.zip"]


def test_the_environment_chooses(sandbox_shell: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = sandbox_shell
    monkeypatch.setenv("PUQ_CASSETTE", "lesson")
    monkeypatch.setenv("PUQ_CASSETTE_MODE", "auto")
    shell.run("%puq_chat Hello")
    assert list(here.glob("lesson.cassette/chat-*.json"))
    monkeypatch.delenv("PUQ_CASSETTE_MODE")
    assert shell.session.effective.cassette_mode == "replay"
    monkeypatch.setenv("PUQ_CASSETTE_MODE", "none")
    monkeypatch.setenv("PUQ_CASSETTE_FORCED", "1")
    shell.run("%config PuqMagics.cassette_mode = 'auto'")
    assert "no request is allowed here" in str(shell.error("%puq_chat Hello"))
    monkeypatch.setenv("PUQ_CASSETTE_MODE", "sometimes")
    assert "PUQ_CASSETTE_MODE is 'sometimes'" in str(shell.error("%puq_chat Hello"))


def test_hostile_text_is_cleaned_as_in_any_answer(replay: Any, here: Path) -> None:
    shell = replay("%puq_chat --no-stream Hello")
    (path,) = here.glob("lesson.cassette/chat-*.json")
    document = json.loads(path.read_text())
    document["response"]["body"]["choices"][0]["message"]["content"] = "\x1b]0;title\x07red\x1b[31m"
    path.write_text(json.dumps(document))
    assert "\x1b]0" not in shell.run("%puq_chat --no-stream Hello").out


def test_the_names_of_cassettes_are_completed(shell: Any, here: Path) -> None:
    (here / "lesson.cassette").mkdir()
    line = "%puq_cassette replay les"
    result = Completer(shell.session).complete(line, len(line))
    assert result is not None
    assert [item.text for item in result.items] == ["lesson"]


@pytest.mark.parametrize(
    ("environment", "names", "expected"),
    [
        ({"JPY_SESSION_NAME": "/home/x/lesson one.ipynb"}, {}, "lesson one"),
        ({}, {"__vsc_ipynb_file__": "/home/x/two.ipynb"}, "two"),
        ({"JPY_SESSION_NAME": "abc-123"}, {}, "puq"),
    ],
)
def test_a_cassette_has_the_name_of_its_notebook(
    environment: dict[str, str], names: dict[str, str], expected: str
) -> None:
    assert notebook_name(names, environment) == expected
