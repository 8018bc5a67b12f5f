"""What shows images, speech and transcripts, as the settings and the options say."""

from __future__ import annotations

import argparse

from puq_magics.outputs.views.media import MediaView, NotebookMediaView, QuietMediaView, TerminalMediaView
from puq_magics.session.session import Workspace


def media_view(
    workspace: Workspace, args: argparse.Namespace, doing: str, *, autoplay: bool = False
) -> MediaView:
    """The view of one call; ``doing`` says what goes on while it waits."""
    settings, live = workspace.settings, workspace.effective.live
    if args.quiet:
        return QuietMediaView()
    if not workspace.in_notebook:
        return TerminalMediaView(doing=doing, footer=settings.footer, live=live)
    return NotebookMediaView(
        doing=doing, footer=settings.footer, live=live, embed_limit=settings.embed_limit, autoplay=autoplay
    )


def why_not_played(workspace: Workspace, args: argparse.Namespace) -> str:
    """Why ``--autoplay`` starts nothing here, as a note; empty where it does."""
    if args.quiet:
        return "not played: -q shows no player"
    if not workspace.in_notebook:
        return "not played: a terminal has no player"
    return "" if workspace.effective.live else "not played: displays are not updated (PuqMagics.live)"
