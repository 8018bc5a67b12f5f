"""Extract code blocks and JSON from a model's answer.

Models add text, code fences and reasoning in ``<think>`` tags, even when asked not to; drafts in the reasoning are
ignored. Code is returned unchanged; of JSON, slips such as a trailing comma are repaired, and named.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from puq_magics.core.errors import NotJSONError
from puq_magics.core.fences import OpenFence
from puq_magics.core.thinking import strip_thinking
from puq_magics.prompts.lenient_json import DECODER, read_lenient_json

#: Language names of Python in code fences; a fence without a language counts as Python.
PYTHON_LANGUAGES = frozenset({"", "python", "python3", "py", "py3", "ipython", "ipython3", "pycon"})
_JSON_LANGUAGES = frozenset({"json", "json5", "jsonc", "application/json"})
#: Possible start of a JSON document within text.
_JSON_START = re.compile(r"""\{(?=\s*(?:["'}/#]|[\w$-]+\s*:))|\[""")
#: The same at the start of an answer: not that of [a note].
_DOCUMENT_START = re.compile(r"""\s*(?:\{|\[\s*(?:[\[{"'\d-]|$))""")
_PRE_BLOCK = re.compile(r"<pre\b[^>]*>.*?(?:</pre\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_LIST_ITEM = re.compile(r"(?:[-+*]|\d{1,9}[.)])\s")
#: Beginning of a line that is code if the rest of it is Python: a keyword and a sign that sentences do not have.
_STATEMENT_START = re.compile(
    r"(?:async |def |class |for |import |from |try:)|(?:return|raise|if|while|with|assert|del)\b.*[(\[{'\"=<>+*/%\d]"
    r"|[\w.\[\]'\", ]+(?:[-+*/%|&@]|//|\*\*|>>|<<)?=(?!=)"
)
#: The head of a block, if the line below is indented; sentences end in such words, too.
_BLOCK_START = re.compile(r"(?:if|while|with)\b.*:\s*$")
_LATER_CLAUSE = re.compile(r"(?:else|elif|except|finally)\b.*:")
#: Repairs of an answer that holds more than the document.
CODE_FENCE, WORDS_AROUND = "code fence", "words around it"
_MAX_ATTEMPTS, _MAX_REPAIRS, _MAX_STATEMENT_CHARS = 2_000, 20, 300


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
    """Return a text with each code block replaced: fenced, indented, ``<pre>``, or Python between other lines.

    One that is not closed ends with the text. In a list, indented lines are text. Of Python, most statements of one
    line, and blocks, are found; a name, a call or a statement of several lines stays.
    """
    text = _PRE_BLOCK.sub(replacement, text)
    kept: list[str] = []
    fence: OpenFence | None = None
    in_list = False
    lines = text.split("\n")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        before = kept[-1] if kept else ""
        if fence is None and line.strip() and not line.startswith((" ", "\t")):
            in_list = _LIST_ITEM.match(line) is not None
        if fence is not None:
            fence = None if fence.closed_by(fence.strip_prefix(line)) else fence
        elif (fence := OpenFence.from_line(line)) is not None:
            kept.append(replacement)
        elif _is_code_line(line, before, following, replacement, in_list):
            if not kept or before != replacement:
                kept.append(replacement)
        else:
            kept.append(line)
    return "\n".join(kept)


def _is_code_line(line: str, before: str, following: str, replacement: str, in_list: bool) -> bool:
    """Return whether a line that is not in a fence is code; ``before`` is what is left of the line before it."""
    is_indented = bool(line.strip()) and line.startswith(("    ", "\t"))
    if is_indented and not in_list and before.strip() in ("", replacement):
        return True
    if len(line) > _MAX_STATEMENT_CHARS:
        return False
    code = f"{line} pass" if line.rstrip().endswith(":") else line
    if _STATEMENT_START.match(line) or (_BLOCK_START.match(line) and following.startswith((" ", "\t"))):
        return _is_python(f"{code}\nfinally: pass" if line.startswith("try") else code)
    if before == replacement and _LATER_CLAUSE.match(line):
        return _is_python(f"{'if x' if line.startswith('el') else 'try'}: pass\n{code}")
    return False


def _is_python(code: str) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):  # of the syntax
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


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


@dataclass(frozen=True)
class JSONDocument:
    """The JSON of an answer, and what had to be repaired to read it."""

    data: Any
    repairs: tuple[str, ...] = ()


def extract_json(text: str) -> JSONDocument:
    """Return the JSON document of an answer: bare, in a fence, or within text.

    Of several fenced documents it is the first, of several within text the longest. Raises NotJSONError.
    """
    answer, text = text, strip_thinking(text)
    for candidate, place in _json_candidates(text):
        if (document := _read_document(candidate, place)) is not None:
            return document
    longest = _find_longest_json(text)
    if longest is None:
        detail = _describe_json_error(text)
        raise NotJSONError(
            f"the answer is not JSON{detail}.",
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


def _json_candidates(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield texts that may be a whole document, and how each stands in the answer.

    They are the answer, then its JSON blocks, then those without a language.
    """
    yield text.strip().removeprefix("\ufeff"), ()
    blocks = extract_code_blocks(text)
    is_alone = (
        len(blocks) == 1 and text.lstrip()[:3] in ("```", "~~~") and text.rstrip()[-3:] in ("```", "~~~")
    )
    place = (CODE_FENCE,) if is_alone else (CODE_FENCE, WORDS_AROUND)
    yield from ((block.code, place) for block in blocks if block.language in _JSON_LANGUAGES)
    yield from ((block.code, place) for block in blocks if not block.language)


def _read_document(text: str, place: tuple[str, ...]) -> JSONDocument | None:
    """Return the document that a text is, repaired if it has to be; None if it is none."""
    try:
        return JSONDocument(DECODER.decode(text), place)
    except (ValueError, RecursionError):
        pass
    start = len(text) - len(text.lstrip())
    try:
        data, repairs, _ = read_lenient_json(text, start)
    except ValueError:
        return None
    return JSONDocument(data, (*repairs, *place))


def _find_longest_json(text: str) -> JSONDocument | None:
    """Return the longest object or list within the text."""
    best, length, position = None, 0, 0
    for attempt in range(_MAX_ATTEMPTS):
        start = _JSON_START.search(text, position)
        if start is None:
            break
        begin = start.start()
        try:
            value, repairs, position = _read_at(text, begin, repairs=attempt < _MAX_REPAIRS)
        except json.JSONDecodeError as error:
            # The inside of a broken document is not a document of its own.
            position = max(error.pos, start.end())
            continue
        except (ValueError, RecursionError):
            break
        if position - begin > length and _may_start_json(text, begin):
            best, length = JSONDocument(value, (*repairs, WORDS_AROUND)), position - begin
    return best


def _read_at(text: str, begin: int, *, repairs: bool) -> tuple[Any, tuple[str, ...], int]:
    """Return the document that begins here, what was repaired in it, and its end; raise as the strict decoder."""
    try:
        value, end = DECODER.raw_decode(text, begin)
    except ValueError as error:
        if not repairs:
            raise
        try:
            return read_lenient_json(text, begin, to_end=False)
        except json.JSONDecodeError:
            raise
        except ValueError:
            raise error from None
    return value, (), end


def _may_start_json(text: str, start: int) -> bool:
    """Return whether a document may start here: a list only at the start of a line or after a colon."""
    before = text[max(0, start - 100) : start].rstrip(" \t")
    return text[start] == "{" or not before or before[-1] in "\n:"


def find_broken_json(text: str) -> str | None:
    """Return the answer, or a block in it, that begins like a document; None if nothing does."""
    candidates = [text, *(block.code for block in extract_code_blocks(text))]
    return next((each for each in candidates if _DOCUMENT_START.match(each)), None)


def _describe_json_error(text: str) -> str:
    """Return the parser's error for an answer that starts like JSON, after a colon."""
    document = find_broken_json(text)
    if document is None:
        return "" if text.strip() else ": it is empty"
    try:
        DECODER.decode(document.strip())
    except json.JSONDecodeError as error:
        return f": {error.msg.removesuffix('.').lower()} (line {error.lineno}, column {error.colno})"
    except ValueError as error:
        return f": {' '.join(str(error).split())[:100]}"
    except RecursionError:
        return ": it is nested too deep"
    return ""
