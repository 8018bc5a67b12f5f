"""What a running sandbox shares between its owner's thread and the server's."""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass
from threading import Lock
from typing import Final

from puq_magics.sandbox.account import Account
from puq_magics.sandbox.faults import FaultPlan

#: Chunks per second when nobody says otherwise: about as fast as one reads along.
DEFAULT_PACE: Final = 100.0
_REMEMBERED: Final = 1000


class Unchanged(enum.Enum):
    """The type of `UNCHANGED`, which stands for what is left as it is (None has a meaning of its own)."""

    UNCHANGED = enum.auto()


UNCHANGED: Final = Unchanged.UNCHANGED


@dataclass(frozen=True)
class Settings:
    """How a sandbox behaves at this moment."""

    #: Chunks of a stream per second; 0 is as fast as possible.
    pace: float
    #: Credits left.
    balance: float
    #: The faults still to come, as ``429:2,500``; None when none are.
    fail: str | None
    #: The connection is cut after so many events of a stream; None is never.
    drop_after: int | None


@dataclass(frozen=True)
class Asked:
    """One request that was answered, without its key and its words."""

    method: str
    path: str
    #: The status it was answered with.
    status: int
    #: The model it asked for; empty where that is not known.
    model: str = ""


class State:
    """The account, the settings, the plan of faults, and what was asked; safe from any thread."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._pace = DEFAULT_PACE
        self._drop_after: int | None = None
        self._faults = FaultPlan()
        self._asked: deque[Asked] = deque(maxlen=_REMEMBERED)
        self._lock = Lock()

    @property
    def settings(self) -> Settings:
        """The behaviour at this moment, balance and remaining faults included."""
        with self._lock:
            pace, faults, drop_after = self._pace, str(self._faults), self._drop_after
        return Settings(pace, self.account.balance, faults or None, drop_after)

    @property
    def pause(self) -> float:
        """Seconds between two chunks of a stream, at this moment."""
        pace = self._pace
        return 1 / pace if pace else 0.0

    def configure(
        self,
        *,
        pace: float | Unchanged | None = UNCHANGED,
        balance: float | Unchanged = UNCHANGED,
        fail: str | Unchanged | None = UNCHANGED,
        drop_after: int | Unchanged | None = UNCHANGED,
    ) -> None:
        """Change what is given, or, raising ValueError, nothing at all."""
        with self._lock:
            new_pace = self._pace if pace is UNCHANGED else _checked_pace(pace)
            new_drop = self._drop_after if drop_after is UNCHANGED else _checked_drop_after(drop_after)
            new_faults = self._faults if fail is UNCHANGED else FaultPlan.parse(fail)
            if balance is not UNCHANGED:
                self.account.balance = _checked_balance(balance)
            self._pace, self._drop_after, self._faults = new_pace, new_drop, new_faults

    def take_fault(self) -> int | None:
        """The status that this request is to fail with, or None; counted down."""
        with self._lock:
            status, self._faults = self._faults.take()
        return status

    def note(self, asked: Asked) -> None:
        """Remember a request; the oldest of a thousand are forgotten."""
        with self._lock:
            self._asked.append(asked)

    @property
    def asked(self) -> tuple[Asked, ...]:
        """The requests answered so far, oldest first."""
        with self._lock:
            return tuple(self._asked)


def _checked_pace(pace: float | None) -> float:
    if pace is None:
        return DEFAULT_PACE
    if not (math.isfinite(pace) and pace >= 0):
        raise ValueError(
            f"The pace is a number of chunks per second, 0 for as fast as possible; not {pace!r}"
        )
    return pace


def _checked_balance(balance: float) -> float:
    if not math.isfinite(balance):
        raise ValueError(f"The balance is a number of credits; not {balance!r}")
    return balance


def _checked_drop_after(drop_after: int | None) -> int | None:
    if drop_after is not None and drop_after < 0:
        raise ValueError(f"The connection is dropped after a number of chunks, 0 or more; not {drop_after!r}")
    return drop_after
