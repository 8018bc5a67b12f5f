"""Choose the view of a call by the settings and options."""

from __future__ import annotations

import argparse
from typing import TypeVar

from IPython.display import display

from puq_magics.outputs.results.base import DisplayOnce
from puq_magics.outputs.views.media import MediaView, NotebookMediaView, QuietMediaView, TerminalMediaView
from puq_magics.outputs.views.view import ChatView, QuietChatView
from puq_magics.session.session import Session

T = TypeVar("T", bound=DisplayOnce)

#: Formats that are shown only when complete.
_UNSTREAMED_FORMATS = ("json", "html")


def chat_view(session: Session, args: argparse.Namespace, answer_format: str = "markdown") -> ChatView:
    """Return the view of one chat call; the format ``text`` is printed, in a notebook too."""
    footer, live = session.settings.footer, session.effective.live
    if args.quiet:
        return QuietChatView()
    if not session.in_notebook or answer_format == "text":
        from puq_magics.outputs.views.terminal import TerminalView

        return TerminalView(footer=footer, live=live)
    from puq_magics.outputs.views.notebook import BufferedNotebookView, NotebookView

    view = BufferedNotebookView if answer_format in _UNSTREAMED_FORMATS else NotebookView
    return view(footer=footer, live=live)


def media_view(
    session: Session, args: argparse.Namespace, activity: str, *, autoplay: bool = False
) -> MediaView:
    """Return the view of one media call; ``activity`` describes it while it runs."""
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
    """Return a note why ``--autoplay`` has no effect; empty where it has."""
    if args.quiet:
        return "not played: -q shows no player"
    if not session.in_notebook:
        return "not played: a terminal has no player"
    return "" if session.effective.live else "not played: displays are not updated (PuqMagics.live)"


def show_value(session: Session, value: T, args: argparse.Namespace, *, is_result: bool = True) -> T:
    """Show a value unless ``-q``, and store it under the name of ``-o``; a result in ``_puq`` as well."""
    if is_result:
        session.store_result(value, args.out)
    elif args.out is not None:
        session.shell.push({args.out: value})
    if not args.quiet:
        display(value)
    session.mark_displayed(value)
    return value
