"""Upstream server that speaks the OpenAI API: llama.cpp, Ollama, vLLM and others."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final
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

#: Seconds for which a model list is kept, and until the next attempt after a failure or for a missing model.
_LIST_TTL: Final = 60.0
_LIST_RETRY_INTERVAL: Final = 5.0
#: Seconds to wait for a model list: this router's own models are listed in any case.
_TIMEOUT: Final = 3.0
_MAX_LIST_BYTES: Final = 4 * 1024 * 1024
#: Parts of the names of models that do not chat.
_OTHER_KINDS: Final = ("embed", "rerank", "whisper", "tts", "image", "moderation")
_EXAMPLE: Final = "http://127.0.0.1:11434/v1"


class Upstream(Backend):
    """Upstream server for chats; its model list is fetched on demand and refreshed after a while.

    ``address`` may end in ``/v1``, in another path (used as it is), or with the host.  ``key`` is sent only to this
    server.  Raises ValueError for an invalid address or key.
    """

    def __init__(self, address: str, key: str | None = None, price: Price = DEFAULT_PRICE) -> None:
        url = _base_url(address)
        if key and not (key.isascii() and key.isprintable()):
            raise ValueError("The upstream's key has characters that no HTTP header can hold")
        tls = ssl.create_default_context() if url.startswith("https:") else None
        self._endpoint = Endpoint(url, key or None, tls=tls)
        self._schemes_tried = False
        self._price = price
        self._models: Mapping[str, ModelEntry] = MappingProxyType({})
        #: Reason why the last refresh failed; empty if it succeeded.
        self.models_error = ""
        self._refreshed_at = -math.inf
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Base URL, as ``http://HOST:PORT/v1``."""
        return self._endpoint.url

    @property
    def name(self) -> str:
        """Name for error messages."""
        return f"The upstream {self.url}"

    @property
    def models(self) -> Mapping[str, ModelEntry]:
        """Its models by their code, as of the last refresh."""
        return self._models

    @property
    def default_model(self) -> str | None:
        """Code of its first model that by its name is for chats; None if none is known."""
        chats = (code for code in self._models if not any(kind in code.lower() for kind in _OTHER_KINDS))
        return next(chats, None)

    async def refresh_models(self) -> None:
        """Refresh the model list if it is old; never raises, and waits a few seconds at most."""
        await self._refresh_after(_LIST_RETRY_INTERVAL if self.models_error else _LIST_TTL)

    async def find(self, code: str) -> ModelEntry | None:
        """Return the model of that code, if there is one; raises ErrorResponse (503) if listing them fails."""
        if code not in self._models:
            await self._refresh_after(_LIST_RETRY_INTERVAL)
        if code not in self._models and self.models_error:
            raise ErrorResponse(503, f"{self.name} cannot say which models it has: {self.models_error}")
        return self._models.get(code)

    @asynccontextmanager
    async def acquire(self, disconnected: asyncio.Future[None]) -> AsyncIterator[Endpoint]:  # noqa: ARG002 - nobody waits here
        """Yield the endpoint at once: the upstream schedules its requests itself."""
        yield self._endpoint

    def change_auth_scheme(self, rejected: Endpoint) -> bool:
        """Return whether to ask again: with ``Token`` once ``Bearer`` was rejected, or with what others found."""
        if rejected.key and rejected == self._endpoint and not self._schemes_tried:
            self._schemes_tried = True
            self._endpoint = replace(self._endpoint, auth_scheme="Token")
        return rejected != self._endpoint

    def redact(self, text: str) -> str:
        """Remove the key from the upstream's own text."""
        key = self._endpoint.key
        return text.replace(key, "…") if key else text

    async def _refresh_after(self, seconds: float) -> None:
        task = self._refreshing
        if task is None or task.done():
            if time.monotonic() < self._refreshed_at + seconds:
                return
            task = self._refreshing = asyncio.ensure_future(self._refresh())
        # Shielded: one client may disconnect while others wait for the same list.
        await asyncio.shield(task)

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                self._models, self.models_error = await self._fetch_models(), ""
        except TimeoutError:
            self.models_error = f"it does not answer within {_TIMEOUT:.0f} seconds"
        except (UnreachableError, IncompleteResponseError, ValueError) as error:
            self.models_error = self.redact(str(error))
        finally:
            self._refreshed_at = time.monotonic()

    async def _fetch_models(self) -> Mapping[str, ModelEntry]:
        endpoint = self._endpoint
        async with send_request(endpoint, "GET", "/models") as response:
            body = await response.read_all(_MAX_LIST_BYTES)
        if response.status == 401 and self.change_auth_scheme(endpoint):
            return await self._fetch_models()
        if response.status in (401, 403):
            problem = "refuses the key" if self._endpoint.key else "wants a key"
            raise ValueError(f"it {problem} ({response.status})")
        if response.status != 200:
            raise ValueError(f"listing its models failed with status {response.status}")
        try:
            names = _model_names(json.loads(body))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ValueError("its model list is not valid") from None
        models = (upstream_model(name, self._price) for name in names)
        return MappingProxyType({model.code: model for model in models})


def _model_names(answer: Any) -> list[str]:
    """Return the names in OpenAI's list, or in that of a router like this one."""
    if "data" in answer:
        return [str(entry["id"]) for entry in answer["data"]]
    return [str(entry["code"]) for entry in answer["models"]]


def _base_url(address: str) -> str:
    """Return the base URL, which ends in ``/v1`` or the address's own path; raises ValueError for the user."""
    try:
        parts = urlsplit(address.strip())
        _port = parts.port
    except ValueError:
        raise ValueError(f"The upstream's address is not valid: write it like {_EXAMPLE}") from None
    if parts.username or parts.password:
        raise ValueError(
            "The upstream's address must not contain a user or password; its key is passed separately"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"The upstream's address must be like {_EXAMPLE}, not {address!r}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"
