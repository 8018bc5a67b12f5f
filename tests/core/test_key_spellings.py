"""A key in other spellings is found; other text stays as it is."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from html import escape
from urllib.parse import quote

import pytest

from puq_magics.core.secret import Secret

KEY = "sk-Test_0123/45+67&89=abcdefghij"
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": lambda key: "".join(f"\\u{ord(sign):04x}" for sign in key),
    "JSON, upper case": lambda key: "".join(f"\\u{ord(sign):04X}" for sign in key),
    "JSON in JSON": lambda key: json.dumps("".join(f"\\u{ord(sign):04x}" for sign in key)),
    "slashes as PHP writes them": lambda key: key.replace("/", "\\/"),
    "HTML": escape,
    "HTML, decimal": lambda key: "".join(f"&#{ord(sign)};" for sign in key),
    "HTML, hexadecimal": lambda key: "".join(f"&#x{ord(sign):X};" for sign in key),
    "HTML of names": lambda key: key.replace("&", "&amp;").replace("/", "&sol;").replace("_", "&lowbar;"),
    "a URL": lambda key: quote(key, safe=""),
    "a URL, all of it": lambda key: "".join(f"%{ord(sign):02x}" for sign in key),
    "a URL in a URL": lambda key: quote(quote(key, safe=""), safe=""),
    "bytes of Python": lambda key: "".join(f"\\x{ord(sign):02x}" for sign in key),
    "hexadecimal": lambda key: key.encode().hex(),
    **{
        f"base64 behind {size}": lambda key, size=size: b64encode(f"{'x' * size}{key}:".encode()).decode()
        for size in range(4)
    },
    "base64 for URLs": lambda key: urlsafe_b64encode(key.encode()).decode(),
    "base64 in a URL": lambda key: quote(b64encode(key.encode()).decode(), safe=""),
}


@pytest.fixture
def key() -> Secret:
    return Secret(KEY)


def _is_erased(text: str) -> bool:
    return "…" in text and len(text) < len("before  after") + 16


@pytest.mark.parametrize("name", SPELLINGS)
def test_the_key_is_erased(key: Secret, name: str) -> None:
    text = key.redact(f"before {SPELLINGS[name](KEY)} after")
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert _is_erased(text)


@pytest.mark.parametrize(
    "text",
    ["", "sk-Test", "100 % of \\frac{a}{b} &amp; more", KEY[:-1], KEY[1:], "c2stVGVzdA==", "a" * 10_000],
)
def test_other_text_stays(key: Secret, text: str) -> None:
    assert key.redact(text) == text


def test_a_short_key_is_erased_as_it_is() -> None:
    assert Secret("ollama").redact("the key ollama") == "the key …"
