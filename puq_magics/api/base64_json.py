"""JSON whose long base64 strings are decoded as they come; sans-IO.

An image of 50 MB is 67 MB of base64: read as a whole, parsed and decoded it would be held four times over. Here the
strings that stand under the given names are decoded piece by piece, and the JSON around them is all that is parsed.
"""

from __future__ import annotations

import binascii
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from puq_magics.core.errors import AnswerError

_LARGEST_REST = 16 << 20  # bytes of JSON, apart from what is lifted out
_UNDECIDED = 512  # bytes of a string after which it is clear what it is
# The inside of a string, as far as it is here; a backslash at the end waits for what it escapes.
_INSIDE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_ESCAPE = re.compile(rb'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_HALF_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_SHORT = dict(zip(b'"\\/bfnrt', (b'"', b"\\", b"/", b"\b", b"\f", b"\n", b"\r", b"\t"), strict=True))
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\r\n"
_FITTING = re.compile(rb"[A-Za-z0-9+/]*+")


@dataclass(frozen=True, slots=True)
class Lifted:
    """What a string held."""

    data: bytes
    #: Whether it was base64 to its end.
    whole: bool
    #: The text from where it was none.
    refused: bytes = b""


class Base64Decoder:
    """Base64 in parts: both alphabets, white space between, the padding as it should be or left out."""

    def __init__(self) -> None:
        self._decoded = BytesIO()
        self._held = b""
        self._padded = False
        self._refused = bytearray()

    def feed(self, text: bytes) -> None:
        """Take the next characters; behind the first that does not fit nothing more is decoded."""
        if self._refused:
            self._refused += text
            return
        text = self._held + text.translate(_URL_SAFE, _SPACE)
        whole = len(text) & ~3
        if self._padded and text:
            self._refused += text
            self._held = b""
            return
        text, self._held = text[:whole], text[whole:]
        if not text:
            return
        try:
            self._decoded.write(binascii.a2b_base64(text, strict_mode=True))
            self._padded = text.endswith(b"=")
        except binascii.Error:
            self._refuse(text + self._held)

    def _refuse(self, text: bytes) -> None:
        """Decode what fits before the first character that does not."""
        good = _FITTING.match(text)
        end = good.end() & ~3 if good else 0
        self._decoded.write(binascii.a2b_base64(text[:end]))
        self._refused += text[end:]
        self._held = b""

    def end(self) -> Lifted:
        """What was decoded; its bytes are copied only where the padding was left out."""
        data = self._decoded.getvalue()
        if self._refused or not self._held:
            return Lifted(data, whole=not self._refused, refused=bytes(self._refused))
        try:
            if self._padded:
                raise binascii.Error
            last = binascii.a2b_base64(self._held + b"=" * (4 - len(self._held)), strict_mode=True)
        except binascii.Error:
            return Lifted(data, whole=False, refused=self._held)
        return Lifted(data + last, whole=True)


class JSONLifter:
    """Feed it a body, then ``end``: the JSON, with stand-ins that ``lifted`` knows for what was decoded.

    ``names`` are those of members whose strings are base64; a ``data:`` URL of base64 counts, an ``http`` URL stays.
    """

    def __init__(self, base64_names: Sequence[str], url_names: Sequence[str] = ()) -> None:
        self._names = {name.encode(): True for name in base64_names} | {n.encode(): False for n in url_names}
        self._mark = secrets.token_hex(8)  # so that no answer can hold a stand-in of its own
        self._found: list[Lifted] = []
        self._rest = bytearray()
        self._carry = b""
        self._within = False  # in a string
        self._between = b""  # what stood outside strings since the last one
        self._last = b""  # how the last string began
        self._value: _Value | None = None  # the string that may be lifted

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises AnswerError when there is too much JSON around the strings."""
        data, self._carry = self._carry + data, b""
        at = 0
        while at < len(data):
            at = self._string(data, at) if self._within else self._gap(data, at)
        if len(self._rest) > _LARGEST_REST:
            raise AnswerError(
                f"the answer is larger than {_LARGEST_REST:,} bytes.", hint="Check the base URL."
            )

    def end(self) -> Any:
        """The JSON. Raises ValueError (of ``json``) when it is none, with ``rest`` as what came."""
        if self._value is not None:
            self._close_value(whole=False)
        return json.loads(self._rest)

    @property
    def rest(self) -> bytes:
        """What came, apart from what was lifted."""
        return bytes(self._rest)

    @property
    def found(self) -> list[Lifted]:
        """What was lifted, in order; with what came of one that is not at its end."""
        cut = self._value.lifted(whole=False) if self._value is not None else None
        return self._found if cut is None else [*self._found, cut]

    def lifted(self, value: object) -> Lifted | None:
        """What a stand-in stands for; None for any other value."""
        if not isinstance(value, str) or not value.startswith(self._mark):
            return None
        return self._found[int(value[len(self._mark) :])]

    def _gap(self, data: bytes, at: int) -> int:
        quote = data.find(b'"', at)
        piece = data[at:] if quote < 0 else data[at:quote]
        self._rest += piece
        self._between = (self._between + piece.strip(_SPACE))[:2]
        if quote < 0:
            return len(data)
        self._within = True
        if self._between == b":" and self._last in self._names:
            self._value = _Value(surely_base64=self._names[self._last])
        else:
            self._rest += b'"'
        self._between = self._last = b""
        return quote + 1

    def _string(self, data: bytes, at: int) -> int:
        found = _INSIDE.match(data, at)
        end = found.end() if found else at
        piece = data[at:end]
        if self._value is not None:
            self._value.feed(piece)
        else:
            self._rest += piece
            self._last = self._last if len(self._last) > 64 else self._last + piece[:65]
        if end < len(data) and data[end] == 0x22:
            self._within = False
            if self._value is not None:
                self._close_value(whole=True)
            else:
                self._rest += b'"'
            return end + 1
        self._carry = data[end:]
        return len(data)

    def _close_value(self, *, whole: bool) -> None:
        assert self._value is not None  # noqa: S101
        lifted = self._value.lifted(whole=whole)
        if lifted is None:
            self._rest += b'"' + self._value.raw + (b'"' if whole else b"")
        else:
            self._rest += f'"{self._mark}{len(self._found)}"'.encode()
            self._found.append(lifted)
        self._value = None


class _Value:
    """One string that may be base64: decoded as soon as it is clear that it is, kept as it came if not."""

    def __init__(self, *, surely_base64: bool) -> None:
        self.raw = bytearray()
        self._surely = surely_base64
        self._decoder: Base64Decoder | None = None
        self._decided = False
        self._carry = b""

    def feed(self, piece: bytes) -> None:
        if self._decoder is not None:
            self._decode(piece)
            return
        self.raw += piece
        if not self._decided and len(self.raw) >= _UNDECIDED:
            self._decide()

    def lifted(self, *, whole: bool) -> Lifted | None:
        if not self._decided:
            self._decide()
        if self._decoder is None:
            return None
        end = self._decoder.end()
        return Lifted(end.data, whole and end.whole and not self._carry, end.refused)

    def _decide(self) -> None:
        self._decided = True
        start = _unescaped(bytes(self.raw[:_UNDECIDED]))
        data_url = re.match(rb"\s*data:[^,]*;base64,", start, re.IGNORECASE)
        if not data_url and not (
            self._surely and start.strip() and not start.startswith((b"http", b"data:"))
        ):
            return
        self._decoder = Base64Decoder()
        held = bytes(self.raw)
        self.raw.clear()
        self._decode(held.partition(b",")[2] if data_url else held)

    def _decode(self, piece: bytes) -> None:
        piece = self._carry + piece
        half = _HALF_ESCAPE.search(piece, max(len(piece) - 6, 0))
        cut = half.start() if half else len(piece)
        piece, self._carry = piece[:cut], piece[cut:]
        assert self._decoder is not None  # noqa: S101
        self._decoder.feed(_unescaped(piece))


def _unescaped(text: bytes) -> bytes:
    """The text with JSON's escapes undone; PHP escapes each slash."""
    if b"\\" not in text:
        return text
    if b"\\\\" not in text:
        text = text.replace(b"\\/", b"/")
    return _ESCAPE.sub(_character, text) if b"\\" in text else text


def _character(escape: re.Match[bytes]) -> bytes:
    code, short = escape.groups()
    return _SHORT[short[0]] if short else chr(int(code, 16)).encode("utf-8", "surrogatepass")
