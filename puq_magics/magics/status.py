"""Show the status panel, the balance, and the usage."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from puq_magics.core.errors import ConfigurationError, PuqError
from puq_magics.core.text import pluralize
from puq_magics.magics.views import show_value
from puq_magics.outputs.results.footer import format_credits, format_spent
from puq_magics.outputs.tables.table import show_fields
from puq_magics.outputs.tables.usage_report import UsageReport
from puq_magics.session.balance import Balance, balance_text, fetch_balance
from puq_magics.session.budget import CostTracker
from puq_magics.session.session import Session
from puq_magics.session.settings import MODEL_KINDS, PuqMagics, model_setting

_BALANCE_TIMEOUT = 3.0  # seconds: the panel is to appear quickly


def show_balance(session: Session) -> Balance:
    """Show the balance. Raises APIError."""
    balance = fetch_balance(session)
    print(balance)  # noqa: T201 - the requested output
    session.mark_displayed(balance)
    return balance


def report_usage(session: Session, args: argparse.Namespace) -> UsageReport:
    """Show the usage of this session, or of all."""
    ledger = session.ledger
    title = "all sessions" if args.all else "this session"
    if args.all and not ledger.enabled:
        title = "this session: the ledger is off"
    notes = [ledger.problem] if ledger.problem else []
    entries = ledger.entries(all_sessions=args.all)
    return show_value(session, UsageReport(entries, title=title, notes=notes), args)


def show_status(session: Session) -> None:
    """Show the effective settings with their sources, the balance and the spending."""
    show_fields(list(_rows(session)), in_notebook=session.in_notebook)


def _rows(session: Session) -> Iterator[tuple[str, str]]:
    is_connected = True
    try:
        yield from _connection_rows(session)
    except PuqError as error:
        yield "problem", str(error)
        is_connected = False
    if is_connected or not session.effective.is_sandbox:  # a sandbox that cannot start has no models
        yield from _model_rows(session)
    yield from _setting_rows(session.settings)
    try:
        if session.policy is not None:
            yield "policy", f"{session.policy.name} (%puq_policy shows it)"
    except ConfigurationError as error:  # with which no call is made
        yield "policy", str(error)
        is_connected = False
    if (mode := session.effective.cassette_mode) != "off":
        yield "cassette", f"{mode} {session.cassette.cassette.folder.name} (%puq_cassette shows it)"
    if is_connected:
        yield from _money_rows(session)
    if problem := session.ledger.problem:
        yield "ledger", problem


def _setting_rows(settings: PuqMagics) -> Iterator[tuple[str, str]]:
    for name in ("voice", "image_size", "system", "temperature", "max_tokens"):
        value = getattr(settings, name)
        if value is not None:
            yield name, str(value)
    if settings.aliases:
        yield "aliases", ", ".join(f"{short} = {code}" for short, code in settings.aliases.items())


def _connection_rows(session: Session) -> Iterator[tuple[str, str]]:
    effective = session.effective
    if session.is_replaying:
        yield "router", f"none: {session.cassette.cassette.folder.name} answers"
        return
    address = session.address()
    _ = effective.auth_scheme, effective.timeout  # an invalid one is reported here, not at the next call
    yield "router", f"{address.url} ({effective.base_url_source})"
    yield "endpoint", address.endpoint("/v1/chat/completions")
    try:
        credential = session.credential(address)
    finally:
        if problem := session.credentials.keyring_problem:
            yield "keyring", problem
    yield (
        "key",
        f"…{credential.key.tail} from {credential.source}" if credential else "none, and none is needed",
    )


def _model_rows(session: Session) -> Iterator[tuple[str, str]]:
    for kind in filter(model_setting, MODEL_KINDS):
        model = session.default_model(kind)
        if model:
            label = "model" if kind == "chat" else model_setting(kind).removesuffix("_model")
            yield label, session.settings.aliases.get(model, model)
        elif kind == "chat":
            yield "model", "not set: use -m, or %puq_choose"


def _money_rows(session: Session) -> Iterator[tuple[str, str]]:
    account = session.account()
    yield "balance", balance_text(session, _BALANCE_TIMEOUT)
    yield "spent", _format_spending(account.costs)
    budget = session.budget
    if budget is not None:
        yield "budget", f"{format_spent(account.costs.spent, budget)} spent"


def _format_spending(costs: CostTracker) -> str:
    parts = [f"about {format_credits(costs.estimated_total)} (estimate)"] if costs.estimated_total else []
    if costs.unpriced_calls:
        parts.append(f"{pluralize(costs.unpriced_calls, 'call')} of unknown cost")
    return ", and ".join(parts) or "nothing"
