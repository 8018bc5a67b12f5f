"""Standard output as it is at the time of writing, in whichever encoding."""

from __future__ import annotations

import sys
from typing import Protocol


class Writer(Protocol):
    """The methods of a text file that views use."""

    def write(self, text: str, /) -> int:
        """Write text; return the number of characters written."""

    def flush(self) -> None:
        """Write what is buffered."""

    def isatty(self) -> bool:
        """Return whether it is a terminal."""


class Stdout:
    """Writes to ``sys.stdout``; characters that its encoding lacks become question marks."""

    def write(self, text: str, /) -> int:
        """Implement `Writer`."""
        try:
            return sys.stdout.write(text)
        except UnicodeEncodeError:
            encoding = sys.stdout.encoding or "ascii"
            return sys.stdout.write(text.encode(encoding, "replace").decode(encoding))

    def flush(self) -> None:
        """Implement `Writer`."""
        sys.stdout.flush()

    def isatty(self) -> bool:
        """Implement `Writer`."""
        return sys.stdout.isatty()
