"""Sections of a scripted answer: the table, list, code or formula that a question asks for, made of its own words."""

from __future__ import annotations

import ast
import html
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

#: Characters of a question that are read.
_READ: Final = 50_000
_MOST: Final = 6
_NAME: Final = r"[A-Za-z_]\w*"
#: A block of the question's own, such as the cell that failed.
_FENCE: Final = re.compile(r"(`{3,})(python|py|ipython)?[ \t]*")
#: ``mean(values)``, ``a function called mean``, ``the function `mean```.
_SIGNATURE: Final = re.compile(rf"(?<![\w.])({_NAME})\(((?:{_NAME}(?:, *{_NAME})*)?)\)")
_CALLED: Final = re.compile(rf"\bfunction,? (?:called |named )`?({_NAME})|\bfunction `({_NAME})`")
_ASKS_HINT: Final = re.compile(r"Give me a (first|second|last) hint")
_FAILED_LINE: Final = re.compile(r"^\s*--> (\d+) \|", re.MULTILINE)
_MENDING: Final = re.compile(r"\b(?:fix|mend|repair|correct|error|exception|traceback)", re.IGNORECASE)
_ERROR: Final = re.compile(r"^\w*(?:Error|Exception|Warning|Interrupt)\b[^\n]*", re.MULTILINE)
#: A list as a filled-in variable has it: ``["wren", "dunnock"]``.
_LITERAL: Final = re.compile(r"(?<![\w)\]])\[[^\[\]]{1,5000}\]")
_TABLE_LINE: Final = re.compile(r"^\|.*\|[ \t]*$", re.MULTILINE)
#: ``three birds``: how many items a list shall have, and of what.
_COUNT: Final = re.compile(
    r"\b(two|three|four|five|six|[2-9])\s+(?:\w+\s+)?([^\W\d_]{3,}?)s\b", re.IGNORECASE
)
_NUMBERS: Final = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_NO_ITEMS: Final = ("sentence", "word", "line", "paragraph", "time")
_SENTENCE_END: Final = re.compile(r"(?<=[.?!:;])\s+|\n+")

_ASKS_TABLE: Final = re.compile(r"\btables?\b", re.IGNORECASE)
_ASKS_LIST: Final = re.compile(r"\blists?\b|\bbullet", re.IGNORECASE)
_ASKS_CODE: Final = re.compile(r"\bcode|\bpython|\bprogram|\bfunction", re.IGNORECASE)
_COUNTING: Final = re.compile(r"\bcount|\bletters?\b|\blongest\b", re.IGNORECASE)
_LONGEST_ITEM: Final = 60  # characters, in code
_ASKS_FORMULA: Final = re.compile(r"\bformula|\bequation|\bmath", re.IGNORECASE)

#: Formulas of subjects that people try first; the last one is for all others.
_FORMULAS: Final = (
    (r"entropy", "The entropy of a system", r"S = -k_B \sum_i p_i \ln p_i"),
    (r"circle|\bpi\b", "The area of a circle", r"A = \pi r^2"),
    (r"triangle|pythagoras", "The sides of a right triangle", r"a^2 + b^2 = c^2"),
    (r"energy|relativity|einstein", "Mass and energy", r"E = m c^2"),
    (r"gravit|newton|orbit", "The attraction of two masses", r"F = G \frac{m_1 m_2}{r^2}"),
    (
        r"interest|saving|loan",
        "An amount with compound interest",
        r"K_n = K_0 \left(1 + \frac{p}{100}\right)^n",
    ),
    (r"quadratic|root", "The roots of a quadratic equation", r"x_{1,2} = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}"),
    (r"bayes|probabilit", "Bayes' theorem", r"P(A \mid B) = \frac{P(B \mid A) \, P(A)}{P(B)}"),
    (r"mean|average", "The mean of n values", r"\bar x = \frac{1}{n} \sum_{i=1}^{n} x_i"),
    (r"", "Euler's identity", r"e^{i \pi} + 1 = 0"),
)
CANNOT_ANSWER: Final = (
    "A script knows no answer. It shows what you ask it for: a table, a list, code or a formula.\n\n"
)


@dataclass(frozen=True)
class _ScriptedTable:
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        lines = [self.header, tuple(":--" for _ in self.header), *self.rows]
        return "".join("| " + " | ".join(map(_cell, line)) + " |\n" for line in lines)

    def to_html(self) -> str:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.header)
        rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self.rows)
        return f"<table>\n<tr>{head}</tr>\n" + "".join(f"<tr>{row}</tr>\n" for row in rows) + "</table>\n"


def requested_sections(question: str, instructions: str = "") -> Iterator[str]:
    """Yield the sections that the question or the system prompt asks for, in Markdown."""
    question = question[:_READ]
    asked = f"{question}\n{instructions}"
    if error := _mended_error(question):
        yield f"The error is `{error}`.\n\n"
        if _ASKS_CODE.search(asked) or "```" in question:
            yield code_section(question)
        return
    if not any(pattern.search(asked) for pattern in (_ASKS_TABLE, _ASKS_LIST, _ASKS_CODE, _ASKS_FORMULA)):
        yield CANNOT_ANSWER
    if _ASKS_TABLE.search(asked):
        yield f"{_table(question).to_markdown()}\n"
    elif _ASKS_LIST.search(asked):
        yield "".join(f"- {_plain(item)}\n" for item in _items(question)) + "\n"
    if _ASKS_CODE.search(asked):
        yield code_section(question)
    if _ASKS_FORMULA.search(asked):
        yield _formula(question)


def hint_section(question: str, conversation: str) -> str:
    """Return the hint that is asked for, on the error that the conversation quotes; empty if none is asked for."""
    asked = _ASKS_HINT.search(question[-_READ:])
    if asked is None:
        return ""
    error = _mended_error(conversation[:_READ]).partition(":")[0] or "the error"
    lines = _FAILED_LINE.findall(conversation[:_READ])
    where = f"line {lines[-1]} of your cell" if lines else "the last line of the traceback"
    return {
        "first": f"Look at {where}, and at the values in it.\n\n",
        "second": f"Python raised `{error}` at {where}: a value there is not what that line needs.\n\n",
        "last": f"Print each value of {where} before it, with its type. Which of them surprises you? "
        f"The documentation of `{error}` says what Python expects there.\n\n",
    }[asked[1]]


def html_answer(question: str, notice: str) -> str:
    """Return an answer in HTML: a table if the question asks for one, else a list."""
    question = question[:_READ]
    if _ASKS_TABLE.search(question):
        body = _table(question).to_html()
    else:
        body = "<ul>\n" + "".join(f"<li>{html.escape(item)}</li>\n" for item in _items(question)) + "</ul>\n"
    return f"<p><em>{html.escape(notice)}</em></p>\n<p>You asked for this in HTML:</p>\n{body}"


def _mended_error(question: str) -> str:
    """Return the error of a question that quotes a traceback; else an empty string."""
    errors = _ERROR.findall(question) if "Traceback" in question or _MENDING.search(question) else []
    return errors[-1].replace("`", "'")[:200] if errors else ""


def _table(question: str) -> _ScriptedTable:
    """Return a table of the question's list or table; of its sentences, if it has neither."""
    values = _literal_list(question)
    if values and all(isinstance(value, dict) for value in values):
        header = tuple(dict.fromkeys(str(key) for value in values for key in value))[:_MOST]
        return _ScriptedTable(header, tuple(tuple(str(row.get(key, "")) for key in header) for row in values))
    lines = _TABLE_LINE.findall(question)
    if len(lines) > 2 and not values:
        cells = [tuple(cell.strip() for cell in line.strip().strip("|").split("|")) for line in lines]
        rows = [row for row in cells[1:] if set("".join(row)) - set("-: ")]
        return _ScriptedTable(cells[0], tuple(rows))
    return _ScriptedTable(("#", "Item"), tuple((str(n), item) for n, item in enumerate(_items(question), 1)))


def _items(question: str) -> list[str]:
    """Return the items of the question's list, or as many as it asks for; if it has neither, its sentences."""
    if values := _literal_list(question):
        return [str(value) for value in values]
    for count, noun in _COUNT.findall(question):
        if noun.lower() not in _NO_ITEMS:
            return [f"{noun} {n + 1}" for n in range(_NUMBERS.get(count.lower()) or int(count))]
    sentences = [part.strip() for part in _SENTENCE_END.split(question)]
    return [sentence for sentence in sentences if sentence][: 2 * _MOST] or ["(no words)"]


def _literal_list(question: str) -> list[Any]:
    for match in _LITERAL.finditer(question):
        try:
            values = ast.literal_eval(match.group())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if values:
            return list(values)
    return []


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    return " ".join(text.split())


def _formula(question: str) -> str:
    title, formula = next(
        (title, formula)
        for subject, title, formula in _FORMULAS
        if re.search(subject, question, re.IGNORECASE)
    )
    return f"{title}, as a formula:\n\n\\[\n{formula}\n\\]\n\n"


def code_section(question: str) -> str:
    """A line about it and a block of Python."""
    blocks = sorted(_blocks(question), key=lambda block: not block[0])  # a traceback says no language
    if blocks and _MENDING.search(question):
        return f"Your code again:\n\n{_fenced(_echo_cell(blocks[0][1]))}"
    variables = _variables(question)
    if variables:
        return f"Code on what you named:\n\n{_fenced(_describing(question, variables))}"
    return f"A piece of code:\n\n{_fenced(_counting(question))}"


def _blocks(question: str) -> Iterator[tuple[str, str]]:
    """Yield the language, which may be empty, and the code of each fenced block."""
    fence, language = "", ""
    lines: list[str] = []
    for line in question.split("\n"):
        if fence and line.rstrip(" \t") == fence:
            yield language, "\n".join(lines)
            fence = ""
        elif fence:
            lines.append(line)
        elif opening := _FENCE.fullmatch(line):
            fence, language, lines = opening[1], opening[2] or "", []


def _fenced(code: str) -> str:
    longest = max((len(ticks) for ticks in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}python\n{code}\n{fence}\n\n"


def _echo_cell(cell: str) -> str:
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
        '    """Return the type and length of each value."""\n'
        f"    values = {{{pairs}}}\n"
        "    return {\n"
        '        name: (type(value).__name__, len(value) if hasattr(value, "__len__") else 1)\n'
        "        for name, value in values.items()\n"
        "    }"
    )


def _counting(question: str) -> str:
    words = re.findall(r"\w+", question)[:_MOST]
    name = _function(question)
    if not name and not _COUNTING.search(question):
        items = "".join(f"    {item[:_LONGEST_ITEM]!r},\n" for item in _items(question)[:_MOST])
        loop = 'for number, item in enumerate(items, start=1):\n    print(f"{number}. {item}")'
        return f"items = [\n{items}]\n{loop}"
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
