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
    """Return the public name of ``known`` that is most like ``name``, whatever its case, or None."""
    return next(iter(closest_matches(name, known, 1)), None)


def closest_matches(name: str, known: Iterable[str], number: int, cutoff: float = 0.6) -> list[str]:
    """Return at most ``number`` public names of ``known`` that are like ``name``, whatever its case; the best first.

    ``cutoff`` is the likeness, from 0 to 1, below which a name is not suggested, nor is one that begins with an
    underscore.
    """
    if len(name) > MAX_NAME_LENGTH:
        return []
    spellings: dict[str, str] = {}
    public = (other for other in islice(known, _MAX_NAMES) if other and not other.startswith("_"))
    for other in islice(public, MAX_CANDIDATES):
        if len(other) <= MAX_NAME_LENGTH and other != name:
            spellings.setdefault(other.casefold(), other)
    matches = difflib.get_close_matches(name.casefold(), spellings, n=number, cutoff=cutoff)
    return [spellings[match] for match in matches]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "Did you mean 'x'?", or an empty string when nothing is near."""
    match = closest_match(name, known)
    return f"Did you mean {match!r}?" if match else ""
