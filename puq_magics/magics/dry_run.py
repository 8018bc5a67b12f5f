"""Dry run: show the request of a call as ``curl``, and its estimated cost; nothing is sent."""

from __future__ import annotations

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


def show_dry_run(session: Session, call: Call[Any, Any], summary: str) -> None:
    """Print the request as a key-free ``curl`` line, the summary, and an estimate. Raises PuqError."""
    info = call.info
    size = f"about {max(1, info.prompt_tokens):,} tokens of prompt" if info.kind == "chat" else info.kind
    estimate = _estimate(session, call)
    curl = _IMAGE_DATA.sub(
        lambda match: f"{match[1]}…({len(match[2]):,} more characters)", to_curl(session, call)
    )
    sections = [curl, summary, f"{size}; {estimate}; nothing was sent", _budget_warning(session, estimate)]
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


def _estimate(session: Session, call: Call[Any, Any]) -> Estimate:
    """Estimate the cost from the cached prices: a dry run fetches none."""
    try:
        account = session.account()
    except PuqError:  # no key
        return Estimate(None, "its cost is unknown without a key")
    if not account.model_list.cached:
        return Estimate(None, "its cost is unknown: %puq_models fetches the prices")
    return account.estimate(call.info)


def _budget_warning(session: Session, estimate: Estimate) -> str:
    budget = session.settings.budget
    if budget is None or estimate.cost is None:
        return ""
    try:
        session.account().costs.check(budget, estimate, 0.0)
    except BudgetError as error:
        return error.message
    return ""
