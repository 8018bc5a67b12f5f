"""Characters that steer a terminal or the eye instead of standing for themselves, taken out as the text comes.

API keys are erased on the same way: all text of others passes here before it is shown.

ANSI escape sequences (ECMA-48: CSI, OSC with its hyperlinks, DCS, …), C0 and C1 controls, bidi controls and
halves of surrogate pairs. What such a sequence wraps stays; the sequence itself goes.
"""

import re

from puq_magics.core.secret import SecretFilter

#: A string sequence (OSC, DCS, …) without its terminator within so many characters is no sequence: its words show.
MAX_SEQUENCE = 4_096

_CSI_BODY = r"[0-?]{0,256}[ -/]{0,16}"
_STRING_BODY = rf"[^\x07\x1b\x90-\x9f\n]{{0,{MAX_SEQUENCE}}}"
_STRING_START = r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])"

_SEQUENCE = re.compile(
    rf"(?:\x1b\[|\x9b){_CSI_BODY}[@-~]"
    rf"|{_STRING_START}{_STRING_BODY}(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[\[\]PX^_]"  # the start of a sequence that never became one
    r"|\x1b[ -/]{0,16}[0-~]"
)
#: What may still become a sequence, a CRLF or a surrogate pair with the next characters.
_UNFINISHED = re.compile(
    rf"(?:(?:\x1b\[|\x9b){_CSI_BODY}|{_STRING_START}{_STRING_BODY}\x1b?|\x1b[ -/]{{0,16}}|\r|[\ud800-\udbff])\Z"
)
#: Where an unfinished sequence can start.
_SEQUENCE_START = re.compile(r"[\x1b\x90\x98\x9b\x9d-\x9f\r\ud800-\udbff]")

#: All that does not stay as it is. One pass: what a sequence stood between must not join.
_UNWANTED = re.compile(
    rf"(?P<sequence>{_SEQUENCE.pattern})|(?P<end>\r\n|[\r\x85\u2028\u2029])"
    r"|(?P<pair>[\ud800-\udbff][\udc00-\udfff])|(?P<half>[\ud800-\udfff])"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
#: One look that says whether anything at all has to be done.
_SUSPECT = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _replacement(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind == "pair":
        return match[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    return {"end": "\n", "half": "\ufffd"}.get(kind or "", "")


def _clean(text: str) -> str:
    return _UNWANTED.sub(_replacement, text) if _SUSPECT.search(text) else text


class ControlCharFilter:
    """``strip_control_chars()`` for text that comes in pieces: a sequence or a key split over two does not leak."""

    def __init__(self) -> None:
        self._pending = ""
        self._secrets = SecretFilter()

    @property
    def may_hold_key(self) -> bool:
        """True if what may be the beginning of a key is held back; ``release`` it in a pause."""
        return bool(self._secrets.pending)

    def feed(self, text: str) -> str:
        """Process more text; return the part that can no longer change."""
        text = self._pending + text
        cut = self._safe_length(text)
        self._pending = text[cut:]
        return self._secrets.feed(_clean(text[:cut]))

    def release(self) -> str:
        """Return what may be the beginning of a key, as nothing more comes for a moment."""
        return self._secrets.release()

    def finish(self) -> str:
        """Return what was held back, as the text ends here."""
        held, self._pending = self._pending, ""
        return self._secrets.feed(_clean(held)) + self._secrets.finish()

    @staticmethod
    def _safe_length(text: str) -> int:
        """Return the start of the unfinished tail: its first introducer (an ESC may itself end an OSC)."""
        low = max(0, len(text) - MAX_SEQUENCE - 8)
        if not _SEQUENCE_START.search(text, low):
            return len(text)
        end = len(text)
        position = low
        while (starter := _SEQUENCE_START.search(text, position)) is not None:
            if _UNFINISHED.match(text, starter.start()):
                return starter.start()
            whole = _SEQUENCE.match(text, starter.start())
            position = whole.end() if whole else starter.end()
        return end


def strip_control_chars(text: str) -> str:
    """Return the text as a terminal may safely get it: no escape sequences, of controls only line ends and tabs.

    API keys are erased, too.
    """
    feed = ControlCharFilter()
    return feed.feed(text) + feed.finish()
