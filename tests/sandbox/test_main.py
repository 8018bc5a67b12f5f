from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest
import requests

COMMAND = [sys.executable, "-W", "error", "-m", "puq_magics.sandbox"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(number: signal.Signals) -> None:
    arguments = ["--balance", "3.5", "--pace", "0", "--fail", "429:1", "--drop-after", "9", "--models", "40"]
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
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
