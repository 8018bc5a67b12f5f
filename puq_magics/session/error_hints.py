"""What to do about an error of the router, in the words of this shell's magics."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from puq_magics.core.errors import (
    APIError,
    APIStatusError,
    AuthenticationError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
)
from puq_magics.outputs.results.footer import in_credits
from puq_magics.session.budget import Asked

if TYPE_CHECKING:
    from puq_magics.session.account import Account
    from puq_magics.session.session import Workspace

_PATIENCE = 3.0  # seconds to wait for prices that make an error clearer


def advise(error: APIStatusError, workspace: Workspace, asked: Asked) -> None:
    """Put into the error's hint what helps here."""
    model = asked.model
    if isinstance(error, AuthenticationError):
        error.hint = _about_key(workspace)
    elif isinstance(error, PaymentRequiredError):
        error.hint = _about_balance(workspace, asked)
    elif isinstance(error, PermissionDeniedError):
        error.hint = (
            f"This key is not granted {model}: use another model, or have it granted in the dashboard."
        )
    elif isinstance(error, NotFoundError):
        error.hint = _about_model(workspace, asked)
    elif isinstance(error, RateLimitError):
        error.hint = f"Try again {_soon(error.retry_after)}."


def some_models(account: Account, kind: str = "chat", limit: int = 8) -> str:
    """A sentence that lists some models of a kind. Raises APIError."""
    listed = account.catalogue.fetch().values()
    codes = [model.code for model in listed if model.enabled and account.kind(model.code) == kind]
    if not codes:
        return ""
    more = f" and {len(codes) - limit} more" if len(codes) > limit else ""
    return f" This key can use {', '.join(codes[:limit])}{more}."


def _about_key(workspace: Workspace) -> str:
    credential = workspace.credentials.find(workspace.address())
    if credential is None:
        return "No key was sent: %puq_login takes one."
    return f"The key is from {credential.source} (…{credential.key.tail}): %puq_login takes another."


def _about_balance(workspace: Workspace, asked: Asked) -> str:
    account = workspace.account()
    account.catalogue.begin()
    try:
        said = f"The balance is {in_credits(account.balance(quick=True))}"
        account.catalogue.wait(_PATIENCE)
    except (APIError, KeyboardInterrupt):
        said = "The balance is 0 or below"
    estimate = account.estimate(asked)
    said += f", and this call may cost {estimate}" if estimate.cost is not None else f"; {estimate}"
    if workspace.sandbox is not None and workspace.effective.is_sandbox:
        return f"{said}. Top up the sandbox: %puq_sandbox --balance 100"
    return f"{said}. Top up in the dashboard of {workspace.address().host}."


def _about_model(workspace: Workspace, asked: Asked) -> str:
    try:
        known = workspace.account().catalogue.fetch()
    except (APIError, KeyboardInterrupt):
        return "Check the model's name and the base URL (%puq shows it)."
    codes = [code for code, model in known.items() if model.enabled]
    near = get_close_matches(asked.model, codes, n=3, cutoff=0.4)
    if not near:
        last = asked.model.rsplit("/", 1)[-1].lower()
        near = [code for code in codes if last in code.lower()][:3]
    if near:
        return f"The nearest names: {', '.join(near)}."
    return some_models(workspace.account(), asked.kind).strip() or "The router lists no models of that kind."


def _soon(seconds: float | None) -> str:
    if seconds is None:
        return "in a minute"
    return f"in {seconds:.0f} seconds" if seconds < 120 else f"in {seconds / 60:.0f} minutes"
