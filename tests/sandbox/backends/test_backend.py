"""Chats with an engine of this machine: a real process, with a model that is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from puq_magics.sandbox import Sandbox, server
from puq_magics.sandbox.local.engine import Engine

ENGINE = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from puq_magics.sandbox.local.child_main import EngineStartError, Parent, run

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Authorization"] == "Bearer " + self.server.key
        told = body["messages"][-1]["content"]
        if told == "die first":
            os.kill(os.getpid(), 9)
        self.send_response(200)
        self.end_headers()
        for word in (told, "", None):
            reason = None if word is not None else "stop"
            event = {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": reason}]}
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\\n\\n")
            self.wfile.flush()
            if told == "die then":
                os.kill(os.getpid(), 9)
    def log_message(self, *_):
        pass

def main(parent):
    if sys.argv[1:] == ["broken"]:
        raise EngineStartError("broken.gguf is not a GGUF file")
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.key = parent.key
    parent.announce("http://127.0.0.1:%d" % httpd.server_port)
    httpd.serve_forever()

run(main)
"""


@pytest.fixture
def engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Engine]:
    (tmp_path / "an_engine.py").write_text(ENGINE)
    monkeypatch.syspath_prepend(tmp_path)
    engine = Engine("chat", "an_engine", getattr(request, "param", ()))
    monkeypatch.setattr(server, "_engines", lambda _gguf: {"chat": engine})
    yield engine
    engine.stop()


@pytest.fixture
def local(engine: Engine, _quiet_log: None) -> Iterator[Sandbox]:
    with Sandbox(pace=0, local=True) as running:
        yield running


MODEL = "local/smollm2-135m-instruct"


def ask(client: Any, prompt: str) -> list[Any]:
    lines = client.chat(MODEL, prompt, stream=True).text.strip().split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if not line.endswith("[DONE]")]


def test_it_answers(local: Sandbox, engine: Engine, connect) -> None:
    assert engine.pid is None  # not before it is asked
    first, _second, _last = ask(connect(local), "Hello")
    assert (first["model"], first["choices"][0]["delta"]) == (MODEL, {"content": "Hello"})
    assert local.balance == pytest.approx(100 - (0.15 * 1 + 0.60 * 1) / 1e6, abs=1e-9)
    assert engine.pid is not None


@pytest.mark.parametrize("when", ["first", "then"])
def test_it_ends_in_mid_answer_and_is_started_again(local: Sandbox, connect, when: str) -> None:
    client = connect(local)
    response = client.chat(MODEL, f"die {when}", stream=True)
    words = "The engine ended by signal 9 (SIGKILL) {}; the next request starts it again"
    if when == "first":
        assert (response.status_code, response.json()["error"]) == (503, words.format("before it answered"))
    else:
        last = response.text.strip().split("\n\n")[-1]
        assert json.loads(last.removeprefix("data: "))["error"] == words.format("in mid-answer")
    assert len(ask(client, "Hello")) == 3


@pytest.mark.parametrize("engine", [("broken",)], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
def test_it_cannot_start(local: Sandbox, connect, stream: bool) -> None:
    response = connect(local).chat(MODEL, stream=stream)
    assert response.status_code == 500
    assert response.json() == {"error": "The chat engine cannot start: broken.gguf is not a GGUF file"}
    assert local.balance == 100


def test_it_takes_no_tools(local: Sandbox, connect) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    response = connect(local).chat(MODEL, "Hello?", tools=tools)
    assert response.status_code == 400
    assert "cannot call tools: use a scripted model" in response.json()["error"]


def test_its_models_come_first(local: Sandbox, connect) -> None:
    codes = [model["code"] for model in connect(local).get("/v1/models").json()["models"]]
    assert codes[:4] == [MODEL, "local/hibari", "local/whisper-tiny.en", "sandbox/chat"]
    assert dict(local.default_models) == {
        "chat": MODEL,
        "image": "sandbox/image",
        "speech": "local/hibari",
        "transcription": "local/whisper-tiny.en",
    }
    assert local.has_model(MODEL)
    assert not local.has_model("upstream/tiny")
    assert local.settings.models == len(codes) - 3


def test_it_ends_with_the_sandbox(engine: Engine, connect) -> None:
    with Sandbox(pace=0, local=True) as sandbox:
        assert len(ask(connect(sandbox), "Hello")) == 3
        assert engine.pid is not None
    assert engine.pid is None


def test_ones_own_model(engine: Engine, connect) -> None:
    with Sandbox(pace=0, gguf=Path("some where/My Model.Q4.gguf"), upstream="http://127.0.0.1:9") as sandbox:
        assert sandbox.default_chat_model == "local/My-Model.Q4"
        assert connect(sandbox).chat("local/My-Model.Q4", stream=True).status_code == 200


@pytest.mark.parametrize("price", [(-1.0, 2.0), (float("nan"), 1.0), (1.0,)])
def test_a_price_that_is_none(price: Any) -> None:
    with pytest.raises(ValueError, match="price"):
        Sandbox(price=price)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "notes.gguf"
    path.write_text("These are my notes.")
    with pytest.raises(ValueError, match=r"notes\.gguf is not a GGUF file"):
        Sandbox(gguf=path)
