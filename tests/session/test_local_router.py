from __future__ import annotations

from collections.abc import Iterator

import pytest

from puq_magics.api.base_url import BaseURL
from puq_magics.core.errors import ConfigurationError
from puq_magics.session.credentials import Credentials
from puq_magics.session.sandbox import Backends, LocalRouter
from puq_magics.session.settings import Effective, PuqMagics

ELSEWHERE = Backends(upstream="http://127.0.0.1:9/v1")


@pytest.fixture
def credentials() -> Credentials:
    return Credentials(Effective(PuqMagics(), {}))


@pytest.fixture
def router(credentials: Credentials) -> Iterator[LocalRouter]:
    router = LocalRouter(credentials)
    yield router
    router.stop()


def test_one_sandbox_that_is_changed_or_replaced(router: LocalRouter, credentials: Credentials) -> None:
    first = router.start(Backends(), pace=0, balance=5, fail="429:2", models=40)
    first_address = BaseURL.parse(first.base_url)
    assert router.start(Backends(), drop_after=3) is first
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
    assert (router.sandbox, router.origin, router.backends) == (None, None, Backends())
    assert not credentials.was_given


def test_what_does_not_fit_leaves_the_old_one_running(router: LocalRouter) -> None:
    first = router.start(Backends(), pace=0)
    for backends, moves in ((Backends(upstream="no url"), {}), (ELSEWHERE, {"pace": -1})):
        with pytest.raises(ValueError, match=r"\w"):
            router.start(backends, **moves)
    assert router.sandbox is first
    assert first.running
    assert router.backends == Backends()


def test_what_a_base_url_wants(router: LocalRouter) -> None:
    assert router.wanted("sandbox") == Backends()
    assert router.wanted("sandbox-local") == Backends(local=True)
    assert not router.serves("sandbox")
    router.start(ELSEWHERE, pace=0)
    assert router.wanted("sandbox-local") == Backends(local=True, upstream=ELSEWHERE.upstream)
    assert router.serves("sandbox")
    assert not router.serves("sandbox-local")


def test_models_that_went_between_the_check_and_the_start(
    router: LocalRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backends, "check", lambda _: None)
    monkeypatch.setenv("PUQ_WEIGHTS", "/nowhere")
    with pytest.raises(ConfigurationError, match="the local models cannot start: "):
        router.start(Backends(local=True))
    assert router.sandbox is None
