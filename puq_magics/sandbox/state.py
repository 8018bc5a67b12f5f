"""State of a running sandbox, shared between its owner's thread and the server's."""

from __future__ import annotations

import math
import re
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

from puq_magics.sandbox.models import (
    DEFAULT_MODELS,
    MAX_MODELS,
    MODELS,
    Kind,
    ModelEntry,
    with_invented_models,
)

if TYPE_CHECKING:
    from puq_magics.sandbox.backends.upstream import Upstream
    from puq_magics.sandbox.local.engine import Engine


class TokenAccount:
    """A token and a balance in credits; every method may be called from any thread."""

    def __init__(self, balance: float, token: str | None = None) -> None:
        self.token = token or f"sandbox-{secrets.token_urlsafe(24)}"
        self._balance = balance
        self._lock = Lock()
        #: Bytes of the bodies of requests in progress, for the server's thread.
        self.held_bytes = 0

    @property
    def balance(self) -> float:
        """Credits left; below 0 if the last answer cost more than was left."""
        with self._lock:
            return self._balance

    @balance.setter
    def balance(self, credits_left: float) -> None:
        with self._lock:
            self._balance = credits_left

    def charge(self, price: float) -> None:
        """Subtract ``price`` credits from the balance."""
        with self._lock:
            self._balance -= price

    def accepts(self, authorization: str) -> bool:
        """True if an ``Authorization`` header is ``Token <this account's token>``."""
        scheme, _, key = authorization.partition(" ")
        # Compared in constant time, and as bytes: a header may hold more than ASCII.
        right = secrets.compare_digest(key.strip().encode(), self.token.encode())
        return right and scheme.lower() == "token"


_FAULT = re.compile(r"(?P<status>[45]\d\d)(?::(?P<times>\d{1,6}))?")


@dataclass(frozen=True)
class Fault:
    """One status, for so many requests; ``times`` None is for all that come."""

    status: int
    times: int | None = None

    def __str__(self) -> str:
        return str(self.status) if self.times is None else f"{self.status}:{self.times}"


@dataclass(frozen=True)
class FaultPlan:
    """Faults in the order in which they come: ``429:2,500`` is two 429, then nothing but 500."""

    faults: tuple[Fault, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> FaultPlan:
        """Read ``STATUS[:TIMES][,…]``; None and the empty string plan nothing.

        Raises ValueError for anything else.
        """
        return cls(tuple(_fault(part.strip()) for part in (text or "").split(",") if part.strip()))

    def take(self) -> tuple[int | None, FaultPlan]:
        """The status that the next request is to fail with, or None, and the plan that is left."""
        for position, fault in enumerate(self.faults):
            if fault.times is None:
                return fault.status, FaultPlan(self.faults[position:])
            if fault.times > 0:
                left = replace(fault, times=fault.times - 1)
                return fault.status, FaultPlan((left, *self.faults[position + 1 :]))
        return None, FaultPlan()

    def __str__(self) -> str:
        return ",".join(str(fault) for fault in self.faults if fault.times != 0)


def _fault(text: str) -> Fault:
    match = _FAULT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no fault: write STATUS or STATUS:TIMES, such as 429:2 (400 to 599)")
    times = match["times"]
    return Fault(int(match["status"]), None if times is None else int(times))


#: Seconds that an image is kept, as a real router's links are: for an hour.
_KEPT: Final = 3600.0
_MOST_IMAGES: Final = 64
_MOST_BYTES: Final = 64 * 1024 * 1024


class ImageStore:
    """PNGs under names that cannot be guessed; the oldest go when there are too many, or after an hour."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._images: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._lock = Lock()

    def add(self, png: bytes) -> str:
        """Keep an image; returns the name to find it by."""
        name = secrets.token_urlsafe(24)
        with self._lock:
            self._images[name] = (self._now(), png)
            while len(self._images) > _MOST_IMAGES or self._size > _MOST_BYTES:
                self._images.popitem(last=False)
        return name

    def find(self, name: str) -> bytes | None:
        """Return the image of that name, or None when it has expired."""
        with self._lock:
            kept_since, png = self._images.get(name, (0.0, None))
            if png is not None and self._now() - kept_since > _KEPT:
                del self._images[name]
                return None
            return png

    @property
    def _size(self) -> int:
        return sum(len(png) for _, png in self._images.values())


#: Chunks per second when nobody says otherwise: about as fast as one reads along.
DEFAULT_PACE: Final = 100.0
#: The largest recording that is taken, in bytes.
MAX_UPLOAD_BYTES: Final = 2 * 1024**3
_MAX_REQUESTS: Final = 1000


class SettingsChanges(TypedDict, total=False):
    """Settings to change; those that are missing stay as they are. None restores the default."""

    pace: float | None
    balance: float
    fail: str | None
    drop_after: int | None
    models: int | None


@dataclass(frozen=True)
class Settings:
    """Current settings of a sandbox."""

    #: Chunks of a stream per second; 0 is as fast as possible.
    pace: float
    #: Credits left to the owner.
    balance: float
    #: The faults still to come, as ``429:2,500``; None when none are.
    fail: str | None
    #: The connection is cut after so many chunks of a stream; None is never.
    drop_after: int | None
    #: How many models are listed, those that answer for real aside.
    models: int = len(MODELS)

    @property
    def has_default_pace(self) -> bool:
        """True unless another pace was asked for."""
        return self.pace == DEFAULT_PACE


@dataclass(frozen=True)
class RequestRecord:
    """One answered request, without its key and its text."""

    method: str
    path: str
    #: The status it was answered with.
    status: int
    #: The model it asked for; empty where that is not known.
    model: str = ""


class State:
    """The accounts, the models, the settings, the faults, and what was asked; safe from any thread.

    ``account`` is the owner's, ``others`` are other people's.  ``local`` are the models that ``engines`` answer for
    on this machine, one for each kind.
    """

    def __init__(
        self,
        account: TokenAccount,
        max_upload_bytes: int = MAX_UPLOAD_BYTES,
        *,
        others: Sequence[TokenAccount] = (),
        local: Sequence[ModelEntry] = (),
        engines: Mapping[Kind, Engine] | None = None,
        upstream: Upstream | None = None,
    ) -> None:
        self.account = account
        self.accounts = (account, *others)
        #: What answers for real on this machine, by the kind of its models.
        self.engines: Mapping[Kind, Engine] = engines or {}
        #: The server that chats are passed on to, if there is one.
        self.upstream = upstream
        self._local = {model.code: model for model in local}
        self.image_store = ImageStore()
        #: In bytes; what is larger is refused.
        self.max_upload_bytes = max_upload_bytes
        self._catalog: Mapping[str, ModelEntry] = MODELS
        self._pace = DEFAULT_PACE
        self._drop_after: int | None = None
        self._faults = FaultPlan()
        self._requests: deque[RequestRecord] = deque(maxlen=_MAX_REQUESTS)
        self._lock = Lock()

    def account_of(self, authorization: str) -> TokenAccount | None:
        """The account that an ``Authorization`` header is for, or None."""
        # All are looked at, whichever it is: how long that takes says nothing of a key.
        accepting = [account for account in self.accounts if account.accepts(authorization)]
        return accepting[0] if accepting else None

    @property
    def settings(self) -> Settings:
        """The behaviour at this moment, balance and remaining faults included."""
        with self._lock:
            pace, faults, drop_after = self._pace, str(self._faults), self._drop_after
        return Settings(pace, self.account.balance, faults or None, drop_after, len(self._catalog))

    @property
    def models(self) -> Mapping[str, ModelEntry]:
        """Every model by its code, in the order of the list."""
        return {**self._local, **self._catalog, **(self.upstream.models if self.upstream else {})}

    @property
    def default_models(self) -> Mapping[Kind, str]:
        """Default model of each kind: a real one where there is one."""
        there = self.upstream.default_model if self.upstream else None
        chat: dict[Kind, str] = {"chat": there} if there else {}
        return {**DEFAULT_MODELS, **chat, **{model.kind: model.code for model in self._local.values()}}

    @property
    def chunk_interval(self) -> float:
        """Seconds between two chunks of a stream, at this moment."""
        pace = self._pace
        return 1 / pace if pace else 0.0

    def configure(self, **changes: Unpack[SettingsChanges]) -> None:
        """Change the given settings; raises ValueError for an invalid one, and then changes nothing."""
        with self._lock:
            pace = _checked_pace(changes.get("pace", self._pace))
            drop_after = _checked_drop_after(changes.get("drop_after", self._drop_after))
            faults = FaultPlan.parse(changes["fail"]) if "fail" in changes else self._faults
            models = _checked_models(changes.get("models", len(self._catalog)))
            if "balance" in changes:
                balance = _checked_balance(changes["balance"])
                for account in self.accounts:
                    account.balance = balance
            self._pace, self._drop_after, self._faults = pace, drop_after, faults
            self._catalog = with_invented_models(models)

    def next_fault(self) -> int | None:
        """The status that this request is to fail with, or None; counted down."""
        with self._lock:
            status, self._faults = self._faults.take()
        return status

    def record_request(self, record: RequestRecord) -> None:
        """Remember a request; the oldest of a thousand are forgotten."""
        with self._lock:
            self._requests.append(record)

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """The requests answered so far, oldest first."""
        with self._lock:
            return tuple(self._requests)


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


def _checked_models(models: int | None) -> int:
    if models is None:
        return len(MODELS)
    if not len(MODELS) <= models <= MAX_MODELS:
        raise ValueError(
            f"The number of models is from {len(MODELS)}, the sandbox's own, to {MAX_MODELS}; not {models!r}"
        )
    return models
