"""From a chat magic's options and prompt to the call; imported when the first one runs, not when they are loaded."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from puq_magics.magics.options import read_params
from puq_magics.outputs.results import ChatResult
from puq_magics.outputs.view import QuietView, View
from puq_magics.prompts.template import Filled, fill
from puq_magics.session.chat_call import ChatCall, ChatExchange, chat
from puq_magics.session.workspace import Workspace

_RESERVED = ("model", "messages", "stream", "temperature", "max_completion_tokens")
_UNSENDABLE = ("self", "on_retry")  # names of the client's own


def ask(
    workspace: Workspace, args: argparse.Namespace, prompt: str, variables: Mapping[str, Any]
) -> ChatResult | None:
    """Ask as the options say, and show the answer; None when nothing is to be sent. Raises PuqError."""
    call = _call(workspace, args, prompt, variables)
    if args.dry_run:
        from puq_magics.magics.preview import preview

        print(preview(workspace, ChatExchange(call), told=_told(call)))  # noqa: T201 - what was asked for
        return None
    return chat(workspace, call, _view(workspace, args), args.out)


def _call(
    workspace: Workspace, args: argparse.Namespace, prompt: str, variables: Mapping[str, Any]
) -> ChatCall:
    settings = workspace.settings
    filled = _fill(variables, args, prompt)
    told = Filled(settings.system or "") if args.system is None else _fill(variables, args, args.system)
    messages = [{"role": "system", "content": told.text}] if told.text else []
    messages.append({"role": "user", "content": filled.text})
    params: dict[str, Any] = {
        "temperature": settings.temperature if args.temperature is None else args.temperature,
        "max_completion_tokens": args.max_tokens or settings.max_tokens,
    }
    params |= read_params(args.param, _RESERVED, _UNSENDABLE)
    model = workspace.model("chat", args.model, look_up=not args.dry_run)
    return ChatCall(
        model, messages, stream=not args.no_stream, params=params, notes=told.notes + filled.notes
    )


def _fill(variables: Mapping[str, Any], args: argparse.Namespace, text: str) -> Filled:
    return Filled(text) if args.raw else fill(text, variables)


def _view(workspace: Workspace, args: argparse.Namespace) -> View:
    footer, live = workspace.settings.footer, workspace.effective.live
    if args.quiet:
        return QuietView()
    if workspace.in_notebook:
        from puq_magics.outputs.live import NotebookView

        return NotebookView(footer=footer, live=live)
    from puq_magics.outputs.terminal import TerminalView

    return TerminalView(footer=footer, live=live)


def _told(call: ChatCall) -> str:
    """The messages, for people."""
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in call.messages)
