from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import subprocess
import sys
import threading

import pytest
import requests

from puq_magics.sandbox import Sandbox


def threads() -> set[threading.Thread]:
    """The threads that live; one of an earlier test may end at any moment."""
    return set(threading.enumerate())


def quiet_port() -> int:
    """A free port that no system gives to somebody else in the meantime: it is below those that are given."""
    for port in random.sample(range(20_000, 30_000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free")


def test_it_lives_in_a_with(connect) -> None:
    before = threads()
    with Sandbox() as sandbox:
        assert sandbox.running
        assert connect(sandbox).get("/v1/models").status_code == 200
    assert not sandbox.running
    assert threads() <= before


def test_start_and_stop_may_be_repeated(connect) -> None:
    before = threads()
    sandbox = Sandbox()
    sandbox.stop()
    for _ in range(20):
        assert sandbox.start() is sandbox.start()
        assert len(threads() - before) == 1
        sandbox.stop()
        sandbox.stop()
    assert threads() <= before


def test_it_serves_after_a_second_start(connect) -> None:
    sandbox = Sandbox(balance=7)
    sandbox.start().stop()
    with sandbox:
        assert connect(sandbox).get("/v1/credits/balance").json()["balance"] == 7


def test_it_names_a_model_of_each_kind() -> None:
    assert dict(Sandbox().default_models) == {
        "chat": "sandbox/chat",
        "image": "sandbox/image",
        "speech": "sandbox/tts",
        "transcription": "sandbox/whisper",
    }


def test_stopped_it_has_no_address() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        _ = Sandbox().base_url


def test_two_at_once_have_nothing_in_common(connect) -> None:
    with Sandbox() as one, Sandbox() as two:
        assert one.base_url != two.base_url
        one.configure(balance=0)
        assert connect(one).get("/v1/models").status_code == 402
        assert connect(two).get("/v1/models").status_code == 200
        stranger = {"Authorization": f"Token {one.token}"}
        assert requests.get(two.base_url + "/v1/models", headers=stranger, timeout=30).status_code == 401


def test_a_port_and_a_token_of_ones_own(connect) -> None:
    port = quiet_port()
    with Sandbox(port=port, token="mine") as first:
        assert first.token == "mine"
        with pytest.raises(OSError, match="in use"):
            Sandbox(port=port).start()
    with Sandbox(port=port) as second:
        assert second.base_url == f"http://127.0.0.1:{port}"


def test_the_token_is_not_in_the_repr() -> None:
    sandbox = Sandbox(balance=42)
    assert repr(sandbox) == "<Sandbox stopped, balance 42>"
    with sandbox:
        assert repr(sandbox) == f"<Sandbox {sandbox.base_url}, balance 42>"
        assert sandbox.token not in repr(vars(sandbox))


def test_other_keys_are_not_in_the_repr_either() -> None:
    sandbox = Sandbox(keys=3)
    assert not [token for token in sandbox.tokens if token in repr(vars(sandbox)) + repr(sandbox)]


@pytest.mark.parametrize(
    "options",
    [
        {"pace": -1},
        {"balance": float("nan")},
        {"fail": "soon"},
        {"drop_after": -2},
        {"port": 65536},
        {"models": 0},
        {"keys": 0},
        {"keys": 1001},
    ],
)
def test_wrong_settings_are_refused_before_anything_starts(options: dict) -> None:
    before = threads()
    with pytest.raises(ValueError):  # noqa: PT011 - each value has words of its own
        Sandbox(**options).start()
    assert threads() <= before


@pytest.mark.parametrize("code", ["sandbox/stall", "sandbox/silence", "sandbox/tour"])
@pytest.mark.parametrize("pace", [0, 1e-6])
def test_stopping_ends_streams(connect, code: str, pace: float) -> None:
    before = threads()
    sandbox = Sandbox(pace=pace).start()
    response = connect(sandbox).chat(code, stream=True)
    chunks = response.raw.read_chunked()
    assert b'"role":"assistant"' in next(chunks)
    sandbox.stop()
    assert threads() <= before
    if code == "sandbox/tour" and pace == 0:
        response.close()  # it may have come to its end before the stop
        return
    with pytest.raises(requests.packages.urllib3.exceptions.ProtocolError):
        list(chunks)


def test_stopping_ends_an_answer_in_one_piece_and_idle_connections(connect) -> None:
    sandbox = Sandbox(pace=0).start()
    port = int(sandbox.base_url.rpartition(":")[2])
    idle = connect(sandbox)
    assert idle.get("/v1/models").status_code == 200
    body = b'{"model": "sandbox/silence", "messages": [{"role": "user", "content": "Hello"}]}'
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {sandbox.token}\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        sandbox.stop()
        with contextlib.suppress(ConnectionResetError):  # the same, where the request was not read yet
            assert connection.recv(1) == b""
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/v1/models", timeout=30)


def test_stopping_ends_an_upload() -> None:
    before = threads()
    sandbox = Sandbox(pace=0).start()
    port = int(sandbox.base_url.rpartition(":")[2])
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Token {sandbox.token}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n--b\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head.encode())
        sandbox.stop()
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert threads() <= before


def test_no_thread_of_media_outlives_a_stop(connect) -> None:
    before = threads()
    with Sandbox(pace=0) as sandbox:
        client = connect(sandbox)
        assert client.hear(client.speak().content).status_code == 200
        assert client.draw(n=4).status_code == 200
    assert threads() <= before


def test_no_thread_outlives_its_owner() -> None:
    before = threads()
    sandbox = Sandbox().start()
    assert len(threads() - before) == 1
    del sandbox
    gc.collect()
    assert threads() <= before


def test_it_does_not_need_the_loop_of_its_owner() -> None:
    async def cell() -> int:
        loop = asyncio.get_running_loop()
        with Sandbox() as sandbox:
            # Blocks this thread's loop, as a magic does: the answer must come from another one.
            headers = {"Authorization": f"Token {sandbox.token}"}
            status = requests.get(sandbox.base_url + "/v1/models", headers=headers, timeout=30).status_code
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0)
        return status

    assert asyncio.run(cell()) == 200


def test_the_interpreter_ends_with_a_sandbox_running() -> None:
    code = "from puq_magics.sandbox import Sandbox; kept = Sandbox().start(); print('up')"
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "up\n", "")


def test_it_is_an_island() -> None:
    code = "import sys, puq_magics.sandbox; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    ours = {name for name in loaded if name.startswith("puq_magics.")}
    assert "puq_magics.sandbox" in ours
    assert {name for name in ours if not name.startswith("puq_magics.sandbox")} == set()
    assert {"requests", "IPython", "traitlets", "ipywidgets"}.isdisjoint(loaded)
