"""Transcription by an engine in a process of its own, which does here what stands in the recording."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from puq_magics.sandbox import Sandbox
from puq_magics.sandbox.backends import transcription as listening
from puq_magics.sandbox.backends.transcription import Spool
from puq_magics.sandbox.models import TOKENS_PER_SECOND
from puq_magics.sandbox.validation import ErrorResponse

WHISPER = "local/whisper-tiny.en"
#: How a recording begins that is no more than what it seems to be.
BEGINNING = "ID3"


def line(**fields: Any) -> str:
    return f"line {json.dumps(fields)}"


def segment(number: int, start: float, end: float, text: str) -> str:
    return line(segment={"id": number, "start": start, "end": end, "text": text})


LENGTH, END = line(length=4.0), line(end=4.0)
HELLO = (segment(0, 0.0, 1.5, " Hello"), line(reached=1.5))
THERE = (segment(1, 1.5, 4.0, " there."), line(reached=4.0))
WHOLE = (LENGTH, *HELLO, *THERE, END)


@pytest.fixture
def engine_client(connect: Callable[[Sandbox], Any], engine_sandbox: Sandbox) -> Any:
    return connect(engine_sandbox)


@pytest.fixture(autouse=True)
def temp_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where recordings are kept while they are heard; empty in the end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def hear(engine_client: Any, *lines: str, **fields: str) -> requests.Response:
    recording = "\n".join([BEGINNING, *lines]).encode()
    answer: requests.Response = engine_client.post(
        "/v1/audio/transcriptions",
        data={"model": WHISPER, **fields},
        files={"file": ("talk.mp3", recording)},
        stream=True,
    )
    return answer


def left(engine_client: Any, temp_folder: Path) -> list[str]:
    """The recordings that are kept; whatever the sandbox was at, it is done with that when it answers."""
    assert engine_client.get("/v1/credits/balance").status_code == 200
    return os.listdir(temp_folder)


def events(answer: requests.Response) -> list[Any]:
    return [
        json.loads(each.removeprefix(b"data: "))
        for each in answer.content.split(b"\n\n")
        if each.startswith(b"d")
    ]


def test_as_json(engine_client, engine_sandbox: Sandbox, temp_folder: Path) -> None:
    answer = hear(engine_client, *WHOLE)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json()["text"] == "Hello there."
    usage = answer.json()["usage"]
    assert (usage["type"], usage["input_tokens"]) == ("tokens", 4 * TOKENS_PER_SECOND)
    assert engine_sandbox.balance == pytest.approx(
        100 - engine_sandbox._state.models[WHISPER].price(prompt=40), abs=1e-9
    )
    verbose = hear(engine_client, *WHOLE, response_format="verbose_json").json()
    assert [each["text"] for each in verbose["segments"]] == [" Hello", " there."]
    assert (verbose["text"], verbose["language"], verbose["duration"]) == ("Hello there.", "en", 4.0)
    assert left(engine_client, temp_folder) == []


def test_as_text_which_comes_as_it_is_heard(engine_client, engine_listener: socket.socket) -> None:
    meet = f"meet {engine_listener.getsockname()[1]}"
    answer = hear(engine_client, LENGTH, *HELLO, meet, *THERE, END, response_format="text")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    pieces = answer.iter_content(None)
    assert next(pieces) == b"Hello"
    engine_listener.accept()[0].close()
    assert b"".join(pieces) == b" there.\n"


def test_as_events(engine_client, engine_sandbox: Sandbox, engine_listener: socket.socket) -> None:
    meet = f"meet {engine_listener.getsockname()[1]}"
    answer = hear(engine_client, LENGTH, *HELLO, meet, *THERE, END, stream="true", language="en-GB")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    first = answer.raw.read_chunked()
    assert json.loads(next(first)[6:]) == {"type": "transcript.text.delta", "delta": "Hello"}
    engine_listener.accept()[0].close()
    rest = [json.loads(each[6:]) for each in first]
    assert [each["type"].rpartition(".")[2] for each in rest] == ["segment", "delta", "segment", "done"]
    assert rest[0] == {
        "type": "transcript.text.segment",
        "id": "seg_0",
        "start": 0.0,
        "end": 1.5,
        "text": " Hello",
        "duration": 4.0,
    }
    assert (rest[-1]["text"], rest[-1]["language"]) == ("Hello there.", "en-GB")
    assert rest[-1]["usage"]["input_tokens"] == 40
    assert engine_sandbox.balance == pytest.approx(
        100 - engine_sandbox._state.models[WHISPER].price(prompt=40), abs=1e-9
    )


def test_an_answer_that_takes_long_is_kept_alive(engine_client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_KEEP_ALIVE_INTERVAL", 0.0)
    answer = hear(engine_client, *WHOLE)
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.content.startswith(b"      {")
    assert answer.json()["text"] == "Hello there."
    assert hear(engine_client, *WHOLE, response_format="text").content == b"Hello there.\n"


def test_the_recording_is_a_file_of_its_own_for_as_long_as_it_is_heard(
    engine_client, temp_folder: Path
) -> None:
    recording = f"{BEGINNING}\norder".encode()
    for form in (
        {"files": {"file": ("my talk.mp3", recording), "model": (None, WHISPER)}},
        {"data": {"model": WHISPER}, "files": {"file": ("my talk.mp3", recording)}},
    ):
        answer = engine_client.post("/v1/audio/transcriptions", **form)
        assert answer.status_code == 502  # an order is not what an engine should answer with
    assert (
        hear(engine_client, LENGTH, line(segment={"id": 0, "start": 0, "end": 1, "text": "a"}), END).json()[
            "text"
        ]
        == "a"
    )
    assert left(engine_client, temp_folder) == []


@pytest.mark.parametrize(
    ("lines", "fields", "status", "words"),
    [
        (["refuse The file 'talk.mp3' has no sound"], {}, 400, "'talk.mp3' has no sound"),
        (WHOLE, {"language": "de"}, 400, "knows only English"),
        (WHOLE, {"language": "Klingon, please"}, 400, "must be a code"),
        (WHOLE, {"stream": "perhaps"}, 400, "'stream' must be true or false"),
        (WHOLE, {"response_format": "srt"}, 400, "json, text, verbose_json"),
        (WHOLE, {"model": "local/nothing"}, 404, "does not exist"),
        (["fail"], {}, 502, "failed, with status 500"),
        (["die"], {}, 503, "before it answered; the next request starts it again"),
        ([LENGTH, "die"], {}, 502, "in mid-answer; the next request starts it again"),
        ([LENGTH, *HELLO], {}, 502, "in mid-answer"),
    ],
)
def test_refusals(
    engine_client,
    engine_sandbox: Sandbox,
    temp_folder: Path,
    lines: Any,
    fields: Any,
    status: int,
    words: str,
) -> None:
    answer = hear(engine_client, *lines, **fields)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    assert left(engine_client, temp_folder) == []
    if status in (400, 404) and "sound" not in words:
        assert (
            engine_sandbox._state.engines["transcription"].pid is None
        )  # it was refused before anything was loaded
    assert hear(engine_client, *WHOLE).json()["text"] == "Hello there."


def test_what_is_no_audio_is_refused_before_the_engine_is_loaded(
    engine_client, engine_sandbox: Sandbox, temp_folder: Path
) -> None:
    answer = engine_client.hear(b"Just words.", model=WHISPER)
    assert answer.status_code == 400
    assert "'talk.wav' is no audio" in answer.json()["error"]
    assert engine_sandbox._state.engines["transcription"].pid is None
    assert left(engine_client, temp_folder) == []


def test_an_engine_that_dies_in_mid_answer(
    engine_client, monkeypatch: pytest.MonkeyPatch, temp_folder: Path
) -> None:
    *deltas, error = events(hear(engine_client, LENGTH, *HELLO, "die", stream="true"))
    assert deltas[0]["delta"] == "Hello"
    assert "ended by signal 9 (SIGKILL) in mid-answer" in error["error"]
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = hear(engine_client, LENGTH, *HELLO, "die", response_format="text").content
    monkeypatch.setattr(listening, "_KEEP_ALIVE_INTERVAL", 0.0)
    late = hear(engine_client, LENGTH, *HELLO, "die")
    assert (late.status_code, "in mid-answer" in late.json()["error"]) == (200, True)
    assert left(engine_client, temp_folder) == []


def test_the_engine_stops_when_the_client_goes(
    engine_client, engine_listener: socket.socket, temp_folder: Path
) -> None:
    meet = f"meet {engine_listener.getsockname()[1]}"
    answer = hear(engine_client, LENGTH, *HELLO, meet, stream="true")
    pieces = answer.iter_content(None)  # which closes the connection when it is forgotten
    assert b"Hello" in next(pieces)
    engine, _ = engine_listener.accept()
    with engine:
        assert (
            os.listdir(temp_folder) == []
        )  # it is open, and nothing is left of it if this process is killed
        answer.close()
        heard = b""
        while not heard:
            engine.sendall(b'{"reached": 1.5}\n')
            engine.setblocking(False)
            with suppress(BlockingIOError):
                heard = engine.recv(4)
            engine.settimeout(60)
    assert heard == b"gone"
    assert hear(engine_client, *WHOLE).json()["text"] == "Hello there."
    assert left(engine_client, temp_folder) == []


def test_an_upload_that_is_cut_leaves_nothing(
    engine_client, engine_sandbox: Sandbox, temp_folder: Path
) -> None:
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
        f"Authorization: Token {engine_sandbox.token}\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\nID3'
    )
    host, port = engine_sandbox.base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + bytes(200))
        while not left(engine_client, temp_folder):
            pass
    while left(engine_client, temp_folder):
        pass


def test_a_disk_without_room(engine_client, temp_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk:
        def write(self, _data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            pass

    monkeypatch.setattr(listening.os, "fdopen", lambda number, _mode: os.close(number) or FullDisk())
    answer = hear(engine_client, *WHOLE)
    assert answer.status_code == 507
    assert "No space left on device" in answer.json()["error"]
    assert left(engine_client, temp_folder) == []


def test_a_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent/folder")
    with pytest.raises(ErrorResponse) as caught:
        Spool()
    assert caught.value.status == 507


def test_a_file_that_cannot_be_removed_yet(temp_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, while the engine still has it open."""
    held = [True, True]
    unlink = os.unlink

    def hold(path: str) -> None:
        if held:
            held.pop()
            raise PermissionError(path)
        unlink(path)
        removed.set()

    monkeypatch.setattr(listening.os, "unlink", hold)
    monkeypatch.setattr(listening, "_DELETE_INTERVAL", 0.0)
    removed = asyncio.Event()

    async def delete() -> None:
        spool = Spool()
        spool.write(b"ID3")
        spool.delete()
        assert len(os.listdir(temp_folder)) == 1
        await asyncio.wait_for(removed.wait(), 60)

    asyncio.run(delete())
    assert os.listdir(temp_folder) == []


def test_the_scripts_hear_beside_it(engine_client, temp_folder: Path) -> None:
    assert "no speech recogniser" in hear(engine_client, model="sandbox/whisper").json()["text"]
    assert left(engine_client, temp_folder) == []
