"""What an answer is made of before it is JSON: moves of a script, cut into the steps of a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Final, Literal, TypeAlias, cast

from puq_magics.sandbox.tokens import tokens

#: The fields of a message that words go to.
Field: TypeAlias = Literal["content", "reasoning_content"]


@dataclass(frozen=True)
class Say:
    """Words of the answer."""

    text: str


@dataclass(frozen=True)
class Think:
    """Words of the reasoning before it."""

    text: str


@dataclass(frozen=True)
class Stall:
    """Come to a halt until the client goes, with or without keep-alive comments."""

    keep_alive: bool


@dataclass(frozen=True)
class Break:
    """Fail here, with an error in mid-answer."""

    message: str


@dataclass(frozen=True)
class Token:
    """One token, and the field of a message that it belongs to."""

    field: Field
    text: str


@dataclass(frozen=True)
class End:
    """The end of an answer, and why it ends."""

    finish_reason: Literal["stop", "length"]


Move: TypeAlias = Say | Think | Stall | Break
Step: TypeAlias = Token | Stall | Break | End

_FIELDS: Final[Mapping[type[Move], Field]] = {Say: "content", Think: "reasoning_content"}


def play(moves: Iterable[Move], limit: int | None = None) -> Iterator[Step]:
    """The steps of an answer of at most ``limit`` tokens, reasoning included.

    The last one is an `End`, a `Stall` or a `Break`.
    """
    said = 0
    for kind, run in groupby(moves, key=type):
        if kind not in _FIELDS:
            yield from islice(cast("Iterator[Stall | Break]", run), 1)
            return
        # Put together before it is cut: where a script pauses for breath makes no difference to the count.
        for text in tokens("".join(move.text for move in cast("Iterator[Say | Think]", run))):
            if said == limit:
                yield End("length")
                return
            said += 1
            yield Token(_FIELDS[kind], text)
    yield End("stop")
