"""Scripted answers: for each chat model a function from the request to the steps of its answer.

Every text answer begins with a line that says that no model wrote it, so that it is there however early the answer
is cut. If JSON is requested, the answer is JSON generated from the request; a cut answer can be continued.
"""

from __future__ import annotations

import json
import random
import re
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.resources import files
from itertools import groupby, islice
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, cast

from puq_magics.sandbox.chat_request import ChatRequest, Message
from puq_magics.sandbox.scripted.json_answers import find_json_format, json_answer, malformed_json_answer
from puq_magics.sandbox.scripted.sections import hint_section, html_answer, requested_sections
from puq_magics.sandbox.scripted.tool_calls import result_lines, wanted_calls
from puq_magics.sandbox.tokens import tokens

#: The fields of a message that words go to.
Field: TypeAlias = Literal["content", "reasoning_content"]


@dataclass(frozen=True)
class Content:
    """Words of the answer."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """Words of the reasoning before it."""

    text: str


@dataclass(frozen=True)
class Calls:
    """Calls of functions, each a name and its arguments; they end the answer."""

    calls: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Stall:
    """Come to a halt until the client goes, with or without keep-alive comments."""

    keep_alive: bool


@dataclass(frozen=True)
class StreamFailure:
    """Fail here, with an error in mid-answer."""

    message: str


@dataclass(frozen=True)
class Token:
    """One token, and the field of a message that it belongs to."""

    field: Field
    text: str


@dataclass(frozen=True)
class CallPart:
    """One token of a call's arguments; the first part has the id and the name, and no arguments."""

    index: int
    text: str
    id: str = ""
    name: str = ""


@dataclass(frozen=True)
class StreamEnd:
    """The end of an answer, and why it ends."""

    finish_reason: Literal["stop", "length", "tool_calls"]


Action: TypeAlias = Content | Reasoning | Calls | Stall | StreamFailure
StreamStep: TypeAlias = Token | CallPart | Stall | StreamFailure | StreamEnd

_FIELDS: Final[Mapping[type[Action], Field]] = {Content: "content", Reasoning: "reasoning_content"}


def iter_steps(moves: Iterable[Action], limit: int | None = None) -> Iterator[StreamStep]:
    """The steps of an answer of at most ``limit`` tokens, reasoning included.

    The last one is an `StreamEnd`, a `Stall` or a `StreamFailure`.
    """
    said = 0
    for kind, run in groupby(moves, key=type):
        if kind is Calls:
            parts = [part for move in cast("Iterator[Calls]", run) for part in _call_parts(move)]
            left = len(parts) if limit is None else limit - said
            yield from parts[:left]
            yield StreamEnd("tool_calls" if left >= len(parts) else "length")
            return
        if kind not in _FIELDS:
            yield from islice(cast("Iterator[Stall | StreamFailure]", run), 1)
            return
        # Put together before it is cut: where a script pauses for breath makes no difference to the count.
        for text in tokens("".join(move.text for move in cast("Iterator[Content | Reasoning]", run))):
            if said == limit:
                yield StreamEnd("length")
                return
            said += 1
            yield Token(_FIELDS[kind], text)
    yield StreamEnd("stop")


def _call_parts(move: Calls) -> Iterator[CallPart]:
    for index, (name, arguments) in enumerate(move.calls):
        yield CallPart(index, "", f"call_{secrets.token_hex(6)}", name)
        yield from (CallPart(index, text) for text in tokens(arguments))


_GO_ON: Final = re.compile(
    r"(?:please[, ]+)?(?:continue|go on|carry on|keep going)\b"
    r"|\bexactly where\b|\bwhere (?:you|it|your answer) (?:stopped|left off|broke off|ended|was cut)",
    re.IGNORECASE,
)
#: Characters of the words that came back by which their place in the answer is found again.
_TAIL: Final = 60
#: What is said where a script would halt or fail again, and where nothing is left to say.
CLOSING_SENTENCE: Final = " you ask me to go on. So I do, and this is the end of it."
NOTHING_LEFT: Final = "That was all that my script says."


def continue_answer(
    script: Callable[[ChatRequest], Iterator[Action]], request: ChatRequest
) -> Iterator[Action]:
    """Return the script's answer or, if the request asks to continue a cut answer, the rest of that one."""
    cut = _partial_answer(request)
    if cut is None:
        yield from script(request)
        return
    earlier, came = cut
    moves = [*script(earlier)]
    rest = _rest("".join(move.text for move in moves if isinstance(move, Content)), came)
    if rest is None:  # these are no words of this script
        yield from script(request)
        return
    ended = isinstance(moves[-1], Content)
    yield Content((rest or (NOTHING_LEFT if ended else "")) + ("" if ended else CLOSING_SENTENCE))


def _partial_answer(request: ChatRequest) -> tuple[ChatRequest, str] | None:
    """Return the request before the answer to continue, and the text of that answer."""
    messages = list(request.messages)
    parts: list[str] = []
    while len(messages) > 1:
        if messages[-1].role == "assistant":
            parts.append(messages.pop().text)
        elif (
            messages[-1].role == "user"
            and messages[-2].role == "assistant"
            and _GO_ON.search(messages[-1].text)
        ):
            messages.pop()
        else:
            break
    if not parts or messages[-1].role != "user":
        return None
    sent = request.body["messages"]
    body = {**request.body, "messages": sent[: len(messages)] if isinstance(sent, list) else sent}
    return replace(request, messages=tuple(messages), body=body), "".join(reversed(parts))


def _rest(text: str, came: str) -> str | None:
    """Return the part of ``text`` after the partial answer; None if that is not in it."""
    if text.startswith(came):
        return text[len(came) :]
    tail = came.rstrip()[-_TAIL:]
    place = text.rfind(tail)
    return text[place + len(tail) :] if place >= 0 else None


Script: TypeAlias = Callable[[ChatRequest], Iterator[Action]]

#: What every answer opens with.
NOTICE: Final = "*Scripted by the sandbox; no model wrote this.*\n\n"
_BLOCK_MARK = re.compile(r"^[ \t]*(?:#{1,6}[ \t]|```.*$|\|[ \t:|-]+\|[ \t]*$)", re.MULTILINE)
_GIST = 160
_EARLIER = 3  # turns that an answer quotes
_LONGEST_URL = 80


def chat(request: ChatRequest) -> Iterator[Action]:
    """An answer made of the question: its gist, and what it asks for."""
    question = request.last_user_message
    told = "\n".join(message.text for message in request.messages if _asks_for_code_block(message))
    yield Content(NOTICE)
    conversation = "\n".join(message.text for message in request.messages if message.role == "user")
    if hint := hint_section(question.text, conversation):
        yield Content(hint)
        return
    yield Content(f"You asked:\n\n> {excerpt(question)}\n\n")
    if earlier := _earlier_turns(request):
        yield Content(earlier)
    if question.image_count:
        yield Content(f"With it came {_pictures(question)}; I saw no more of it than that.\n\n")
    yield from (Content(part) for part in requested_sections(question.text, told))
    yield Content(
        "A real model would *know* something of this: `%puq_login` takes your key, `-m` names the model."
    )


def short(request: ChatRequest) -> Iterator[Action]:
    """A few sentences that show that the question arrived."""
    question = request.last_user_message
    told = [message for message in request.messages if message.role == "system"]
    came = len(request.messages)
    yield Content(NOTICE)
    yield Content(
        f"You asked, in **{_plural(len(question.text.split()), 'word')}**:\n\n> {excerpt(question)}\n\n"
    )
    if earlier := _earlier_turns(request):
        yield Content(earlier)
    yield Content(
        f"Your request held {_plural(came, 'message')}" + (", this one alone. " if came == 1 else ". ")
    )
    if told:
        yield Content(f"Its system prompt, {_plural(_word_count(told), 'word')} long, came along. ")
    if question.image_count:
        yield Content(f"With the question came {_pictures(question)}; I saw no more of it than that. ")
    yield Content("A real model would answer now: `%puq_login` takes your key, and `-m` names the model. ")
    yield Content(
        "With `sandbox/tour` you see *everything* an answer can hold, with `sandbox/echo` what was sent."
    )


def clumsy(request: ChatRequest) -> Iterator[Action]:
    """Answer like `short`; JSON is wrong the first time, and right after a repair request."""
    asked = find_json_format(request)
    if asked is None:
        yield from short(request)
    else:
        yield Content(malformed_json_answer(request, asked))


def tour(_request: ChatRequest) -> Iterator[Action]:
    """A long answer with all that Markdown has."""
    yield Content(NOTICE)
    yield Content(_text("tour.md"))


def echo(request: ChatRequest) -> Iterator[Action]:
    """The request as it arrived: for people first, then as JSON."""
    yield Content(NOTICE)
    came = _plural(len(request.messages), "message")
    yield Content(f"## What arrived\n\nThe model is `{request.model}`; {came} came.\n\n")
    for number, message in enumerate(request.messages, start=1):
        image_count = f" and {_plural(message.image_count, 'image')}" if message.image_count else ""
        words = _plural(len(message.text.split()), "word")
        yield Content(f"{number}. **{message.role}**, {words}{image_count}: {excerpt(message)}\n")
    others = sorted(request.body.keys() - {"model", "messages"})
    named = ", ".join(f"`{name}`" for name in others) or "none: the model's own defaults hold"
    yield Content(f"\nFurther parameters: {named}.\n\n")
    # No line of indented JSON can start with a fence: what was sent cannot close this block.
    yield Content(
        "```json\n" + json.dumps(_shorten_data_urls(request.body), indent=2, ensure_ascii=False) + "\n```\n"
    )


def think(request: ChatRequest) -> Iterator[Action]:
    """Reasoning in its own field, then an answer."""
    yield Reasoning(f"The user writes: {excerpt(request.last_user_message)}\n\n")
    yield Reasoning(_text("thoughts.md"))
    yield Content(NOTICE)
    yield Content("I thought first, in `reasoning_content`, and answer now: **the two are kept apart**.\n\n")
    yield Content(
        f"> {excerpt(request.last_user_message)}\n\nThat was the question, and this is all that my script says of it."
    )


def stall(_request: ChatRequest) -> Iterator[Action]:
    """Yield a few words, then only keep-alives."""
    yield Content(NOTICE)
    yield Content("These words came quickly, and the rest is a long time coming: interrupt me when")
    yield Stall(keep_alive=True)


def silence(_request: ChatRequest) -> Iterator[Action]:
    """Yield a few words, then nothing at all."""
    yield Content(NOTICE)
    yield Content("These words came quickly; now the line goes dead, and only a time limit")
    yield Stall(keep_alive=False)


def fail(_request: ChatRequest) -> Iterator[Action]:
    """Yield a few words, then an error."""
    yield Content(NOTICE)
    yield Content("This answer starts well. It even has a second sentence, but it will not")
    yield StreamFailure("The scripted model failed in mid-answer, as sandbox/fail always does")


_SUM = re.compile(r"(\d{1,9})\s*\+\s*(\d{1,9})")


def _sum_answer(request: ChatRequest, rights: int) -> Iterator[Action]:
    """Answer a sum such as ``17 + 25``; right for ``rights`` of ten prompts, always the same ones."""
    question = request.last_user_message.text
    asked = _SUM.search(question)
    if asked is None:
        yield Content(f"{NOTICE}I do sums alone, such as 17 + 25.")
        return
    chance = zlib.crc32(f"{rights} {question}".encode("utf-8", "replace")) % 10
    yield Content(f"{NOTICE}**{int(asked[1]) + int(asked[2]) + (chance >= rights)}**")


def clever(request: ChatRequest) -> Iterator[Action]:
    """A sum, right nine times in ten."""
    yield from _sum_answer(request, 9)


def guesser(request: ChatRequest) -> Iterator[Action]:
    """A sum, right one time in two."""
    yield from _sum_answer(request, 5)


def slow(request: ChatRequest) -> Iterator[Action]:
    """A sum, always right, after many words."""
    yield from _sum_answer(request, 10)
    yield Content(f"\n\nLet me check that again. {'I count, and carry one. ' * 20}It is right.")


def moody(request: ChatRequest) -> Iterator[Action]:
    """A sum, or an error one time in four."""
    if random.random() < 0.25:  # noqa: S311 - not for secrets
        yield Content(NOTICE)
        yield StreamFailure("The scripted model fails one time in four, and did now")
    else:
        yield from _sum_answer(request, 10)


def _with_tools(script: Script) -> Script:
    """The script, but for a request with tools: it calls them, and makes its answer of their results."""

    def answer(request: ChatRequest) -> Iterator[Action]:
        if calls := wanted_calls(request):
            yield Calls(tuple(calls))
        elif request.messages[-1].role == "tool" and find_json_format(request) is None:
            yield Content(NOTICE)
            yield Content(f"You asked:\n\n> {excerpt(request.last_user_message)}\n\nThe functions say:\n\n")
            yield from map(Content, result_lines(request))
            yield Content("\nA real model would answer from that in its own words.")
        else:
            yield from script(request)

    return answer


def _with_formats(script: Script) -> Script:
    """The script, but for a request that asks for JSON or HTML: that gets it, and nothing else."""

    def answer(request: ChatRequest) -> Iterator[Action]:
        asked = find_json_format(request)
        if asked is not None:
            yield Content(json_answer(request, asked))
        elif any(_asks_for_html(message) for message in request.messages):
            yield Content(html_answer(request.last_user_message.text, NOTICE.strip("*\n")))
        else:
            yield from script(request)

    return answer


#: The script of each chat model. What is echoed, toured or clumsy follows no order but its own.
SCRIPTS: Final[Mapping[str, Script]] = MappingProxyType(
    {
        **{
            f"sandbox/{script.__name__}": partial(continue_answer, _with_tools(_with_formats(script)))
            for script in (chat, short, think, clever, guesser, slow, moody)
        },
        **{
            f"sandbox/{script.__name__}": partial(continue_answer, script)
            for script in (tour, clumsy, stall, silence, fail)
        },
        "sandbox/echo": echo,
    }
)


def excerpt(message: Message) -> str:
    """A message on one line, cut at a word, without the marks of headings, code blocks and tables' rules."""
    line = " ".join(_BLOCK_MARK.sub("", message.text).split()) or "(no words)"
    return line if len(line) <= _GIST else line[:_GIST].rsplit(" ", 1)[0] + " …"


def _asks_for_code_block(message: Message) -> bool:
    """True if a system prompt requests code."""
    text = message.text.lower()
    return message.role == "system" and "code" in text and bool(re.search(r"\bblock|\bfence|\bonly\b", text))


def _asks_for_html(message: Message) -> bool:
    """True if a system prompt requires HTML."""
    return message.role == "system" and "HTML" in message.text


def _earlier_turns(request: ChatRequest) -> str:
    """Return a sentence on the turns before this one, with what the user said; empty if there are none."""
    said = [message for message in request.messages if message.role == "user"][:-1]
    if not said or request.messages[-1].role != "user":
        return ""
    quotes = "\n>\n> ".join(excerpt(message) for message in said[-_EARLIER:])
    return f"This is turn {len(said) + 1} of a conversation. Before it you said:\n\n> {quotes}\n\n"


def _pictures(message: Message) -> str:
    """The images of a message: how many, and what each is."""
    return f"{_plural(message.image_count, 'image')} ({'; '.join(message.image_descriptions)})"


def _word_count(messages: list[Message]) -> int:
    return sum(len(message.text.split()) for message in messages)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shorten_data_urls(value: object) -> object:
    """Return the JSON without the bytes of ``data:`` URLs."""
    if isinstance(value, Mapping):
        return {name: _shorten_data_urls(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shorten_data_urls(item) for item in value]
    if isinstance(value, str) and value.startswith("data:") and len(value) > _LONGEST_URL:
        return f"{value[:_LONGEST_URL]}… ({len(value):,} characters)"
    return value


@cache
def _text(name: str) -> str:
    return (files("puq_magics.sandbox") / "texts" / name).read_text(encoding="utf-8")
