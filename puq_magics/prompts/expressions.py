"""The expressions between ``{{`` and ``}}``: Jinja2's, in its sandbox.

This module imports Jinja2; `template` imports it only for a prompt that has something to fill in.
"""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, wraps
from itertools import islice
from typing import Any, TypeVar

from jinja2 import StrictUndefined, TemplateError, Undefined, nodes
from jinja2.environment import TemplateExpression
from jinja2.exceptions import SecurityError, TemplateRuntimeError, UndefinedError
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from puq_magics.core.errors import InputError, MissingVariableError, PuqError
from puq_magics.core.suggestions import did_you_mean
from puq_magics.prompts import markdown_tables as tables
from puq_magics.prompts.filters import JINJA_FILTERS, PUQ_FILTERS
from puq_magics.prompts.values import ValueRenderer

_Node = TypeVar("_Node", bound=nodes.Node)
RAW_HINT = "With --raw the text is sent as it is."
UNDEFINED_HINT = 'Say what stands there instead: with else, or with | default("…").'
#: What Jinja2 and Python raise for text that is no expression, or none of a sensible size.
_INVALID_EXPRESSION_ERRORS = (
    TemplateError,
    SyntaxError,
    ValueError,
    RecursionError,
    MemoryError,
    OverflowError,
)


class _UndefinedValueError(Exception):
    """Something was done with a value that is not there."""

    def __init__(self, undefined: Undefined, message: str = "") -> None:
        super().__init__(message)
        self.undefined = undefined


class _UndefinedValue(StrictUndefined):
    """A value that is not there: `default` and `is defined` take it, all else raises `_AbsentError`."""

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = missing,
        name: str | None = None,
        exc: type[TemplateRuntimeError] = UndefinedError,
    ) -> None:
        super().__init__(hint, obj, name, exc)
        self.unsafe = issubclass(exc, SecurityError)
        # Jinja2 calls this with a message; the error has to say which value it was.
        self._undefined_exception = partial(_UndefinedValueError, self)  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise _UndefinedValueError(self)  # it may stand in a list that is filled in


@dataclass(frozen=True)
class CompiledExpression:
    """One expression, compiled, and the variables it names in order of appearance."""

    source: str
    names: tuple[str, ...]
    compiled: TemplateExpression


class ExpressionEvaluator:
    """Compiles expressions, and evaluates them with the variables of one namespace."""

    def __init__(self, namespace: Mapping[str, Any], renderer: ValueRenderer) -> None:
        self._namespace = namespace
        self._renderer = renderer
        # Without the optimizer nothing is computed by merely compiling.
        self._environment = ImmutableSandboxedEnvironment(
            undefined=_UndefinedValue, optimized=False, cache_size=0
        )
        self._environment.globals.clear()  # or Jinja2's `range` and `dict` would hide the user's
        kept = {name: f for name, f in self._environment.filters.items() if name in JINJA_FILTERS}
        ours = {name: _reject_undefined(getattr(renderer, name)) for name in PUQ_FILTERS}
        self._environment.filters = {**kept, **ours}
        self._compiled: dict[str, CompiledExpression | None] = {}

    def compile(self, source: str) -> CompiledExpression | None:
        """Return the expression, or None when ``source`` is not one.

        Raises `InputError` when it is one with a call, or a filter or a test that does not exist.
        """
        if source not in self._compiled:
            self._compiled[source] = self._compile(source)
        return self._compiled[source]

    def _compile(self, source: str) -> CompiledExpression | None:
        try:
            tree = Parser(self._environment, source, state="variable")
            root = tree.parse_expression()
            if not tree.stream.eos:
                return None
        except _INVALID_EXPRESSION_ERRORS:
            return None
        names = tuple(dict.fromkeys(node.name for node in _find_nodes(root, nodes.Name)))
        # Without a variable there is nothing to fill in; and no variable can be called `else`.
        if not names or any(keyword.iskeyword(name) for name in names):
            return None
        self._check_filters_and_tests(source, root)
        if "self" in names:
            raise InputError(
                f"{_quote_source(source)}: a variable named 'self' cannot be filled in.",
                hint=f"Give it another name. {RAW_HINT}",
            )
        try:
            compiled = self._environment.compile_expression(source, undefined_to_none=False)
        except _INVALID_EXPRESSION_ERRORS:
            return None
        # A call could do anything, also where only the request is to be shown.
        if _find_nodes(root, nodes.Call):
            raise InputError(
                f"{_quote_source(source)}: a prompt calls no functions.",
                hint=f"Call it in a cell, and fill in the result; or use a filter. {RAW_HINT}",
            )
        return CompiledExpression(source, names, compiled)

    def _check_filters_and_tests(self, source: str, root: nodes.Node) -> None:
        known: list[tuple[str, type[nodes.Filter] | type[nodes.Test], Iterable[str]]] = [
            ("filter", nodes.Filter, self._environment.filters),
            ("test", nodes.Test, self._environment.tests),
        ]
        for kind, node_type, words in known:
            for node in _find_nodes(root, node_type):
                if node.name not in words:
                    message = f"{_quote_source(source)}: there is no {kind} named {node.name!r}."
                    near = did_you_mean(node.name, words) or f"There are {', '.join(sorted(words))}."
                    raise InputError(message, hint=f"{near} {RAW_HINT}")

    def evaluate(self, expression: CompiledExpression) -> str:
        """Return what the expression stands for; raise `InputError` when that cannot be had."""
        source = expression.source
        variables = {
            name: self._namespace[key] for name in expression.names if (key := self._namespace_key(name))
        }
        self._renderer.start_expression(_shorten_source(source))
        try:
            value = expression.compiled(variables)
            if isinstance(value, Undefined):
                raise _UndefinedValueError(value)
            return self._renderer.render(value)
        except _UndefinedValueError as error:
            raise self._undefined_error(source, error.undefined) from None
        except PuqError as error:
            if type(error) is not InputError:  # from a property that the expression reads
                raise
            raise InputError(f"{_quote_source(source)}: {error.message}", hint=error.hint) from None
        except UndefinedError as error:  # an `if` that has no `else`
            raise InputError(f"{_quote_source(source)}: {_error_text(error)}.", hint=UNDEFINED_HINT) from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a property may raise SystemExit, too
            message = f"{_quote_source(source)} raised {type(error).__name__}: {_error_text(error)}".rstrip(
                ": "
            )
            raise InputError(message, hint="Evaluate it in a cell of its own to see where.") from error

    def _namespace_key(self, name: str) -> str | None:
        """Return the namespace's spelling of a name: Python normalizes identifiers, Jinja2 does not."""
        for key in (name, unicodedata.normalize("NFKC", name)):
            if key in self._namespace:
                return key
        return None

    def _undefined_error(self, source: str, undefined: Undefined) -> InputError:
        name, parent = undefined._undefined_name, undefined._undefined_obj
        if parent is missing and name is not None:
            message = f"{_quote_source(source)}: there is no variable named {name!r}."
            return MissingVariableError(
                message, hint=f"{did_you_mean(name, self._namespace)} {RAW_HINT}".strip()
            )
        kind = type(parent).__name__
        if isinstance(undefined, _UndefinedValue) and undefined.unsafe:
            message = (
                f"{_quote_source(source)}: {name!r} of a value of type {kind} may not be used in a prompt."
            )
            return InputError(
                message, hint="Names that begin with _ and methods that change a value are kept out."
            )
        if undefined._undefined_hint:
            return InputError(f"{_quote_source(source)}: {undefined._undefined_hint}", hint=UNDEFINED_HINT)
        if isinstance(name, str) and name in _attribute_names(parent):
            message = (
                f"{_quote_source(source)} raised AttributeError inside {name!r} of a value of type {kind}."
            )
            return InputError(message, hint="Evaluate it in a cell of its own to see where.")
        message = f"{_quote_source(source)}: a value of type {kind} has no {_short_repr(name)} here."
        if isinstance(name, int) and parent is self._namespace.get("Out"):
            message = f"{_quote_source(source)}: cell {name} has given no value."
        return MissingVariableError(message, hint=f"{_suggest(parent, name)} {RAW_HINT}".strip())


def _reject_undefined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a filter complain about a value that is not there."""

    @wraps(function)
    def checked(value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, Undefined):
            raise _UndefinedValueError(value)
        return function(value, *args, **kwargs)

    return checked


def _find_nodes(root: nodes.Node, kind: type[_Node]) -> list[_Node]:
    return [*([root] if isinstance(root, kind) else []), *root.find_all(kind)]


def _shorten_source(source: str) -> str:
    """Return an expression on one line, shortened in its middle if it is long."""
    words = " ".join(source.split())
    return words if len(words) <= 80 else f"{words[:50]} … {words[-20:]}"


def _quote_source(source: str) -> str:
    return f"{{{{{_shorten_source(source)}}}}}"


def _short_repr(value: object) -> str:
    """Return ``repr``, but neither long nor able to fail."""
    text = "(an object whose repr fails)"
    with suppress(Exception, SystemExit):
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _error_text(error: BaseException) -> str:
    """Return an exception's message, but neither long nor able to fail."""
    text = ""
    with suppress(Exception, SystemExit):
        text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 300 else f"{text[:300]}…"


def _attribute_names(value: object) -> list[str]:
    with suppress(Exception, SystemExit):
        return dir(value)
    return []


def _suggest(parent: Any, name: object) -> str:
    """Return a hint at the key, column, position or attribute that may have been meant."""
    with suppress(Exception, SystemExit):
        if isinstance(parent, Sequence) and isinstance(name, int):
            return f"It has {len(parent):,} items, counted from 0."
        keys: Iterable[object] = ()
        if isinstance(parent, Mapping):
            keys = parent
        elif tables.is_pandas(parent):
            keys = parent.keys()
        return _suggest_key(name, list(islice(keys, 2_000)), _attribute_names(parent))
    return ""


def _suggest_key(name: object, keys: list[object], attributes: list[str]) -> str:
    if isinstance(name, int):
        numbers = [key for key in keys if isinstance(key, int)]
        return f"The nearest is {min(numbers, key=lambda n: abs(n - name))!r}." if numbers else ""
    words = [key for key in keys if isinstance(key, str)]
    return did_you_mean(str(name), words) or did_you_mean(str(name), attributes)
