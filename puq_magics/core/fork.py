"""Reset objects in a process made by ``fork``: connections and locks of the parent are of no use there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

_T = TypeVar("_T")
_resets: WeakKeyDictionary[object, Callable[[object], None]] = WeakKeyDictionary()


def after_fork(owner: _T, reset: Callable[[_T], None]) -> None:
    """Call ``reset(owner)`` in each process that is forked while the owner exists.

    ``reset`` replaces locks, which a thread of the parent may hold, and must not close what the parent uses.
    """
    _resets[owner] = reset  # type: ignore[assignment]


def _reset_all() -> None:
    for owner, reset in list(_resets.items()):
        reset(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
