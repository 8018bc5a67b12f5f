"""Substitute ``{{expression}}`` in prompts with values of the user's variables.

An expression is one of Jinja2 that begins with a name: ``{{topic}}``, ``{{row.title}}``, ``{{df | head(5)}}``. It
calls no functions, and a function is not a value: both raise InputError. All other text is unchanged, and so are
braces that only look similar: single ones, three or more in a row, and two that hold no such expression (``{{}}``,
``{{1 + 1}}``, ``{{#if x}}``, ``{{"a": 1}}``, ``{{x: 1}}``, ``{{else}}``). A note quotes double braces that are
unchanged. Braces in inserted values are not substituted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from puq_magics.prompts.image_resize import ImageLimits

if TYPE_CHECKING:
    from puq_magics.prompts.expressions import CompiledExpression

#: Default limit of a value, in characters.
MAX_VALUE_CHARS = 20_000
#: Default limits of images.
DEFAULT_IMAGE_LIMITS = ImageLimits()
#: Maximum length of an expression, in characters; longer text was not meant as one.
MAX_EXPRESSION_CHARS = 1_000
#: Maximum nesting of brackets in an expression.
MAX_BRACKET_DEPTH = 20

_EXPRESSION_START = re.compile(r"(?<!\{)\{\{(?!\{)\s*(?=[^\W\d])")
# A string, which may contain braces (and backslash escapes), or a bracket.
_STRING_OR_BRACKET = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[()\[\]{}]""", re.DOTALL)
# What stays as it is: up to the closing braces, or to the end of the line without them.
_DOUBLE_BRACES = re.compile(r"\{\{(?:(?:(?!\}\}).){0,1000}?\}\}+|[^\n]{0,80})", re.DOTALL)
# Text in the same line; a table needs lines of its own.
_TEXT_ON_SAME_LINE = re.compile(r"[ \t]*(?=\S)")
_BRACKET_PAIRS = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True)
class FilledText:
    """A prompt with substituted variables.

    ``names`` are the variables in order of appearance; ``notes`` state what was cut ("df: 20 of 10,000 rows"), and
    which double braces are unchanged. ``parts`` are the images of ``{{fig | image}}`` as content parts;
    the text refers to them as ``[image 1]`` and so on, so no other image may be sent before them.
    """

    text: str
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    parts: tuple[dict[str, Any], ...] = ()


def fill_template(
    text: str,
    namespace: Mapping[str, Any],
    *,
    limit: int = MAX_VALUE_CHARS,
    images: ImageLimits | None = DEFAULT_IMAGE_LIMITS,
    plain: bool = False,
    raw_hint: str = "",
) -> FilledText:
    """Substitute the expressions of ``text`` with values from ``namespace``, of at most ``limit`` characters each.

    Images are scaled down to the limits ``images``; with None, ``| image`` is an error. With ``plain``, so are None,
    lists, tables, and what else cannot be a name, a number or a path. ``raw_hint`` ends the hints of errors that the
    braces cause, and says how a text is sent without substitution. Raises MissingVariableError for a name, key or
    attribute that does not exist, and InputError for other values that cannot be inserted.
    """
    template = PromptTemplate(text, limit=limit, images=images, plain=plain, raw_hint=raw_hint)
    return template.fill(namespace)


class PromptTemplate:
    """A text whose expressions are compiled once, to be filled many times; the arguments are as in `fill_template`.

    Raises InputError for an expression with a call, or with an unknown filter.
    """

    def __init__(
        self,
        text: str,
        *,
        limit: int = MAX_VALUE_CHARS,
        images: ImageLimits | None = DEFAULT_IMAGE_LIMITS,
        plain: bool = False,
        raw_hint: str = "",
    ) -> None:
        self.text = text
        self._expressions: list[tuple[int, int, CompiledExpression]] = []
        if _EXPRESSION_START.search(text) is not None:
            from puq_magics.prompts.expressions import ExpressionEvaluator
            from puq_magics.prompts.values import ValueRenderer

            self._renderer = ValueRenderer(limit, images, plain=plain)
            self._evaluator = ExpressionEvaluator(self._renderer, raw_hint)
            self._expressions = list(self._compile())
        #: The names of variables in the expressions, in order of appearance.
        self.names = tuple(
            dict.fromkeys(name for *_, expression in self._expressions for name in expression.names)
        )
        spans = [(start, end) for start, end, _ in self._expressions]
        #: Notes on the text itself, which are among those of each filled text.
        self.notes = _unfilled_note(text, spans) if "{{" in text else []

    def _compile(self) -> Iterator[tuple[int, int, CompiledExpression]]:
        done = 0
        for start, end, source in _candidates(self.text):
            # One that starts earlier is inside an expression.
            if start >= done and (expression := self._evaluator.compile(source)) is not None:
                yield start, end, expression
                done = end

    def fill(self, namespace: Mapping[str, Any]) -> FilledText:
        """Return the text with values from ``namespace``. Raises what `fill_template` raises."""
        text = self.text
        if not self._expressions:
            return FilledText(text, notes=tuple(self.notes))
        from puq_magics.prompts.values import RenderedBlock

        self._renderer.reset()
        self._evaluator.namespace = namespace
        parts: list[str] = []
        done = 0
        for start, end, expression in self._expressions:
            before, filled = text[done:start], self._evaluator.evaluate(expression)
            done = end
            if isinstance(filled, RenderedBlock):
                if _TEXT_ON_SAME_LINE.search(text, text.rfind("\n", 0, start) + 1, start):
                    before, filled = before.rstrip(" \t"), f"\n\n{filled}"
                if beside := _TEXT_ON_SAME_LINE.match(text, end):
                    filled, done = f"{filled}\n\n", beside.end()
            parts += (before, filled)
        parts.append(text[done:])
        names = tuple(name for name in self.names if name in namespace)
        notes = tuple(dict.fromkeys([*self._renderer.notes, *self.notes]))
        return FilledText("".join(parts), names, notes, tuple(self._renderer.parts))


def _candidates(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield the start, the end and the contents of each ``{{ … }}`` that may be an expression."""
    for match in _EXPRESSION_START.finditer(text):
        end = _find_end(text, match.end())
        if end is not None:
            yield match.start(), end + 2, text[match.end() : end].rstrip()


def _find_end(text: str, begin: int) -> int | None:
    """Return the position of the ``}}`` that closes an expression, skipping strings and brackets, or None."""
    open_brackets: list[str] = []
    for part in _STRING_OR_BRACKET.finditer(text, begin, begin + MAX_EXPRESSION_CHARS):
        char = part.group()
        if char in "([{":
            open_brackets.append(char)
            if len(open_brackets) > MAX_BRACKET_DEPTH:
                return None
        elif char in _BRACKET_PAIRS:
            if not open_brackets:
                return part.start() if text.startswith("}}", part.start()) else None
            if open_brackets.pop() != _BRACKET_PAIRS[char]:
                return None
    return None


def _unfilled_note(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """Return a note that quotes the double braces outside of ``spans``, if there are any."""
    unfilled: dict[str, None] = {}
    begin = 0
    for start, end in (*spans, (len(text), 0)):
        for match in _DOUBLE_BRACES.finditer(text, begin, start):
            unfilled[" ".join(match.group().split())] = None
        begin = end
    if not unfilled:
        return []
    first = next(iter(unfilled))
    first = first if len(first) <= 60 else f"{first[:60]}…"
    others = f" and {len(unfilled) - 1:,} more" if len(unfilled) > 1 else ""
    return [f"{first}{others}: not an expression, sent unchanged"]
