"""Evaluate the expressions between ``{{`` and ``}}`` in Jinja2's sandbox.

This module imports Jinja2; `template` imports it only for a prompt that has an expression.
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
from puq_magics.core.text import one_line
from puq_magics.prompts import tables
from puq_magics.prompts.filters import JINJA_FILTERS, PUQ_FILTERS
from puq_magics.prompts.input_cells import InputCells
from puq_magics.prompts.values import CALL_HINT, ValueRenderer, check_not_function

_Node = TypeVar("_Node", bound=nodes.Node)
UNDEFINED_HINT = 'Provide a fallback: an else branch, or | default("…").'
#: Errors of Jinja2 and Python for text that is not an expression, or a huge one.
_INVALID_EXPRESSION_ERRORS = (
    *(TemplateError, SyntaxError, ValueError),
    *(RecursionError, MemoryError, OverflowError),
)


class _UndefinedValueError(Exception):
    """An undefined value was used."""

    def __init__(self, undefined: Undefined, message: str = "") -> None:
        super().__init__(message)
        self.undefined = undefined


class _UndefinedValue(StrictUndefined):
    """An undefined value: `default` and `is defined` accept it, anything else raises `_UndefinedValueError`."""

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = missing,
        name: str | None = None,
        exc: type[TemplateRuntimeError] = UndefinedError,
    ) -> None:
        super().__init__(hint, obj, name, exc)
        self.unsafe = issubclass(exc, SecurityError)
        # Jinja2 calls this with a message; the error must know the value.
        self._undefined_exception = partial(_UndefinedValueError, self)  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise _UndefinedValueError(self)  # it may be an item of a list


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox, in which a column that a table of polars does not have is an undefined value."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._get(super().getattr, obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self._get(super().getitem, obj, argument)

    def _get(self, get: Callable[[Any, Any], Any], obj: Any, name: Any) -> Any:
        try:
            return get(obj, name)
        except Exception as error:
            if tables.is_instance(error, "polars.exceptions", "ColumnNotFoundError"):
                return self.undefined(obj=obj, name=name)
            raise


@dataclass(frozen=True)
class CompiledExpression:
    """A compiled expression, and its variables in order of appearance."""

    source: str
    names: tuple[str, ...]
    compiled: TemplateExpression


class ExpressionEvaluator:
    """Compiles expressions and evaluates them with the variables of ``namespace``, which may be set anew."""

    def __init__(self, renderer: ValueRenderer, raw_hint: str = "") -> None:
        self.namespace: Mapping[str, Any] = {}
        self._renderer = renderer
        self._raw_hint = raw_hint
        # The optimizer would evaluate constants at compile time.
        self._environment = _Environment(undefined=_UndefinedValue, optimized=False, cache_size=0)
        self._environment.globals.clear()  # Jinja2's `range` and `dict` would hide the user's
        kept = {
            name: _reject_functions(function)
            for name, function in self._environment.filters.items()
            if name in JINJA_FILTERS
        }
        ours = {name: _reject_functions(_reject_undefined(getattr(renderer, name))) for name in PUQ_FILTERS}
        self._environment.filters = {**kept, **ours}
        self._compiled: dict[str, CompiledExpression | None] = {}

    def compile(self, source: str) -> CompiledExpression | None:
        """Return the compiled expression, or None if ``source`` is not an expression.

        Raises InputError for an expression with a call, or with an unknown filter or test.
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
        # Without a variable there is nothing to insert, and a keyword is not a variable.
        if not names or any(keyword.iskeyword(name) for name in names):
            return None
        self._check_filters_and_tests(source, root)
        if "self" in names:
            raise InputError(
                f"{_quote_source(source)}: a variable named 'self' cannot be used.",
                hint=f"Give it another name. {self._raw_hint}".rstrip(),
            )
        try:
            compiled = self._environment.compile_expression(source, undefined_to_none=False)
        except _INVALID_EXPRESSION_ERRORS:
            return None
        # A call could have side effects, even in a dry run.
        if _find_nodes(root, nodes.Call):
            raise InputError(
                f"{_quote_source(source)}: function calls are not allowed in {{{{ }}}}.",
                hint=f"{CALL_HINT} {self._raw_hint}".rstrip(),
            )
        for node in _find_nodes(root, nodes.Getitem):
            is_range = isinstance(node.arg, nodes.Slice)
            if is_range and isinstance(node.node, nodes.Name) and node.node.name == "Out":
                hint = "Name one value, {{Out[3]}}; -a cell:3-7 attaches cells with their outputs."
                raise InputError(f"{_quote_source(source)}: Out has no ranges.", hint=hint)
        return CompiledExpression(source, names, compiled)

    def _check_filters_and_tests(self, source: str, root: nodes.Node) -> None:
        known: list[tuple[str, type[nodes.Filter] | type[nodes.Test], Iterable[str]]] = [
            ("filter", nodes.Filter, self._environment.filters),
            ("test", nodes.Test, self._environment.tests),
        ]
        for kind, node_type, names in known:
            for node in _find_nodes(root, node_type):
                if node.name not in names:
                    message = f"{_quote_source(source)}: there is no {kind} named {node.name!r}."
                    suggestion = did_you_mean(node.name, names) or f"There are {', '.join(sorted(names))}."
                    raise InputError(message, hint=f"{suggestion} {self._raw_hint}".rstrip())

    def evaluate(self, expression: CompiledExpression) -> str:
        """Return the text of the expression's value. Raises InputError."""
        source = expression.source
        variables = {
            name: self.namespace[key] for name in expression.names if (key := self._namespace_key(name))
        }
        self._renderer.start_expression(_shorten_source(source))
        try:
            # A name alone needs no compiled expression, which takes most of the time of a run's plan.
            value = variables[source] if source in variables else expression.compiled(variables)
            if isinstance(value, Undefined):
                raise _UndefinedValueError(value)
            if isinstance(value, InputCells) and not value:
                raise InputError("there are no such cells.", hint=_last_cell_hint(self.namespace["In"]))
            return self._renderer.render(value)
        except _UndefinedValueError as error:
            raise self._undefined_error(source, error.undefined) from None
        except PuqError as error:
            if type(error) is not InputError:  # from a property that the expression reads
                raise
            raise InputError(f"{_quote_source(source)}: {error.message}", hint=error.hint) from None
        except UndefinedError as error:  # an `if` without `else`
            raise InputError(f"{_quote_source(source)}: {_error_text(error)}.", hint=UNDEFINED_HINT) from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a property may raise SystemExit, too
            text = _error_text(error)
            message = f"{_quote_source(source)} raised {type(error).__name__}{f': {text}' if text else ''}"
            raise InputError(
                message, hint="Evaluate it in a cell of its own to see the traceback."
            ) from error

    def _namespace_key(self, name: str) -> str | None:
        """Return the name as in the namespace: Python normalizes identifiers, Jinja2 does not."""
        for key in (name, unicodedata.normalize("NFKC", name)):
            if key in self.namespace:
                return key
        return None

    def _undefined_error(self, source: str, undefined: Undefined) -> InputError:
        name, parent = undefined._undefined_name, undefined._undefined_obj
        if parent is missing and name is not None:
            message = f"{_quote_source(source)}: there is no variable named {name!r}."
            return MissingVariableError(
                message, hint=f"{did_you_mean(name, self.namespace)} {self._raw_hint}".strip()
            )
        kind = type(parent).__name__
        if isinstance(undefined, _UndefinedValue) and undefined.unsafe:
            message = (
                f"{_quote_source(source)}: {name!r} of a value of type {kind} is not allowed in a prompt."
            )
            return InputError(
                message, hint="Names that begin with _ and methods that change a value are not allowed."
            )
        if undefined._undefined_hint:
            return InputError(f"{_quote_source(source)}: {undefined._undefined_hint}", hint=UNDEFINED_HINT)
        if isinstance(name, str) and name in _attribute_names(parent):
            message = (
                f"{_quote_source(source)} raised AttributeError inside {name!r} of a value of type {kind}."
            )
            return InputError(message, hint="Evaluate it in a cell of its own to see the traceback.")
        message = f"{_quote_source(source)}: a value of type {kind} has no {_short_repr(name)} here."
        if isinstance(name, int) and parent is self.namespace.get("Out"):
            message = f"{_quote_source(source)}: cell {name} has no output value."
        elif isinstance(name, int) and isinstance(parent, InputCells):
            message = f"{_quote_source(source)}: there is no cell {name}."
            return MissingVariableError(message, hint=_last_cell_hint(parent))
        return MissingVariableError(message, hint=f"{_suggest(parent, name)} {self._raw_hint}".strip())


def _last_cell_hint(cells: InputCells) -> str:
    return f"The last one is In[{len(cells) - 1}]."


def _reject_undefined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a filter raise an error for an undefined value."""

    @wraps(function)
    def checked(value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, Undefined):
            raise _UndefinedValueError(value)
        return function(value, *args, **kwargs)

    return checked


def _reject_functions(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a filter raise an error for a function."""
    position = 1 if hasattr(function, "jinja_pass_arg") else 0  # Jinja2 passes its context first

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check_not_function(args[position])
        return function(*args, **kwargs)

    return checked


def _find_nodes(root: nodes.Node, kind: type[_Node]) -> list[_Node]:
    return [*([root] if isinstance(root, kind) else []), *root.find_all(kind)]


def _shorten_source(source: str) -> str:
    """Return an expression on one line, shortened in its middle if it is long."""
    text = " ".join(source.split())
    return text if len(text) <= 80 else f"{text[:50]} … {text[-20:]}"


def _quote_source(source: str) -> str:
    return f"{{{{{_shorten_source(source)}}}}}"


def _short_repr(value: object) -> str:
    """Return a ``repr`` of limited length, which cannot fail."""
    text = "(an object whose repr fails)"
    with suppress(Exception, SystemExit):
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _error_text(error: BaseException) -> str:
    """Return an exception's message of limited length; empty if it cannot be formatted."""
    with suppress(Exception, SystemExit):
        return one_line(str(error)).rstrip(".")
    return ""


def _attribute_names(value: object) -> list[str]:
    with suppress(Exception, SystemExit):
        return dir(value)
    return []


def _suggest(parent: Any, name: object) -> str:
    """Return a hint with the nearest key, column, index or attribute."""
    with suppress(Exception, SystemExit):
        if isinstance(parent, Sequence) and isinstance(name, int):
            return f"It has {len(parent):,} items, counted from 0."
        keys: Iterable[object] = ()
        if isinstance(parent, Mapping):
            keys = parent
        elif tables.is_table(parent):
            keys = tables.column_names(parent)
        return _suggest_key(name, list(islice(keys, 2_000)), _attribute_names(parent))
    return ""


def _suggest_key(name: object, keys: list[object], attributes: list[str]) -> str:
    if isinstance(name, int):
        numbers = [key for key in keys if isinstance(key, int)]
        return f"The nearest is {min(numbers, key=lambda n: abs(n - name))!r}." if numbers else ""
    names = [key for key in keys if isinstance(key, str)]
    return did_you_mean(str(name), names) or did_you_mean(str(name), attributes)
