"""What ``%puq_chats`` does; imported when it is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Container, Iterable, Sequence

from IPython.display import display

from puq_magics.core.errors import InputError, PuqError
from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.outputs.results.footer import format_credits
from puq_magics.outputs.tables.conversations import ConversationRow, ConversationTable, ConversationTranscript
from puq_magics.prompts.conversation.conversation import Conversation
from puq_magics.prompts.conversation.export import to_markdown
from puq_magics.prompts.conversation.turns import Turn
from puq_magics.session.session import Session

_PRICES_TIMEOUT = 0.3  # seconds to wait for a list of prices that is on its way
_ACTIONS = ("fork", "reset", "undo", "restore", "system", "save", "load", "export")


def manage_conversations(
    session: Session, args: argparse.Namespace, name: str
) -> ConversationTable | ConversationTranscript | None:
    """List, show or change, as the options say. Raises InputError."""
    actions = [action for action in _ACTIONS if getattr(args, action) not in (None, False)]
    if len(actions) > 1:
        raise InputError(
            f"--{actions[0]} and --{actions[1]} do not go together.", hint="Ask for one at a time."
        )
    if not actions:
        return _show(session, args, _transcript(session, name) if name else _table(session))
    if actions == ["load"]:
        messages = _load(session, args, name)
    else:
        named = name or _conversation_of_branch(args.restore, session.conversations)
        messages = _ACTION_HANDLERS[actions[0]](session, args, _resolve_conversation(session, named))
    if not args.quiet:
        print(strip_control_chars("\n".join(messages)))  # noqa: T201 - what was asked for
    return None


def _conversation_of_branch(branch: str | None, conversations: Container[str]) -> str:
    """The conversation that a branch's name begins with, as in ``main~1``; empty for none."""
    name = (branch or "").rpartition("~")[0]
    return name if name and name in conversations else ""


def _resolve_conversation(session: Session, name: str) -> Conversation:
    """The one that is named, or set, or the only one. Raises InputError."""
    conversations = session.conversations
    names = conversations.names
    name = name or session.settings.chat or (names[0] if len(names) == 1 else "")
    if not name:
        hint = f"Name one of {', '.join(names)}." if names else "A cell begins one: %%puq_chat -c main"
        raise InputError("the conversation is not named.", hint=hint)
    return conversations.find(name)


# --- to look at ----------------------------------------------------------------------------------------------------


def _show(
    session: Session, args: argparse.Namespace, value: ConversationTable | ConversationTranscript
) -> ConversationTable | ConversationTranscript:
    if args.out is not None:  # not in _puq: --continue looks there
        session.shell.push({args.out: value})
    if not args.quiet:
        display(value)
    session.mark_displayed(value)
    return value


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
    """Every turn once, whether it is in the line, in branches, or in several."""
    lines = [conversation.turns, *(branch.turns for branch in conversation.branches)]
    return list({id(turn): turn for line in lines for turn in line}.values())


def _sum_or_none(costs: Iterable[float | None]) -> float | None:
    known = list(costs)
    return None if any(cost is None for cost in known) else sum(cost or 0.0 for cost in known)


def _turn_costs(session: Session) -> Callable[[Turn], float | None]:
    """What a turn cost, by the prices that are known; they are asked for, but hardly waited for."""
    if not any(each.turns or each.branches for each in session.conversations):
        return lambda _: None
    try:
        account = session.account()
    except PuqError:  # no key, as yet
        return lambda _: None
    account.model_list.fetch_in_background()
    account.model_list.wait(_PRICES_TIMEOUT)
    return lambda turn: account.cost(turn.model, turn.usage)


# --- to change -----------------------------------------------------------------------------------------------------


def _load(session: Session, args: argparse.Namespace, name: str) -> Sequence[str]:
    conversation = Conversation.load(args.load, name or None)
    if not conversation.name:
        raise InputError(
            f"the conversation in {args.load} has no name.", hint="Write %puq_chats NAME --load …"
        )
    _check_free(session, conversation.name, args.force)
    session.conversations.add(conversation)
    return [f"{conversation.name} is here: {_count_turns(conversation)}."]


def _fork(session: Session, args: argparse.Namespace, conversation: Conversation) -> Sequence[str]:
    copy = conversation.fork(args.fork)
    _check_free(session, copy.name, args.force)
    session.conversations.add(copy)
    return [f"{copy.name} goes on from {conversation.name}: {_count_turns(copy)}."]


def _check_free(session: Session, name: str, force: bool) -> None:
    if name in session.conversations and not force:
        raise InputError(
            f"there is a conversation {name} already.", hint="Give another name; or --force replaces it."
        )


def _reset(_: Session, __: argparse.Namespace, conversation: Conversation) -> Sequence[str]:
    return conversation.reset() or (f"{conversation.name} has no turns.",)


def _undo(_: Session, __: argparse.Namespace, conversation: Conversation) -> Sequence[str]:
    return conversation.undo()


def _restore(_: Session, args: argparse.Namespace, conversation: Conversation) -> Sequence[str]:
    return conversation.restore_branch(args.restore)


def _set_system_prompt(_: Session, args: argparse.Namespace, conversation: Conversation) -> Sequence[str]:
    conversation.system = args.system
    words = "has a new system prompt" if args.system else "has no system prompt of its own any more"
    return [f"{conversation.name} {words}."]


def _save(_: Session, args: argparse.Namespace, conversation: Conversation) -> Sequence[str]:
    return [f"{conversation.name} is saved as {conversation.save(args.save, args.force)}."]


def _export(_: Session, args: argparse.Namespace, conversation: Conversation) -> Sequence[str]:
    return [f"{conversation.name} is written to {conversation.export(args.export, args.force)}."]


def _count_turns(conversation: Conversation) -> str:
    return _format_turns(len(conversation.turns))


def _format_turns(number: int) -> str:
    return "1 turn" if number == 1 else f"{number:,} turns"


_ACTION_HANDLERS: dict[str, Callable[[Session, argparse.Namespace, Conversation], Sequence[str]]] = {
    "fork": _fork,
    "reset": _reset,
    "undo": _undo,
    "restore": _restore,
    "system": _set_system_prompt,
    "save": _save,
    "export": _export,
}
