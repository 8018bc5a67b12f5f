"""The sandbox as its owner sees it: start, stop, look, change."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import weakref
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread, current_thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeVar, Unpack

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application, RequestHandler

from puq_magics.sandbox.backends.upstream import Upstream
from puq_magics.sandbox.chat import ChatHandler
from puq_magics.sandbox.handlers import BalanceHandler, ModelsHandler, NotFoundHandler
from puq_magics.sandbox.images import ImageEditsHandler, ImageHandler, ImagesHandler
from puq_magics.sandbox.models import DEFAULT_PRICE, UPSTREAM, Kind, Price, local_models
from puq_magics.sandbox.speech import SpeechHandler
from puq_magics.sandbox.state import (
    MAX_UPLOAD_BYTES,
    RequestRecord,
    Settings,
    SettingsChanges,
    State,
    TokenAccount,
)
from puq_magics.sandbox.transcription import TranscriptionHandler
from puq_magics.sandbox.work import WorkQueue

if TYPE_CHECKING:
    from puq_magics.sandbox.local.engine import Engine


def make_app(state: State, work: WorkQueue) -> Application:
    """The router's application; all that it knows is in ``state``."""
    given = {"state": state, "work": work}
    return Application(
        [
            (r"/v1/models", ModelsHandler, given),
            (r"/v1/credits/balance", BalanceHandler, given),
            (r"/v1/chat/completions", ChatHandler, given),
            (r"/v1/images/generations", ImagesHandler, given),
            (r"/v1/images/edits", ImageEditsHandler, given),
            (r"/images/([\w-]+)\.png", ImageHandler, given),
            (r"/v1/audio/speech", SpeechHandler, given),
            (r"/v1/audio/transcriptions", TranscriptionHandler, given),
        ],
        default_handler_class=NotFoundHandler,
        default_handler_args=given,
        log_function=_quiet,
    )


def _quiet(_handler: RequestHandler) -> None:
    """No access log: by default it would write every refusal into the notebook."""


T = TypeVar("T")

#: What a server that is up tells: its loop, and how to ask it to stop.
_Ready: TypeAlias = tuple[asyncio.AbstractEventLoop, Callable[[], object]]

ADDRESS: Final = "127.0.0.1"
#: The handlers set limits of their own, and refuse in the API's words; Tornado is not to come before them.
_LARGEST_BODY: Final = 1024**4


@dataclass(frozen=True)
class ServerThread:
    """A server that is running.

    Knows nothing of its owner: neither the thread nor a finalizer that stops it may keep the owner alive.
    """

    port: int
    thread: Thread
    loop: asyncio.AbstractEventLoop
    _request_stop: Callable[[], object]
    #: Process that it runs in: one forked from that has neither its thread nor the right to stop it.
    pid: int

    def run(self, work: Coroutine[Any, Any, T], seconds: float) -> T | None:
        """Run a coroutine in the server's loop and return its result; None if it takes longer."""
        if self.pid != os.getpid():
            work.close()
            return None
        try:
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
        except RuntimeError:  # it has just been stopped
            work.close()
            return None
        try:
            return future.result(seconds)
        except (TimeoutError, CancelledError):
            future.cancel()
            return None

    def stop(self) -> None:
        """Close every connection, streams in mid-answer too, and wait for the thread to end."""
        with suppress(RuntimeError):  # the loop is closed already
            self._request_stop()
        # The garbage collector runs finalizers in whatever thread it is in, the server's own not excepted.
        if self.thread is not current_thread():
            self.thread.join()


def start_server_thread(state: State, port: int) -> ServerThread:
    """Serve on 127.0.0.1; returns once it accepts connections.  Raises OSError for a port that is taken."""
    listener = socket.create_server((ADDRESS, port))
    listener.setblocking(False)
    ready: Future[_Ready] = Future()
    thread = Thread(target=_run, args=(state, listener, ready), name="puq-sandbox", daemon=True)
    thread.start()
    loop, ask_to_stop = ready.result()
    return ServerThread(listener.getsockname()[1], thread, loop, ask_to_stop, os.getpid())


def _run(state: State, listener: socket.socket, ready: Future[_Ready]) -> None:
    # A selector loop by name: whatever policy the kernel has set is for the kernel's loop.
    with listener, asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        try:
            runner.run(_serve(state, listener, ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)


async def _serve(state: State, listener: socket.socket, ready: Future[_Ready]) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    work = WorkQueue()
    server = _Server(make_app(state, work), max_body_size=_LARGEST_BODY)
    server.add_socket(listener)
    ready.set_result((loop, lambda: loop.call_soon_threadsafe(stopping.set)))
    await stopping.wait()
    server.stop()
    await server.close_all_connections()
    # The handlers have been told that their clients are gone; let them end by themselves.
    handlers = asyncio.all_tasks() - {asyncio.current_task()}
    if handlers:
        await asyncio.wait(handlers, timeout=1)
    work.close()


class _Server(HTTPServer):
    def handle_stream(self, stream: IOStream, address: tuple[object, ...]) -> None:
        stream.set_nodelay(True)  # each event of a stream leaves at once
        super().handle_stream(stream, address)


#: Seconds, a little more than the upstream is given to list its models.
_TO_LOOK: Final = 5.0
#: More than any class has.
_MOST_KEYS: Final = 1000


class Sandbox:
    """A router on 127.0.0.1, of itself with scripted answers.  A context manager; may be started again after a stop.

    ``pace`` is in chunks per second (None: a pleasant default; 0: as fast as possible), ``balance`` in
    credits.  ``fail`` plans faults for the next paid requests, ``"429:2,500"``: two 429, then nothing but
    500.  ``drop_after`` cuts the connection after so many chunks of a stream.  ``models`` makes the list that
    long with invented ones.  ``max_upload_bytes`` is in bytes.  ``port`` 0 takes any free one; ``token`` None
    makes one up.  ``keys`` makes up more of them, each with as many credits, for others on this machine.

    ``local`` adds small models that answer for real on this machine, with the file ``gguf`` (which implies it) as
    the one to chat with, if it is given.  ``upstream`` is the address of an OpenAI-compatible server whose models
    are listed and answer as well, ``upstream_key`` the key for it, which goes nowhere else.  ``price`` is what chats
    with real models cost, in credits per million tokens of prompt and of completion.

    Raises ValueError for a value that does not fit, OSError for a file that cannot be read, and ImportError where
    what ``local`` needs is not installed.
    """

    def __init__(
        self,
        *,
        pace: float | None = None,
        balance: float = 100.0,
        fail: str | None = None,
        drop_after: int | None = None,
        models: int | None = None,
        max_upload_bytes: int = MAX_UPLOAD_BYTES,
        port: int = 0,
        token: str | None = None,
        local: bool = False,
        gguf: Path | None = None,
        upstream: str | None = None,
        upstream_key: str | None = None,
        price: Price = DEFAULT_PRICE,
        keys: int = 1,
    ) -> None:
        price, local = _checked_price(price), local or gguf is not None
        self._state = State(
            TokenAccount(balance, token),
            max_upload_bytes,
            others=[TokenAccount(balance) for _ in range(1, _checked_keys(keys))],
            local=local_models(gguf.stem if gguf else None, price) if local else (),
            engines=_engines(gguf) if local else {},
            upstream=Upstream(upstream, upstream_key, price) if upstream else None,
        )
        self._state.configure(pace=pace, balance=balance, fail=fail, drop_after=drop_after, models=models)
        if not 0 <= port <= 65535:
            raise ValueError(f"A port is a number from 0 to 65535; not {port!r}")
        self._port = port
        self._service: ServerThread | None = None
        self._finalizer: weakref.finalize[..., Self] | None = None
        self._lock = Lock()

    def start(self) -> Self:
        """Start serving, if it is not running yet; raises OSError for a port that is taken."""
        with self._lock:
            if self._service is None:
                self._service = start_server_thread(self._state, self._port)
                # Also run at exit: no thread outlives its owner.
                self._finalizer = weakref.finalize(self, _end, self._service, self._state.engines)
        return self

    def stop(self) -> None:
        """Stop serving and close all connections; does nothing when it is not running."""
        with self._lock:
            finalizer, self._finalizer, self._service = self._finalizer, None, None
            if finalizer is not None:
                finalizer()

    def configure(self, **changes: Unpack[SettingsChanges]) -> None:
        """Change the given settings, running or not; a stream takes a new pace from its next chunk on.

        None means what it means to the constructor: ``fail=None`` plans no more faults.  Raises ValueError
        for an invalid value, and then changes nothing.
        """
        self._state.configure(**changes)

    @property
    def running(self) -> bool:
        """True while it is serving."""
        return self._service is not None

    @property
    def base_url(self) -> str:
        """Base URL, as ``http://127.0.0.1:PORT``; raises RuntimeError when it is not running."""
        service = self._service
        if service is None:
            raise RuntimeError("The sandbox is not running: start() it first")
        return f"http://{ADDRESS}:{service.port}"

    @property
    def default_models(self) -> Mapping[Kind, str]:
        """For each kind (chat, image, speech, transcription), the model to ask when none is named.

        One that answers for real where there is one; for the upstream's, this may wait a few seconds for its list.
        """
        self._refresh_upstream()
        return self._state.default_models

    @property
    def upstream_error(self) -> str:
        """Reason why the upstream's models cannot be listed; empty if they can, or without an upstream."""
        self._refresh_upstream()
        return self._state.upstream.models_error if self._state.upstream else ""

    def has_model(self, model: str) -> bool:
        """True if a model is on its list, or may be."""
        if model in self._state.models:
            return True
        # Those of the upstream may not have been looked up yet.
        return self._state.upstream is not None and model.startswith(f"{UPSTREAM.code}/")

    @property
    def default_chat_model(self) -> str:
        """The model to chat with when none is named."""
        return self.default_models["chat"]

    @property
    def token(self) -> str:
        """The key that it takes: the owner's, where there are others."""
        return self._state.account.token

    @property
    def tokens(self) -> tuple[str, ...]:
        """All keys that it takes, the owner's first."""
        return tuple(account.token for account in self._state.accounts)

    @property
    def balance(self) -> float:
        """The credits left to the owner."""
        return self._state.account.balance

    @property
    def settings(self) -> Settings:
        """Current settings: pace, balance, remaining faults, drop_after, models."""
        return self._state.settings

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """The last thousand requests with their status, oldest first; never with the key."""
        return self._state.requests

    def _refresh_upstream(self) -> None:
        service, upstream = self._service, self._state.upstream
        if service is not None and upstream is not None and not upstream.models:
            service.run(upstream.refresh_models(), _TO_LOOK)

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


def _end(service: ServerThread, engines: Mapping[Kind, Engine]) -> None:
    if service.pid != os.getpid():
        return
    service.stop()
    for engine in engines.values():
        engine.stop()


def _engines(gguf: Path | None) -> Mapping[Kind, Engine]:
    from puq_magics.sandbox.local import check_installed, engines
    from puq_magics.sandbox.local.gguf import read_gguf
    from puq_magics.sandbox.local.weights import CHAT_WEIGHTS, FETCH_COMMAND

    if gguf is not None:
        read_gguf(gguf)
    check_installed()
    if gguf is None and not CHAT_WEIGHTS.is_present:
        raise FileNotFoundError(
            f"The weights of the chat model are not on this machine yet; this gets them: {FETCH_COMMAND}"
        )
    return dict(engines(CHAT_WEIGHTS.path, gguf).items())


def _checked_keys(keys: int) -> int:
    if not 1 <= keys <= _MOST_KEYS:
        raise ValueError(f"The number of keys is from 1 to {_MOST_KEYS}; not {keys!r}")
    return keys


def _checked_price(price: Price) -> Price:
    if len(price) != 2 or not all(math.isfinite(credits_) and credits_ >= 0 for credits_ in price):
        raise ValueError(f"A price is two numbers of credits, 0 or more; not {price!r}")
    return price
