"""Requests that ask for too much are refused, and while one key's work is done others are answered."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
import requests

from puq_magics.sandbox import Sandbox, chat
from puq_magics.sandbox.chat_request import ChatRequest
from puq_magics.sandbox.scripted.scripts import Action, Content

MANY = 10**9
TEXT: dict[str, Any] = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}


def in_object(schema: object) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


def nested(levels: int) -> Any:
    schema: Any = TEXT
    for _ in range(levels):
        schema = {"type": "array", "items": schema, "minItems": 3}
    return schema


DOUBLING = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)} | {"a40": TEXT}
OBJECTS = {"type": "object", "properties": {f"q{i}": {"type": "integer"} for i in range(50)}}
CYCLE = {f"a{i}": {"$ref": "#"} for i in range(20)}

TOO_MUCH: dict[str, Any] = {
    "minItems": in_object({**TEXTS, "minItems": MANY}),
    "minItems at the root": {**TEXTS, "minItems": MANY},
    "minItems of a float": in_object({**TEXTS, "minItems": 1e300}),
    "minLength": in_object({**TEXT, "minLength": MANY}),
    "minLength of a date": in_object({**TEXT, "format": "date", "minLength": MANY}),
    "minProperties": in_object({"type": "object", "minProperties": MANY}),
    "minProperties of numbers": {
        "type": "object",
        "minProperties": MANY,
        "additionalProperties": {"type": "integer"},
    },
    "uniqueItems": in_object({**TEXTS, "minItems": MANY, "uniqueItems": True}),
    "nested minItems": in_object(nested(20)),
    "many arrays": {
        "type": "object",
        "properties": {f"p{i}": {"type": "array", "minItems": 50, "items": OBJECTS} for i in range(50)},
    },
    "allOf doubled": {"$defs": DOUBLING, "$ref": "#/$defs/a0"},
    "allOf without end": {"allOf": [{"$ref": "#"}] * 50},
    "a cycle that is required": {"type": "object", "properties": CYCLE, "required": list(CYCLE)},
    "a long const": in_object({"type": "array", "minItems": MANY, "items": {"const": "x" * 50_000}}),
    "a long enum": in_object({"enum": [f"option {i}" for i in range(20_000)]}),
    "many names": {"type": "object", "properties": {f"p{i}": TEXT for i in range(10_000)}},
    "prefixItems": in_object({"type": "array", "prefixItems": [{"const": "y" * 60_000}] * 3}),
    "multipleOf": in_object({"type": "number", "multipleOf": 1e-300, "minimum": 1e300}),
    "properties of another type": {"type": "object", "properties": 5},
    "minItems of another type": {**TEXTS, "minItems": "three"},
    "allOf of another type": {"allOf": 7},
    "enum of another type": {"enum": 7},
}


def refusal(answer: requests.Response) -> str:
    assert answer.status_code in (400, 413, 422), answer.text[:200]
    return str(answer.json()["error"])


@pytest.mark.parametrize("where", ["field", "prompt"])
@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_schema_that_asks_for_too_much_is_refused(client, name: str, where: str) -> None:
    schema = TOO_MUCH[name]
    if where == "field":
        format_ = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        answer = client.chat(response_format=format_)
    else:
        answer = client.chat(prompt=f"Answer with one JSON document. JSON Schema: {json.dumps(schema)}")
    assert "JSON Schema" in refusal(answer)
    assert client.chat().status_code == 200


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({**TEXTS, "minItems": 1000}, "maxItems"),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 500, "uniqueItems": True}, ""),
        (
            {
                "type": "array",
                "items": {"type": "integer", "minimum": 1},
                "minItems": 900,
                "uniqueItems": True,
            },
            "unique",
        ),
        ({**TEXTS, "minItems": 900, "uniqueItems": True}, "unique"),
    ],
)
def test_what_is_within_bounds_is_answered(client, schema: dict[str, Any], path: str) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "answer", "schema": in_object(schema)}}
    text = client.chat(response_format=format_).json()["choices"][0]["message"]["content"]
    made = json.loads(text)["a"]
    assert len(made) == schema["minItems"]
    if path == "unique":
        assert len(set(made)) == len(made)


def _body(text: str) -> bytes:
    body = {"model": "sandbox/chat", "messages": [{"role": "user", "content": text}]}
    return json.dumps(body).encode()


BODIES: dict[str, tuple[bytes, int]] = {
    "a long prompt": (_body("word " * 1_000_000), 422),
    "a long prompt that looks like data": (_body("data:" + "A" * 1_000_000), 422),
    "many messages": (
        json.dumps(
            {"model": "sandbox/chat", "messages": [{"role": "user", "content": "abcdefghij"}] * 60_000}
        ).encode(),
        422,
    ),
    "brackets": (b"[" * 3_000_000, 422),
    "many lists": (b'{"a":[' + b"[]," * 1_000_000 + b"1]}", 422),
    "many objects": (b'{"a":[' + b"{}," * 1_000_000 + b"1]}", 422),
    "deep": (b'{"a":' * 500 + b"1" + b"}" * 500, 422),
    "a huge body": (_body("A" * 30_000_000), 413),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_too_much_is_refused(client, name: str) -> None:
    body, status = BODIES[name]
    with ThreadPoolExecutor(3) as pool:
        tasks = [pool.submit(client.post, "/v1/chat/completions", data=body) for _ in range(3)]
    assert [task.result().status_code for task in tasks] == [status] * 3
    assert client.chat().status_code == 200


@pytest.mark.parametrize(
    "text",
    [
        "python fix\n" + "```\n```   x\n" * 20_000,
        "fix\n" + "\n".join("`" * i for i in range(3, 900)),
        " " * 400_000 + "x",
        "1" * 400_000 + "x",
        "The " * 100_000,
        "f(" + "a, " * 100_000,
        "please" + "," * 250_000,
        "`" * 300_000,
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.parametrize("format_", [None, {"type": "json_object"}])
def test_no_text_takes_long(client, text: str, format_: object) -> None:
    assert client.chat("sandbox/chat", text, response_format=format_).status_code == 200


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Event, Event]]:
    """Make one model's script wait: an event that is set once it does, and one that lets it go on."""
    waiting, go_on = Event(), Event()

    def _script(_request: ChatRequest) -> Iterator[Action]:
        waiting.set()
        assert go_on.wait(60)
        yield Content("done")

    monkeypatch.setattr(chat, "SCRIPTS", {**chat.SCRIPTS, "sandbox/tour": _script})
    yield waiting, go_on
    go_on.set()


def test_others_are_answered_while_one_key_waits_its_turn(
    connect: Callable[[Sandbox], Any], held: tuple[Event, Event]
) -> None:
    waiting, go_on = held
    with Sandbox(pace=0, keys=3) as sandbox, ThreadPoolExecutor(10) as pool:
        busy = connect(sandbox)
        tasks = [pool.submit(busy.chat, "sandbox/tour") for _ in range(10)]
        assert waiting.wait(60)
        for token in sandbox.tokens[1:]:
            other = connect(sandbox)
            other.session.headers["Authorization"] = f"Token {token}"
            for answer in (other.get("/v1/models"), other.chat(), other.draw(), other.speak()):
                assert answer.status_code == 200
        assert not any(task.done() for task in tasks)
        go_on.set()
        assert {task.result().status_code for task in tasks} == {200}


def test_a_client_that_goes_keeps_its_turn_until_the_work_is_done(
    sandbox: Sandbox, client, held: tuple[Event, Event]
) -> None:
    waiting, go_on = held
    body = json.dumps({"model": "sandbox/tour", "messages": [{"role": "user", "content": "hi"}]})
    leaving = http.client.HTTPConnection(sandbox.base_url.removeprefix("http://"))
    leaving.request("POST", "/v1/chat/completions", body, {"Authorization": f"Token {sandbox.token}"})
    assert waiting.wait(60)
    leaving.close()
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(client.chat)
        assert client.get("/v1/credits/balance").status_code == 200
        assert not task.done()
        go_on.set()
        assert task.result().status_code == 200


def test_ctrl_c_ends_it_during_work() -> None:
    command = [sys.executable, "-m", "puq_magics.sandbox"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(3)]
        url, key = (line.partition("=")[2] for line in lines[1:])
        headers = {"Authorization": f"Token {key}"}
        body = {"model": "sandbox/image", "prompt": "x", "size": "2048x2048", "n": 4}
        with ThreadPoolExecutor(6) as pool:
            tasks = [
                pool.submit(
                    requests.post, f"{url}/v1/images/generations", json=body, headers=headers, timeout=60
                )
                for _ in range(6)
            ]
            requests.get(f"{url}/v1/models", headers=headers, timeout=60)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        assert [task for task in tasks if task.exception() is not None]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("number", [1, 3, 8])
def test_as_many_choices_as_are_asked_for(client, events, stream: bool, number: int) -> None:
    answer = client.chat(n=number, stream=stream, stream_options={"include_usage": True})
    if not stream:
        choices = answer.json()["choices"]
        texts = {choice["index"]: choice["message"]["content"] for choice in choices}
        usage = answer.json()["usage"]
    else:
        *parts, last, _ = events(answer)
        usage, texts = last["usage"], {}
        for choice in (choice for part in parts for choice in part["choices"]):
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["delta"].get("content", "")
    assert sorted(texts) == list(range(number))
    assert len(set(texts.values())) == 1
    assert usage["completion_tokens"] % number == 0


@pytest.mark.parametrize("number", [0, -1, 9, 10**9, 1.5, True, "two"])
def test_a_number_of_choices_that_cannot_be(client, number: object) -> None:
    assert "'n'" in refusal(client.chat(n=number))
