"""Recording and replaying at the level of the client."""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from media_samples import png, wav

from puq_magics.api import Router, Upload
from puq_magics.api.base_url import BaseURL
from puq_magics.api.request import repeat_number
from puq_magics.api.transport import RequestsTransport
from puq_magics.core.errors import (
    APIConnectionError,
    APIError,
    BadRequestError,
    InputError,
    PuqError,
    RateLimitError,
    RecordingError,
)
from puq_magics.core.secret import Secret
from puq_magics.replay.cassette import Cassette
from puq_magics.replay.transport import CassetteSettings, CassetteTransport, RequestNumbers

ADDRESS = BaseURL.parse("https://replay.invalid")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lesson.cassette"


def recorder(folder: Path, url: str, mode: Any = "record", key: str = "", **settings: Any) -> Router:
    address = BaseURL.parse(url, allow_http=True)
    inner = RequestsTransport(address, Secret(key) if key else None, max_retries=0)
    problems = settings.pop("on_problem", pytest.fail)
    cassette = Cassette(folder)
    cassette.prepare_recording()
    transport = CassetteTransport(
        cassette, CassetteSettings(mode, **settings), address, inner, on_problem=problems
    )
    return Router(transport=transport)


def player(
    folder: Path, pace: float = 0.0, mode: Any = "replay", numbers: RequestNumbers | None = None
) -> Router:
    settings = CassetteSettings(mode, pace)
    return Router(transport=CassetteTransport(Cassette(folder), settings, ADDRESS, None, numbers=numbers))


def send_body(connection: Any, body: bytes, kind: str, status: str = "200 OK") -> None:
    connection.send_head(status, kind, Content_Length=str(len(body)))
    connection.send(body)


def send_json(connection: Any, value: Any, status: str = "200 OK") -> None:
    send_body(connection, json.dumps(value).encode(), "application/json", status)


def sandbox_recorder(folder: Path, sandbox: Any, **settings: Any) -> Router:
    return recorder(folder, sandbox.base_url, key=sandbox.token, **settings)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def one_recording(folder: Path, kind: str = "chat") -> tuple[Path, Any]:
    (path,) = folder.glob(f"{kind}-*.json")
    return path, json.loads(path.read_text(encoding="utf-8"))


def ask(router: Router, text: str = "Hello", **params: Any) -> str:
    with router.stream_chat(text, model="sandbox/chat", **params) as stream:
        return "".join(delta.text for delta in stream)


def test_everything_is_replayed_without_a_network(
    folder: Path, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(router: Router) -> list[Any]:
        answer = router.chat("Hello", model="sandbox/chat", temperature=0.5)
        image = router.image("A cat", model="sandbox/image", n=2, size="64x64")
        speech = router.speech("Hello there", model="sandbox/tts", response_format="wav")
        heard = router.transcribe(Upload.from_bytes(speech.data), model="sandbox/whisper")
        return [
            ask(router),
            (answer.text, answer.usage),
            [each.data for each in image.images],
            speech.data,
            heard.text,
            router.models(),
            router.balance(),
        ]

    with sandbox_recorder(folder, sandbox) as router:
        recorded = use(router)
    kept = files(folder)

    def refuse(*_: object) -> None:
        pytest.fail("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with player(folder) as router:
        assert use(router) == recorded
        assert use(router) == recorded
    assert files(folder) == kept
    assert {name.rpartition(".")[2] for name in kept} == {"json", "png", "wav"}
    assert not any(sandbox.token.encode() in data for data in kept.values())


def test_the_same_exchange_gives_the_same_bytes(folder: Path, sandbox: Any) -> None:
    for _ in range(2):
        with sandbox_recorder(folder, sandbox) as router:
            ask(router)
            router.chat("Hello", model="sandbox/chat")
        kept = files(folder)
    with sandbox_recorder(folder, sandbox) as router:
        timing = (ask(router), router.take_timing())[1]
    assert files(folder) == kept
    assert timing is not None
    document = json.loads(kept[next(name for name in kept if b'"stream": true' in kept[name])])
    assert timing.seconds == document["seconds"]
    assert "id" not in document["response"]["events"][0]
    assert list(document) == sorted(document)


def test_equal_requests_keep_their_order(folder: Path, serve: Any) -> None:
    count = iter(range(100))
    server = serve(lambda connection: send_json(connection, completion(str(next(count)))))
    cell = ["a", 0]
    numbers = RequestNumbers(lambda: (str(cell[0]), int(cell[1])))
    with recorder(folder, server.url) as router:
        assert [router.chat("Hi", model="a/b").text for _ in range(3)] == ["0", "1", "2"]
    with player(folder, numbers=numbers) as router:
        assert [router.chat("Hi", model="a/b").text for _ in range(2)] == ["0", "1"]
        cell[1] = 1  # the same cell again
        assert router.chat("Hi", model="a/b").text == "0"
        cell[:] = ["b", 2]
        assert [router.chat("Hi", model="a/b").text for _ in range(2)] == ["2", "0"]
    (first,) = [path for path in folder.iterdir() if path.stem.count("-") == 1]
    kept = first.read_bytes()
    first.unlink()  # as if the first one had failed, and was not recorded
    with player(folder) as router:
        assert [router.chat("Hi", model="a/b").text for _ in range(3)] == ["1", "1", "2"]
    first.write_bytes(kept)
    with recorder(folder, server.url, "auto") as router:
        assert [router.chat("Hi", model="a/b").text for _ in range(4)] == ["0", "1", "2", "3"]


def test_planned_repeats_are_in_the_order_of_the_plan(folder: Path, serve: Any) -> None:
    server = serve(lambda connection: send_json(connection, completion("x")))
    numbers = RequestNumbers()
    assigned: list[int] = []

    def send(planned: int) -> None:
        repeat_number.set(planned)
        assigned.append(numbers.next_number("chat-1"))

    for planned in (2, 0, 1):
        thread = threading.Thread(target=send, args=(planned,))
        thread.start()
        thread.join()
    assert assigned == [3, 1, 2]
    assert numbers.next_number("chat-1") == 4
    assert server.url


def completion(text: str, **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-random",
        "created": 1_700_000_000,
        "model": "a/b",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text, **message}}],
    }


def test_text_like_the_marks_of_lines_is_kept(folder: Path, serve: Any) -> None:
    def answer(connection: Any) -> None:
        connection.send_head()
        connection.send_event("@line 0@")
        connection.send_done()

    server = serve(answer)
    for router in (recorder(folder, server.url), player(folder)):
        with router:
            assert ask(router, "@line 0@") == "@line 0@"
    _, document = one_recording(folder)
    assert document["request"]["body"]["messages"][0]["content"] == "@line 0@"


def test_the_number_of_a_cell_makes_no_difference(folder: Path, sandbox: Any) -> None:
    with sandbox_recorder(folder, sandbox) as router:
        text = ask(router, "Explain: Cell In[31], line 5")
    with player(folder) as router:
        assert ask(router, "Explain: Cell In[1], line 5") == text


def test_ids_of_tool_calls_are_numbered(folder: Path, serve: Any) -> None:
    ids = iter("abcdef")

    def answer(connection: Any) -> None:
        call = {"id": f"call_{next(ids)}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        send_json(connection, completion("", tool_calls=[call]))

    server = serve(answer)

    def converse(router: Router) -> list[str]:
        messages: list[dict[str, Any]] = [{"role": "user", "content": "Call f"}]
        seen = []
        for _ in range(2):
            (call,) = router.chat(messages, model="a/b").calls
            seen.append(call.id)
            messages += [
                {"role": "assistant", "content": None, "tool_calls": [{"id": call.id, "type": "function"}]},
                {"role": "tool", "tool_call_id": call.id, "content": "1"},
            ]
        return seen

    for recorded in (["call_a", "call_b"], ["call_c", "call_d"]):
        with recorder(folder, server.url) as router:
            assert converse(router) == recorded
    assert len(list(folder.iterdir())) == 2
    with player(folder) as router:
        assert converse(router) == ["call_1", "call_2"]


SECRET = "sk-proj-Zx9Qw8Er7Ty6Ui5Op4As3Df2Gh1Jk0L"


def test_secrets_are_masked_also_where_a_stream_splits_them(folder: Path, serve: Any) -> None:
    def answer(connection: Any) -> None:
        connection.send_head(x_request_id="random", set_cookie=f"session={SECRET}")
        for part in ("Your key ", SECRET[:9], SECRET[9:20], SECRET[20:], " is safe."):
            connection.send_event(part)
        connection.send_done()

    server = serve(answer)
    question = f"Is {SECRET} safe? password = 'hunter-{SECRET[-8:]}'"
    with recorder(folder, server.url, key="puq-key-of-the-router-1234") as router:
        ask(router, question, extra_body={"user_token": "tok-12345678"})
    kept = b"".join(files(folder).values())
    for secret in (SECRET, SECRET[9:20], "hunter", "tok-12345678", "puq-key", "random"):
        assert secret.encode() not in kept
    with player(folder) as router:
        text = ask(router, question, extra_body={"user_token": "another-token"})
        assert text.startswith("Your key <secret ")
        assert text.endswith("> is safe.")


ROUTER_KEY = "puq-Zx9Qw8Er7Ty6Ui5Op4As3Df2Gh1Jk0Lm"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", json.dumps({"error": {"message": f"{ROUTER_KEY} {SECRET}"}}).encode()),
        ("application/json", json.dumps({ROUTER_KEY: {SECRET: 1}}).encode()),
        ("text/event-stream", f'data: {{"{SECRET}": "{ROUTER_KEY}"}}\n\n'.encode()),
        (f"text/plain; key={ROUTER_KEY}; other={SECRET}", b"Hello"),
        ("application/octet-stream", b"\xff\xfe\0" + ROUTER_KEY.encode()),
        ("image/png", png(4, 4) + ROUTER_KEY.encode()),
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
def test_no_key_is_kept_wherever_a_router_echoes_it(
    folder: Path, serve: Any, kind: str, body: bytes, status: str
) -> None:
    server = serve(lambda connection: send_body(connection, body, kind, status))
    with recorder(folder, server.url, key=ROUTER_KEY, errors=True) as router, suppress(PuqError):
        router.chat(
            ROUTER_KEY, model="a/b", extra_body={"metadata": {SECRET: ROUTER_KEY, ROUTER_KEY: SECRET}}
        )
    kept = files(folder)
    assert kept
    assert not any(key.encode() in data for key in (ROUTER_KEY, SECRET) for data in kept.values())


def test_images_by_url_are_recorded_with_the_answer_when_they_are_whole(
    folder: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures: dict[str, bytes] = {}
    during: list[dict[str, bytes]] = []

    def answer(connection: Any) -> None:
        name = connection.request.path.partition("?")[0]
        if not name.startswith("/image"):
            data = [{"url": f"{server.url}{name}?sig=SECRETSECRET"} for name in ("/image1", "/image2")]
            send_json(connection, {"created": 1, "data": data})
            return
        during.append(files(folder))
        picture = pictures.get(name, b"no picture" if name == "/image2" else b"")
        send_body(connection, picture, "image/png", status="200 OK" if picture else "404 Not Found")

    def images(router: Router) -> list[bytes]:
        return [image.data for image in router.image("A cat", model="a/b", n=2).images]

    def check_is_locked(cassette: Cassette, name: str) -> bytes:
        descriptor = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
        return read_media(cassette, name)

    read_media = Cassette.read_media
    monkeypatch.setattr(Cassette, "read_media", check_is_locked)
    server = serve(answer)
    for width in (8, 9):
        before = files(folder) if folder.exists() else {}
        for number in (1, 2):
            with recorder(folder, server.url) as router, pytest.raises(APIError):
                images(router)
            assert files(folder) == before
            pictures[f"/image{number}"] = png(width, number)
        with recorder(folder, server.url) as router:
            assert images(router) == list(pictures.values())
        assert all(each == before for each in during)
        during.clear()
        assert len(files(folder)) == 3
        assert b"SECRETSECRET" not in b"".join(files(folder).values())
        with player(folder) as router:
            assert images(router) == list(pictures.values())
        pictures.clear()


def test_a_recording_without_its_image_is_an_error(folder: Path, serve: Any) -> None:
    server = serve(
        lambda connection: send_json(connection, {"data": [{"b64_json": base64.b64encode(png(8)).decode()}]})
    )
    with recorder(folder, server.url) as router:
        router.image("A cat", model="a/b")
    path, recording = one_recording(folder, "image")
    recording["response"]["body"]["data"] = [{"url": "https://example.org/image.png"}]
    path.write_text(json.dumps(recording))
    with player(folder) as router, pytest.raises(RecordingError, match="but its address alone"):
        router.image("A cat", model="a/b")


def test_errors_are_recorded_when_asked_for(folder: Path, serve: Any) -> None:
    def answer(connection: Any) -> None:
        if b"cut" in connection.request.body:
            connection.send_head(Content_Length="1000")
            connection.send_event("a part")
        else:
            send_json(connection, {"error": "slow down"}, status="429 Too Many Requests")

    server = serve(answer)
    for errors in (False, True):
        with recorder(folder, server.url, errors=errors) as router:
            with pytest.raises(RateLimitError, match="slow down"):
                ask(router, "Hello")
            with pytest.raises(APIConnectionError):
                ask(router, "cut")
        assert len(list(folder.iterdir())) == 2 * errors
    with player(folder) as router:
        with pytest.raises(RateLimitError, match="slow down"):
            ask(router, "Hello")
        with pytest.raises(APIConnectionError) as caught:
            ask(router, "cut")
    assert caught.value.partial == "a part"


def test_a_refused_form_is_recorded_as_the_client_goes_on_after_it(folder: Path, serve: Any) -> None:
    server = serve(
        lambda connection: send_json(connection, {"error": "no response_format"}, status="400 Bad Request")
    )
    params = {"extra_body": {"response_format": {"type": "json_object"}}}
    for router in (recorder(folder, server.url), player(folder)):
        with router, pytest.raises(BadRequestError):
            router.chat("Hello", model="a/b", **params)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "sandbox/short"}, "the model is sandbox/short here, sandbox/chat there"),
        ({"text": "What is a bell?"}, "message 2 (user) has 'What is a bell?' here, 'What is a cell?' there"),
        ({"system": "Be long."}, "message 1 (system) has 'Be long.' here, 'Be brief.' there"),
        ({"temperature": 1}, "temperature is 1 here, 0.5 there"),
        ({"temperature": None}, "temperature is not set here, 0.5 there"),
        ({"extra_body": {"seed": 7}}, "seed is 7 here, not set there"),
        ({"more": True}, "there are 3 messages here, 2 there"),
    ],
)
def test_a_missing_recording_says_what_differs(
    folder: Path, sandbox: Any, changes: dict[str, Any], words: str
) -> None:
    def send(router: Router, **changes: Any) -> None:
        messages = [
            {"role": "system", "content": changes.pop("system", "Be brief.")},
            {"role": "user", "content": changes.pop("text", "What is a cell?")},
            *([{"role": "user", "content": "Well?"}] if changes.pop("more", False) else []),
        ]
        model = changes.pop("model", "sandbox/chat")
        router.chat(messages, model=model, **{"temperature": 0.5, **changes})

    with sandbox_recorder(folder, sandbox) as router:
        send(router)
        router.chat("Something else entirely", model="sandbox/chat")
    with player(folder) as router:
        send(router)
        with pytest.raises(RecordingError) as caught:
            send(router, **changes)
    assert words in caught.value.message


def damaged(folder: Path, how: str) -> None:
    path, document = one_recording(folder, "image")
    if how == "zip":
        packed = Cassette(folder).pack()
        data = packed.read_bytes()
        path.unlink()
        start = data.index(path.name.encode()) + len(path.name)
        packed.write_bytes(data[:start] + b"\xff" * 20 + data[start + 20 :])
        return
    if how == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif how == "newer":
        path.write_text(json.dumps({**document, "format": 99}))
    elif how == "without media":
        next(folder.glob("*.png")).unlink()
    elif how == "link":
        other = folder.parent / "elsewhere.json"
        path.rename(other)
        path.symlink_to(other)
    elif how in ("loop", "pipe", "folder"):
        path.unlink()
        {"loop": lambda path: path.symlink_to(path.name), "pipe": os.mkfifo, "folder": Path.mkdir}[how](path)
    elif how == "path":
        document["response"]["body"]["data"][0]["b64_json"]["$file"] = "../../secret.png"
        path.write_text(json.dumps(document))
    else:
        path.write_text(json.dumps({"format": 1}))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "is cut, or is not JSON"),
        ("newer", r"by a later version of puq_magics \(format 99; this one reads 1\)"),
        ("without media", "is missing from lesson.cassette"),
        ("link", "is a link out of the cassette"),
        ("loop", "too many levels of symbolic links"),
        ("pipe", "is not a file"),
        ("folder", "is a folder"),
        ("zip", "in lesson.cassette.zip is damaged"),
        ("path", "is not a file of a cassette"),
        ("empty", "has no response"),
    ],
)
def test_damage_is_told(folder: Path, sandbox: Any, how: str, words: str) -> None:
    with sandbox_recorder(folder, sandbox) as router:
        router.image("A cat", model="sandbox/image", size="64x64")
    damaged(folder, how)
    with player(folder) as router, pytest.raises(RecordingError, match=words):
        router.image("A cat", model="sandbox/image", size="64x64")


def test_an_edited_recording_is_replayed_as_edited(folder: Path, sandbox: Any) -> None:
    with sandbox_recorder(folder, sandbox) as router:
        router.chat("Hello", model="sandbox/chat")
    path, document = one_recording(folder)
    document["response"]["body"]["choices"][0]["message"]["content"] = "Edited."
    del document["times"], document["seconds"]
    path.write_text(json.dumps(document))
    with player(folder) as router:
        assert router.chat("Hello", model="sandbox/chat").text == "Edited."


def test_a_packed_cassette_is_read_and_recorded_beside(folder: Path, sandbox: Any) -> None:
    with sandbox_recorder(folder, sandbox) as router:
        image = router.image("A cat", model="sandbox/image", size="64x64").images[0].data
    packed = Cassette(folder).pack()
    first = packed.read_bytes()
    assert Cassette(folder).pack().read_bytes() == first
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with player(folder) as router:
        assert router.image("A cat", model="sandbox/image", size="64x64").images[0].data == image
    with sandbox_recorder(folder, sandbox, mode="auto") as router:
        router.image("A cat", model="sandbox/image", size="64x64")
        ask(router)
    assert [path.suffix for path in folder.iterdir()] == [".json"]
    packed.write_bytes(first[:200])
    with player(folder) as router, pytest.raises(RecordingError, match="is cut, or is no zip file"):
        ask(router)


def test_an_answer_that_cannot_be_recorded_is_not_lost(folder: Path, sandbox: Any) -> None:
    problems: list[str] = []
    with sandbox_recorder(folder, sandbox, on_problem=problems.append) as router:
        folder.rmdir()
        folder.write_text("")
        assert "Hello" in ask(router)
    assert "was not recorded" in problems[0]


def test_a_folder_that_was_moved_meanwhile_is_made_anew(folder: Path, sandbox: Any) -> None:
    with sandbox_recorder(folder, sandbox) as router:
        ask(router)
        folder.rename(folder.with_name("other.cassette"))
        ask(router)
        ask(router, "Goodbye")
    assert len(list(folder.iterdir())) == 2


def test_two_recorders_at_once_leave_whole_files(folder: Path, sandbox: Any) -> None:
    def record() -> None:
        with sandbox_recorder(folder, sandbox) as router:
            for number in range(5):
                ask(router, f"Question {number}")

    threads = [threading.Thread(target=record) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(folder.iterdir())) == 5
    with player(folder) as router:
        assert all(f"Question {number}" in ask(router, f"Question {number}") for number in range(5))


def test_media_of_equal_requests_are_kept_while_one_needs_them(folder: Path) -> None:
    request, (first, second, other) = "image-" + "0" * 20, (png(width) for width in (3, 4, 5))
    cassette = Cassette(folder)
    cassette.prepare_recording()

    def media(data: bytes) -> str:
        return f"{request}-{data[19]:08}.png"

    def write(name: str, data: bytes) -> None:
        document = {"request": {}, "response": {"file": media(data)}}
        Cassette(folder).write(f"{name}.json", document, {media(data): data})

    write(request, first)
    write(f"{request}-2", second)
    write(request, second)  # the same pictures the other way round
    assert cassette.read_media(media(second)) == second
    write(f"{request}-2", first)
    (folder / media(other)).write_bytes(other)  # a process was killed before it wrote the recording
    write(request, second)
    assert {path.suffix: 0 for path in folder.iterdir()} == {".json": 0, ".png": 0}
    assert media(other) in files(folder)  # an unchanged recording changes nothing
    write(request, first)
    assert set(files(folder)) == {f"{request}.json", f"{request}-2.json", media(first)}


def test_media_are_not_deleted_where_nothing_can_be_locked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, document = "image-" + "0" * 20, {"request": {}}
    cassette = Cassette(folder)
    cassette.prepare_recording()
    other = folder / f"{request}-00000000.png"
    other.write_bytes(b"")  # another process has not written its recording yet
    for is_locked in (False, True):
        with monkeypatch.context() as patch:
            if not is_locked:
                patch.setattr("fcntl.flock", Mock(side_effect=OSError(errno.EBADF, "as on NFS")))
            name = f"{request}-1111111{is_locked:d}.png"
            cassette.write(f"{request}.json", {**document, "response": {"file": name}}, {name: b"x"})
        assert other.exists() is not is_locked


def test_a_cassette_that_was_packed_anew_is_read_anew(folder: Path) -> None:
    cassette, reader = Cassette(folder), Cassette(folder)
    cassette.prepare_recording()
    for request in ("chat-" + "0" * 20, "chat-" + "1" * 20):
        cassette.write(f"{request}.json", {"request": {}}, {})
        cassette.pack()
        (folder / f"{request}.json").unlink()
        assert reader.read(str(reader.find(request, 1)))["request"] == {}


def test_a_replay_keeps_the_pace_and_can_be_interrupted(folder: Path, sandbox: Any) -> None:
    with sandbox_recorder(folder, sandbox) as router:
        ask(router)
    path, document = one_recording(folder)
    document["times"] = [0.0, *[3600.0] * (len(document["times"]) - 1)]
    document["seconds"] = 3600.0
    path.write_text(json.dumps(document))
    with player(folder, pace=1) as router, router.stream_chat("Hello", model="sandbox/chat") as stream:
        stream.receive()
        assert stream.receive(timeout=0.01) is None
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the interrupt may come before the wait
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            stream.receive()
    with player(folder) as router:
        assert "Hello" in ask(router)
        timing = router.take_timing()
    assert timing is not None
    assert (timing.seconds, timing.first) == (3600.0, 3600.0)


def test_no_request_is_allowed(folder: Path) -> None:
    with player(folder, mode="none") as router, pytest.raises(RecordingError, match="no request is allowed"):
        router.balance()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"plain \xe2\x82\xac text", "text/plain"),
        (b'{"a": 1}', "application/json"),
        (b'data: one\n\n: comment\n\ndata: {"b": 2}\n\ndata: [DONE]\n\n', "text/event-stream"),
        (wav(0.01), "audio/wav"),
        (b"", "text/plain"),
        (json.dumps({"x": base64.b64encode(png(20, 20)).decode()}).encode(), "application/json"),
    ],
)
def test_bodies_of_every_kind_come_back(
    folder: Path, serve: Callable[..., Any], body: bytes, kind: str
) -> None:
    from puq_magics.api.request import Request, Timeouts
    from puq_magics.api.response import iter_body

    server = serve(lambda connection: send_body(connection, body, kind))
    request = Request("POST", "/v1/anything", Timeouts(5, 5), body=b"{}")
    with recorder(folder, server.url) as router:
        assert b"".join(iter_body(router._transport.send(request))) == body
    with player(folder) as router:
        replayed = b"".join(iter_body(router._transport.send(request)))
    assert replayed.replace(b" ", b"") == body.replace(b": comment\n\n", b"").replace(b" ", b"")


def test_an_upload_that_became_shorter_is_told_before_recording(folder: Path, sandbox: Any) -> None:
    upload = Upload.from_bytes(wav(0.1))
    longer = Upload(upload.name, upload.size + 1, upload.open, upload.mime)
    with sandbox_recorder(folder, sandbox) as router, pytest.raises(InputError):
        router.transcribe(longer, model="sandbox/whisper")
