"""The status panel of ``%puq``; imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from puq_magics.core.errors import PuqError
from puq_magics.outputs.results.footer import format_credits
from puq_magics.outputs.tables.table import show_fields
from puq_magics.session.balance import balance_text
from puq_magics.session.budget import CostTracker
from puq_magics.session.session import Session
from puq_magics.session.settings import model_setting

Row = tuple[str, str]
_BALANCE_TIMEOUT = 3.0  # seconds for the balance: the panel is there to look at quickly
_KINDS = ("chat", "image", "speech", "transcription")


def show_status(session: Session) -> None:
    """Show what is in force, where it comes from, and what was spent."""
    show_fields(list(_rows(session)), in_notebook=session.in_notebook)


def _rows(session: Session) -> Iterator[Row]:
    is_connected = True
    try:
        yield from _connection_rows(session)
    except PuqError as error:
        yield "problem", str(error)
        is_connected = False
    if is_connected or not session.effective.is_sandbox:  # a sandbox that cannot start knows no models
        yield from _model_rows(session)
    settings = session.settings
    for name in ("voice", "image_size", "system", "temperature", "max_tokens"):
        value = getattr(settings, name)
        if value is not None:
            yield name, str(value)
    if settings.aliases:
        yield "aliases", ", ".join(f"{short} = {code}" for short, code in settings.aliases.items())
    if is_connected:
        yield from _money_rows(session)
    if problem := session.ledger.problem:
        yield "ledger", problem


def _connection_rows(session: Session) -> Iterator[Row]:
    effective = session.effective
    address = session.address()
    _ = effective.auth_scheme, effective.timeout  # a wrong one is said here, not at the next call
    yield "router", f"{address.url} ({effective.base_url_source})"
    try:
        credential = session.credential(address)
    finally:
        if problem := session.credentials.keyring_problem:
            yield "keyring", problem
    key = f"…{credential.key.tail} from {credential.source}" if credential else "none, and none is needed"
    yield "key", key


def _model_rows(session: Session) -> Iterator[Row]:
    for kind in _KINDS:
        model = session.default_model(kind)
        if model:
            label = "model" if kind == "chat" else model_setting(kind).removesuffix("_model")
            yield label, session.settings.aliases.get(model, model)
        elif kind == "chat":
            yield "model", "not set: use -m, or %puq_choose"


def _money_rows(session: Session) -> Iterator[Row]:
    account = session.account()
    yield "balance", balance_text(session, _BALANCE_TIMEOUT)
    yield "spent", _format_spending(account.costs)
    budget = session.settings.budget
    if budget is not None:
        left = max(0.0, budget - account.costs.spent(account.balance_drop))
        yield "budget", f"{format_credits(budget)}, {format_credits(left)} left"


def _format_spending(costs: CostTracker) -> str:
    known = f"about {format_credits(costs.estimated_total)} by estimate" if costs.estimated_total else ""
    calls = "1 call" if costs.unpriced_calls == 1 else f"{costs.unpriced_calls:,} calls"
    unpriced_calls = f"{calls} whose cost is not known" if costs.unpriced_calls else ""
    return ", and ".join(words for words in (known, unpriced_calls) if words) or "nothing"
