"""What an answer holds beside its words: blocks of code, and a JSON document.

Models wrap both in words and fences, however they are asked not to. What is read here is read as it stands:
nothing is mended, no comma taken away, so that what comes out is what the model wrote.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from puq_magics.core.errors import InvalidResponseError

#: Names that a fence of Python goes by; an empty one is taken for Python too.
PYTHON = frozenset({"", "python", "python3", "py", "py3", "ipython", "ipython3", "pycon"})
_JSON = frozenset({"json", "json5", "jsonc", "application/json"})
#: Languages in which models write fences inside a fence of the same length.
_NESTING = frozenset({"markdown", "md", "mdx", "myst", "qmd", "rmd"})
_OPENER = re.compile(
    r"(?P<lead>[ \t]*(?:>[ ]?)*[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)"
    r"(?P<fence>`{3,}(?=[^`]*$)|~{3,})[ \t]*(?P<info>.*)$"
)
_LANGUAGE = re.compile(r"[\s{.]*([^\s{},;:=]{1,40})")
#: Where a document can begin within words.
_START = re.compile(r'\{(?=\s*["}])|\[')
_MOST_TRIES = 2_000


class NotJSONError(InvalidResponseError):
    """An answer holds no JSON; ``partial`` is the answer, ``repair`` what to write to the model."""

    #: Words to the model for one more try.
    repair: str

    def __init__(self, message: str, *, answer: str, repair: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.partial = answer
        self.repair = repair

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self.message, self.partial, self.repair, self.hint), self.__dict__


def _revive(message: str, answer: str, repair: str, hint: str) -> NotJSONError:
    return NotJSONError(message, answer=answer, repair=repair, hint=hint)


@dataclass(frozen=True)
class Block:
    """One block of code; ``language`` is in small letters, empty where the answer names none."""

    language: str
    code: str
    #: Whether its fence was closed; the last one of an answer that was cut off is not.
    closed: bool = True

    @property
    def is_python(self) -> bool:
        """Whether it is Python, or may be."""
        return self.language in PYTHON


def code_blocks(text: str) -> tuple[Block, ...]:
    """Return the fenced blocks of code of an answer, in order; those in quotes and lists too."""
    return tuple(_blocks(text.replace("\r\n", "\n").split("\n")))


def code_of(text: str, *, all_blocks: bool = False) -> tuple[str, tuple[Block, ...]]:
    """Return the code that an answer is asked for, and the blocks that were left out.

    That is its first block of Python, or all of them with ``all_blocks``; the first of another language where
    none is Python. An answer without a fence that is Python as it stands is one block. Without code: "".
    """
    blocks = code_blocks(text) or _bare(text)
    python = [block for block in blocks if block.is_python]
    wanted: Sequence[Block] = python or blocks
    taken = wanted if all_blocks else wanted[:1]
    code = "\n\n".join(block.code.strip("\n") for block in taken)
    return code, tuple(block for block in blocks if not any(block is other for other in taken))


def json_of(text: str) -> Any:
    """Return the JSON document of an answer: bare, in a fence, or with words around it.

    Of several in fences it is the first, of several in words the longest. Raises `NotJSONError` without one.
    """
    for document in _documents(text):
        try:
            return _loads(document)
        except (ValueError, RecursionError):
            continue
    found = _longest(text)
    if found is None:
        raise NotJSONError(
            f"The answer is not JSON{_why(text)}.",
            answer=text,
            repair=f"Your last answer is not JSON{_why(text)}. "
            "Answer again with the JSON document alone: no words around it, no code fence, no comments.",
            hint="The answer's text is kept.",
        )
    return found


# -- code


def _blocks(lines: Iterable[str]) -> Iterator[Block]:
    fence: _Fence | None = None
    for line in lines:
        if fence is None:
            found = _OPENER.match(line)
            fence = _Fence(found["lead"], found["fence"], found["info"]) if found else None
        elif not fence.takes(line):
            yield fence.block(closed=True)
            fence = None
    if fence is not None:
        yield fence.block(closed=False)


class _Fence:
    """A block that is being read."""

    def __init__(self, lead: str, fence: str, info: str) -> None:
        found = _LANGUAGE.match(info)
        self._language = found[1].lower() if found else ""
        self._quotes = lead.count(">")
        self._indent = len(lead.rpartition(">")[2].removeprefix(" " if self._quotes else ""))
        self._closer = re.compile(rf"[ \t]*{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$")
        self._inner_opener = re.compile(rf"[ \t]*{re.escape(fence[0])}{{{len(fence)},}}[ \t]*[A-Za-z]")
        self._inner = 0
        self._lines: list[str] = []

    def takes(self, line: str) -> bool:
        """Take a line; False for the one that closes the block."""
        line = self._inside(line)
        if self._closer.match(line):
            if not self._inner:
                return False
            self._inner -= 1
        elif self._language in _NESTING and self._inner_opener.match(line):
            self._inner += 1
        self._lines.append(line)
        return True

    def _inside(self, line: str) -> str:
        """The line without the marks of the quote and the indentation that the block stands in."""
        for _ in range(self._quotes):
            line = re.sub(r"^[ ]{0,3}>[ ]?", "", line)
        spaces = len(line) - len(line.lstrip(" \t"))
        return line[min(self._indent, spaces) :]

    def block(self, *, closed: bool) -> Block:
        return Block(self._language, "\n".join(self._lines), closed)


def _bare(text: str) -> tuple[Block, ...]:
    """The whole answer, where it is Python and no single word."""
    code = text.strip("\n")
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    is_word = all(isinstance(part, ast.Expr) and isinstance(part.value, ast.Name) for part in tree.body)
    return () if is_word else (Block("", code),)


# -- JSON


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")  # Python's json takes NaN and Infinity, the standard does not


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _loads(text: str) -> Any:
    return _DECODER.decode(text)


def _documents(text: str) -> Iterator[str]:
    """What may be the document as a whole: the answer, then its blocks, those that say that they are JSON first."""
    yield text.strip().removeprefix("\ufeff")
    blocks = code_blocks(text)
    yield from (block.code for block in blocks if block.language in _JSON)
    yield from (block.code for block in blocks if not block.language)


def _longest(text: str) -> Any | None:
    """The longest object or list that stands in words."""
    best, length, position = None, 0, 0
    for _ in range(_MOST_TRIES):
        start = _START.search(text, position)
        if start is None:
            break
        try:
            found, position = _DECODER.raw_decode(text, start.start())
        except json.JSONDecodeError as error:
            # What stands inside of a broken document is a part of it, and no document of its own.
            position = max(error.pos, start.end())
            continue
        except (ValueError, RecursionError):
            break
        if position - start.start() > length and _may_stand(text, start.start()):
            best, length = found, position - start.start()
    return best


def _may_stand(text: str, start: int) -> bool:
    """Whether a document may begin here: a list only where it is no number in brackets amid a sentence."""
    before = text[max(0, start - 100) : start].rstrip(" \t")
    return text[start] == "{" or not before or before[-1] in "\n:"


def _why(text: str) -> str:
    """Where it stops being JSON, for an answer that begins like it."""
    candidates = [text, *(block.code for block in code_blocks(text))]
    document = next((words for words in candidates if words.lstrip()[:1] in ("{", "[")), None)
    if document is None:
        return "" if text.strip() else ": it is empty"
    try:
        _loads(document.strip())
    except json.JSONDecodeError as error:
        return f": {error.msg.removesuffix('.').lower()} (line {error.lineno}, column {error.colno})"
    except ValueError as error:
        return f": {' '.join(str(error).split())[:100]}"
    except RecursionError:
        return ": it is nested too deep"
    return ""
