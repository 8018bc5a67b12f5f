from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from puq_magics.api.base_url import BaseURL
from puq_magics.api.request import Request, Retry, Timeouts, json_request
from puq_magics.core.errors import InputError

TIMEOUTS = Timeouts(1, 2)
ADDRESS = BaseURL.parse("https://h.example/router/v1")


def make(payload: dict[str, Any]) -> Request:
    return json_request("/v1/chat/completions", payload, TIMEOUTS, accept="application/json")


def test_a_body_is_readable_utf_8() -> None:
    request = make({"model": "m", "messages": [{"role": "user", "content": "Wie süß 😀"}]})
    assert "Wie süß 😀".encode() in (request.body or b"")
    assert (request.method, request.content_type) == ("POST", "application/json")
    assert not request.is_idempotent


def test_half_a_character_is_sent_escaped() -> None:
    assert json.loads(make({"a": "é\ud83d"}).body or b"") == {"a": "é\ud83d"}


def _cycle() -> dict[str, Any]:
    circle: dict[str, Any] = {}
    circle["itself"] = circle
    return circle


def _deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", _cycle(), _deep(), {("a",): 1}])
def test_what_json_does_not_have_is_an_error_before_anything_is_sent(value: Any) -> None:
    with pytest.raises(InputError, match="cannot be written as JSON") as caught:
        make({"a": value})
    assert caught.value.hint


def test_curl_is_what_a_shell_reads_back() -> None:
    request = make({"content": 'it\'s $HOME `x` "y" \\ @file\n%'})
    words = shlex.split(request.to_curl(ADDRESS, "Token"))
    assert words[:3] == ["curl", "-N", "https://h.example/router/v1/chat/completions"]
    assert "Authorization: Token $PUQ_API_KEY" in words
    assert "Content-Type: application/json" in words
    assert json.loads(words[-1]) == {"content": 'it\'s $HOME `x` "y" \\ @file\n%'}
    assert words[-2] == "--data-raw"


def test_curl_of_a_get() -> None:
    request = Request("GET", "/v1/models", TIMEOUTS, params={"enabled": "1", "q": "a b&c=d"})
    words = shlex.split(request.to_curl(ADDRESS, "none"))
    assert words == ["curl", "-N", "https://h.example/router/v1/models?enabled=1&q=a+b%26c%3Dd"]
    assert request.is_idempotent


def test_a_retry_says_what_happens() -> None:
    assert str(Retry("no connection to h (refused).", 1.25, 1, 2)) == (
        "no connection to h (refused); trying again in 1.2 s (1 of 2)"
    )
