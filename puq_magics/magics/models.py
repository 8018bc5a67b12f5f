"""List the models, and choose a default model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError
from IPython.display import display

from puq_magics.api.types import Model
from puq_magics.core.errors import InputError
from puq_magics.core.suggestions import did_you_mean
from puq_magics.magics.views import show_value
from puq_magics.outputs.tables.table import MODEL_COLUMNS, Column, ModelTable, Table, format_number
from puq_magics.session.session import Session
from puq_magics.session.settings import model_setting

if TYPE_CHECKING:
    from puq_magics.widgets.chooser import ModelChooser


def list_models(session: Session, args: argparse.Namespace, terms: Sequence[str]) -> ModelTable:
    """Show the models that match. Raises APIError, and InputError for an unknown provider."""
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
    empty = "" if models else _describe_no_match(session, args, terms)
    table = ModelTable(models, kind_of=kinds, price_unit=format_price_unit(session), empty=empty)
    return show_value(session, table, args)


def _describe_no_match(session: Session, args: argparse.Namespace, terms: Sequence[str]) -> str:
    kind, include_disabled = args.kind, getattr(args, "all", False)
    number = len(select_models(session, kind=kind, include_disabled=include_disabled))
    words = " ".join((*terms, *([f"--provider {args.provider}"] if args.provider else [])))
    models = f"{kind} models" if kind else "models"
    return f"none of {number:,} {models} match '{words}'" if words and number else f"no {models}"


def select_models(
    session: Session,
    *,
    kind: str | None = None,
    provider: str | None = None,
    terms: Sequence[str] = (),
    include_disabled: bool = False,
    refresh: bool = False,
) -> list[Model]:
    """Return the models of a kind and a provider that have all the terms in their code, name or provider."""
    account = session.account()
    models = list(account.model_list.fetch(refresh=refresh).values())
    if provider is not None:
        models = _filter_by_provider(models, provider)
    folded_terms = [term.casefold() for term in terms]
    return [
        model
        for model in models
        if (include_disabled or model.enabled)
        and (kind is None or account.kind(model.code) == kind)
        and all(term in f"{model.code} {model.name} {model.provider}".casefold() for term in folded_terms)
    ]


def format_price_unit(session: Session) -> str:
    """Return the unit of the prices in the list."""
    unit = session.settings.price_unit
    return "credits per 1M tokens" if unit == 1_000_000 else f"credits per {unit:,} tokens"


def _filter_by_provider(models: Sequence[Model], provider: str) -> list[Model]:
    folded = provider.casefold()
    matches = [m for m in models if folded in (m.provider.casefold(), m.code.split("/", 1)[0].casefold())]
    if not matches:
        providers = sorted({model.code.split("/", 1)[0] for model in models if "/" in model.code})
        hint = f"{did_you_mean(provider, providers)} There are: {', '.join(providers[:20])}.".lstrip()
        raise InputError(f"there is no provider {provider}.", hint=hint)
    return matches


def choose(session: Session, args: argparse.Namespace, terms: Sequence[str]) -> ModelChooser | None:
    """Show the chooser, or in a terminal a numbered list; a choice applies at once. Raises APIError."""
    if not session.in_notebook:
        choose_in_terminal(session, args, terms)
        return None
    from puq_magics.widgets.chooser import ModelChooser

    account = session.account()
    models = select_models(session)
    if args.provider is not None:
        code, slash, _ = _filter_by_provider(models, args.provider)[0].code.partition("/")
        terms = (f"{code}/" if slash else args.provider, *terms)
    default = session.default_model(args.kind) or ""

    def _config_line(model: Model) -> str:
        setting = model_setting(account.kind(model.code))
        return f"%config PuqMagics.{setting} = {model.code!r}" if setting else ""

    chooser = ModelChooser(
        models,
        kind_of=lambda model: account.kind(model.code),
        kind=args.kind,
        value=session.settings.aliases.get(default, default),
        price_unit=format_price_unit(session),
        line=_config_line,
        search=" ".join(terms),
    )

    def _apply_choice(change: dict[str, Any]) -> None:
        code = change["new"]
        setting = model_setting(account.kind(code))
        if code and setting:  # the widget can show other kinds, and some have no magic
            setattr(session.settings, setting, code)

    chooser.observe(_apply_choice, "value")
    display(chooser)
    session.mark_displayed(chooser)
    return chooser


_MAX_CHOICES = 20  # models of a terminal's list


def choose_in_terminal(session: Session, args: argparse.Namespace, terms: Sequence[str]) -> None:
    """Print numbered models until one is chosen; other words search, and an empty line leaves. Raises APIError."""
    setting = model_setting(args.kind)
    columns = (Column("number", format_number, "right"), *MODEL_COLUMNS[:2], *MODEL_COLUMNS[4:6])
    while True:
        models = select_models(session, kind=args.kind, provider=args.provider, terms=terms)
        shown = [
            (number, model.code, model.name, model.input_price, model.output_price)
            for number, model in enumerate(models[:_MAX_CHOICES], 1)
        ]
        caption = f"{args.kind} models; prices in {format_price_unit(session)}"
        empty = "" if models else _describe_no_match(session, args, terms)
        more = "type words to search."
        print(Table(columns, shown, caption, total=len(models), more=more, empty=empty).text())  # noqa: T201
        try:
            answer = input("Number, or words to search (Enter: leave): ").strip()
        except (EOFError, StdinNotImplementedError):
            answer = ""
        if not answer:
            print(f"{setting} stays {session.default_model(args.kind) or 'as it is'}.")  # noqa: T201
            return
        chosen = int(answer) if answer.isdecimal() else 0
        if 1 <= chosen <= len(shown):
            setattr(session.settings, setting, models[chosen - 1].code)
            print(f"%config PuqMagics.{setting} = {models[chosen - 1].code!r}")  # noqa: T201
            return
        terms = answer.split()
