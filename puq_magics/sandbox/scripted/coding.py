"""Code in answer to a question that asks for some: a small function that runs, on the variables that are named."""

from __future__ import annotations

import keyword
import re
from typing import Final

_MOST: Final = 6
_NAME: Final = r"[A-Za-z_]\w*"
#: A block of the question's own, such as the cell that failed.
_BLOCK: Final = re.compile(r"^(`{3,})(python|py|ipython)?[ \t]*\n(.*?)\n\1[ \t]*$", re.MULTILINE | re.DOTALL)
#: ``mean(values)``, ``a function called mean``, ``the function `mean```.
_SIGNATURE: Final = re.compile(rf"(?<![\w.])({_NAME})\(((?:{_NAME}(?:, *{_NAME})*)?)\)")
_CALLED: Final = re.compile(rf"\bfunction,? (?:called |named )`?({_NAME})|\bfunction `({_NAME})`")
_MENDING: Final = re.compile(r"\b(?:fix|mend|repair|correct|error|exception|traceback)", re.IGNORECASE)


def code(question: str) -> str:
    """A heading and a block of Python."""
    blocks = sorted(_BLOCK.finditer(question), key=lambda block: not block[2])  # a traceback says no language
    if blocks and _MENDING.search(question):
        return f"## Your code again\n\n{_fenced(_mended(blocks[0][3]))}"
    variables = _variables(question)
    if variables:
        return f"## Code on what you named\n\n{_fenced(_describing(question, variables))}"
    return f"## Code that counts them\n\n{_fenced(_counting(question))}"


def _fenced(code: str) -> str:
    longest = max((len(ticks) for ticks in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}python\n{code}\n{fence}\n\n"


def _mended(cell: str) -> str:
    return f"# Scripted by the sandbox: your code as it came. A model would mend it.\n{cell}"


def _function(question: str) -> str:
    """The function's name that the question gives; empty when it gives none."""
    called = _CALLED.search(question)
    if called is not None:
        return _checked(called[1] or called[2])
    signature = _SIGNATURE.search(question)
    return _checked(signature[1]) if signature else ""


def _variables(question: str) -> list[str]:
    """The names in backticks, or those between a function's brackets."""
    signature = _SIGNATURE.search(question)
    inside = re.findall(_NAME, signature[2]) if signature else []
    ticked = re.findall(rf"`({_NAME})`", question)
    own = _function(question)
    names = dict.fromkeys(name for name in (*inside, *ticked) if name != own and _checked(name))
    return list(names)[:_MOST]


def _checked(name: str) -> str:
    return "" if keyword.iskeyword(name) else name


def _describing(question: str, variables: list[str]) -> str:
    name = _function(question) or "describe"
    parameters = ", ".join(variables)
    pairs = ", ".join(f"{variable!r}: {variable}" for variable in variables)
    return (
        f"def {name}({parameters}):\n"
        '    """Say of each value what it is, and how long."""\n'
        f"    values = {{{pairs}}}\n"
        "    return {\n"
        '        name: (type(value).__name__, len(value) if hasattr(value, "__len__") else 1)\n'
        "        for name, value in values.items()\n"
        "    }"
    )


def _counting(question: str) -> str:
    words = re.findall(r"\w+", question)[:_MOST]
    name = _function(question)
    if not name:
        return (
            f"words = {words!r}\n"
            "lengths = {word: len(word) for word in words}\n"
            "print(max(lengths, key=lengths.get), sum(lengths.values()) / len(lengths))"
        )
    return (
        f"words = {words!r}\n\n\n"
        f"def {name}(words):\n"
        '    """The letters of each word."""\n'
        "    return {word: len(word) for word in words}\n\n\n"
        f"{name}(words)"
    )
