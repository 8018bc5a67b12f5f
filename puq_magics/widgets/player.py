"""Player of speech that is still arriving, in a browser; the ordinary player takes its place in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets


class LivePlayer(anywidget.AnyWidget):
    """Plays what has come of a file of audio, and goes on as more comes."""

    _esm = Path(__file__).parent / "player.js"

    #: All that has come; kept by the browser, so that a view that is made late has it, too.
    audio = traitlets.Bytes(b"").tag(sync=True)
    mime = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    #: Whether to play as soon as there is something.
    autoplay = traitlets.Bool(False).tag(sync=True)

    def show(self, audio: bytes) -> None:
        """Send all that has come so far."""
        self.audio = audio

    def bundle(self) -> dict[str, Any]:
        """Return what shows it, and a text for front ends without widgets."""
        shown: Any = self._repr_mimebundle_()
        data = shown[0] if isinstance(shown, tuple) else shown
        return {**data, "text/html": "<p><em>Receiving audio…</em></p>", "text/plain": "Receiving audio…"}
