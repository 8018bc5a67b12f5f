"""Suggestions for mistyped names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

#: Names that are compared, and names that are looked at: IPython's own, _i1 and the like, come first in a namespace,
#: which can also be a table with a million keys.
MAX_CANDIDATES, _MAX_NAMES = 2_000, 100_000
#: Longer names are not compared.
MAX_NAME_LENGTH = 100


def closest_match(name: str, known: Iterable[str]) -> str | None:
    """Return the public name of ``known`` that is most like ``name``, whatever its case, or None.

    Names that begin with an underscore are not suggested.
    """
    if len(name) > MAX_NAME_LENGTH:
        return None
    spellings: dict[str, str] = {}
    public = (other for other in islice(known, _MAX_NAMES) if other and not other.startswith("_"))
    for other in islice(public, MAX_CANDIDATES):
        if len(other) <= MAX_NAME_LENGTH and other != name:
            spellings.setdefault(other.casefold(), other)
    matches = difflib.get_close_matches(name.casefold(), spellings, n=1)
    return spellings[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "Did you mean 'x'?", or an empty string when nothing is near."""
    match = closest_match(name, known)
    return f"Did you mean {match!r}?" if match else ""
