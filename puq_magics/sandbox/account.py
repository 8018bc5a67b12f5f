"""An account of a sandbox: its token and its balance."""

from __future__ import annotations

import secrets
from threading import Lock


class Account:
    """A token and a balance in credits; every method may be called from any thread."""

    def __init__(self, balance: float, token: str | None = None) -> None:
        self.token = token or f"sandbox-{secrets.token_urlsafe(24)}"
        self._balance = balance
        self._lock = Lock()

    @property
    def balance(self) -> float:
        """What is left, in credits; below 0 when the last answer cost more than there was."""
        with self._lock:
            return self._balance

    @balance.setter
    def balance(self, credits_left: float) -> None:
        with self._lock:
            self._balance = credits_left

    def charge(self, price: float) -> None:
        """Take ``price`` credits off the balance."""
        with self._lock:
            self._balance -= price

    def admits(self, authorization: str) -> bool:
        """Whether an ``Authorization`` header is ``Token <this account's token>``."""
        scheme, _, key = authorization.partition(" ")
        # Compared in constant time, and as bytes: a header may hold more than ASCII.
        right = secrets.compare_digest(key.strip().encode(), self.token.encode())
        return right and scheme.lower() == "token"
