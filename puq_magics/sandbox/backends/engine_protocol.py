"""Requests to a local engine, and its streamed answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from puq_magics.sandbox.backends.backend import Backend
from puq_magics.sandbox.backends.http_client import (
    HttpResponse,
    IncompleteResponseError,
    UnreachableError,
    send_request,
)
from puq_magics.sandbox.handlers import AccountHandler
from puq_magics.sandbox.streaming import as_json
from puq_magics.sandbox.validation import ErrorResponse, bad_gateway, invalid

#: Bytes of a refusal that are read.
_LARGEST_REFUSAL: Final = 64 * 1024


@asynccontextmanager
async def open_engine_request(
    handler: AccountHandler, backend: Backend, path: str, order: Mapping[str, object]
) -> AsyncIterator[HttpResponse]:
    """The engine's answer to an order, once it is the order's turn.

    Raises ErrorResponse where the engine refuses, cannot be had, or ends too early, and StreamClosedError when
    the client
    goes while it waits.
    """
    async with backend.acquire(handler.disconnected) as server:
        try:
            async with send_request(server, "POST", path, as_json(order)) as reply:
                if reply.status != HTTPStatus.OK:
                    raise await _refusal(reply, backend)
                yield reply
        except UnreachableError as error:
            raise ErrorResponse(503, await backend.unreachable_message(str(error))) from None
        except IncompleteResponseError as error:
            raise bad_gateway(await backend.truncated_message(str(error))) from None


async def _refusal(reply: HttpResponse, backend: Backend) -> ErrorResponse:
    body = await reply.read_all(_LARGEST_REFUSAL)
    if reply.status == HTTPStatus.BAD_REQUEST:
        return invalid(json.loads(body)["error"])
    return bad_gateway(f"{backend.name} failed, with status {reply.status}")
