"""What a magic has shown is not shown again as the value of its cell."""

from __future__ import annotations

import sys
from typing import Any, Protocol

from IPython.display import display


class Paintable(Protocol):
    """What can be told that it is shown already."""

    is_painted: bool


class PaintedOnce:
    """A value that shows itself by its MIME bundle, except in the cell that has shown it already."""

    #: Whether the cell that is running has shown it.
    is_painted: bool = False

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        raise NotImplementedError

    def _ipython_display_(self) -> None:
        if self.is_painted:
            if sys.stdout.isatty():
                sys.stdout.write("\r\x1b[K")  # a terminal has written its `Out[n]:` already
        else:
            display(self._repr_mimebundle_(), raw=True)
