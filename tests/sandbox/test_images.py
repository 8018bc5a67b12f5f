from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
import requests

from puq_magics.sandbox import Sandbox, tokens
from puq_magics.sandbox.models import MODELS


def image(entry: dict[str, str]) -> bytes:
    return base64.b64decode(entry["b64_json"], validate=True)


def test_one_image(client, sandbox: Sandbox) -> None:
    answer = client.draw("A fox", size="96x64").json()
    (entry,) = answer["data"]
    assert struct.unpack_from(">II", image(entry), 16) == (96, 64)
    assert "A fox" in entry["revised_prompt"]
    assert isinstance(answer["created"], int)
    used = {"input_tokens": tokens.count("A fox"), "output_tokens": 6}
    assert answer["usage"] == {**used, "total_tokens": sum(used.values())}
    price = MODELS["sandbox/image"].price(prompt=used["input_tokens"], completion=6)
    assert sandbox.balance == pytest.approx(100 - price, abs=1e-9)


def test_the_usual_size(client) -> None:
    for size in (None, "auto"):
        (entry,) = client.draw(size=size).json()["data"]
        assert struct.unpack_from(">II", image(entry), 16) == (1024, 1024)


def test_several_images_and_again_the_same(client) -> None:
    first, second = (client.draw(n=4).json() for _ in range(2))
    assert len({image(entry) for entry in first["data"]}) == 4
    assert first["data"] == second["data"]
    assert first["usage"]["output_tokens"] == 4 * 4


def test_by_address(client) -> None:
    urls = [entry["url"] for entry in client.draw(n=2, response_format="url").json()["data"]]
    assert all(url.startswith(client.sandbox.base_url + "/") for url in urls)
    given = [image(entry) for entry in client.draw(n=2).json()["data"]]
    for url, png in zip(urls, given, strict=True):
        answer = requests.get(url, timeout=30)  # without the key
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
        assert answer.content == png


def test_an_address_cannot_be_guessed(client) -> None:
    answer = client.get("/images/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.png")
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "Not Found: there is no such image, or no more"},
    )
    (entry,) = client.draw(response_format="url").json()["data"]
    path = entry["url"].removeprefix(client.sandbox.base_url)
    assert client.get(path, headers={"Host": "example.org"}).status_code == 403
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"size": "potato"}, 400, "'size' must be WIDTHxHEIGHT in pixels, such as 1024x1024; it is 'potato'"),
        ({"size": "63x64"}, 400, "64 to 2048"),
        ({"size": "2049x64"}, 400, "64 to 2048"),
        ({"size": "64x64x64"}, 400, "WIDTHxHEIGHT"),
        ({"size": "-64x64"}, 400, "WIDTHxHEIGHT"),
        ({"size": 64}, 400, "WIDTHxHEIGHT"),
        ({"n": 0}, 400, "'n'"),
        ({"n": 5}, 400, "'n'"),
        ({"n": "2"}, 400, "'n'"),
        ({"response_format": "svg"}, 400, "b64_json, url"),
        ({"prompt": ""}, 400, "'prompt' is empty"),
        ({"prompt": "x" * 32_001}, 400, "32,001 characters; 32,000"),
        ({"prompt": None}, 422, "'prompt' is required"),
        ({"model": None}, 422, "'model' is required"),
        ({"model": "sandbox/nothing"}, 404, "does not exist"),
        ({"model": "sandbox/chat"}, 400, "does not make images"),
    ],
)
def test_refusals(client, sandbox: Sandbox, fields: dict[str, Any], status: int, words: str) -> None:
    response = client.draw(**fields)
    assert response.status_code == status
    assert words in response.json()["error"]
    assert response.json().get("code") == {400: "VALIDATION_ERROR", 404: "MODEL_NOT_FOUND"}.get(status)
    assert sandbox.balance == 100


def test_a_body_that_is_not_json(client) -> None:
    assert client.post("/v1/images/generations", data=b"{").status_code == 422


PNG = b"\x89PNG" + bytes(60)


def edit(client: Any, *files: tuple[str, bytes], **fields: str) -> requests.Response:
    sent = [(field, (f"{number}.png", data)) for number, (field, data) in enumerate(files)]
    form = {"model": "sandbox/image", "prompt": "At night", "size": "64x64", **fields}
    answer: requests.Response = client.post("/v1/images/edits", data=form, files=sent)
    return answer


def test_images_are_edited_by_what_was_sent(client, sandbox: Sandbox) -> None:
    answers = [
        edit(client, ("image", PNG), n="2"),
        edit(client, ("image[]", PNG), ("image[]", PNG + b"x")),
        edit(client, ("image", PNG), n="2"),
    ]
    first, second, again = (answer.json()["data"] for answer in answers)
    assert first == again
    assert len({image(entry) for entry in first + second}) == 3
    assert "without a look at the image" in first[0]["revised_prompt"]
    assert sandbox.balance < 100


@pytest.mark.parametrize(
    ("files", "fields", "status"),
    [
        ([], {}, 422),
        ([("picture", PNG)], {}, 422),
        ([("image", b"text")], {}, 400),
        ([("image", PNG)], {"n": "0"}, 400),
        ([("image", PNG)], {"n": "two"}, 400),
        ([("image", PNG)], {"size": "1"}, 400),
        ([("image", PNG)], {"model": "sandbox/none"}, 404),
    ],
)
def test_refusals_of_edits(client, files: Any, fields: dict[str, str], status: int) -> None:
    assert edit(client, *files, **fields).status_code == status
