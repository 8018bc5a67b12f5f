from __future__ import annotations

import os
import shlex
import tracemalloc
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from clients import KEY, MODEL, router_for
from media_samples import ID3, M4A_START, png, wav
from raw_server import COMPLETION, Connection, RawServer, ReceivedRequest, answer, responds
from tornado.httputil import HTTPFile, HTTPHeaders, parse_body_arguments

from puq_magics.api import Router, TranscriptSegment, Upload
from puq_magics.api.http_session import BLOCK_SIZE
from puq_magics.api.uploads import MultipartForm, form_fields
from puq_magics.core.errors import AuthenticationError, InputError


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a talk.wav"
    path.write_bytes(wav())
    return path


def test_a_file(recording: Path) -> None:
    for path in (recording, str(recording)):
        upload = Upload.from_path(path)
        assert (upload.name, upload.size, upload.mime) == ("a talk.wav", len(wav()), "audio/wav")
        for _ in range(2):
            with upload.open() as file:
                assert file.read() == wav()


def test_a_file_of_the_home_folder(recording: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(recording.parent))
    assert Upload.from_path("~/a talk.wav").name == "a talk.wav"


def test_a_file_is_found_again_from_another_folder(
    recording: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(recording.parent)
    upload = Upload.from_path("a talk.wav")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with upload.open() as file:
        assert file.read() == wav()


def make(folder: Path, what: str) -> Path:
    path = folder / "talk.mp3"
    if what == "a folder":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "text":
        path.write_text("these are only words")
    elif what == "an image":
        path.write_bytes(png())
    elif what == "a page":
        path.write_text("<html>")
    elif what == "empty":
        path.touch()
    elif what == "in a file":
        path.touch()
        return path / "talk.mp3"
    elif what == "a loop":
        path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("missing", "there is no file"),
        ("a folder", "is a folder"),
        ("a pipe", "is not a file"),
        ("text", "is not audio that can be sent, but text"),
        ("an image", "is not audio that can be sent."),
        ("a page", "is not audio that can be sent, but HTML"),
        ("empty", "is empty"),
        ("in a file", "cannot be read (not a directory)"),
        ("a loop", "cannot be read (too many levels of symbolic links)"),
    ],
)
def test_what_is_no_recording(tmp_path: Path, what: str, said: str) -> None:
    path = make(tmp_path, what)
    with pytest.raises(InputError) as caught:
        Upload.from_path(path)
    assert said in caught.value.message
    assert "talk.mp3" in caught.value.message
    assert caught.value.hint


def test_a_file_without_permission(recording: Path) -> None:
    recording.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:  # whom permissions do not stop
            os.seteuid(65534)
        with pytest.raises(InputError, match=r"cannot be read \(permission denied\)"):
            Upload.from_path(recording)
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("path", [None, 5, b"x", ["x"], "a\0b", "~nobody-of-that-name/x.mp3"])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(InputError) as caught:
        Upload.from_path(path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("Gespräch.wav", "Gespräch.wav"),
        ("会議.wav", "会議.wav"),
        ('say "hi".wav', 'say "hi".wav'),
        ("two\nlines\x1b[31m.wav", "two_lines_[31m.wav"),
        ("back\\slash.wav", "slash.wav"),
        (".wav", "audio.wav"),
        ("talk", "talk"),
        ("x" * 220 + ".wav", "x" * 200 + ".wav"),
    ],
)
def test_the_name_that_is_sent(tmp_path: Path, name: str, sent: str) -> None:
    (tmp_path / name).write_bytes(wav())
    assert Upload.from_path(tmp_path / name).name == sent


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    with open(path, "wb") as file:
        file.write(wav())
    assert Upload.from_path(os.fsdecode(path)).name == "caf?.wav"


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        (None, "audio.wav"),
        ("", "audio.wav"),
        ("talk", "talk.wav"),
        ("talk.mp3", "talk.mp3"),
        ("/home/me/secret/talk.wav", "talk.wav"),
        ("C:\\me\\talk.wav", "talk.wav"),
        ("folder/", "audio.wav"),
        ("..", "audio.wav"),
        (".", "audio.wav"),
        ("../..", "audio.wav"),
        (".wav", "audio.wav"),
        ("...wav", "audio.wav"),
        (" ", "audio.wav"),
        ("talk.", "talk.wav"),
        (".hidden", "audio.hidden"),
    ],
)
def test_bytes(name: str | None, sent: str) -> None:
    data = bytearray(wav())
    upload = Upload.from_bytes(data, name)
    data[:] = b""
    assert (upload.name, upload.size, upload.mime) == (sent, len(wav()), "audio/wav")
    for _ in range(2):
        assert upload.open().read() == wav()


def test_bytes_have_a_name_that_says_what_they_are() -> None:
    assert Upload.from_bytes(memoryview(M4A_START)).name == "audio.m4a"
    assert Upload.from_bytes(ID3 + bytes(10)).name == "audio.mp3"


@pytest.mark.parametrize("data", [b"", b"words", "words", None, 5, png()])
def test_bytes_that_are_no_recording(data: Any) -> None:
    with pytest.raises(InputError) as caught:
        Upload.from_bytes(data)
    assert caught.value.hint


def test_parameters_as_fields() -> None:
    params = {
        "model": "a/b",
        "language": None,
        "temperature": 0.5,
        "flag": True,
        "timestamp_granularities": ["word", "segment"],
        "include[]": ("logprobs",),
        "chunking_strategy": {"type": "auto"},
        "prompt": "Wörter",
    }
    assert form_fields(params) == (
        ("model", "a/b"),
        ("temperature", "0.5"),
        ("flag", "true"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
        ("include[]", "logprobs"),
        ("chunking_strategy", '{"type": "auto"}'),
        ("prompt", "Wörter"),
    )


@pytest.mark.parametrize("value", [float("nan"), {1}, b"x", [object()]])
def test_a_parameter_that_no_field_can_hold(value: Any) -> None:
    with pytest.raises(InputError, match="cannot be written as a form"):
        form_fields({"a": value})


HEARD = answer({"text": "Hello."})


def parsed(asked: ReceivedRequest) -> tuple[dict[str, list[str]], HTTPFile]:
    """The fields and the file of a form, as Tornado reads them."""
    fields: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    headers = HTTPHeaders({"Content-Type": asked.headers["content-type"]})
    parse_body_arguments(asked.headers["content-type"], asked.body, fields, files, headers)
    ((name, (file,)),) = files.items()
    assert name == "file"
    return {key: [value.decode() for value in values] for key, values in fields.items()}, file


def sent(upload: Upload, **params: Any) -> tuple[dict[str, list[str]], HTTPFile]:
    with RawServer(responds(HEARD)) as server, router_for(server) as router:
        assert router.transcribe(upload, model=MODEL, **params).text == "Hello."
    (asked,) = server.requests
    assert (asked.method, asked.path) == ("POST", "/v1/audio/transcriptions")
    assert asked.headers["authorization"] == f"Token {KEY}"
    assert int(asked.headers["content-length"]) == len(asked.body)
    assert "transfer-encoding" not in asked.headers
    return parsed(asked)


def test_a_recording_and_its_fields() -> None:
    fields, file = sent(
        Upload.from_bytes(wav(), "talk.wav"),
        language="en",
        temperature=0,
        prompt=None,
        extra_body={"stream": True, "granularity": ["a", "b"]},
    )
    assert fields == {"model": [MODEL], "language": ["en"], "temperature": ["0"], "granularity[]": ["a", "b"]}
    assert (file.filename, file.content_type, file.body) == ("talk.wav", "audio/wav", wav())


@pytest.mark.parametrize("size", [1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE + 5])
def test_a_recording_of_any_length_arrives_whole(size: int) -> None:
    data = (wav() * (size // len(wav()) + 1))[:size]
    _, file = sent(Upload("talk.wav", size, lambda: BytesIO(data), "audio/wav"))
    assert file.body == data


@pytest.mark.parametrize(
    "name", ["Gespräch.wav", "会議 №5.wav", "two words; and more.wav", "a'b`c$(d).wav", "ü\\x.wav"]
)
def test_of_a_path_only_the_name_is_sent(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "secret folder"
    folder.mkdir()
    (folder / name).write_bytes(wav())
    with RawServer(responds(HEARD)) as server, router_for(server) as router:
        router.transcribe(Upload.from_path(folder / name), model=MODEL)
    _, file = parsed(server.requests[0])
    assert file.filename == name.rpartition("\\")[2]
    assert b"secret" not in server.requests[0].body


def test_a_name_with_quotes_stays_within_its_own() -> None:
    with RawServer(responds(HEARD)) as server, router_for(server) as router:
        router.transcribe(Upload.from_bytes(wav(), 'a"; name="model"; x=".wav'), model=MODEL)
    assert b'name="file"; filename="a%22; name=%22model%22; x=%22.wav"\r\n' in server.requests[0].body


def test_progress_begins_at_nothing_and_ends_at_all() -> None:
    told: list[tuple[int, int]] = []
    size = 5 * BLOCK_SIZE
    data = wav().ljust(size, b"\0")
    upload = Upload.from_bytes(data)
    with RawServer(responds(HEARD)) as server, router_for(server) as router:
        router.transcribe(upload, model=MODEL, on_progress=lambda done, total: told.append((done, total)))
    whole = len(server.requests[0].body)
    done = [one for one, _ in told]
    assert done[0] == 0
    assert done[-1] == whole
    assert done == sorted(done)
    assert len(done) > 5
    assert {total for _, total in told} == {whole}


def test_a_long_recording_is_not_held(tmp_path: Path) -> None:
    size = 40 << 20
    path = tmp_path / "talk.wav"
    path.write_bytes(wav())
    os.truncate(path, size)

    def takes_all(connection: Connection) -> None:
        buffer, left = bytearray(1 << 16), size
        while left > 0:
            left -= connection.sock.recv_into(buffer)
        connection.send(HEARD)
        connection.wait_for_close()

    with RawServer(takes_all) as server, router_for(server) as router:
        tracemalloc.start()
        try:
            router.transcribe(Upload.from_path(path), model=MODEL)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("status", [429, 503])
def test_a_further_attempt_sends_the_file_anew(
    retry_delays: list[float], tmp_path: Path, status: int
) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(wav())
    told: list[int] = []
    said = [answer({"error": "later"}, status), HEARD]
    with RawServer(*map(responds, said)) as server, router_for(server, max_retries=2) as router:
        router.transcribe(Upload.from_path(path), model=MODEL, on_progress=lambda done, _: told.append(done))
    assert [parsed(asked)[1].body for asked in server.requests] == [wav(), wav()]
    assert told.count(0) == 2
    assert len(retry_delays) == 1


def test_the_file_is_closed_whatever_happens(tmp_path: Path) -> None:
    files: list[BytesIO] = []

    def opened() -> BytesIO:
        files.append(BytesIO(wav()))
        return files[-1]

    said = [HEARD, answer({"error": "no"}, 401)]
    upload = Upload("talk.wav", len(wav()), opened)
    with RawServer(responds(*said)) as server, router_for(server) as router:
        router.transcribe(upload, model=MODEL)
        with pytest.raises(AuthenticationError):
            router.transcribe(upload, model=MODEL)
    assert [file.closed for file in files] == [True, True]


def test_the_connection_is_used_again(tmp_path: Path) -> None:
    upload = Upload.from_bytes(wav())
    with RawServer(responds(HEARD, answer(COMPLETION), HEARD)) as server, router_for(server) as router:
        router.transcribe(upload, model=MODEL)
        router.chat("Hello", model=MODEL)
        router.transcribe(upload, model=MODEL)
    assert server.connections == 1


def test_answers_of_several_formats() -> None:
    verbose = {
        "text": "Hi.",
        "language": "en",
        "duration": 1,
        "segments": [{"start": 0, "end": 1, "text": "Hi."}],
    }
    said = [
        answer(verbose, X_Request_Id="r9"),
        answer("1\n00:00 --> 00:01\nHi.\n", content_type="text/plain"),
    ]
    with RawServer(responds(*said)) as server, router_for(server) as router:
        transcript = router.transcribe(Upload.from_bytes(wav()), model=MODEL, response_format="verbose_json")
        subtitles = router.transcribe(Upload.from_bytes(wav()), model=MODEL, response_format="srt")
    assert transcript.segments == (TranscriptSegment(0.0, 1.0, "Hi."),)
    assert (transcript.language, transcript.duration, transcript.request_id) == ("en", 1.0, "r9")
    assert subtitles.text == "1\n00:00 --> 00:01\nHi."


def test_the_request_of_a_transcription() -> None:
    with Router(KEY) as router:
        request = router.transcription_request(
            Upload.from_bytes(wav(), "a talk.wav"), model=MODEL, prompt="it's @home"
        )
        assert isinstance(request.body, MultipartForm)
        assert request.timeouts.read == 300
        words = shlex.split(request.to_curl(router.address, router.auth_scheme))
        assert words[-6:] == [
            "--form-string",
            f"model={MODEL}",
            "--form-string",
            "prompt=it's @home",
            "-F",
            "file=@a talk.wav",
        ]
        with pytest.raises(InputError, match="is not a model name"):
            router.transcription_request(Upload.from_bytes(wav()), model="whisper-1")
        with pytest.raises(InputError, match="is a reserved parameter"):
            router.transcription_request(Upload.from_bytes(wav()), model=MODEL, extra_body={"file": "x"})
        with pytest.raises(InputError, match="not an Upload"):
            router.transcription_request("talk.wav", model=MODEL)  # type: ignore[arg-type]


def test_a_name_that_curl_would_take_apart_is_quoted() -> None:
    with Router(KEY) as router:
        request = router.transcription_request(Upload.from_bytes(wav(), 'a;b,"c".wav'), model=MODEL)
        assert shlex.split(request.to_curl(router.address, "Token"))[-1] == r'file=@"a;b,\"c\".wav"'
