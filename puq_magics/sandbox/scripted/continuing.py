"""Going on with an answer that was cut: what a script would have said after the words that came back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from puq_magics.sandbox.chat_request import ChatRequest
from puq_magics.sandbox.scripted.moves import Move, Say

_GO_ON: Final = re.compile(
    r"\s*(?:please[, ]+)?(?:continue|go on|carry on|keep going)\b"
    r"|\bexactly where\b|\bwhere (?:you|it|your answer) (?:stopped|left off|broke off|ended|was cut)",
    re.IGNORECASE,
)
#: Characters of the words that came back by which their place in the answer is found again.
_TAIL: Final = 60
#: What is said where a script would halt or fail again, and where nothing is left to say.
FINALLY: Final = " you ask me to go on. So I do, and this is the end of it."
NOTHING_LEFT: Final = "That was all that my script says."


def going_on(script: Callable[[ChatRequest], Iterator[Move]], request: ChatRequest) -> Iterator[Move]:
    """The script's answer, or, where the request holds one that was cut and asks to go on, the rest of that."""
    cut = _cut_answer(request)
    if cut is None:
        yield from script(request)
        return
    earlier, came = cut
    moves = [*script(earlier)]
    rest = _rest("".join(move.text for move in moves if isinstance(move, Say)), came)
    if rest is None:  # these are no words of this script
        yield from script(request)
        return
    ended = isinstance(moves[-1], Say)
    yield Say((rest or (NOTHING_LEFT if ended else "")) + ("" if ended else FINALLY))


def _cut_answer(request: ChatRequest) -> tuple[ChatRequest, str] | None:
    """The request as it was before the answer that is to go on, and the words of that answer."""
    messages, came = list(request.messages), ""
    while len(messages) > 1:
        if messages[-1].role == "assistant":
            came = messages.pop().text + came
        elif messages[-2].role == "assistant" and _GO_ON.search(messages[-1].text):
            messages.pop()
        else:
            break
    if not came or messages[-1].role != "user":
        return None
    sent = request.body["messages"]
    body = {**request.body, "messages": sent[: len(messages)] if isinstance(sent, list) else sent}
    return replace(request, messages=tuple(messages), body=body), came


def _rest(text: str, came: str) -> str | None:
    """What follows in ``text`` on the words that came; None where they are not in it."""
    if text.startswith(came):
        return text[len(came) :]
    tail = came.rstrip()[-_TAIL:]
    place = text.rfind(tail)
    return text[place + len(tail) :] if place >= 0 else None
