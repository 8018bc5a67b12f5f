"""Register the magics with ``%load_ext``, and unregister them with ``%unload_ext``."""

from __future__ import annotations

import sys
from typing import Any

from IPython.core.extensions import ExtensionManager
from IPython.core.interactiveshell import InteractiveShell
from traitlets import TraitError
from traitlets.config import Config

from puq_magics.magics import question_marks
from puq_magics.magics.commands import PuqCommands
from puq_magics.magics.completion import matcher as completion
from puq_magics.session.session import LAST_RESULT, Session
from puq_magics.session.settings import PuqMagics

#: Where a shell keeps the session while ``%reload_ext`` runs.
_RELOADED_KEY = "puq_magics.reloaded"


def load(shell: InteractiveShell) -> None:
    """Register the magics and their settings; a second load changes nothing."""
    if _registered(shell) is not None:
        return
    session = shell.meta.pop(_RELOADED_KEY, None) or Session(shell)
    configurables: list[Any] = shell.configurables
    configurables.append(session.settings)
    shell.register_magics(PuqCommands(session))
    question_marks.install(shell)
    completion.install(session)


def unload(shell: InteractiveShell) -> None:
    """Unregister what ``load`` registered, close the connections and stop the sandbox.

    The conversations stay with the shell, for another ``load``. ``%reload_ext`` keeps the session, with its login,
    sandbox and usage.
    """
    commands = _registered(shell)
    if commands is None:
        return
    session = commands.session
    for kind, functions in commands.magics.items():
        known = shell.magics_manager.magics[kind]
        for name in [name for name, function in functions.items() if known.get(name) is function]:
            del known[name]
    del shell.magics_manager.registry[PuqCommands.__name__]
    commands.close()
    ours: tuple[object, ...] = (commands, session.settings)
    shell.configurables[:] = [each for each in shell.configurables if not any(each is one for one in ours)]
    question_marks.uninstall(shell)
    completion.uninstall(shell)
    _discard_invalid_config(shell, session.settings)
    if _is_reloading():
        shell.meta[_RELOADED_KEY] = session
        return
    session.close()
    shell.drop_by_id({LAST_RESULT: shell.user_ns.get(LAST_RESULT)})


def _is_reloading() -> bool:
    """Return whether ``%reload_ext`` unloads the extension: IPython does not say so."""
    reload_code = ExtensionManager.reload_extension.__code__
    frame = sys._getframe()
    while frame.f_code is not reload_code and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code is reload_code


def _registered(shell: InteractiveShell) -> PuqCommands | None:
    commands: PuqCommands | None = shell.magics_manager.registry.get(PuqCommands.__name__)
    return commands


def _discard_invalid_config(shell: InteractiveShell, settings: PuqMagics) -> None:
    """Replace invalid ``%config`` values, which traitlets would apply again on the next load."""
    config_section = shell.config.get(PuqMagics.__name__, {})
    for name in [name for name in config_section if settings.has_trait(name)]:
        try:
            PuqMagics(config=Config({PuqMagics.__name__: {name: config_section[name]}}))
        except TraitError:
            config_section[name] = getattr(settings, name)
