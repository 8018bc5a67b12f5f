"""The images that were asked for by address: kept for a while, and found by who knows the address only."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final

#: Seconds that an image is kept, as a real router's links are: for an hour.
_KEPT: Final = 3600.0
_MOST_IMAGES: Final = 64
_MOST_BYTES: Final = 64 * 1024 * 1024


class Gallery:
    """PNGs under names that cannot be guessed; the oldest go when there are too many, or after an hour."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._images: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._lock = Lock()

    def keep(self, png: bytes) -> str:
        """Keep an image; returns the name to find it by."""
        name = secrets.token_urlsafe(24)
        with self._lock:
            self._images[name] = (self._now(), png)
            while len(self._images) > _MOST_IMAGES or self._size > _MOST_BYTES:
                self._images.popitem(last=False)
        return name

    def find(self, name: str) -> bytes | None:
        """The image of that name, unless it is gone."""
        with self._lock:
            kept_since, png = self._images.get(name, (0.0, None))
            if png is not None and self._now() - kept_since > _KEPT:
                del self._images[name]
                return None
            return png

    @property
    def _size(self) -> int:
        return sum(len(png) for _, png in self._images.values())
