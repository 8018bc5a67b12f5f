"""Which of the known names somebody who mistyped one may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

#: Names that are looked at: comparing grows with each, and a namespace can be a table with a million keys.
LOOKED_AT = 2_000
#: Longer ones are no names that anybody types.
LONGEST = 100


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the public name of ``known`` that is most like ``name``, whatever its case, or None.

    Names that begin with an underscore are nobody's suggestion.
    """
    if len(name) > LONGEST:
        return None
    spellings: dict[str, str] = {}
    for other in islice(known, LOOKED_AT):
        if other and not other.startswith("_") and len(other) <= LONGEST and other != name:
            spellings.setdefault(other.casefold(), other)
    found = difflib.get_close_matches(name.casefold(), spellings, n=1)
    return spellings[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "Did you mean 'x'?", or an empty string when nothing is near."""
    found = nearest(name, known)
    return f"Did you mean {found!r}?" if found else ""
