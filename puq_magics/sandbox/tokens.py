"""The sandbox's tokenizer, simple enough to count by hand.

A token is up to eight letters or digits of a word, or one other sign, each with the white space before it;
white space at the end of a text is one token more.  The tokens of a text put together are the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_TOKEN = re.compile(r"\s*(?:\w{1,8}|[^\w\s])|\s+")


def tokens(text: str) -> Iterator[str]:
    """Cut ``text`` into its tokens."""
    return (match[0] for match in _TOKEN.finditer(text))


def count(text: str) -> int:
    """How many tokens ``text`` has."""
    return sum(1 for _ in _TOKEN.finditer(text))
