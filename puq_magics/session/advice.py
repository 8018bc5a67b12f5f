"""What to do about an error of the router, in the words of this shell's magics."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from puq_magics.api.errors import (
    APIError,
    AuthenticationError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    StatusError,
)
from puq_magics.api.kinds import model_kind
from puq_magics.api.wire import Model

if TYPE_CHECKING:
    from puq_magics.session.workspace import Workspace


def advise(error: StatusError, workspace: Workspace, model: str) -> None:
    """Put into the error's hint what helps here."""
    if isinstance(error, AuthenticationError):
        error.hint = _about_key(workspace)
    elif isinstance(error, PaymentRequiredError):
        error.hint = _about_balance(workspace)
    elif isinstance(error, PermissionDeniedError):
        error.hint = (
            f"This key is not granted {model}: use another model, or have it granted in the dashboard."
        )
    elif isinstance(error, NotFoundError):
        error.hint = _about_model(workspace, model)
    elif isinstance(error, RateLimitError):
        error.hint = f"Try again {_soon(error.retry_after)}."


def some_models(models: Iterable[Model], limit: int = 8) -> str:
    """A sentence that lists some chat models."""
    codes = [model.code for model in models if model_kind(model.code) == "chat"]
    if not codes:
        return ""
    more = f" and {len(codes) - limit} more" if len(codes) > limit else ""
    return f" This key can use {', '.join(codes[:limit])}{more}."


def _about_key(workspace: Workspace) -> str:
    credential = workspace.credentials.find(workspace.address())
    if credential is None:
        return "No key was sent: %puq_login takes one."
    return f"The key is from {credential.source} (…{credential.key.tail}): %puq_login takes another."


def _about_balance(workspace: Workspace) -> str:
    if workspace.sandbox is not None and workspace.effective.base_url == "sandbox":
        return "Top up the sandbox: %puq_sandbox --balance 100"
    try:
        said = f"The balance is {workspace.router().balance():,.2f} credits. "
    except (APIError, KeyboardInterrupt):
        said = "The balance is 0 or below. "
    return f"{said}Top up in the dashboard of {workspace.address().host}."


def _about_model(workspace: Workspace, model: str) -> str:
    try:
        codes = [listed.code for listed in workspace.router().models()]
    except (APIError, KeyboardInterrupt):
        return "Check the model's name and the base URL (%puq shows it)."
    near = get_close_matches(model, codes, n=3, cutoff=0.4)
    if not near:
        last = model.rsplit("/", 1)[-1].lower()
        near = [code for code in codes if last in code.lower()][:3]
    if near:
        return f"The nearest names: {', '.join(near)}."
    return some_models([Model(code, code) for code in codes]).strip() or "The router lists no models."


def _soon(seconds: float | None) -> str:
    if seconds is None:
        return "in a minute"
    return f"in {seconds:.0f} seconds" if seconds < 120 else f"in {seconds / 60:.0f} minutes"
