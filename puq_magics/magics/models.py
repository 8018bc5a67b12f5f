"""What ``%puq_models``, ``%puq_balance`` and ``%puq_usage`` do; imported when they are asked for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, TypeVar

from IPython.display import display

from puq_magics.api.types import Model
from puq_magics.core.errors import ConfigurationError, InputError
from puq_magics.core.suggestions import closest_match
from puq_magics.outputs.results.base import DisplayOnce
from puq_magics.outputs.tables.table import ModelTable
from puq_magics.outputs.tables.usage_report import UsageReport
from puq_magics.session.balance import Balance, fetch_balance
from puq_magics.session.session import Session
from puq_magics.session.settings import model_setting
from puq_magics.widgets.chooser import ModelChooser

T = TypeVar("T", bound=DisplayOnce)


def list_models(session: Session, args: argparse.Namespace, terms: Sequence[str]) -> ModelTable:
    """Show the models that fit. Raises APIError, and InputError for a provider that is not there."""
    account = session.account()
    models = select_models(
        session,
        kind=args.kind,
        provider=args.provider,
        terms=terms,
        include_disabled=args.all,
        refresh=args.refresh,
    )
    kinds = {model.code: account.kind(model.code) for model in models}
    table = ModelTable(models, kind_of=kinds, price_unit=format_price_unit(session))
    return _show(session, table, args)


def select_models(
    session: Session,
    *,
    kind: str | None = None,
    provider: str | None = None,
    terms: Sequence[str] = (),
    include_disabled: bool = False,
    refresh: bool = False,
) -> list[Model]:
    """The models of a kind and a provider that have all the words in their code, name or provider."""
    account = session.account()
    models = list(account.model_list.fetch(refresh=refresh).values())
    if provider is not None:
        models = _filter_by_provider(models, provider)
    wanted = [word.casefold() for word in terms]
    return [
        model
        for model in models
        if (include_disabled or model.enabled)
        and (kind is None or account.kind(model.code) == kind)
        and all(word in f"{model.code} {model.name} {model.provider}".casefold() for word in wanted)
    ]


def format_price_unit(session: Session) -> str:
    """What the list's prices are in."""
    unit = session.settings.price_unit
    return "credits per 1M tokens" if unit == 1_000_000 else f"credits per {unit:,} tokens"


def show_balance(session: Session) -> Balance:
    """Show the balance. Raises APIError."""
    balance = fetch_balance(session)
    print(balance)  # noqa: T201 - what was asked for
    session.mark_displayed(balance)
    return balance


def report_usage(session: Session, args: argparse.Namespace) -> UsageReport:
    """Show what was used."""
    entries = session.ledger.entries(all_sessions=args.all)
    title = "all sessions" if args.all else "this session"
    if args.all and not session.ledger.enabled:
        title = "this session: the ledger is off"
    notes = [session.ledger.problem] if session.ledger.problem else []
    report = UsageReport(entries, title=title, notes=notes)
    return _show(session, report, args)


def _show(session: Session, value: T, args: argparse.Namespace) -> T:
    session.store_result(value, args.out)
    if not args.quiet:
        display(value)
    session.mark_displayed(value)
    return value


def _filter_by_provider(models: Sequence[Model], provider: str) -> list[Model]:
    wanted = provider.casefold()
    found = [m for m in models if wanted in (m.provider.casefold(), m.code.split("/", 1)[0].casefold())]
    if not found:
        providers = sorted({model.code.split("/", 1)[0] for model in models if "/" in model.code})
        near = closest_match(provider, providers)
        suggestion = f" Did you mean {near}?" if near else ""
        raise InputError(
            f"there is no provider {provider}.{suggestion}", hint=f"There are: {', '.join(providers[:20])}."
        )
    return found


def choose(session: Session, args: argparse.Namespace, terms: Sequence[str]) -> ModelChooser:
    """Show the chooser; a choice is in force at once. Raises ConfigurationError in a terminal, APIError."""
    if not session.in_notebook:
        raise ConfigurationError(
            "the chooser needs a notebook.",
            hint="%puq_models lists the models; %config PuqMagics.chat_model = '…' chooses one.",
        )
    account = session.account()
    default = session.default_model(args.kind) or ""

    def _config_line(model: Model) -> str:
        setting = model_setting(account.kind(model.code))
        return f"%config PuqMagics.{setting} = {model.code!r}" if setting else ""

    chooser = ModelChooser(
        select_models(session, provider=args.provider, terms=terms),
        kind_of=lambda model: account.kind(model.code),
        kind=args.kind,
        value=session.settings.aliases.get(default, default),
        price_unit=format_price_unit(session),
        line=_config_line,
    )

    def _apply_choice(change: dict[str, Any]) -> None:
        code = change["new"]
        setting = model_setting(account.kind(code))
        if code and setting:  # the kind can be changed in the widget, and some kinds have no magic
            setattr(session.settings, setting, code)

    chooser.observe(_apply_choice, "value")
    display(chooser)
    session.mark_displayed(chooser)
    return chooser
