"""The voices by which speech may be asked for, and what of hibari's makes each of them.

hibari brings one voice, an American one, and fetches others when its own command line is asked for them.  Where they
are not there, that one stands for them, deeper or higher.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

#: The voice that is always there.
BUILT_IN: Final = "heart"


@dataclass(frozen=True)
class Voice:
    """A voice of hibari's, and how to come near it by the one that is always there."""

    name: str
    #: How much higher the built-in voice is made; below 1 is deeper.
    pitch: float = 1.0


#: By the names that the API's models know.
VOICES: Final[Mapping[str, Voice]] = MappingProxyType(
    {
        "alloy": Voice(BUILT_IN),
        "echo": Voice("fenrir", 0.88),
        "fable": Voice("fable", 0.92),
        "onyx": Voice("fenrir", 0.8),
        "nova": Voice("kore", 1.08),
        "shimmer": Voice("emma", 1.04),
    }
)
