"""The router's model list, fetched once and kept: what models are for, and what they cost."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from fnmatch import fnmatchcase
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from puq_magics.api.types import Model, model_kind
from puq_magics.core.errors import PuqError
from puq_magics.core.fork import after_fork
from puq_magics.core.threads import start_daemon

if TYPE_CHECKING:
    from puq_magics.api.client import Router

_RETRY_AFTER = 60.0  # seconds after which a list that did not come is asked for again
_NO_MODELS: Mapping[str, Model] = {}


class RouterFactory(Protocol):
    """Makes a router of the caller's own, to look at lists beside a call."""

    def __call__(self, *, quick: bool = False) -> Router:
        """Return the router; with ``quick`` one with a short time limit, for background requests."""


class ModelList:
    """The models of one router, and the balance when this session began."""

    def __init__(self, connect: RouterFactory) -> None:
        self._connect = connect
        self._models: Mapping[str, Model] | None = None
        self._balance_at_start: float | None = None
        self._balance_requested = False
        self._failed_at: float | None = None
        self._reset_locks()
        after_fork(self, ModelList._reset_locks)

    def _reset_locks(self) -> None:
        """Forget the thread that may be fetching: after a fork it does not run here."""
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()

    @property
    def cached(self) -> Mapping[str, Model]:
        """The models by their codes, as far as they are known now, disabled ones too; never waits."""
        return self._models or _NO_MODELS

    @property
    def balance_at_start(self) -> float | None:
        """Balance at the first look in this session; None without one."""
        return self._balance_at_start

    def record_balance(self, balance: float) -> None:
        """Keep the first balance that was seen."""
        if self._balance_at_start is None:
            self._balance_at_start = balance

    def forget_balance(self) -> None:
        """Make the next balance that is seen the first one."""
        self._balance_at_start, self._balance_requested = None, False

    def fetch(self, *, refresh: bool = False) -> Mapping[str, Model]:
        """The models; asks the router for them at the first time. Raises APIError."""
        self.wait()
        if self._models is None or refresh:
            with self._connect() as router:
                self._store(router.models(enabled_only=False))
        return self.cached

    def fetch_in_background(self, *, balance: bool = False) -> None:
        """Fetch missing data in the background, unless that is under way or has just failed."""
        with self._lock:
            failed = self._failed_at is not None and monotonic() - self._failed_at < _RETRY_AFTER
            models = self._models is None and not failed
            balance = balance and self._balance_at_start is None and not self._balance_requested
            if not self._idle.is_set() or not (models or balance):
                return
            self._idle.clear()
        self._balance_requested = self._balance_requested or balance
        start_daemon(self._fetch_all, models, balance, name="puq-models")

    def wait(self, seconds: float | None = None) -> None:
        """Wait for what is on its way."""
        self._idle.wait(seconds)

    def _fetch_all(self, models: bool, balance: bool) -> None:
        try:
            with self._connect(quick=True) as router:
                if balance:
                    self._fetch_balance(router)
                if models:
                    self._store(router.models(enabled_only=False))
        except Exception:  # noqa: BLE001 - nobody waits for it: who needs the list asks again, and is told
            self._failed_at = monotonic()
        finally:
            self._idle.set()

    def _fetch_balance(self, router: Router) -> None:
        try:
            self.record_balance(router.balance())
        except PuqError:  # a server without one
            return

    def _store(self, models: tuple[Model, ...]) -> None:
        self._models = {model.code: model for model in models}
        self._failed_at = None


def resolve_kind(code: str, overrides: Mapping[str, str]) -> str:
    """Return a model's kind: by the user's ``model_kinds`` (``*`` matches any characters), else by its name."""
    if code in overrides:
        return overrides[code]
    for pattern, kind in overrides.items():
        if "*" in pattern and fnmatchcase(code, pattern):
            return kind
    return model_kind(code)
