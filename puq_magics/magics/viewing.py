"""What shows a chat's answer, as the settings and the options say."""

from __future__ import annotations

import argparse

from puq_magics.outputs.views.view import QuietView, View
from puq_magics.session.session import Workspace

#: Formats that make sense only once they are whole.
_WHOLE = ("json", "html")


def chat_view(workspace: Workspace, args: argparse.Namespace, shown_as: str = "markdown") -> View:
    """The view of one call; text is printed as it comes, in a notebook too."""
    footer, live = workspace.settings.footer, workspace.effective.live
    if args.quiet:
        return QuietView()
    if not workspace.in_notebook or shown_as == "text":
        from puq_magics.outputs.views.terminal import TerminalView

        return TerminalView(footer=footer, live=live)
    if shown_as in _WHOLE:
        from puq_magics.outputs.whole_view import WholeView

        return WholeView(footer=footer, live=live)
    from puq_magics.outputs.views.notebook import NotebookView

    return NotebookView(footer=footer, live=live)
