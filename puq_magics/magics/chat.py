"""From a chat magic's options and prompt to the call; imported when the first one runs, not when they are loaded."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from puq_magics.api.types import Message
from puq_magics.magics.answering import Answering
from puq_magics.session.chat_turn import Joining
from puq_magics.magics.typed import Typed, told
from puq_magics.magics.viewing import chat_view
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.session.chat_call import ChatCall, ChatExchange
from puq_magics.session.session import Workspace


def ask(
    workspace: Workspace, args: argparse.Namespace, prompt: str, variables: Mapping[str, Any]
) -> ChatResult | None:
    """Ask as the options say, and show the answer; None when nothing is to be sent. Raises PuqError."""
    answering = Answering.of(workspace, args, variables)
    typed = Typed(workspace, args, prompt, variables)
    call = _go_on(typed, answering) if args.proceed else _question(typed, answering)
    if args.dry_run:
        from puq_magics.magics.dry_run import preview

        print(preview(workspace, ChatExchange(call), told=told(call.messages, call.notes)))  # noqa: T201 - what was asked for
        return None
    return answering.ask(call, lambda: chat_view(workspace, args, answering.format), args.out)


def _question(typed: Typed, answering: Answering) -> ChatCall:
    """A question that stands alone, or joins a conversation."""
    args, schema = typed.args, answering.schema
    content, notes = typed.content()
    system = None if args.system is None else typed.words(args.system)
    joining = Joining.of(typed.workspace, args, content, None if system is None else system.text)
    answering.keep = joining.keep
    messages, left_out = joining.messages("" if schema is not None else answering.in_words)
    params, in_words = typed.params(), list[Message]()
    if schema is not None and "response_format" not in params:
        params["response_format"] = schema.response_format
        in_words, _ = joining.messages(answering.in_words)
    return ChatCall(
        typed.model(),
        messages,
        stream=not args.no_stream,
        params=params,
        notes=(*(system.notes if system is not None else ()), *notes, *left_out),
        in_words=in_words,
        chat=joining.name,
        turn=joining.key,
    )


def _go_on(typed: Typed, answering: Answering) -> ChatCall:
    """The rest of an answer."""
    from puq_magics.magics.continuing import unfinished

    words = typed.words(typed.prompt)
    last = unfinished(typed.workspace, typed.args, words.text)
    answering.keep = last.keep
    return ChatCall(
        typed.model(otherwise=last.model),
        last.messages(words.text),
        stream=not typed.args.no_stream,
        params=typed.params(),
        notes=(*words.notes, *last.notes),
        begun=last.text,
        question=last.question,
        chat=last.chat,
        turn=last.turn,
    )
