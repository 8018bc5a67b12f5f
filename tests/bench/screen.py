"""What a front end would have on the screen after each IOPub message, and how much of the answer that is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_SPACE = re.compile(r"\s*")


@dataclass
class _Output:
    display_id: str | None
    text: str


@dataclass
class Screen:
    """The outputs of one cell, kept up as the Jupyter protocol says: display, update, clear, stream.

    `mime` is the form that holds the subject's text: `text/plain` where that is the answer itself.
    """

    answer: str
    mime: str
    outputs: list[_Output] = field(default_factory=list)
    _clear: bool = False  # clear_output(wait=True) clears when the next output comes

    def take(self, kind: str, content: dict[str, Any]) -> None:
        """Apply one message."""
        if kind == "clear_output":
            self._clear = bool(content.get("wait"))
            if not self._clear:
                self.outputs.clear()
        elif kind == "stream":
            self._add(_Output(None, content["text"]))
        elif kind in ("display_data", "execute_result", "update_display_data"):
            text = _text_of(content["data"], self.mime)
            display_id = content.get("transient", {}).get("display_id")
            if kind == "update_display_data":
                for output in self.outputs:
                    if output.display_id == display_id:
                        output.text = text
            else:
                self._add(_Output(display_id, text))

    def _add(self, output: _Output) -> None:
        if self._clear:
            self.outputs.clear()
            self._clear = False
        self.outputs.append(output)

    def progress(self) -> int:
        """How many characters of the answer's beginning are there, over all outputs in their order.

        White space at the seams of outputs may be missing; text that is not the answer's (a notice, a footer)
        counts for nothing.
        """
        position = 0
        for output in self.outputs:
            start = _SPACE.match(self.answer, position)
            assert start is not None
            text = output.text.strip()
            matched = _common(self.answer, start.end(), text)
            if matched:
                position = start.end() + matched
        return position


def _text_of(data: dict[str, Any], mime: str) -> str:
    text = data.get(mime, data.get("text/plain", ""))
    return text if isinstance(text, str) else "".join(text)


def _common(answer: str, start: int, text: str) -> int:
    """The length of the longest beginning of `text` that stands at `start` in the answer."""
    if answer.startswith(text, start):
        return len(text)
    low, high = 0, len(text)  # the beginning of length `low` matches, that of `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        if answer.startswith(text[:middle], start):
            low = middle
        else:
            high = middle
    return low
