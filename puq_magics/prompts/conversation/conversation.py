"""A conversation: turns, each a question and its answer, and the branches that re-running left behind.

>>> from puq_magics import Conversation, Router
>>> chat = Conversation("main", system="Be brief.")
>>> with Router(api_key=…) as router:
...     messages, notes = chat.preview(None, "What is a monad?")  # nothing is stored yet
...     answer = router.chat(messages, model="openai/gpt-4o-mini")
...     chat.commit(None, "What is a monad?", answer.text, model=answer.model, usage=answer.usage)

A turn may have a key: the cell that asked, and the ordinal of the question within one execution of that cell. A
question whose cell has turns here already takes their place, and all that came after goes with them: the line as it
was is kept as a branch. Turns leave the line only this way, or by ``undo``, ``reset`` and ``restore``, which keep
a branch as well; so nothing that was answered is ever lost, unless ``forget`` is told to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from puq_magics.api.types import Usage
from puq_magics.core.errors import InputError
from puq_magics.prompts.conversation.turns import (
    Branch,
    MessageContent,
    Turn,
    TurnKey,
    add_usage,
    short_repr,
    user_message,
    validate_content,
    validate_key,
    validate_name,
)
from puq_magics.prompts.token_estimate import estimate_tokens

_BRANCH_NUMBER = re.compile(r"~[0-9]+\Z")


class Conversation:
    """Turns in order, and branches. Raises InputError for a name, a system prompt or turns that are not such."""

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
            raise InputError("the turns are not turns.", hint="Add them with commit(…).")
        if not all(
            isinstance(branch, Branch) and _BRANCH_NUMBER.search(branch.name) for branch in self._branches
        ):
            raise InputError("the branches are not branches.", hint="Their names are like main~1.")
        self._last_branch_number = max((branch.number for branch in self._branches), default=0)
        self._executions: dict[str, int] = {}

    # --- what there is ---------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Letters, digits and ``. _ -``; empty for one without a name."""
        return self._name

    @property
    def system(self) -> str | None:
        """The system prompt of questions to come, unless they have their own; None for none.

        Each turn keeps the one that it was asked with.
        """
        return self._system

    @system.setter
    def system(self, words: str | None) -> None:
        self._system = _validate_system(words) or None

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The line: what the model is told, oldest first."""
        return self._turns

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Lines as they were, oldest first; a branch never changes, and keeps its name."""
        return self._branches

    @property
    def tokens(self) -> int:
        """How many tokens the system prompt and the turns have, estimated at four characters each."""
        return estimate_tokens(self.system or "") + sum(turn.tokens for turn in self._turns)

    def __repr__(self) -> str:
        facts = [_pluralize(len(self._turns), "turn", "turns"), f"about {self.tokens:,} tokens"]
        if self._branches:
            facts.insert(1, _pluralize(len(self._branches), "branch", "branches"))
        return f"<Conversation {self._name or 'without a name'}: {', '.join(facts)}>"

    # --- asking ----------------------------------------------------------------------------------------------

    def begin_execution(self, cell: str) -> None:
        """A new execution of this cell begins: whatever it asks takes the place of all it had asked before.

        Nothing changes until an answer is committed. Without this, a question takes the place of the turn with
        the same key, and goes to the end when there is none.
        """
        self._executions[cell] = self._executions.get(cell, 0) + 1

    def preview(
        self,
        key: TurnKey | None,
        content: MessageContent,
        *,
        system: str | None = None,
        limit_tokens: int | None = None,
        limit_turns: int | None = None,
    ) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """The messages to ask this with, and notes on what they leave out; nothing is stored.

        They are the system prompt (``system`` takes the place of the conversation's own; empty is none), the turns
        that come before this question's place, and the question. The limits count all messages' tokens,
        estimated, and the earlier turns; the oldest turns are left out, always whole, and never the system prompt
        or the question. A ``key`` of None is a question at the end. Raises InputError.
        """
        question = user_message(validate_content(content))
        earlier = self._turns[: self._insert_position(validate_key(key))]
        return self._build_messages(earlier, [question], system, limit_tokens, limit_turns)

    def messages(
        self, system: str | None = None, limit_tokens: int | None = None, limit_turns: int | None = None
    ) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """The conversation as messages, and notes; as ``preview``, with the last turn for the question.

        An interrupted answer that comes last can be gone on with; see ``extend``.
        """
        last = self._turns[-1].messages if self._turns else []
        return self._build_messages(self._turns[:-1], last, system, limit_tokens, limit_turns)

    def commit(
        self,
        key: TurnKey | None,
        content: MessageContent,
        answer: str,
        model: str = "",
        usage: Usage | None = None,
        *,
        interrupted: bool = False,
        truncated: bool = False,
        at: datetime | None = None,
        continue_prompts: Sequence[str] = (),
        system: str | None = None,
    ) -> tuple[str, ...]:
        """Store a turn in its place; return notes on what it did to others, for the footer.

        ``system`` is the system prompt that it was asked with, as for ``preview``. An answer without any words is
        not stored, as no router takes one back. Raises InputError.
        """
        key, held = validate_key(key), validate_content(content)
        if not isinstance(answer, str):
            raise InputError("the answer is not a string.", hint="Give the answer's text.")
        if not answer:
            return (f"nothing was answered, so nothing is added to {self._display_name}",)
        execution = 0 if key is None else self._executions.get(key[0], 0)
        turn = Turn(
            key,
            held,
            answer,
            model,
            usage,
            interrupted,
            at or datetime.now(UTC),
            execution,
            tuple(continue_prompts),
            _validate_system(self.system if system is None else system) or "",
            truncated,
        )
        place = self._insert_position(key)
        left = len(self._turns) - place
        if not left:
            self._turns = (*self._turns, turn)
            return ()
        what = f"turn {place + 1} replaced"
        branch = self._replace_turns((*self._turns[:place], turn), what)
        kept = "its earlier answer" if left == 1 else _pluralize(left - 1, "later turn", "later turns")
        return (f"{what}; {kept} kept as branch {branch}",)

    def extend_answer(
        self,
        answer: str,
        *,
        model: str = "",
        usage: Usage | None = None,
        interrupted: bool = False,
        truncated: bool = False,
        continue_prompts: Sequence[str] = (),
    ) -> tuple[str, ...]:
        """The last answer went on: ``answer`` is all of it, from its beginning. The tokens add up.

        Return notes as the others do: none, since nothing is replaced. Raises InputError when there is no turn, or
        the answer does not begin as it did before.
        """
        if not self._turns:
            raise InputError(
                f"{self._display_name} has no answer to go on with.", hint="Ask something first."
            )
        last = self._turns[-1]
        if not answer.startswith(last.answer):
            raise InputError(
                "the answer does not begin with what there was of it.",
                hint="Give all of it, from its beginning.",
            )
        longer = last.with_answer(
            answer, model, add_usage(last.usage, usage), interrupted, truncated, continue_prompts
        )
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
    ) -> tuple[str, ...]:
        """Another answer takes the place of the last one; return notes, which name the branch that keeps that.

        Raises InputError when there is no turn, or the answer is no text.
        """
        if not self._turns:
            raise InputError(f"{self._display_name} has no answer to replace.", hint="Ask something first.")
        if not isinstance(answer, str) or not answer:
            raise InputError("the answer is no text.", hint="Give the answer's text.")
        last = self._turns[-1]
        other = replace(
            last.with_answer(answer, model, usage, interrupted, truncated, continue_prompts),
            at=datetime.now(UTC),
        )
        what = f"turn {len(self._turns)} replaced"
        branch = self._replace_turns((*self._turns[:-1], other), what)
        return (f"{what}; its earlier answer kept as branch {branch}",)

    # --- going back ------------------------------------------------------------------------------------------

    def undo(self) -> tuple[str, ...]:
        """Take the last turn off; return notes, which name the branch. Raises InputError when there is none."""
        if not self._turns:
            raise InputError(f"{self._display_name} has no turn to undo.", hint="See its branches.")
        number = len(self._turns)
        branch = self._replace_turns(self._turns[:-1], f"turn {number} undone")
        return (f"turn {number} undone; it is kept in branch {branch}",)

    def reset(self) -> tuple[str, ...]:
        """Begin again without any turns; the system prompt stays. Return notes, which name the branch."""
        if not self._turns:
            return ()
        number = len(self._turns)
        branch = self._replace_turns((), "reset")
        return (f"{_pluralize(number, 'turn', 'turns')} kept as branch {branch}",)

    def restore_branch(self, branch: str) -> tuple[str, ...]:
        """Bring a branch back, by its name or number (``main~2``, ``2``); what is there is kept as a branch too.

        The system prompt is that of the branch again. Return notes. Raises InputError when there is no such branch.
        """
        found = self.get_branch(branch)
        number = len(found.turns)
        notes = [f"branch {found.name} is back: {_pluralize(number, 'turn', 'turns')}"]
        kept = self._replace_turns(found.turns, f"{found.name} restored")
        if kept and kept != found.name:
            notes.append(f"what was there is kept as branch {kept}")
        if found.system != self._system:
            self._system = found.system
            words = "the system prompt is" if found.system else "there is no system prompt,"
            notes.append(f"{words} as it was in {found.name}")
        return tuple(notes)

    def delete_branch(self, branch: str) -> None:
        """Drop a branch for good; turns that it has in common with others stay in those. Raises InputError."""
        found = self.get_branch(branch)
        self._branches = tuple(each for each in self._branches if each is not found)

    def fork(self, name: str) -> Conversation:
        """Another conversation with the same system prompt and turns, which goes its own way. Raises InputError."""
        other = Conversation(validate_name(name), self.system, self._turns)
        other._executions = dict(self._executions)
        return other

    def get_branch(self, name: str) -> Branch:
        """The branch of this name or number. Raises InputError."""
        wanted = str(name)
        for branch in self._branches:
            if wanted == branch.name or wanted.removeprefix("~") == str(branch.number):
                return branch
        names = ", ".join(branch.name for branch in self._branches[-5:])
        hint = f"There are: {names}." if names else "It has none yet."
        raise InputError(f"{self._display_name} has no branch {short_repr(wanted)}.", hint=hint)

    def count_common_turns(self, branch: str) -> int:
        """How many turns a branch and the line have in common, from the first on. Raises InputError."""
        return len(list(_common_prefix(self._turns, self.get_branch(branch).turns)))

    # --- files -----------------------------------------------------------------------------------------------

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write all of it to a JSON file; return its path. Raises InputError, for an existing one unless ``force``.

        The format is documented in ``puq_magics.prompts.conversation.storage``.
        """
        from puq_magics.prompts.conversation.storage import save

        return save(self, path, force)

    @classmethod
    def load(cls, path: str | Path, name: str | None = None) -> Conversation:
        """Read what ``save`` wrote, under its own name or another. Raises InputError."""
        from puq_magics.prompts.conversation.storage import load

        name, system, turns, branches = load(path, name)
        return cls(name, system, turns, branches=branches)

    def export(self, path: str | Path, force: bool = False) -> Path:
        """Write the line for people to read; return the path. Raises InputError, as ``save`` does.

        A name that ends in ``.md`` gets Markdown, one in ``.ipynb`` a notebook.
        """
        from puq_magics.prompts.conversation.export import export

        return export(self, path, force)

    # --- inside ----------------------------------------------------------------------------------------------

    @property
    def _display_name(self) -> str:
        return f"the conversation {self._name}".rstrip()

    def _insert_position(self, key: TurnKey | None) -> int:
        """Where in the line a question goes; what stands there and after it would leave.

        That is at the first turn that is left from an earlier execution of its cell, whatever its ordinal: should
        this one ask less, or its first question fail, none of the old turns is taken for its own.
        """
        if key is not None:
            execution = self._executions.get(key[0], 0)
            for place, turn in enumerate(self._turns):
                if turn.key == key or (
                    turn.key is not None and turn.key[0] == key[0] and turn.execution != execution
                ):
                    return place
        return len(self._turns)

    def _replace_turns(self, line: tuple[Turn, ...], reason: str) -> str:
        """Make another line the line; return the name of the branch that has the old one (empty, if it was)."""
        old = self._turns
        name = (
            next((each.name for each in self._branches if _starts_with(each.turns, old)), "") if old else ""
        )
        if old and not name and not _starts_with(line, old):
            self._last_branch_number += 1
            name = f"{self._name}~{self._last_branch_number}"
            # First, so that an interrupt between the two loses nothing.
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
        words = self.system if system is None else _validate_system(system)
        always = ([{"role": "system", "content": words}] if words else []) + last
        fixed = sum(estimate_tokens(message["content"]) for message in always)
        kept, notes = _fit_to_limits(earlier, fixed, limit_tokens, limit_turns)
        middle = [message for turn in kept for message in turn.messages]
        split = len(always) - len(last)
        return [*always[:split], *middle, *last], notes


def _validate_system(words: str | None) -> str | None:
    if words is not None and not isinstance(words, str):
        raise InputError("the system prompt is not a string.", hint="Give it as str, or None for none.")
    return words


def _fit_to_limits(
    turns: Sequence[Turn], fixed: int, limit_tokens: int | None, limit_turns: int | None
) -> tuple[Sequence[Turn], tuple[str, ...]]:
    """The latest turns that the limits leave room for, and what to say of the others."""
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
        limit = (
            _pluralize(limit_turns or 0, "earlier turn", "earlier turns")
            if by_turns
            else f"about {limit_tokens:,} tokens"
        )
        left = "the oldest turn" if first == 1 else f"the {first:,} oldest turns"
        notes.append(f"{left} of {len(turns):,} left out: the context's limit is {limit}")
    if limit_tokens is not None and fixed > limit_tokens:
        notes.append(f"about {fixed:,} tokens without any earlier turn, over the limit of {limit_tokens:,}")
    return turns[first:], tuple(notes)


def _check_limit(limit: object, what: str, least: int) -> None:
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < least):
        raise InputError(
            f"{short_repr(limit)} is not a number of {what}.", hint=f"Give a whole number from {least}."
        )


def _common_prefix(one: Iterable[Turn], other: Iterable[Turn]) -> Iterator[Turn]:
    """The turns that both begin with."""
    for turn, twin in zip(one, other, strict=False):
        if turn is not twin:
            return
        yield turn


def _starts_with(line: Sequence[Turn], start: Sequence[Turn]) -> bool:
    return len(list(_common_prefix(line, start))) == len(start)


def _pluralize(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
