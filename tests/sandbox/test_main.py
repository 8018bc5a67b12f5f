from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

FETCH_COMMAND = [sys.executable, "-W", "error", "-m", "puq_magics.sandbox"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FETCH_COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(number: signal.Signals) -> None:
    arguments = ["--balance", "3.5", "--pace", "0", "--fail", "429:1", "--drop-after", "9", "--models", "40"]
    with subprocess.Popen(
        [*FETCH_COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            greeting, url, key, model = (process.stdout.readline().strip() for _ in range(4))
            models = [model, *(process.stdout.readline().strip() for _ in range(3))]
            assert models == [
                "export PUQ_CHAT_MODEL=sandbox/chat",
                "export PUQ_IMAGE_MODEL=sandbox/image",
                "export PUQ_SPEECH_MODEL=sandbox/tts",
                "export PUQ_TRANSCRIBE_MODEL=sandbox/whisper",
            ]
            base_url, token = (
                url.removeprefix("export PUQ_BASE_URL="),
                key.removeprefix("export PUQ_API_KEY="),
            )
            assert base_url in greeting
            headers = {"Authorization": f"Token {token}"}
            answer = requests.get(f"{base_url}/v1/credits/balance", headers=headers, timeout=30)
            assert answer.json()["balance"] == 3.5
            answer = requests.get(f"{base_url}/v1/models", headers=headers, timeout=30)
            assert len(answer.json()["models"]) == 40
            assert (
                requests.post(f"{base_url}/v1/chat/completions", headers=headers, timeout=30).status_code
                == 429
            )
            process.send_signal(number)
            assert process.wait(30) == 0
            assert (process.stdout.read(), process.stderr.read()) == ("", "")
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fail", "soon"], "no fault"),
        (["--pace", "-1"], "pace"),
        (["--models", "1"], "models"),
        (["--paec", "1"], "unrecognized"),
        (["--price", "much"], "'much' is no price"),
        (["--price=-1:2"], "price"),
        (["--upstream", "localhost:11434"], "http://127.0.0.1:11434/v1"),
        (["--gguf", "nowhere.gguf"], "nowhere.gguf does not exist"),
    ],
)
def test_wrong_options_end_it_at_once(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = run("--port", str(server.getsockname()[1]))
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot listen" in done.stderr
    assert "Traceback" not in done.stderr


def test_real_models_behind_it(upstream_server) -> None:
    command = [*FETCH_COMMAND, "--upstream", upstream_server.url, "--price", "1000:2000"]
    environment = os.environ | {"PUQ_UPSTREAM_KEY": "our-own-key"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            greeting, url, key, model = (process.stdout.readline().strip() for _ in range(4))
            assert (
                f"Real are the answers of upstream/… ({upstream_server.url}); all others are scripted."
                in greeting
            )
            assert model == "export PUQ_CHAT_MODEL=upstream/tiny"
            headers = {"Authorization": f"Token {key.partition('=')[2]}"}
            base_url = url.partition("=")[2]
            chat = {"model": "upstream/tiny", "messages": [{"role": "user", "content": "Hello"}]}
            assert requests.post(
                f"{base_url}/v1/chat/completions", json=chat, headers=headers, timeout=30
            ).json()["usage"] == {"prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 35}
            balance = requests.get(f"{base_url}/v1/credits/balance", headers=headers, timeout=30).json()[
                "balance"
            ]
            assert balance == pytest.approx(100 - 0.03 - 0.01)
        finally:
            process.terminate()
    assert {heard.headers["Authorization"] for heard in upstream_server.requests} == {"Bearer our-own-key"}
    assert "our-own-key" not in " ".join(command)


def test_a_key_for_each_of_a_class() -> None:
    with subprocess.Popen([*FETCH_COMMAND, "--keys", "3"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline().strip() for _ in range(10)]
            assert lines[7] == "# Further keys, each with a balance of its own:"
            keys = {lines[2].partition("=")[2], *(line.removeprefix("# ") for line in lines[8:])}
            url = f"{lines[1].partition('=')[2]}/v1/models"
            answers = [
                requests.get(url, headers={"Authorization": f"Token {key}"}, timeout=30) for key in keys
            ]
            assert [answer.status_code for answer in answers] == [200] * 3
        finally:
            process.terminate()


def test_an_upstream_that_is_down_is_told_of() -> None:
    with subprocess.Popen(
        [*FETCH_COMMAND, "--upstream", "http://127.0.0.1:9"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert "upstream/…" in process.stdout.readline()
            assert process.stdout.readline() == (
                "# The upstream's models are not listed at the moment: nothing listens there.\n"
            )
        finally:
            process.terminate()


def test_weights_that_are_missing(tmp_path: Path) -> None:
    environment = os.environ | {"PUQ_WEIGHTS": str(tmp_path)}
    done = subprocess.run(
        [*FETCH_COMMAND, "--local"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "The local models cannot start: " in done.stderr
    assert "Traceback" not in done.stderr


def test_fetching_is_another_command() -> None:
    done = run("fetch", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "python -m puq_magics.sandbox fetch" in done.stdout
