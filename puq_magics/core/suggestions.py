"""Which of the known names somebody who mistyped one may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

#: Names that are looked at: comparing grows with each, and a namespace can be a table with a million keys.
MAX_CANDIDATES = 2_000
#: Longer ones are no names that anybody types.
MAX_NAME_LENGTH = 100


def closest_match(name: str, known: Iterable[str]) -> str | None:
    """Return the public name of ``known`` that is most like ``name``, whatever its case, or None.

    Names that begin with an underscore are nobody's suggestion.
    """
    if len(name) > MAX_NAME_LENGTH:
        return None
    spellings: dict[str, str] = {}
    for other in islice(known, MAX_CANDIDATES):
        if other and not other.startswith("_") and len(other) <= MAX_NAME_LENGTH and other != name:
            spellings.setdefault(other.casefold(), other)
    found = difflib.get_close_matches(name.casefold(), spellings, n=1)
    return spellings[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "Did you mean 'x'?", or an empty string when nothing is near."""
    found = closest_match(name, known)
    return f"Did you mean {found!r}?" if found else ""
