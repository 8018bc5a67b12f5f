"""Dry run: show the request of a call as ``curl``, and its estimated cost; nothing is sent."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from puq_magics.api.types import Message
from puq_magics.core.errors import BudgetError, PolicyError, PuqError
from puq_magics.core.text import pluralize, wrap_for_terminal
from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.outputs.plain_text import show_text
from puq_magics.outputs.results.footer import format_credits
from puq_magics.session.budget import CallInfo, Estimate
from puq_magics.session.calls import Call, to_curl
from puq_magics.session.session import Session

if TYPE_CHECKING:
    from puq_magics.experiments.calls import CallSpec

#: The data of an image, which nobody reads: its length is shown in its place.
_IMAGE_DATA = re.compile(r"(data:[\w./+-]+;base64,[A-Za-z0-9+/]{24})([A-Za-z0-9+/=]{200,})")


#: Characters of a curl line from which its middle is left out, and those that stay at its beginning and end.
_LONG_CURL, _CURL_START, _CURL_END = 800, 480, 160


def show_dry_run(session: Session, args: argparse.Namespace, call: Call[Any, Any], summary: str) -> None:
    """Show an estimate, the summary, and the request as a key-free ``curl`` line. Raises PuqError."""
    info = call.info
    size = (
        f"about {pluralize(max(1, info.prompt_tokens), 'token')} of prompt"
        if info.kind == "chat"
        else info.kind
    )
    estimate, warning = estimate_cost(session, info)
    curl = format_curl(to_curl(session, call), args)
    _show_sections(session, f"{size}; {estimate}; nothing was sent", warning, summary, curl=curl)


def show_run_dry_run(
    session: Session,
    args: argparse.Namespace,
    subject: str,
    specs: Sequence[CallSpec],
    folder: Path,
    notes: Sequence[str] = (),
) -> None:
    """Show how many of a run's calls are to be made, an estimate, and the first request. Raises PuqError.

    ``subject`` describes the run, such as ``8 rows``.
    """
    from puq_magics.experiments.journal import read_outcomes
    from puq_magics.magics.runs import call_info

    kept = {} if args.fresh else read_outcomes(folder)
    waiting = [spec for spec in specs if spec.key not in kept or not kept[spec.key].is_settled]
    infos = [call_info(spec) for spec in waiting]
    with suppress(PuqError):  # without a key, or a list, the cost is not known
        session.account().model_list.fetch()
    costs = [cost for info in infos if (cost := estimate_cost(session, info)[0].cost) is not None]
    price = f"at most about {format_credits(sum(costs))}" if costs else "the cost is not known"
    tokens = sum(info.prompt_tokens for info in infos)
    counts = f"{subject}; {len(specs) - len(waiting):,} are in the journal {folder.name}"
    curl = ""
    if waiting:
        router, first = session.router(allow_keyless=True), waiting[0]
        request = router.chat_request(first.messages, model=first.model, extra_body=first.params)
        curl = format_curl(request.to_curl(router.address, router.auth_scheme), args)
    summary = f"{counts}\nabout {pluralize(tokens, 'token')} of prompt; {price}; nothing was sent"
    curl = curl and f"the first request:\n{curl}"
    _show_sections(session, "\n".join([summary, *notes]), curl=curl)


def format_curl(curl: str, args: argparse.Namespace) -> str:
    """Shorten the data of images in a ``curl`` line, and without ``--full`` the middle of a long one."""
    curl = _IMAGE_DATA.sub(lambda match: f"{match[1]}…({len(match[2]):,} more characters)", curl)
    if len(curl) <= _LONG_CURL or args.full:
        return curl
    left_out = f"{len(curl) - _CURL_START - _CURL_END:,} more characters; --full shows them"
    return f"{curl[:_CURL_START]} …({left_out})… {curl[-_CURL_END:]}"


def _show_sections(session: Session, *sections: str, curl: str) -> None:
    """Show the sections, wrapped in a terminal, above the curl line, which stays as it is to be copied."""
    lines = wrap_for_terminal(strip_control_chars("\n\n".join(filter(None, sections))).split("\n"))
    show_text("\n".join([*lines, *(["", curl] if curl else [])]), in_notebook=session.in_notebook)


def format_messages(messages: Sequence[Message], notes: Sequence[str] = ()) -> str:
    """Format messages for reading, followed by the notes of a footer."""
    texts = [f"{message['role']}: {_format_message(message)}" for message in messages]
    return "\n\n".join([*texts, *notes])


def _format_message(message: Message) -> str:
    """Format the content of a message, and the functions that it calls."""
    from puq_magics.api.tool_calls import read_tool_calls

    calls = [f"{call.name}({call.arguments})" for call in read_tool_calls(message)]
    content = message["content"]
    return "\n".join([*([] if content is None else [_format_content(content)]), *calls])


def _format_content(content: object) -> str:
    if not isinstance(content, list | tuple):
        return str(content)
    from puq_magics.prompts.conversation.export import describe_part

    return "\n\n".join(str(part.get("text") or f"with it: {describe_part(part)}") for part in content)


def estimate_cost(session: Session, info: CallInfo) -> tuple[Estimate, str]:
    """Return the cost by the cached prices, as a dry run fetches none, and what the budget has against it."""
    try:
        account = session.account()
    except PuqError:  # no key
        return Estimate(None, "its cost is unknown without a key"), ""
    if not account.model_list.cached:
        return Estimate(None, "its cost is unknown: %puq_models fetches the prices"), ""
    estimate, budget = account.estimate(info), session.budget
    try:
        if session.policy is not None:
            session.policy.check(info)
        if budget is not None:
            account.costs.check(budget, estimate)
    except (BudgetError, PolicyError) as error:
        return estimate, error.message
    return estimate, ""
