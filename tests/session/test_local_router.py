from __future__ import annotations

from collections.abc import Iterator

import pytest

from puq_magics.api.base_url import BaseURL
from puq_magics.core.errors import ConfigurationError
from puq_magics.session.credentials import Credentials
from puq_magics.session.sandbox import SandboxBackends, SandboxManager
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
