"""What shows images, speech and transcripts, as the settings and the options say."""

from __future__ import annotations

import argparse

from puq_magics.outputs.views.media import MediaView, NotebookMediaView, QuietMediaView, TerminalMediaView
from puq_magics.outputs.views.view import ChatView, QuietChatView
from puq_magics.session.session import Session

#: Formats that make sense only once they are whole.
_UNSTREAMED_FORMATS = ("json", "html")


def chat_view(session: Session, args: argparse.Namespace, answer_format: str = "markdown") -> ChatView:
    """The view of one call; text is printed as it comes, in a notebook too."""
    footer, live = session.settings.footer, session.effective.live
    if args.quiet:
        return QuietChatView()
    if not session.in_notebook or answer_format == "text":
        from puq_magics.outputs.views.terminal import TerminalView

        return TerminalView(footer=footer, live=live)
    if answer_format in _UNSTREAMED_FORMATS:
        from puq_magics.outputs.views.notebook import BufferedNotebookView

        return BufferedNotebookView(footer=footer, live=live)
    from puq_magics.outputs.views.notebook import NotebookView

    return NotebookView(footer=footer, live=live)


def media_view(
    session: Session, args: argparse.Namespace, activity: str, *, autoplay: bool = False
) -> MediaView:
    """The view of one call; ``activity`` says what goes on while it waits."""
    settings, live = session.settings, session.effective.live
    if args.quiet:
        return QuietMediaView()
    if not session.in_notebook:
        return TerminalMediaView(activity=activity, footer=settings.footer, live=live)
    return NotebookMediaView(
        activity=activity,
        footer=settings.footer,
        live=live,
        max_embed_mb=settings.max_embed_mb,
        autoplay=autoplay,
    )


def autoplay_warning(session: Session, args: argparse.Namespace) -> str:
    """Why ``--autoplay`` starts nothing here, as a note; empty where it does."""
    if args.quiet:
        return "not played: -q shows no player"
    if not session.in_notebook:
        return "not played: a terminal has no player"
    return "" if session.effective.live else "not played: displays are not updated (PuqMagics.live)"
