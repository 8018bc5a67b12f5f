"""What ``%puq_models``, ``%puq_balance`` and ``%puq_usage`` do; imported when they are asked for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, TypeVar

from IPython.display import display

from puq_magics.api.types import Model
from puq_magics.core.errors import ConfigurationError, InputError
from puq_magics.core.suggestions import nearest
from puq_magics.outputs.results.base import PaintedOnce
from puq_magics.outputs.tables.table import ModelTable
from puq_magics.outputs.tables.usage_report import UsageReport
from puq_magics.session.balance import Balance, look_at_balance
from puq_magics.session.session import Workspace
from puq_magics.session.settings import model_setting
from puq_magics.widgets.chooser import ModelChooser

T = TypeVar("T", bound=PaintedOnce)


def list_models(workspace: Workspace, args: argparse.Namespace, words: Sequence[str]) -> ModelTable:
    """Show the models that fit. Raises APIError, and InputError for a provider that is not there."""
    account = workspace.account()
    models = selection(
        workspace,
        kind=args.kind,
        provider=args.provider,
        words=words,
        disabled_too=args.all,
        refresh=args.refresh,
    )
    kinds = {model.code: account.kind(model.code) for model in models}
    table = ModelTable(models, kind_of=kinds, price_unit=price_words(workspace))
    return _shown(workspace, table, args)


def selection(
    workspace: Workspace,
    *,
    kind: str | None = None,
    provider: str | None = None,
    words: Sequence[str] = (),
    disabled_too: bool = False,
    refresh: bool = False,
) -> list[Model]:
    """The models of a kind and a provider that have all the words in their code, name or provider."""
    account = workspace.account()
    models = list(account.catalogue.fetch(refresh=refresh).values())
    if provider is not None:
        models = _of_provider(models, provider)
    wanted = [word.casefold() for word in words]
    return [
        model
        for model in models
        if (disabled_too or model.enabled)
        and (kind is None or account.kind(model.code) == kind)
        and all(word in f"{model.code} {model.name} {model.provider}".casefold() for word in wanted)
    ]


def price_words(workspace: Workspace) -> str:
    """What the list's prices are in."""
    unit = workspace.settings.price_unit
    return "credits per 1M tokens" if unit == 1_000_000 else f"credits per {unit:,} tokens"


def show_balance(workspace: Workspace) -> Balance:
    """Show the balance. Raises APIError."""
    balance = look_at_balance(workspace)
    print(balance)  # noqa: T201 - what was asked for
    workspace.mark_painted(balance)
    return balance


def report_usage(workspace: Workspace, args: argparse.Namespace) -> UsageReport:
    """Show what was used."""
    entries = workspace.ledger.entries(all_sessions=args.all)
    title = "all sessions" if args.all else "this session"
    if args.all and not workspace.ledger.on:
        title = "this session: the ledger is off"
    notes = [workspace.ledger.problem] if workspace.ledger.problem else []
    report = UsageReport(entries, title=title, notes=notes)
    return _shown(workspace, report, args)


def _shown(workspace: Workspace, value: T, args: argparse.Namespace) -> T:
    workspace.remember(value, args.out)
    if not args.quiet:
        display(value)
    workspace.mark_painted(value)
    return value


def _of_provider(models: Sequence[Model], provider: str) -> list[Model]:
    wanted = provider.casefold()
    found = [m for m in models if wanted in (m.provider.casefold(), m.code.split("/", 1)[0].casefold())]
    if not found:
        providers = sorted({model.code.split("/", 1)[0] for model in models if "/" in model.code})
        near = nearest(provider, providers)
        meant = f" Did you mean {near}?" if near else ""
        raise InputError(
            f"there is no provider {provider}.{meant}", hint=f"There are: {', '.join(providers[:20])}."
        )
    return found


def choose(workspace: Workspace, args: argparse.Namespace, words: Sequence[str]) -> ModelChooser:
    """Show the chooser; a choice is in force at once. Raises ConfigurationError in a terminal, APIError."""
    if not workspace.in_notebook:
        raise ConfigurationError(
            "the chooser needs a notebook.",
            hint="%puq_models lists the models; %config PuqMagics.chat_model = '…' chooses one.",
        )
    account = workspace.account()
    default = workspace.default_model(args.kind) or ""

    def _line(model: Model) -> str:
        setting = model_setting(account.kind(model.code))
        return f"%config PuqMagics.{setting} = {model.code!r}" if setting else ""

    chooser = ModelChooser(
        selection(workspace, provider=args.provider, words=words),
        kind_of=lambda model: account.kind(model.code),
        kind=args.kind,
        value=workspace.settings.aliases.get(default, default),
        price_unit=price_words(workspace),
        line=_line,
    )

    def _use(change: dict[str, Any]) -> None:
        code = change["new"]
        setting = model_setting(account.kind(code))
        if code and setting:  # the kind can be changed in the widget, and some kinds have no magic
            setattr(workspace.settings, setting, code)

    chooser.observe(_use, "value")
    display(chooser)
    workspace.mark_painted(chooser)
    return chooser
