"""Variables that a prompt can name: those of the code that calls the magic, by Python's scoping rules.

IPython hands the caller's variables to line magics only, and neither to cell magics nor to aliases.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import warnings
from collections import ChainMap
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType
from typing import Any

from puq_magics.core.errors import InputError

_PACKAGES = ("IPython", "puq_magics")


def calling_frame() -> FrameType:
    """Return the frame of the user's code that calls a magic."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).split(".")[0] in _PACKAGES:
        frame = frame.f_back
    return frame


def visible_variables(frame: FrameType, global_variables: dict[str, Any]) -> Mapping[str, Any]:
    """Return the variables that the code of ``frame`` can name: its own ones, and global ones.

    A name of the function, or of a function around it, that has no value here raises InputError when it is read:
    in its place a global variable would be used, which is another one.
    """
    scopes: list[Any] = []
    scope: FrameType | None = frame
    while scope is not None and scope.f_locals is not scope.f_globals:
        code = scope.f_code
        scopes += [dict(scope.f_locals), _UnassignedNames(_local_names(code) - scope.f_locals.keys())]
        if "<locals>" not in code.co_qualname:
            break
        if not _runs_at_once(code):
            scopes.append(_EnclosingNames(scope))
            break
        scope = scope.f_back
    return ChainMap(*scopes, global_variables)


class _UnassignedNames(dict[str, Any]):
    """Local names of a function that have no value yet."""

    def __init__(self, names: set[str]) -> None:
        super().__init__(dict.fromkeys(names))

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        raise InputError(
            f"the function's own variable {name} has no value yet.", hint="Assign it before the call."
        )


class _EnclosingNames(dict[str, Any]):
    """Names of the functions around a function, which does not hold their values."""

    def __init__(self, frame: FrameType) -> None:
        codes = _enclosing_functions(frame)
        #: False if the names cannot be found, so that any name may be one of them.
        self._are_known = codes is not None
        super().__init__(dict.fromkeys(name for code in codes or () for name in _local_names(code)))

    def __contains__(self, name: object) -> bool:
        return not self._are_known or super().__contains__(name)

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        verb = "is" if self._are_known else "may be"
        raise InputError(
            f"{name} {verb} a variable of an enclosing function, whose value is not available in this one.",
            hint=f"Use {name} in this function (a line with only its name will do), or pass it as a parameter.",
        )


def _local_names(code: CodeType) -> set[str]:
    return {*code.co_varnames, *code.co_cellvars, *code.co_freevars}


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_OPTIMIZED)


def _runs_at_once(code: CodeType) -> bool:
    """Return whether code is called where it stands, by the function around it."""
    return not _is_function(code) or code.co_name in ("<listcomp>", "<setcomp>", "<dictcomp>")


def _enclosing_functions(frame: FrameType) -> list[CodeType] | None:
    """Return the functions around a nested one, found in its source; None if there is no source."""
    code = frame.f_code
    source = "".join(linecache.getlines(code.co_filename, frame.f_globals))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = compile(
                source, code.co_filename, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
            )
    except (SyntaxError, ValueError, RecursionError):
        return None
    paths = list(_paths(module, code.co_qualname))
    return [outer for path in paths for outer in path if _is_function(outer)] if paths else None


def _paths(code: CodeType, qualname: str) -> Iterator[tuple[CodeType, ...]]:
    """Yield the code around each function of this qualified name within ``code``."""
    for inner in code.co_consts:
        if not isinstance(inner, CodeType):
            continue
        if inner.co_qualname == qualname:
            yield (code,)
        for path in _paths(inner, qualname):
            yield (code, *path)
