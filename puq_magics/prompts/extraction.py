"""Extract code blocks and JSON from a model's answer.

Models add text, code fences and reasoning in ``<think>`` tags, even when asked not to; drafts in the reasoning are
ignored. Contents are returned unchanged: no JSON is repaired.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from puq_magics.core.errors import NotJSONError
from puq_magics.core.fences import OpenFence
from puq_magics.core.thinking import strip_thinking

#: Language names of Python in code fences; a fence without a language counts as Python.
PYTHON_LANGUAGES = frozenset({"", "python", "python3", "py", "py3", "ipython", "ipython3", "pycon"})
_JSON_LANGUAGES = frozenset({"json", "json5", "jsonc", "application/json"})
#: Possible start of a JSON document within text.
_JSON_START = re.compile(r'\{(?=\s*["}])|\[')
_MAX_ATTEMPTS = 2_000


@dataclass(frozen=True)
class CodeBlock:
    """A block of code; ``language`` is in lower case, and empty if the answer names none."""

    language: str
    code: str
    #: False if the answer ended before the closing fence.
    closed: bool = True

    @property
    def is_python(self) -> bool:
        """True if the language is Python, or not named."""
        return self.language in PYTHON_LANGUAGES


def remove_code_blocks(text: str, replacement: str = "") -> str:
    """Return a text with each of its fenced code blocks replaced; one that is not closed ends with the text."""
    kept: list[str] = []
    fence: OpenFence | None = None
    for line in text.split("\n"):
        if fence is not None:
            fence = None if fence.closed_by(fence.strip_prefix(line)) else fence
        elif (fence := OpenFence.from_line(line)) is not None:
            kept.append(replacement)
        else:
            kept.append(line)
    return "\n".join(kept)


def extract_code_blocks(text: str) -> tuple[CodeBlock, ...]:
    """Return the fenced code blocks of an answer in order, including those in quotations and lists."""
    blocks: list[CodeBlock] = []
    text = strip_thinking(text)
    fence: OpenFence | None = None
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if fence is None:
            fence, lines = OpenFence.from_line(line), []
        elif fence.closed_by(line := fence.strip_prefix(line)):
            blocks.append(CodeBlock(fence.language, "\n".join(lines)))
            fence = None
        else:
            lines.append(line)
    if fence is not None:
        blocks.append(CodeBlock(fence.language, "\n".join(lines), closed=False))
    return tuple(blocks)


def extract_code(text: str, *, all_blocks: bool = False) -> tuple[str, tuple[CodeBlock, ...]]:
    """Return the requested code and the blocks that were not used.

    The code is the first Python block, or all of them with ``all_blocks``; without Python, that of the first other
    language. An answer without fences that is valid Python counts as one block. Without any code it is empty.
    """
    blocks = extract_code_blocks(text) or _unfenced_code(strip_thinking(text))
    candidates = [block for block in blocks if block.is_python] or blocks
    used = candidates if all_blocks else candidates[:1]
    code = "\n\n".join(block.code.strip("\n") for block in used)
    return code, tuple(block for block in blocks if not any(block is other for other in used))


def extract_json(text: str) -> Any:
    """Return the JSON document of an answer: bare, in a fence, or within text.

    Of several fenced documents it is the first, of several within text the longest. Raises NotJSONError.
    """
    answer, text = text, strip_thinking(text)
    for document in _json_candidates(text):
        try:
            return _DECODER.decode(document)
        except (ValueError, RecursionError):
            continue
    longest = _find_longest_json(text)
    if longest is None:
        detail = _describe_json_error(text)
        raise NotJSONError(
            f"The answer is not JSON{detail}.",
            answer=answer,
            repair_prompt=f"Your last answer is not JSON{detail}. "
            "Answer again with the JSON document alone: no text around it, no code fence, no comments.",
        )
    return longest


def _unfenced_code(text: str) -> tuple[CodeBlock, ...]:
    """Return the whole answer as a block if it is Python, and more than single names."""
    code = text.strip("\n")
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    is_word = all(isinstance(part, ast.Expr) and isinstance(part.value, ast.Name) for part in tree.body)
    return () if is_word else (CodeBlock("", code),)


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")  # Python's json takes NaN and Infinity, the standard does not


_DECODER = json.JSONDecoder(parse_constant=_reject_constant)


def _json_candidates(text: str) -> Iterator[str]:
    """Yield texts that may be a whole document: the answer, then its JSON blocks, then those without a language."""
    yield text.strip().removeprefix("\ufeff")
    blocks = extract_code_blocks(text)
    yield from (block.code for block in blocks if block.language in _JSON_LANGUAGES)
    yield from (block.code for block in blocks if not block.language)


def _find_longest_json(text: str) -> Any | None:
    """Return the longest object or list within the text."""
    best, length, position = None, 0, 0
    for _ in range(_MAX_ATTEMPTS):
        start = _JSON_START.search(text, position)
        if start is None:
            break
        try:
            value, position = _DECODER.raw_decode(text, start.start())
        except json.JSONDecodeError as error:
            # The inside of a broken document is not a document of its own.
            position = max(error.pos, start.end())
            continue
        except (ValueError, RecursionError):
            break
        if position - start.start() > length and _may_start_json(text, start.start()):
            best, length = value, position - start.start()
    return best


def _may_start_json(text: str, start: int) -> bool:
    """Return whether a document may start here: a list only at the start of a line or after a colon."""
    before = text[max(0, start - 100) : start].rstrip(" \t")
    return text[start] == "{" or not before or before[-1] in "\n:"


def _describe_json_error(text: str) -> str:
    """Return the parser's error for an answer that starts like JSON, after a colon."""
    candidates = [text, *(block.code for block in extract_code_blocks(text))]
    document = next((each for each in candidates if each.lstrip()[:1] in ("{", "[")), None)
    if document is None:
        return "" if text.strip() else ": it is empty"
    try:
        _DECODER.decode(document.strip())
    except json.JSONDecodeError as error:
        return f": {error.msg.removesuffix('.').lower()} (line {error.lineno}, column {error.colno})"
    except ValueError as error:
        return f": {' '.join(str(error).split())[:100]}"
    except RecursionError:
        return ": it is nested too deep"
    return ""
