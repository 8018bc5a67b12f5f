"""Somebody else's server that speaks the OpenAI API, behind this router: llama.cpp, Ollama, vLLM and others."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from puq_magics.sandbox.backends.backend import Backend
from puq_magics.sandbox.backends.http_client import (
    Endpoint,
    IncompleteResponseError,
    UnreachableError,
    send_request,
)
from puq_magics.sandbox.models import DEFAULT_PRICE, ModelEntry, Price, upstream_model
from puq_magics.sandbox.validation import ErrorResponse

#: Seconds for which a list of models is good, and until another is asked for where one was missing, or lacks a model.
_LIST_TTL: Final = 60.0
_LIST_RETRY_INTERVAL: Final = 5.0
#: Seconds that a list of models is waited for: the models of this router are listed in any case.
_TIMEOUT: Final = 3.0
#: What the names of models for other things have in them.
_OTHER_KINDS: Final = ("embed", "rerank", "whisper", "tts", "image", "moderation")
_EXAMPLE: Final = "http://127.0.0.1:11434/v1"
#: How servers answer that cannot tell who asks, or do not let them.
_WANT_A_KEY: Final = (401, 403)
_LARGEST_LIST: Final = 16 * 1024 * 1024


class Upstream(Backend):
    """Upstream server for chats; its model list is fetched on demand and refreshed after a while.

    ``address`` may end in ``/v1``, in another path (used as it is), or with the host.  ``key`` is sent only to this
    server.  Raises ValueError for an invalid address.
    """

    def __init__(self, address: str, key: str | None = None, price: Price = DEFAULT_PRICE) -> None:
        url = _checked(address)
        if key and not (key.isascii() and key.isprintable()):
            raise ValueError("The upstream's key has signs in it that no key has")
        tls = ssl.create_default_context() if url.startswith("https:") else None
        self._server = Endpoint(url, key or None, tls)
        self._price = price
        self._models: Mapping[str, ModelEntry] = MappingProxyType({})
        #: Why they could not be had when it was last asked; empty where they could.
        self.models_error = ""
        #: When its models were last asked for.
        self._refreshed_at = -math.inf
        self._looking: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Base URL, as ``http://HOST:PORT/v1``."""
        return self._server.url

    @property
    def name(self) -> str:
        """Name for error messages."""
        return f"The upstream {self.url}"

    @property
    def models(self) -> Mapping[str, ModelEntry]:
        """Its models by their code, as they were when it was last asked."""
        return self._models

    @property
    def default_model(self) -> str | None:
        """The first of its models that by its name is for chats; None where it has none that is known yet."""
        chatting = (code for code in self._models if not any(word in code.lower() for word in _OTHER_KINDS))
        return next(chatting, None)

    async def refresh_models(self) -> None:
        """Ask for its models, if that was a while ago; never raises, and never waits for long."""
        await self._look_after(_LIST_RETRY_INTERVAL if self.models_error else _LIST_TTL)

    async def find(self, code: str) -> ModelEntry | None:
        """The model of that code, if it has one; raises ErrorResponse (503) if it cannot be asked."""
        if code not in self._models:
            await self._look_after(_LIST_RETRY_INTERVAL)
        if code not in self._models and self.models_error:
            raise ErrorResponse(503, f"{self.name} cannot say which models it has: {self.models_error}")
        return self._models.get(code)

    @asynccontextmanager
    async def acquire(self, disconnected: asyncio.Future[None]) -> AsyncIterator[Endpoint]:  # noqa: ARG002 - nobody waits here
        """Yield the endpoint at once: the upstream schedules its requests itself."""
        yield self._server

    def redact(self, words: str) -> str:
        """Words of its own without its key."""
        key = self._server.key
        return words.replace(key, "…") if key else words

    async def _look_after(self, seconds: float) -> None:
        looking = self._looking
        if looking is None or looking.done():
            if time.monotonic() < self._refreshed_at + seconds:
                return
            looking = self._looking = asyncio.ensure_future(self._look())
        # Shielded: who asked may go, and others wait for the same answer.
        await asyncio.shield(looking)

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                self._models, self.models_error = await self._list(), ""
        except TimeoutError:
            self.models_error = f"it does not answer within {_TIMEOUT:.0f} seconds"
        except (UnreachableError, IncompleteResponseError, ValueError) as error:
            self.models_error = self.redact(str(error))
        finally:
            self._refreshed_at = time.monotonic()

    async def _list(self) -> Mapping[str, ModelEntry]:
        async with send_request(self._server, "GET", "/models") as reply:
            body = await reply.read_all(_LARGEST_LIST)
            if reply.status in _WANT_A_KEY:
                how = "refuses the key" if self._server.key else "wants a key"
                raise ValueError(f"it {how} ({reply.status})")
            if reply.status != 200:
                raise ValueError(f"it answers {reply.status} when asked for them")
        names = _names(body)
        models = (upstream_model(name, self._price) for name in names)
        return MappingProxyType({model.code: model for model in models})


def _names(body: bytes) -> list[str]:
    """The models of a list, in either of its shapes."""
    try:
        listed = json.loads(body)
        return [str(line["id"]) for line in listed["data"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("its list of models is none") from None


def _checked(address: str) -> str:
    """Return the base URL up to ``/v1``; raises ValueError with a message for the user."""
    try:
        parts = urlsplit(address.strip())
        _port = parts.port
    except ValueError:
        raise ValueError(f"The upstream's address is none: write it like {_EXAMPLE}") from None
    if parts.username or parts.password:
        raise ValueError(
            "The upstream's address is to be without user and password: its key goes apart from it"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"The upstream's address is to be like {_EXAMPLE}; not {address!r}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"
