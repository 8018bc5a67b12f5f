"""The sandbox as its owner sees it: start, stop, look, change."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from threading import Lock
from types import TracebackType
from typing import Self

from puq_magics.sandbox.account import Account
from puq_magics.sandbox.catalog import DEFAULT_MODELS, Kind
from puq_magics.sandbox.service import ADDRESS, Service, start_service
from puq_magics.sandbox.state import LARGEST_UPLOAD, UNCHANGED, Asked, Settings, State, Unchanged


class Sandbox:
    """A router on 127.0.0.1 with scripted answers.  A context manager; may be started again after a stop.

    ``pace`` is in chunks per second (None: a pleasant default; 0: as fast as possible), ``balance`` in
    credits.  ``fail`` plans faults for the next paid requests, ``"429:2,500"``: two 429, then nothing but
    500.  ``drop_after`` cuts the connection after so many chunks of a stream.  ``models`` makes the list that
    long with invented ones.  ``largest_upload`` is in bytes.  ``port`` 0 takes any free one; ``token`` None
    makes one up.  Raises ValueError for a value that does not fit.
    """

    def __init__(
        self,
        *,
        pace: float | None = None,
        balance: float = 100.0,
        fail: str | None = None,
        drop_after: int | None = None,
        models: int | None = None,
        largest_upload: int = LARGEST_UPLOAD,
        port: int = 0,
        token: str | None = None,
    ) -> None:
        self._state = State(Account(balance, token), largest_upload)
        self._state.configure(pace=pace, balance=balance, fail=fail, drop_after=drop_after, models=models)
        if not 0 <= port <= 65535:
            raise ValueError(f"A port is a number from 0 to 65535; not {port!r}")
        self._port = port
        self._service: Service | None = None
        self._finalizer: weakref.finalize[[], Self] | None = None
        self._lock = Lock()

    def start(self) -> Self:
        """Start serving, if it is not running yet; raises OSError for a port that is taken."""
        with self._lock:
            if self._service is None:
                self._service = start_service(self._state, self._port)
                # Also run at exit: no thread outlives its owner.
                self._finalizer = weakref.finalize(self, self._service.stop)
        return self

    def stop(self) -> None:
        """Stop serving and close all connections; does nothing when it is not running."""
        with self._lock:
            finalizer, self._finalizer, self._service = self._finalizer, None, None
            if finalizer is not None:
                finalizer()

    def configure(
        self,
        *,
        pace: float | Unchanged | None = UNCHANGED,
        balance: float | Unchanged = UNCHANGED,
        fail: str | Unchanged | None = UNCHANGED,
        drop_after: int | Unchanged | None = UNCHANGED,
        models: int | Unchanged | None = UNCHANGED,
    ) -> None:
        """Change what is given, running or not; a stream takes a new pace from its next chunk on.

        None means what it means to the constructor: ``fail=None`` plans no more faults.  Raises ValueError
        for a value that does not fit, and then changes nothing.
        """
        self._state.configure(pace=pace, balance=balance, fail=fail, drop_after=drop_after, models=models)

    @property
    def running(self) -> bool:
        """Whether it is serving."""
        return self._service is not None

    @property
    def base_url(self) -> str:
        """Where it serves, as ``http://127.0.0.1:PORT``; raises RuntimeError when it is not running."""
        service = self._service
        if service is None:
            raise RuntimeError("The sandbox is not running: start() it first")
        return f"http://{ADDRESS}:{service.port}"

    @property
    def default_models(self) -> Mapping[Kind, str]:
        """For each kind (chat, image, speech, transcription), the model to ask when none is named."""
        return DEFAULT_MODELS

    def lists(self, model: str) -> bool:
        """Whether a model is on its list."""
        return model in self._state.models

    @property
    def default_chat_model(self) -> str:
        """The model to chat with when none is named."""
        return DEFAULT_MODELS["chat"]

    @property
    def token(self) -> str:
        """The key that it takes, and no other."""
        return self._state.account.token

    @property
    def balance(self) -> float:
        """The credits left."""
        return self._state.account.balance

    @property
    def settings(self) -> Settings:
        """How it behaves at this moment: pace, balance, faults still to come, drop_after, models."""
        return self._state.settings

    @property
    def requests(self) -> tuple[Asked, ...]:
        """What was asked and answered, oldest first, the last thousand; never with the key."""
        return self._state.asked

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        service = self._service
        where = f"http://{ADDRESS}:{service.port}" if service is not None else "stopped"
        return f"<Sandbox {where}, balance {self.balance:g}>"
