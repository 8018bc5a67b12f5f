"""``--dry-run``: what a call would send, and what it may cost."""

from __future__ import annotations

import re
from typing import Any

from puq_magics.core.errors import BudgetError, PuqError
from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.session.budget import Estimate
from puq_magics.session.calls import Call, to_curl
from puq_magics.session.session import Session

#: The data of an image, which nobody reads; what stands there instead says how much there is.
_IMAGE_DATA = re.compile(r"(data:[\w./+-]+;base64,[A-Za-z0-9+/]{24})([A-Za-z0-9+/=]{200,})")


def preview(session: Session, call: Call[Any, Any], summary: str = "") -> str:
    """The request as a key-free ``curl`` line, what is told in words, and an estimate; nothing is sent."""
    info = call.info
    size = f"about {max(1, info.prompt_tokens):,} tokens of prompt" if info.kind == "chat" else info.kind
    estimate = _estimate(session, call)
    sections = [
        _IMAGE_DATA.sub(
            lambda found: f"{found[1]}…({len(found[2]):,} more characters)", to_curl(session, call)
        ),
        summary,
        f"{size}; {estimate}; nothing was sent",
        _budget_warning(session, estimate),
    ]
    return "\n\n".join(strip_control_chars(part) for part in sections if part)


def _estimate(session: Session, call: Call[Any, Any]) -> Estimate:
    """By the prices that are known: a dry run asks for none."""
    try:
        account = session.account()
    except PuqError:  # no key as yet
        return Estimate(None, "the cost is not known without a key")
    if not account.model_list.cached:
        return Estimate(None, "what it may cost is not known yet: %puq_models fetches the prices")
    return account.estimate(call.info)


def _budget_warning(session: Session, estimate: Estimate) -> str:
    """What the budget would say; what others spent meanwhile is not looked at."""
    budget = session.settings.budget
    if budget is None or estimate.cost is None:
        return ""
    try:
        session.account().costs.check(budget, estimate, 0.0)
    except BudgetError as error:
        return error.message
    return ""
