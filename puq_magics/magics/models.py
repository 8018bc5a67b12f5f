"""List the models, and choose a default model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from IPython.display import display

from puq_magics.api.types import Model
from puq_magics.core.errors import ConfigurationError, InputError
from puq_magics.core.suggestions import did_you_mean
from puq_magics.magics.views import show_value
from puq_magics.outputs.tables.table import ModelTable
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
    number = len(select_models(session, include_disabled=args.all))
    options = [f"--{name} {getattr(args, name)}" for name in ("kind", "provider") if getattr(args, name)]
    words = " ".join((*terms, *options))
    return f"none of {number:,} models match '{words}'" if words else "no models"


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


def choose(session: Session, args: argparse.Namespace, terms: Sequence[str]) -> ModelChooser:
    """Show the chooser; a choice applies at once. Raises APIError, and ConfigurationError in a terminal."""
    if not session.in_notebook:
        raise ConfigurationError(
            "the chooser needs a notebook.",
            hint="%puq_models lists the models; %config PuqMagics.chat_model = '…' chooses one.",
        )
    from puq_magics.widgets.chooser import ModelChooser

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
        if code and setting:  # the widget can show other kinds, and some have no magic
            setattr(session.settings, setting, code)

    chooser.observe(_apply_choice, "value")
    display(chooser)
    session.mark_displayed(chooser)
    return chooser
