"""Dry run: show the request of a call as ``curl``, and its estimated cost; nothing is sent."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from puq_magics.api.types import Message
from puq_magics.core.errors import BudgetError, PuqError
from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.session.budget import Estimate
from puq_magics.session.calls import Call, to_curl
from puq_magics.session.session import Session

#: The data of an image, which nobody reads: its length is shown in its place.
_IMAGE_DATA = re.compile(r"(data:[\w./+-]+;base64,[A-Za-z0-9+/]{24})([A-Za-z0-9+/=]{200,})")


#: Characters of a curl line from which its middle is left out, and those that stay at its beginning and end.
_LONG_CURL, _CURL_START, _CURL_END = 800, 480, 160


def show_dry_run(session: Session, args: argparse.Namespace, call: Call[Any, Any], summary: str) -> None:
    """Print an estimate, the summary, and the request as a key-free ``curl`` line. Raises PuqError."""
    info = call.info
    size = f"about {max(1, info.prompt_tokens):,} tokens of prompt" if info.kind == "chat" else info.kind
    estimate, warning = _estimate(session, call)
    curl = _IMAGE_DATA.sub(
        lambda match: f"{match[1]}…({len(match[2]):,} more characters)", to_curl(session, call)
    )
    if len(curl) > _LONG_CURL and not args.full:
        left_out = f"{len(curl) - _CURL_START - _CURL_END:,} more characters; --full shows them"
        curl = f"{curl[:_CURL_START]} …({left_out})… {curl[-_CURL_END:]}"
    sections = [f"{size}; {estimate}; nothing was sent", warning, summary, curl]
    print("\n\n".join(strip_control_chars(section) for section in sections if section))  # noqa: T201


def format_messages(messages: Sequence[Message], notes: Sequence[str] = ()) -> str:
    """Format messages for reading, followed by the notes of a footer."""
    texts = [f"{message['role']}: {_format_content(message['content'])}" for message in messages]
    return "\n\n".join([*texts, *notes])


def _format_content(content: object) -> str:
    if not isinstance(content, list | tuple):
        return str(content)
    from puq_magics.prompts.conversation.export import describe_part

    return "\n\n".join(str(part.get("text") or f"with it: {describe_part(part)}") for part in content)


def _estimate(session: Session, call: Call[Any, Any]) -> tuple[Estimate, str]:
    """Return the cost by the cached prices, as a dry run fetches none, and what the budget has against it."""
    try:
        account = session.account()
    except PuqError:  # no key
        return Estimate(None, "its cost is unknown without a key"), ""
    if not account.model_list.cached:
        return Estimate(None, "its cost is unknown: %puq_models fetches the prices"), ""
    estimate, budget = account.estimate(call.info), session.settings.budget
    try:
        if budget is not None:
            account.costs.check(budget, estimate)
    except BudgetError as error:
        return estimate, error.message
    return estimate, ""
