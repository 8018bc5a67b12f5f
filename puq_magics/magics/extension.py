"""What ``%load_ext`` registers, and ``%unload_ext`` takes away again."""

from __future__ import annotations

from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets import TraitError
from traitlets.config import Config

from puq_magics.magics import question_marks as questions
from puq_magics.magics.commands import (
    BaseMagics,
    PuqChatMagics,
    PuqChatsMagics,
    PuqCostsMagics,
    PuqFixMagics,
    PuqImageMagics,
    PuqKeyMagics,
    PuqModelsMagics,
    PuqSessionMagics,
    PuqSpeakMagics,
    PuqTranscribeMagics,
)
from puq_magics.magics.completion import matcher as completion
from puq_magics.session.session import LAST_RESULT, Session
from puq_magics.session.settings import PuqMagics

_MAGICS_CLASSES = (
    PuqChatMagics,
    PuqChatsMagics,
    PuqImageMagics,
    PuqSpeakMagics,
    PuqTranscribeMagics,
    PuqSessionMagics,
    PuqKeyMagics,
    PuqModelsMagics,
    PuqCostsMagics,
    PuqFixMagics,
)


def load(shell: InteractiveShell) -> None:
    """Register the magics and their settings; a second load changes nothing."""
    if _registered_magics(shell):
        return
    session = Session(shell)
    configurables: list[Any] = shell.configurables
    configurables.append(session.settings)
    for kind in _MAGICS_CLASSES:
        shell.register_magics(kind(session))
    questions.install(shell)
    completion.install(session)


def unload(shell: InteractiveShell) -> None:
    """Take away all that ``load`` brought, close the connections and stop the sandbox.

    The conversations stay with the shell, for another ``load``.
    """
    registered = _registered_magics(shell)
    if not registered:
        return
    session = registered[0].session
    for magics in registered:
        for kind, functions in magics.magics.items():
            known = shell.magics_manager.magics[kind]
            for name in [name for name, function in functions.items() if known.get(name) is function]:
                del known[name]
        del shell.magics_manager.registry[type(magics).__name__]
        magics.close()
    ours = [*registered, session.settings]
    shell.configurables[:] = [each for each in shell.configurables if not any(each is one for one in ours)]
    questions.uninstall(shell)
    completion.uninstall(shell)
    session.close()
    _discard_invalid_config(shell, session.settings)
    shell.drop_by_id({LAST_RESULT: shell.user_ns.get(LAST_RESULT)})


def _discard_invalid_config(shell: InteractiveShell, settings: PuqMagics) -> None:
    """Put what was in force where ``%config`` was told what is no value: the shell would tell it the next load."""
    config_section = shell.config.get(PuqMagics.__name__, {})
    for name in [name for name in config_section if settings.has_trait(name)]:
        try:
            PuqMagics(config=Config({PuqMagics.__name__: {name: config_section[name]}}))
        except TraitError:
            config_section[name] = getattr(settings, name)


def _registered_magics(shell: InteractiveShell) -> list[BaseMagics]:
    registry = shell.magics_manager.registry
    return [registry[kind.__name__] for kind in _MAGICS_CLASSES if kind.__name__ in registry]
