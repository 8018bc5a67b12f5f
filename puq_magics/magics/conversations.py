"""List, show and change conversations."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Container, Iterable, Sequence

from puq_magics.core.errors import InputError, PuqError
from puq_magics.core.text import pluralize
from puq_magics.magics.views import show_value
from puq_magics.outputs.plain_text import show_text
from puq_magics.outputs.results.footer import format_credits
from puq_magics.outputs.tables.conversations import ConversationRow, ConversationTable, ConversationTranscript
from puq_magics.prompts.conversation.conversation import Conversation
from puq_magics.prompts.conversation.export import to_markdown
from puq_magics.prompts.conversation.turns import Turn
from puq_magics.session.session import Session

_PRICES_TIMEOUT = 0.3  # seconds to wait for prices that are being fetched


def manage_conversations(
    session: Session, args: argparse.Namespace, name: str
) -> ConversationTable | ConversationTranscript | None:
    """List, show or change conversations, by the options. Raises InputError."""
    actions = [action for action in (*_ACTIONS, "load") if getattr(args, action) not in (None, False)]
    if len(actions) > 1:
        raise InputError(f"--{actions[0]} and --{actions[1]} cannot be combined.", hint="Use one at a time.")
    if not actions:  # not in _puq, where --continue looks for an answer
        value = _transcript(session, name) if name else _table(session)
        return show_value(session, value, args, is_result=False)
    if actions == ["load"]:
        messages = _load(session, args, name)
    else:
        name = name or _conversation_of_branch(args.restore, session.conversations)
        messages = _ACTIONS[actions[0]](session, args, _resolve_conversation(session, name))
    if not args.quiet:
        show_text("\n".join(messages), in_notebook=session.in_notebook)
    return None


def _conversation_of_branch(branch: str | None, conversations: Container[str]) -> str:
    """Return the conversation that a branch's name begins with, as in ``main~1``; empty if none."""
    name = (branch or "").rpartition("~")[0]
    return name if name and name in conversations else ""


def _resolve_conversation(session: Session, name: str) -> Conversation:
    """Return the conversation of that name, else the one that is set, else the only one. Raises InputError."""
    conversations = session.conversations
    names = conversations.names
    name = name or session.settings.chat or (names[0] if len(names) == 1 else "")
    if not name:
        hint = f"Name one of {', '.join(names)}." if names else "A cell begins one: %%puq_chat -c main"
        raise InputError("the conversation is not named.", hint=hint)
    return conversations.find(name)


def _table(session: Session) -> ConversationTable:
    costs = _turn_costs(session)
    return ConversationTable([_row(conversation, costs) for conversation in session.conversations])


def _row(conversation: Conversation, costs: Callable[[Turn], float | None]) -> ConversationRow:
    turns = conversation.turns
    return ConversationRow(
        name=conversation.name,
        turns=len(turns),
        branches=len(conversation.branches),
        tokens=conversation.tokens,
        estimated_cost=_sum_or_none(costs(turn) for turn in _all_turns(conversation)),
        system=conversation.system or "",
        last_question=turns[-1].question if turns else "",
    )


def _transcript(session: Session, name: str) -> ConversationTranscript:
    conversation = session.conversations.find(name)
    row = _row(conversation, _turn_costs(session))
    facts = [_format_turns(row.turns), f"about {row.tokens:,} tokens long"]
    if row.estimated_cost is not None:
        facts.append(f"about {format_credits(row.estimated_cost)}")
    facts += [
        f"branch {branch.name}: {_format_turns(len(branch.turns))}, {branch.reason}"
        for branch in conversation.branches
    ]
    return ConversationTranscript(conversation, to_markdown(conversation, headings=False), facts)


def _all_turns(conversation: Conversation) -> list[Turn]:
    """Return every turn once, from the conversation and its branches."""
    lines = [conversation.turns, *(branch.turns for branch in conversation.branches)]
    return list({id(turn): turn for line in lines for turn in line}.values())


def _sum_or_none(costs: Iterable[float | None]) -> float | None:
    known = list(costs)
    return None if any(cost is None for cost in known) else sum(cost or 0.0 for cost in known)


def _turn_costs(session: Session) -> Callable[[Turn], float | None]:
    """Return a function of a turn's cost, by the known prices; unknown ones are fetched in the background."""
    if not any(each.turns or each.branches for each in session.conversations):
        return lambda _: None
    try:
        account = session.account()
    except PuqError:  # no key, as yet
        return lambda _: None
    account.model_list.fetch_in_background()
    account.model_list.wait(_PRICES_TIMEOUT)
    return lambda turn: account.cost(turn.model, turn.usage)


def _load(session: Session, args: argparse.Namespace, name: str) -> Sequence[str]:
    conversation = Conversation.load(args.load, name or None)
    if not conversation.name:
        raise InputError(
            f"the conversation in {args.load} has no name.", hint="Write %puq_chats NAME --load …"
        )
    _add(session, conversation, args.force)
    return [f"{conversation.name} is loaded: {_format_turns(len(conversation.turns))}."]


def _fork(session: Session, args: argparse.Namespace, conversation: Conversation) -> Sequence[str]:
    copy = conversation.fork(args.fork)
    _add(session, copy, args.force)
    return [f"{copy.name}, forked from {conversation.name}: {_format_turns(len(copy.turns))}."]


def _add(session: Session, conversation: Conversation, force: bool) -> None:
    if conversation.name in session.conversations and not force:
        raise InputError(
            f"there is a conversation {conversation.name} already.",
            hint="Use another name, or --force to replace it.",
        )
    session.conversations.add(conversation)


def _set_system_prompt(_: Session, args: argparse.Namespace, conversation: Conversation) -> Sequence[str]:
    conversation.system = args.system
    change = "has a new system prompt" if args.system else "no longer has a system prompt of its own"
    return [f"{conversation.name} {change}."]


def _save(_: Session, args: argparse.Namespace, conversation: Conversation) -> Sequence[str]:
    return [f"{conversation.name} is saved as {conversation.save(args.save, args.force)}."]


def _export(_: Session, args: argparse.Namespace, conversation: Conversation) -> Sequence[str]:
    return [f"{conversation.name} is written to {conversation.export(args.export, args.force)}."]


def _format_turns(number: int) -> str:
    return pluralize(number, "turn")


#: The options that act on one conversation; each returns the lines to print.
_ACTIONS: dict[str, Callable[[Session, argparse.Namespace, Conversation], Sequence[str]]] = {
    "fork": _fork,
    "reset": lambda _, __, conversation: conversation.reset() or (f"{conversation.name} has no turns.",),
    "undo": lambda _, __, conversation: conversation.undo(),
    "restore": lambda _, args, conversation: conversation.restore_branch(args.restore),
    "system": _set_system_prompt,
    "save": _save,
    "export": _export,
}
