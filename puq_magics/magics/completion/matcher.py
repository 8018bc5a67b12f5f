"""Matcher for IPython's completer, which the kernel and terminals share.

It is loaded with the extension, so it is small; the completer is imported by the first completion.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher
from IPython.core.interactiveshell import InteractiveShell

from puq_magics.session.session import Session

if TYPE_CHECKING:
    from puq_magics.magics.completion.completer import Completer

MATCHER_ID = "puq_magics"
_log = logging.getLogger(__name__)

# IPython completes ``\alpha`` and other LaTeX symbols, in prompts too.
_LATEX_SYMBOL = re.compile(r"\\[^\W\d_]\w*$")
# IPython offers every module of the package, and what it imports itself.
_PUBLIC_IMPORT = re.compile(
    r"^[ \t]*from[ \t]+(puq_magics(?:\.api)?)[ \t]+import\s+(?:\(\s*)?(?:\w+\s*,\s*)*(\w*)\Z", re.MULTILINE
)


class _Completions(list[SimpleCompletion]):
    """A list that is never empty to IPython.

    Only a matcher with completions can suppress others, and in prose Python's names would be a nuisance.
    """

    def __len__(self) -> int:
        return max(1, super().__len__())


def install(session: Session) -> None:
    """Add the matcher of this session."""
    session.shell.Completer.custom_matchers.append(_create_matcher(session))


def uninstall(shell: InteractiveShell) -> None:
    """Remove the matcher."""
    matchers: list[Any] = shell.Completer.custom_matchers
    matchers[:] = [each for each in matchers if getattr(each, "matcher_identifier", "") != MATCHER_ID]


def _create_matcher(session: Session) -> Callable[[CompletionContext], dict[str, Any]]:
    completers: list[Completer] = []

    def complete(context: CompletionContext) -> dict[str, Any]:
        no_completions: dict[str, Any] = {"completions": [], "suppress": False}
        if "puq" not in context.full_text.casefold():  # no magic or setting of ours
            return no_completions
        if imported := _PUBLIC_IMPORT.search(context.text_until_cursor):
            return _public_names(*imported.groups())
        try:
            if not completers:
                from puq_magics.magics.completion.completer import Completer

                completers.append(Completer(session))
            found = completers[0].complete(context.full_text, _offset(context))
        except Exception:  # noqa: BLE001 - a completion that fails must not disturb others
            _log.debug("a completion failed", exc_info=True)
            return no_completions
        if found is None or (not found.items and _LATEX_SYMBOL.search(context.text_until_cursor)):
            return no_completions
        items = found.items if context.limit is None else found.items[: context.limit]
        return {
            # A terminal shows the type on a line of its own, where a sentence has room.
            "completions": _Completions(
                SimpleCompletion(text=o.text, type=o.type if session.in_notebook else o.description or o.type)
                for o in items
            ),
            "matched_fragment": found.fragment,
            "ordered": True,
            "suppress": True,
        }

    matcher: Callable[[CompletionContext], dict[str, Any]] = context_matcher(identifier=MATCHER_ID)(complete)
    return matcher


def _public_names(module: str, fragment: str) -> dict[str, Any]:
    names: list[str] = import_module(module).__all__
    shows_hidden = fragment.startswith("_")
    found = [name for name in names if name.startswith(fragment) and (shows_hidden or name[0] != "_")]
    return {
        "completions": _Completions(SimpleCompletion(text=name, type="name") for name in found),
        "matched_fragment": fragment,
        "ordered": True,
        "suppress": True,
    }


def _offset(context: CompletionContext) -> int:
    lines = context.full_text.split("\n")[: context.cursor_line]
    return sum(len(line) + 1 for line in lines) + context.cursor_position
