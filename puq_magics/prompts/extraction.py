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
PYTHON_LANGUAGES = frozenset({"", "python", "python3", "py", "py3", "ipython", "ipython3", "pycon"})
_JSON_LANGUAGES = frozenset({"json", "json5", "jsonc", "application/json"})
#: Languages in which models write fences inside a fence of the same length.
_NESTING_LANGUAGES = frozenset({"markdown", "md", "mdx", "myst", "qmd", "rmd"})
_OPENING_FENCE = re.compile(
    r"(?P<lead>[ \t]*(?:>[ ]?)*[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)"
    r"(?P<fence>`{3,}(?=[^`]*$)|~{3,})[ \t]*(?P<info>.*)$"
)
_LANGUAGE_PATTERN = re.compile(r"[\s{.]*([^\s{},;:=]{1,40})")
#: Where a document can begin within words.
_JSON_START = re.compile(r'\{(?=\s*["}])|\[')
_MAX_ATTEMPTS = 2_000


class NotJSONError(InvalidResponseError):
    """An answer holds no JSON; ``partial`` is the answer, ``repair`` what to write to the model."""

    #: Words to the model for one more try.
    repair_prompt: str

    def __init__(self, message: str, *, answer: str, repair_prompt: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.partial = answer
        self.repair_prompt = repair_prompt

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle_error, (self.message, self.partial, self.repair_prompt, self.hint), self.__dict__


def _unpickle_error(message: str, answer: str, repair_prompt: str, hint: str) -> NotJSONError:
    return NotJSONError(message, answer=answer, repair_prompt=repair_prompt, hint=hint)


@dataclass(frozen=True)
class CodeBlock:
    """One block of code; ``language`` is in small letters, empty where the answer names none."""

    language: str
    code: str
    #: Whether its fence was closed; the last one of an answer that was cut off is not.
    closed: bool = True

    @property
    def is_python(self) -> bool:
        """Whether it is Python, or may be."""
        return self.language in PYTHON_LANGUAGES


def extract_code_blocks(text: str) -> tuple[CodeBlock, ...]:
    """Return the fenced blocks of code of an answer, in order; those in quotes and lists too."""
    return tuple(_iter_code_blocks(text.replace("\r\n", "\n").split("\n")))


def extract_code(text: str, *, all_blocks: bool = False) -> tuple[str, tuple[CodeBlock, ...]]:
    """Return the code that an answer is asked for, and the blocks that were left out.

    That is its first block of Python, or all of them with ``all_blocks``; the first of another language where
    none is Python. An answer without a fence that is Python as it stands is one block. Without code: "".
    """
    blocks = extract_code_blocks(text) or _unfenced_code(text)
    python = [block for block in blocks if block.is_python]
    wanted: Sequence[CodeBlock] = python or blocks
    taken = wanted if all_blocks else wanted[:1]
    code = "\n\n".join(block.code.strip("\n") for block in taken)
    return code, tuple(block for block in blocks if not any(block is other for other in taken))


def extract_json(text: str) -> Any:
    """Return the JSON document of an answer: bare, in a fence, or with words around it.

    Of several in fences it is the first, of several in words the longest. Raises `NotJSONError` without one.
    """
    for document in _json_candidates(text):
        try:
            return _loads(document)
        except (ValueError, RecursionError):
            continue
    found = _find_longest_json(text)
    if found is None:
        raise NotJSONError(
            f"The answer is not JSON{_describe_json_error(text)}.",
            answer=text,
            repair_prompt=f"Your last answer is not JSON{_describe_json_error(text)}. "
            "Answer again with the JSON document alone: no words around it, no code fence, no comments.",
            hint="The answer's text is kept.",
        )
    return found


# -- code


def _iter_code_blocks(lines: Iterable[str]) -> Iterator[CodeBlock]:
    fence: _OpenCodeBlock | None = None
    for line in lines:
        if fence is None:
            found = _OPENING_FENCE.match(line)
            fence = _OpenCodeBlock(found["lead"], found["fence"], found["info"]) if found else None
        elif not fence.add_line(line):
            yield fence.block(closed=True)
            fence = None
    if fence is not None:
        yield fence.block(closed=False)


class _OpenCodeBlock:
    """A block that is being read."""

    def __init__(self, lead: str, fence: str, info: str) -> None:
        found = _LANGUAGE_PATTERN.match(info)
        self._language = found[1].lower() if found else ""
        self._quote_depth = lead.count(">")
        self._indent = len(lead.rpartition(">")[2].removeprefix(" " if self._quote_depth else ""))
        self._closing_fence = re.compile(rf"[ \t]*{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$")
        self._nested_fence = re.compile(rf"[ \t]*{re.escape(fence[0])}{{{len(fence)},}}[ \t]*[A-Za-z]")
        self._nesting_depth = 0
        self._lines: list[str] = []

    def add_line(self, line: str) -> bool:
        """Take a line; False for the one that closes the block."""
        line = self._strip_container_markers(line)
        if self._closing_fence.match(line):
            if not self._nesting_depth:
                return False
            self._nesting_depth -= 1
        elif self._language in _NESTING_LANGUAGES and self._nested_fence.match(line):
            self._nesting_depth += 1
        self._lines.append(line)
        return True

    def _strip_container_markers(self, line: str) -> str:
        """The line without the marks of the quote and the indentation that the block stands in."""
        for _ in range(self._quote_depth):
            line = re.sub(r"^[ ]{0,3}>[ ]?", "", line)
        spaces = len(line) - len(line.lstrip(" \t"))
        return line[min(self._indent, spaces) :]

    def block(self, *, closed: bool) -> CodeBlock:
        return CodeBlock(self._language, "\n".join(self._lines), closed)


def _unfenced_code(text: str) -> tuple[CodeBlock, ...]:
    """The whole answer, where it is Python and no single word."""
    code = text.strip("\n")
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    is_word = all(isinstance(part, ast.Expr) and isinstance(part.value, ast.Name) for part in tree.body)
    return () if is_word else (CodeBlock("", code),)


# -- JSON


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")  # Python's json takes NaN and Infinity, the standard does not


_DECODER = json.JSONDecoder(parse_constant=_reject_constant)


def _loads(text: str) -> Any:
    return _DECODER.decode(text)


def _json_candidates(text: str) -> Iterator[str]:
    """What may be the document as a whole: the answer, then its blocks, those that say that they are JSON first."""
    yield text.strip().removeprefix("\ufeff")
    blocks = extract_code_blocks(text)
    yield from (block.code for block in blocks if block.language in _JSON_LANGUAGES)
    yield from (block.code for block in blocks if not block.language)


def _find_longest_json(text: str) -> Any | None:
    """The longest object or list that stands in words."""
    best, length, position = None, 0, 0
    for _ in range(_MAX_ATTEMPTS):
        start = _JSON_START.search(text, position)
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
        if position - start.start() > length and _may_start_json(text, start.start()):
            best, length = found, position - start.start()
    return best


def _may_start_json(text: str, start: int) -> bool:
    """Whether a document may begin here: a list only where it is no number in brackets amid a sentence."""
    before = text[max(0, start - 100) : start].rstrip(" \t")
    return text[start] == "{" or not before or before[-1] in "\n:"


def _describe_json_error(text: str) -> str:
    """Where it stops being JSON, for an answer that begins like it."""
    candidates = [text, *(block.code for block in extract_code_blocks(text))]
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
