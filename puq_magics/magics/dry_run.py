"""``--dry-run``: what a call would send, and what it may cost."""

from __future__ import annotations

import re
from typing import Any

from puq_magics.core.errors import BudgetError, PuqError
from puq_magics.outputs.control_chars import plain
from puq_magics.session.budget import Estimate
from puq_magics.session.calls import Exchange, to_curl
from puq_magics.session.session import Workspace

#: The data of an image, which nobody reads; what stands there instead says how much there is.
_DATA = re.compile(r"(data:[\w./+-]+;base64,[A-Za-z0-9+/]{24})([A-Za-z0-9+/=]{200,})")


def preview(workspace: Workspace, exchange: Exchange[Any, Any], told: str = "") -> str:
    """The request as a key-free ``curl`` line, what is told in words, and an estimate; nothing is sent."""
    asked = exchange.asked
    size = f"about {max(1, asked.prompt_tokens):,} tokens of prompt" if asked.kind == "chat" else asked.kind
    estimate = _estimate(workspace, exchange)
    words = [
        _DATA.sub(
            lambda found: f"{found[1]}…({len(found[2]):,} more characters)", to_curl(workspace, exchange)
        ),
        told,
        f"{size}; {estimate}; nothing was sent",
        _refusal(workspace, estimate),
    ]
    return "\n\n".join(plain(part) for part in words if part)


def _estimate(workspace: Workspace, exchange: Exchange[Any, Any]) -> Estimate:
    """By the prices that are known: a dry run asks for none."""
    try:
        account = workspace.account()
    except PuqError:  # no key as yet
        return Estimate(None, "the cost is not known without a key")
    if not account.catalogue.known:
        return Estimate(None, "what it may cost is not known yet: %puq_models fetches the prices")
    return account.estimate(exchange.asked)


def _refusal(workspace: Workspace, estimate: Estimate) -> str:
    """What the budget would say; what others spent meanwhile is not looked at."""
    budget = workspace.settings.budget
    if budget is None or estimate.cost is None:
        return ""
    try:
        workspace.account().spending.check(budget, estimate, 0.0)
    except BudgetError as error:
        return error.message
    return ""
