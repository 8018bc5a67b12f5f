"""The scripted answers: a function for each chat model, from the request to the moves of its answer.

Every answer in words opens with a line that says that no model wrote it: there however early the answer is cut.
Where JSON is asked for, the answer is JSON made of the request; and where an answer was cut, it goes on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib.resources import files
from types import MappingProxyType
from typing import Final, TypeAlias

from puq_magics.sandbox.chat_request import ChatRequest, Message
from puq_magics.sandbox.scripted.continuing import going_on
from puq_magics.sandbox.scripted.documents import clumsy_document, document, wanted
from puq_magics.sandbox.scripted.moves import Break, Move, Say, Stall, Think
from puq_magics.sandbox.scripted.showcase import parts_asked_for

Script: TypeAlias = Callable[[ChatRequest], Iterator[Move]]

#: What every answer opens with.
NOTICE: Final = "*Scripted by the sandbox; no model wrote this.*\n\n"
_GIST = 160
_LONGEST_URL = 80


def chat(request: ChatRequest) -> Iterator[Move]:
    """An answer made of the question: its gist, and what it asks for."""
    question = request.question
    told = "\n".join(message.text for message in request.messages if _is_on_form(message))
    yield Say(NOTICE)
    yield Say(f"You asked:\n\n> {gist(question)}\n\n")
    if question.images:
        yield Say(f"With it came {_pictures(question)}; I saw no more of it than that.\n\n")
    yield from (Say(part) for part in parts_asked_for(question.text, told))
    yield Say(
        "A real model would *know* something of this: `%puq_login` takes your key, `-m` names the model."
    )


def short(request: ChatRequest) -> Iterator[Move]:
    """A few sentences that show that the question arrived."""
    question = request.question
    told = [message for message in request.messages if message.role == "system"]
    came = len(request.messages)
    yield Say(NOTICE)
    yield Say(f"You asked, in **{_plural(len(question.text.split()), 'word')}**:\n\n> {gist(question)}\n\n")
    yield Say(f"Your request held {_plural(came, 'message')}" + (", this one alone. " if came == 1 else ". "))
    if told:
        yield Say(f"Its system prompt, {_plural(_words(told), 'word')} long, came along. ")
    if question.images:
        yield Say(f"With the question came {_pictures(question)}; I saw no more of it than that. ")
    yield Say("A real model would answer now: `%puq_login` takes your key, and `-m` names the model. ")
    yield Say(
        "With `sandbox/tour` you see *everything* an answer can hold, with `sandbox/echo` what was sent."
    )


def clumsy(request: ChatRequest) -> Iterator[Move]:
    """As `short` in words; JSON comes wrong the first time, and right when it is sent back."""
    asked = wanted(request)
    if asked is None:
        yield from short(request)
    else:
        yield Say(clumsy_document(request, asked))


def tour(_request: ChatRequest) -> Iterator[Move]:
    """A long answer with all that Markdown has."""
    yield Say(NOTICE)
    yield Say(_text("tour.md"))


def echo(request: ChatRequest) -> Iterator[Move]:
    """The request as it arrived: for people first, then as JSON."""
    yield Say(NOTICE)
    came = _plural(len(request.messages), "message")
    yield Say(f"## What arrived\n\nThe model is `{request.model}`; {came} came.\n\n")
    for number, message in enumerate(request.messages, start=1):
        images = f" and {_plural(message.images, 'image')}" if message.images else ""
        words = _plural(len(message.text.split()), "word")
        yield Say(f"{number}. **{message.role}**, {words}{images}: {gist(message)}\n")
    others = sorted(request.body.keys() - {"model", "messages"})
    named = ", ".join(f"`{name}`" for name in others) or "none: the model's own defaults hold"
    yield Say(f"\nFurther parameters: {named}.\n\n")
    # No line of indented JSON can start with a fence: what was sent cannot close this block.
    yield Say("```json\n" + json.dumps(_abridged(request.body), indent=2, ensure_ascii=False) + "\n```\n")


def think(request: ChatRequest) -> Iterator[Move]:
    """Reasoning in its own field, then an answer."""
    yield Think(f"The user writes: {gist(request.question)}\n\n")
    yield Think(_text("thoughts.md"))
    yield Say(NOTICE)
    yield Say("I thought first, in `reasoning_content`, and answer now: **the two are kept apart**.\n\n")
    yield Say(
        f"> {gist(request.question)}\n\nThat was the question, and this is all that my script says of it."
    )


def stall(_request: ChatRequest) -> Iterator[Move]:
    """A few words, then nothing but keep-alives."""
    yield Say(NOTICE)
    yield Say("These words came quickly, and the rest is a long time coming: interrupt me when")
    yield Stall(keep_alive=True)


def silence(_request: ChatRequest) -> Iterator[Move]:
    """A few words, then not a byte."""
    yield Say(NOTICE)
    yield Say("These words came quickly; now the line goes dead, and only a time limit")
    yield Stall(keep_alive=False)


def fail(_request: ChatRequest) -> Iterator[Move]:
    """Some words, then an error."""
    yield Say(NOTICE)
    yield Say("This answer starts well. It even has a second sentence, but it will not")
    yield Break("The scripted model failed in mid-answer, as sandbox/fail always does")


def _or_json(script: Script) -> Script:
    """The script, but for a request that asks for JSON: that gets JSON, and nothing else."""

    def answer(request: ChatRequest) -> Iterator[Move]:
        asked = wanted(request)
        yield from script(request) if asked is None else [Say(document(request, asked))]

    return answer


#: The script of each chat model. What is echoed, toured or clumsy follows no order but its own.
SCRIPTS: Final[Mapping[str, Script]] = MappingProxyType(
    {
        **{
            f"sandbox/{script.__name__}": partial(going_on, _or_json(script))
            for script in (chat, short, think)
        },
        **{
            f"sandbox/{script.__name__}": partial(going_on, script)
            for script in (tour, clumsy, stall, silence, fail)
        },
        "sandbox/echo": echo,
    }
)


def gist(message: Message) -> str:
    """A message on one line, cut at a word."""
    line = " ".join(message.text.split()) or "(no words)"
    return line if len(line) <= _GIST else line[:_GIST].rsplit(" ", 1)[0] + " …"


def _is_on_form(message: Message) -> bool:
    """Whether a system prompt says that an answer is to be code."""
    text = message.text.lower()
    return message.role == "system" and "code" in text and bool(re.search(r"\bblock|\bfence|\bonly\b", text))


def _pictures(message: Message) -> str:
    """The images of a message: how many, and what each is."""
    return f"{_plural(message.images, 'image')} ({'; '.join(message.pictures)})"


def _words(messages: list[Message]) -> int:
    return sum(len(message.text.split()) for message in messages)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _abridged(value: object) -> object:
    """The same JSON with the bytes of ``data:`` URLs left out."""
    if isinstance(value, Mapping):
        return {name: _abridged(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_abridged(item) for item in value]
    if isinstance(value, str) and value.startswith("data:") and len(value) > _LONGEST_URL:
        return f"{value[:_LONGEST_URL]}… ({len(value):,} characters)"
    return value


@cache
def _text(name: str) -> str:
    return (files("puq_magics.sandbox") / "texts" / name).read_text(encoding="utf-8")
