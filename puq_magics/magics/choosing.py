"""What ``%puq_choose`` does; imported when it is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from IPython.display import display

from puq_magics.core.errors import ConfigurationError
from puq_magics.api.types import Model
from puq_magics.magics.listing import price_words, selection
from puq_magics.session.settings import model_setting
from puq_magics.session.session import Workspace
from puq_magics.widgets.chooser import ModelChooser


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
