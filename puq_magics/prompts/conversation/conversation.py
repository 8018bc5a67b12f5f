"""Conversations: turns of a question and its answer, and branches that keep replaced turns.

>>> from puq_magics import Conversation, Router
>>> chat = Conversation("main", system="Be brief.")
>>> with Router(api_key=…) as router:
...     answer = chat.ask(router, "What is a monad?", model="openai/gpt-4o-mini")
...     print(answer.text)

A turn may have a key: the id of the notebook cell, and the ordinal of the question within one execution of that cell.
A question from a cell that already has turns replaces them and everything after them; the previous line of turns is
kept as a branch. ``undo``, ``reset`` and ``restore_branch`` keep a branch as well, so that no answer is lost unless
``delete_branch`` is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from puq_magics.api.finish_reason import is_cut_off
from puq_magics.api.tool_calls import unanswered_messages
from puq_magics.api.types import Message, Usage, add_usage
from puq_magics.core.errors import InputError
from puq_magics.core.text import pluralize
from puq_magics.prompts.conversation.turns import (
    Branch,
    MessageContent,
    Turn,
    TurnKey,
    short_repr,
    user_message,
    validate_content,
    validate_key,
    validate_name,
    validate_tool_messages,
)
from puq_magics.prompts.token_estimate import estimate_message_tokens, estimate_tokens

if TYPE_CHECKING:
    from puq_magics.api.client import Router
    from puq_magics.api.types import ChatCompletion

_BRANCH_NUMBER = re.compile(r"~[0-9]+\Z")


class Conversation:
    """A line of turns, and the branches that hold earlier lines.

    ``name`` has letters, digits and ``. _ -``; ``system`` is the system prompt of questions that have none of their
    own. Raises InputError for an invalid name, system prompt, turn or branch.
    """

    def __init__(
        self,
        name: str = "",
        system: str | None = None,
        turns: Iterable[Turn] = (),
        *,
        branches: Iterable[Branch] = (),
    ) -> None:
        self._name = validate_name(name) if name != "" else ""
        self.system = system
        self._turns = tuple(turns)
        self._branches = tuple(branches)
        if not all(isinstance(turn, Turn) for turn in self._turns):
            raise InputError("turns must be Turn objects.", hint="Add them with commit(…).")
        if not all(
            isinstance(branch, Branch) and _BRANCH_NUMBER.search(branch.name) for branch in self._branches
        ):
            raise InputError("branches must be Branch objects.", hint="Their names are like main~1.")
        self._last_branch_number = max((branch.number for branch in self._branches), default=0)
        self._executions: dict[str, int] = {}
        self._cell_order: dict[str, int] = {}

    # --- contents --------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name; empty for an unnamed conversation."""
        return self._name

    @property
    def system(self) -> str | None:
        """System prompt of the next questions; None for none. Each turn keeps the one that it was sent with."""
        return self._system

    @system.setter
    def system(self, prompt: str | None) -> None:
        self._system = _validate_system(prompt) or None

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Turns of the current line, oldest first: the context of the next question."""
        return self._turns

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Earlier lines, oldest first; a branch never changes, and keeps its name."""
        return self._branches

    @property
    def tokens(self) -> int:
        """Estimated tokens of the system prompt and the turns, at four characters a token."""
        return estimate_tokens(self.system or "") + sum(turn.tokens for turn in self._turns)

    def __repr__(self) -> str:
        facts = [pluralize(len(self._turns), "turn"), f"about {self.tokens:,} tokens"]
        if self._branches:
            facts.insert(1, pluralize(len(self._branches), "branch", "branches"))
        return f"<Conversation {self._name or 'without a name'}: {', '.join(facts)}>"

    # --- questions and answers -------------------------------------------------------------------------------

    def ask(
        self,
        router: Router,
        text: MessageContent,
        *,
        model: str,
        key: TurnKey | None = None,
        system: str | None = None,
        limit_tokens: int | None = None,
        limit_turns: int | None = None,
        **params: Any,
    ) -> ChatCompletion:
        """Send a question with the turns before it, store the answer as a turn, and return it.

        ``text`` is a string, or a list of content parts. ``model`` is a model's name, such as
        ``"openai/gpt-4o-mini"``; ``params`` are further parameters of `Router.chat`, such as ``temperature``. The
        other parameters are those of `preview`. A request that fails stores nothing. Raises InputError for invalid
        arguments, and APIError when the request fails.

        >>> chat = Conversation("essay", system="Be brief.")
        >>> answer = chat.ask(router, "Name three rivers.", model=model, max_completion_tokens=200)
        >>> chat.turns[-1].answer == answer.text
        True
        """
        messages, _ = self.preview(
            text, key=key, system=system, limit_tokens=limit_tokens, limit_turns=limit_turns
        )
        completion = router.chat(messages, model=model, **params)
        self.commit(
            text,
            completion.text,
            key=key,
            model=completion.model,
            usage=completion.usage,
            truncated=is_cut_off(completion.finish_reason),
            system=system,
            tool_messages=unanswered_messages(completion.calls),
        )
        return completion

    def begin_execution(self, cell: str) -> None:
        """Begin a new execution of a cell: its next answers replace those of its earlier executions.

        Nothing changes until an answer is committed. Without this call, a question replaces only the turn with the
        same key, or is added at the end.
        """
        self._executions[cell] = self._executions.get(cell, 0) + 1

    def set_cell_order(self, cells: Sequence[str]) -> None:
        """Set the order of the notebook's cells, by their ids, as far as it is known.

        A question from a cell without a turn then goes before the turns of later cells, which it replaces; a branch
        keeps them. It goes to the end where the place of one of the cells is not known.
        """
        self._cell_order = {cell: place for place, cell in enumerate(cells)}

    def preview(
        self,
        content: MessageContent,
        *,
        key: TurnKey | None = None,
        system: str | None = None,
        limit_tokens: int | None = None,
        limit_turns: int | None = None,
    ) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """Return the messages to send with a question, and notes on omitted turns; store nothing.

        The messages are the system prompt, the turns before the question's position, and the question. ``system``
        replaces the conversation's system prompt; an empty string is none. Without a ``key`` the question is added
        at the end. ``limit_tokens`` limits the estimated tokens of all messages, ``limit_turns`` the number of
        earlier turns: the oldest turns are omitted, never the system prompt or the question. Raises InputError.
        """
        question = user_message(validate_content(content))
        earlier = self._turns[: self._insert_position(validate_key(key))]
        return self._build_messages(earlier, [question], system, limit_tokens, limit_turns)

    def messages(
        self, system: str | None = None, limit_tokens: int | None = None, limit_turns: int | None = None
    ) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """Return the conversation as messages, and notes on omitted turns; the parameters are those of `preview`.

        The last turn is never omitted. If its answer was interrupted, the model can continue it.
        """
        last = self._turns[-1].messages if self._turns else []
        return self._build_messages(self._turns[:-1], last, system, limit_tokens, limit_turns)

    def commit(
        self,
        content: MessageContent,
        answer: str,
        model: str = "",
        usage: Usage | None = None,
        *,
        key: TurnKey | None = None,
        interrupted: bool = False,
        truncated: bool = False,
        at: datetime | None = None,
        continue_prompts: Sequence[str] = (),
        system: str | None = None,
        tool_messages: Sequence[Message] = (),
        sources: Sequence[tuple[str, str]] = (),
    ) -> tuple[str, ...]:
        """Store a turn at its position; return notes on the turns that it replaced.

        ``interrupted`` and ``truncated`` mark an answer that was stopped, or that ended at the token limit; ``at`` is
        the time of the answer, now by default. ``system`` is the system prompt that was sent, as for `preview`.
        ``tool_messages`` are the tool calls before the answer and their results, ``sources`` the title and URL of
        each source that the model names. An empty answer without any is not stored, as no router accepts one in a
        message. Raises InputError.
        """
        key, content = validate_key(key), validate_content(content)
        if not isinstance(answer, str):
            raise InputError("the answer is not a string.", hint="Give the answer's text.")
        tool_messages = validate_tool_messages(tool_messages)
        if not answer and not tool_messages:
            return (f"the answer is empty, so nothing is added to {self._display_name}",)
        turn = Turn(
            key,
            content,
            answer,
            model,
            usage,
            interrupted,
            at or datetime.now(UTC),
            execution=0 if key is None else self._executions.get(key[0], 0),
            continue_prompts=tuple(continue_prompts),
            system=_validate_system(self.system if system is None else system) or "",
            truncated=truncated,
            tool_messages=tool_messages,
            sources=tuple(sources),
        )
        return self._place_turn(turn)

    def _place_turn(self, turn: Turn) -> tuple[str, ...]:
        """Insert a turn at its position; return notes on the turns that it replaced."""
        key = turn.key
        position = self._insert_position(key)
        replaced = len(self._turns) - position
        if not replaced:
            self._turns = (*self._turns, turn)
            return ()
        old_key = self._turns[position].key
        if key is not None and old_key is not None and old_key[0] != key[0]:
            reason = f"turn {position + 1} by the order of the cells"
            kept = pluralize(replaced, "later turn")
        else:
            reason = f"turn {position + 1} replaced"
            kept = "its earlier answer" if replaced == 1 else pluralize(replaced - 1, "later turn")
        branch = self._replace_turns((*self._turns[:position], turn), reason)
        return (f"{reason}; {kept} kept as branch {branch}",)

    def extend_answer(
        self,
        answer: str,
        *,
        model: str = "",
        usage: Usage | None = None,
        interrupted: bool = False,
        truncated: bool = False,
        continue_prompts: Sequence[str] = (),
        sources: Sequence[tuple[str, str]] = (),
    ) -> tuple[str, ...]:
        """Replace the last answer by a longer version of it; ``usage`` is added to that of the turn.

        ``continue_prompts`` are the user's texts that asked the model to continue. Return no notes, since nothing is
        lost. Raises InputError when there is no turn, or the new answer does not start with the previous one.
        """
        last = self._last_turn("continue")
        if not answer.startswith(last.answer):
            raise InputError(
                "the new answer does not start with the previous one.", hint="Give the whole answer."
            )
        usage = add_usage(last.usage, usage)
        longer = last.with_answer(answer, model, usage, interrupted, truncated, continue_prompts, sources)
        self._turns = (*self._turns[:-1], longer)
        return ()

    def replace_answer(
        self,
        answer: str,
        *,
        model: str = "",
        usage: Usage | None = None,
        interrupted: bool = False,
        truncated: bool = False,
        continue_prompts: Sequence[str] = (),
        sources: Sequence[tuple[str, str]] = (),
    ) -> tuple[str, ...]:
        """Replace the last answer; return notes, which name the branch that keeps the previous one.

        Raises InputError when there is no turn, or the answer is empty or not a string.
        """
        last = self._last_turn("replace")
        if not isinstance(answer, str) or not answer:
            raise InputError("the answer is not a string, or empty.", hint="Give the answer's text.")
        other = last.with_answer(answer, model, usage, interrupted, truncated, continue_prompts, sources)
        reason = f"turn {len(self._turns)} replaced"
        branch = self._replace_turns((*self._turns[:-1], replace(other, at=datetime.now(UTC))), reason)
        return (f"{reason}; its earlier answer kept as branch {branch}",)

    def _last_turn(self, action: str) -> Turn:
        if not self._turns:
            raise InputError(f"{self._display_name} has no answer to {action}.", hint="Ask something first.")
        return self._turns[-1]

    # --- going back ------------------------------------------------------------------------------------------

    def undo(self) -> tuple[str, ...]:
        """Remove the last turn; return notes, which name the branch. Raises InputError when there is none."""
        if not self._turns:
            raise InputError(
                f"{self._display_name} has no turn to undo.", hint="Its branches hold earlier turns."
            )
        number = len(self._turns)
        branch = self._replace_turns(self._turns[:-1], f"turn {number} undone")
        return (f"turn {number} undone; it is kept in branch {branch}",)

    def reset(self) -> tuple[str, ...]:
        """Remove all turns, and keep the system prompt; return notes, which name the branch."""
        if not self._turns:
            return ()
        number = len(self._turns)
        branch = self._replace_turns((), "reset")
        return (f"{pluralize(number, 'turn')} kept as branch {branch}",)

    def restore_branch(self, branch: str) -> tuple[str, ...]:
        """Make a branch the current line; the line that it replaces is kept as a branch, too.

        ``branch`` is its name or number (``main~2``, ``2``); its system prompt is restored as well. Return notes.
        Raises InputError when there is no such branch.
        """
        restored = self.get_branch(branch)
        notes = [f"branch {restored.name} restored: {pluralize(len(restored.turns), 'turn')}"]
        kept = self._replace_turns(restored.turns, f"{restored.name} restored")
        if kept and kept != restored.name:
            notes.append(f"the previous turns are kept as branch {kept}")
        if restored.system != self._system:
            self._system = restored.system
            state = "the system prompt is" if restored.system else "there is no system prompt,"
            notes.append(f"{state} as it was in {restored.name}")
        return tuple(notes)

    def delete_branch(self, branch: str) -> None:
        """Delete a branch; turns that other branches share are kept there. Raises InputError."""
        deleted = self.get_branch(branch)
        self._branches = tuple(each for each in self._branches if each is not deleted)

    def fork(self, name: str) -> Conversation:
        """Return an independent copy with the same system prompt and turns. Raises InputError."""
        other = Conversation(validate_name(name), self.system, self._turns)
        other._executions = dict(self._executions)
        return other

    def get_branch(self, name: str) -> Branch:
        """Return the branch of this name or number. Raises InputError."""
        wanted = str(name)
        for branch in self._branches:
            if wanted == branch.name or wanted.removeprefix("~") == str(branch.number):
                return branch
        names = ", ".join(branch.name for branch in self._branches[-5:])
        hint = f"There are: {names}." if names else "It has none yet."
        raise InputError(f"{self._display_name} has no branch {short_repr(wanted)}.", hint=hint)

    # --- files -----------------------------------------------------------------------------------------------

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the conversation to a JSON file and return its path; ``force`` replaces an existing file.

        Raises InputError. The format is documented in ``puq_magics.prompts.conversation.storage``.
        """
        from puq_magics.prompts.conversation.storage import save

        return save(self, path, force)

    @classmethod
    def load(cls, path: str | Path, name: str | None = None) -> Conversation:
        """Read a file that ``save`` wrote; ``name`` replaces the stored name. Raises InputError."""
        from puq_magics.prompts.conversation.storage import load

        name, system, turns, branches = load(path, name)
        return cls(name, system, turns, branches=branches)

    def export(self, path: str | Path, force: bool = False) -> Path:
        """Write the current line as a readable document and return its path; ``force`` replaces an existing file.

        A path that ends in ``.md`` gets Markdown, one in ``.ipynb`` a notebook. Raises InputError.
        """
        from puq_magics.prompts.conversation.export import export

        return export(self, path, force)

    # --- inside ----------------------------------------------------------------------------------------------

    @property
    def _display_name(self) -> str:
        return f"the conversation {self._name}".rstrip()

    def _insert_position(self, key: TurnKey | None) -> int:
        """Return the index at which a question is inserted; the turns from there on are replaced.

        That is the first turn from an earlier execution of its cell, whatever its ordinal: if this execution sends
        fewer questions, or its first one fails, none of the old turns is mistaken for its own. A question of a cell
        without turns is inserted before the last turns that are of later cells.
        """
        position = len(self._turns)
        if key is not None:
            execution = self._executions.get(key[0], 0)
            for index, turn in enumerate(self._turns):
                if turn.key == key or (
                    turn.key is not None and turn.key[0] == key[0] and turn.execution != execution
                ):
                    return index
            place = self._cell_order.get(key[0])
            while place is not None and position and self._place(self._turns[position - 1]) > place:
                position -= 1
        return position

    def _place(self, turn: Turn) -> int:
        """Return the place of a turn's cell in the notebook; -1 if unknown."""
        return -1 if turn.key is None else self._cell_order.get(turn.key[0], -1)

    def _replace_turns(self, line: tuple[Turn, ...], reason: str) -> str:
        """Replace the current line; return the name of the branch that keeps it (empty if it was empty)."""
        old = self._turns
        name = (
            next((each.name for each in self._branches if _starts_with(each.turns, old)), "") if old else ""
        )
        if old and not name and not _starts_with(line, old):
            self._last_branch_number += 1
            name = f"{self._name}~{self._last_branch_number}"
            # The branch comes first, so that an interrupt between the two loses nothing.
            self._branches = (*self._branches, Branch(name, old, reason, system=self._system))
        self._turns = line
        return name

    def _build_messages(
        self,
        earlier: Sequence[Turn],
        last: list[dict[str, Any]],
        system: str | None,
        limit_tokens: int | None,
        limit_turns: int | None,
    ) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        prompt = self.system if system is None else _validate_system(system)
        always = ([{"role": "system", "content": prompt}] if prompt else []) + last
        fixed = estimate_message_tokens(always)
        kept, notes = _fit_to_limits(earlier, fixed, limit_tokens, limit_turns)
        middle = [message for turn in kept for message in turn.messages]
        split = len(always) - len(last)
        return [*always[:split], *middle, *last], notes


def _validate_system(prompt: str | None) -> str | None:
    if prompt is not None and not isinstance(prompt, str):
        raise InputError("the system prompt is not a string.", hint="Give it as str, or None for none.")
    return prompt


def _fit_to_limits(
    turns: Sequence[Turn], fixed: int, limit_tokens: int | None, limit_turns: int | None
) -> tuple[Sequence[Turn], tuple[str, ...]]:
    """Return the latest turns within the limits, and notes on the omitted ones."""
    _check_limit(limit_tokens, "tokens", least=1)
    _check_limit(limit_turns, "turns", least=0)
    first = len(turns)
    used = fixed
    while first > 0:
        used += turns[first - 1].tokens
        if limit_tokens is not None and used > limit_tokens:
            break
        if limit_turns is not None and len(turns) - first >= limit_turns:
            break
        first -= 1
    notes = []
    if first:
        by_turns = limit_turns is not None and len(turns) - first >= limit_turns
        limit = pluralize(limit_turns or 0, "earlier turn") if by_turns else f"about {limit_tokens:,} tokens"
        left = "the oldest turn" if first == 1 else f"the {first:,} oldest turns"
        notes.append(f"{left} of {len(turns):,} left out: the context's limit is {limit}")
    if limit_tokens is not None and fixed > limit_tokens:
        notes.append(f"about {fixed:,} tokens without any earlier turn, over the limit of {limit_tokens:,}")
    return turns[first:], tuple(notes)


def _check_limit(limit: object, unit: str, least: int) -> None:
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < least):
        raise InputError(
            f"{short_repr(limit)} is not a number of {unit}.", hint=f"Give a whole number from {least}."
        )


def _starts_with(line: Sequence[Turn], start: Sequence[Turn]) -> bool:
    return len(line) >= len(start) and all(turn is other for turn, other in zip(line, start, strict=False))
