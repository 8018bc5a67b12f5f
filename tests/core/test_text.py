"""Short plain text for messages."""

from __future__ import annotations

import pytest

from puq_magics.core.text import format_size


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (51_200, "51 kB"),
        (999_499, "999 kB"),
        (999_999, "1.0 MB"),
        (5e9, "5,000.0 MB"),
    ],
)
def test_sizes(size: float, words: str) -> None:
    assert format_size(size) == words
