"""Hints for errors of the router, in terms of the magics."""

from __future__ import annotations

from math import ceil
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
from puq_magics.core.suggestions import closest_matches
from puq_magics.core.text import pluralize
from puq_magics.outputs.results.footer import format_credits
from puq_magics.session.account import available_models
from puq_magics.session.budget import CallInfo

if TYPE_CHECKING:
    from puq_magics.session.session import Session

_UNITS = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}  # seconds
_PRICES_TIMEOUT = 3.0  # seconds to wait for prices that make an error clearer


def add_hint(error: APIStatusError, session: Session, info: CallInfo) -> None:
    """Put into the error's hint what helps here."""
    model = info.model
    if isinstance(error, AuthenticationError):
        error.hint = _key_hint(session)
    elif isinstance(error, PaymentRequiredError) and not error.reason:
        error.hint = _balance_hint(session, info)
    elif isinstance(error, PermissionDeniedError):
        error.hint = f"Use another model, or have {model} granted to this key in the dashboard."
    elif isinstance(error, NotFoundError):
        error.hint = _model_hint(session, info)
    elif isinstance(error, RateLimitError):
        error.hint = f"Try again {_retry_time(error.retry_after)}."


def _key_hint(session: Session) -> str:
    credential = session.credentials.find(session.address())
    if credential is None:
        hint = "No key was sent: %puq_login takes one."
        if session.address().is_loopback:
            hint += " %puq_sandbox starts a local router that needs none."
        return hint
    hint = f"The key is from {credential.source} (…{credential.key.tail}): %puq_login takes another."
    scheme = session.effective.auth_scheme
    if scheme == "Bearer" or session.address().is_puq_ai or session.effective.is_sandbox:
        return hint
    return f"{hint} It was sent as {scheme}; many servers want %config PuqMagics.auth_scheme = 'Bearer'"


def _balance_hint(session: Session, info: CallInfo) -> str:
    account = session.account()
    account.model_list.fetch_in_background()
    try:
        said = f"The balance is {format_credits(account.balance(quick=True))}"
        account.model_list.wait(_PRICES_TIMEOUT)
    except (APIError, KeyboardInterrupt):
        said = "The balance is 0 or below"
    estimate = account.estimate(info)
    said += f", and this call may cost {estimate}" if estimate.cost is not None else f"; {estimate}"
    if session.sandbox is not None and session.effective.is_sandbox:
        return f"{said}. Top up the sandbox: %puq_sandbox --balance 100"
    return f"{said}. Top up in the dashboard of {session.address().host}."


def _model_hint(session: Session, info: CallInfo) -> str:
    try:
        known = session.account().model_list.fetch()
    except (APIError, KeyboardInterrupt):
        return "Check the model's name and the base URL (%puq shows it)."
    if info.model in known:
        return (
            f"The router lists {info.model}: it may not be a {info.kind} model (%puq_models lists the kinds), or"
            " the base URL may be wrong (%puq shows it)."
        )
    codes = [code for code, model in known.items() if model.enabled]
    near = closest_matches(info.model, codes, 3, cutoff=0.4)
    if not near:
        last = info.model.rsplit("/", 1)[-1].lower()
        near = [code for code in codes if last in code.lower()][:3]
    if near:
        return f"The nearest names: {', '.join(near)}."
    return (
        available_models(session.account(), info.kind).strip() or "The router lists no models of that kind."
    )


def _retry_time(seconds: float | None) -> str:
    if seconds is None:
        return "in a minute"
    if not seconds <= _UNITS["day"] * 365:
        return "later"
    unit, size = next(
        (unit, size) for unit, size in _UNITS.items() if seconds >= 2 * size or unit == "second"
    )
    number = ceil(seconds / size)
    return f"in {pluralize(number, unit)}" if number else "now"
