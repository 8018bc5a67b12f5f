"""Choose the view of a call by the settings and options."""

from __future__ import annotations

import argparse
import sys
from typing import TypeVar

from IPython.core.interactiveshell import InteractiveShell

from puq_magics.outputs.results.base import DisplayOnce
from puq_magics.outputs.views.media import (
    AudioPlayer,
    MediaView,
    NotebookMediaView,
    QuietMediaView,
    TerminalMediaView,
)
from puq_magics.outputs.views.view import ChatView, QuietChatView
from puq_magics.session.session import Session

T = TypeVar("T", bound=DisplayOnce)

#: Formats that are shown only when complete.
_UNSTREAMED_FORMATS = ("json", "html")


def chat_view(
    session: Session, args: argparse.Namespace, answer_format: str = "markdown", *, is_streamed: bool = True
) -> ChatView:
    """Return the view of one chat call.

    Without ``is_streamed``, and with solutions in the policy, the answer is shown when it is complete.
    """
    footer, live = session.settings.footer, is_live(session)
    is_streamed = is_streamed and not session.hides_solutions
    if args.quiet:
        return QuietChatView()
    if not session.in_notebook:
        from puq_magics.outputs.views.terminal import TerminalView

        return TerminalView(
            footer=footer,
            live=live and is_streamed,
            markdown=answer_format in ("markdown", "code"),
            wraps=answer_format not in ("json", "html"),
        )
    from puq_magics.outputs.views.notebook import BufferedNotebookView, NotebookView, PlainNotebookView

    if answer_format in _UNSTREAMED_FORMATS or not is_streamed:
        return BufferedNotebookView(footer=footer, live=live)
    view = PlainNotebookView if answer_format == "text" else NotebookView
    return view(footer=footer, live=live, appends=session.effective.live and not live)


def media_view(
    session: Session,
    args: argparse.Namespace,
    activity: str,
    *,
    autoplay: bool = False,
    plays_live: bool = False,
) -> MediaView:
    """Return the view of one media call; ``activity`` describes it while it runs.

    With ``plays_live`` a browser plays audio while it arrives.
    """
    settings, live = session.settings, is_live(session)
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
        live_player=_WidgetPlayers() if plays_live and _has_browser(session.shell) else None,
    )


class _WidgetPlayers:
    """Makes players of audio that is still arriving, as widgets."""

    def prepare(self) -> None:
        """Import the widget."""
        import puq_magics.widgets.player  # noqa: F401 - takes its time the first time

    def __call__(self, *, mime: str, label: str, autoplay: bool) -> AudioPlayer:
        """Return a player."""
        from puq_magics.widgets import player

        return player.LivePlayer(mime=mime, label=label, autoplay=autoplay)


def _has_browser(shell: InteractiveShell) -> bool:
    """Return whether somebody runs the cell in a front end, and no program does that runs notebooks.

    nbclient and papermill allow no questions, and keep all data of widgets in the notebook.
    """
    return bool(getattr(getattr(shell, "kernel", None), "_allow_stdin", False))


def is_live(session: Session) -> bool:
    """Return whether outputs are updated while a call runs."""
    return session.effective.live and not in_output_widget(session.shell)


def in_output_widget(shell: InteractiveShell) -> bool:
    """Return whether outputs go to an ipywidgets.Output now: it shows first displays, and no updates of them."""
    widgets = sys.modules.get("ipywidgets.widgets.widget_output")
    message_id = (getattr(shell.display_pub, "parent_header", None) or {}).get("msg_id")
    if widgets is None or not message_id:
        return False
    instances = list(sys.modules["ipywidgets.widgets.widget"]._instances.values())
    return any(isinstance(each, widgets.Output) and each.msg_id == message_id for each in instances)


def autoplay_warning(session: Session, args: argparse.Namespace) -> str:
    """Return a note why ``--autoplay`` has no effect; empty where it has."""
    if args.quiet:
        return "not played: -q shows no player"
    if not session.in_notebook:
        return "not played: a terminal has no player"
    if in_output_widget(session.shell):
        return "not played: an Output widget shows no updates"
    return "" if session.effective.live else "not played: displays are not updated (PuqMagics.live)"


def show_value(session: Session, value: T, args: argparse.Namespace, *, is_result: bool = True) -> T:
    """Show a value unless ``-q``, and store it under the name of ``-o``; a result in ``_puq`` as well."""
    if is_result:
        session.store_result(value, args.out)
    elif args.out is not None:
        session.shell.push({args.out: value})
    if not args.quiet:
        value.display_now()
    session.mark_displayed(value, is_quiet=args.quiet)
    return value
