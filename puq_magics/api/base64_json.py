"""Decode long base64 strings inside JSON incrementally, without IO.

An image of 50 MB is 67 MB of base64: read as a whole, parsed and decoded, it would be held four times. Here the
strings under the given names are decoded piece by piece, and only the JSON around them is parsed.
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

from puq_magics.core.errors import InvalidResponseError

_MAX_JSON_BYTES = 16 << 20  # bytes of JSON, apart from what is lifted out
_SNIFF_BYTES = 512  # bytes of a string after which it is clear what it is
# The inside of a string, as far as it is here; a backslash at the end waits for what it escapes.
_INSIDE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_ESCAPE = re.compile(rb'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_HALF_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_SHORT = dict(zip(b'"\\/bfnrt', (b'"', b"\\", b"/", b"\b", b"\f", b"\n", b"\r", b"\t"), strict=True))
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\r\n"
_FITTING = re.compile(rb"[A-Za-z0-9+/]*+")


@dataclass(frozen=True, slots=True)
class DecodedField:
    """The decoded content of a string."""

    data: bytes
    #: Whether it was base64 to its end.
    complete: bool
    #: The text from the first invalid character on.
    invalid_text: bytes = b""


class IncrementalBase64Decoder:
    """Decodes base64 in parts: both alphabets, with white space, with or without padding."""

    def __init__(self) -> None:
        self._decoded = BytesIO()
        self._pending = b""
        self._padded = False
        self._invalid_text = bytearray()

    def feed(self, text: bytes) -> None:
        """Decode the next characters; nothing is decoded after the first invalid one."""
        if self._invalid_text:
            self._invalid_text += text
            return
        text = self._pending + text.translate(_URL_SAFE, _SPACE)
        complete = len(text) & ~3
        if self._padded and text:
            self._invalid_text += text
            self._pending = b""
            return
        text, self._pending = text[:complete], text[complete:]
        if not text:
            return
        try:
            self._decoded.write(binascii.a2b_base64(text, strict_mode=True))
            self._padded = text.endswith(b"=")
        except binascii.Error:
            self._decode_valid_prefix(text + self._pending)

    def _decode_valid_prefix(self, text: bytes) -> None:
        """Decode the characters before the first invalid one."""
        good = _FITTING.match(text)
        end = good.end() & ~3 if good else 0
        self._decoded.write(binascii.a2b_base64(text[:end]))
        self._invalid_text += text[end:]
        self._pending = b""

    def end(self) -> DecodedField:
        """Return the decoded field; its bytes are copied only without padding."""
        data = self._decoded.getvalue()
        if self._invalid_text or not self._pending:
            return DecodedField(data, complete=not self._invalid_text, invalid_text=bytes(self._invalid_text))
        try:
            if self._padded:
                raise binascii.Error
            last = binascii.a2b_base64(self._pending + b"=" * (4 - len(self._pending)), strict_mode=True)
        except binascii.Error:
            return DecodedField(data, complete=False, invalid_text=self._pending)
        return DecodedField(data + last, complete=True)


class StreamingBase64Decoder:
    """Feed it a body, then ``end``: the JSON, with stand-ins that ``lifted`` knows for what was decoded.

    ``names`` are those of members whose strings are base64; a ``data:`` URL of base64 counts, an ``http`` URL stays.
    """

    def __init__(self, base64_names: Sequence[str], url_names: Sequence[str] = ()) -> None:
        self._names = {name.encode(): True for name in base64_names} | {n.encode(): False for n in url_names}
        self._placeholder_prefix = secrets.token_hex(8)  # so that no answer can hold a stand-in of its own
        self._decoded_fields: list[DecodedField] = []
        self._json_text = bytearray()
        self._pending = b""
        self._in_string = False  # in a string
        self._text_before_string = b""  # what stood outside strings since the last one
        self._last_string = b""  # how the last string began
        self._value: _StringField | None = None  # the string that may be lifted

    def feed(self, data: bytes) -> None:
        """Decode the next bytes. Raises InvalidResponseError if there is too much JSON around the strings."""
        data, self._pending = self._pending + data, b""
        offset = 0
        while offset < len(data):
            offset = (
                self._scan_string(data, offset)
                if self._in_string
                else self._scan_outside_string(data, offset)
            )
        if len(self._json_text) > _MAX_JSON_BYTES:
            raise InvalidResponseError(
                f"the answer is larger than {_MAX_JSON_BYTES:,} bytes.", hint="Check the base URL."
            )

    def end(self) -> Any:
        """The JSON. Raises ValueError (of ``json``) when it is none, with ``rest`` as what came."""
        if self._value is not None:
            self._finish_value(complete=False)
        return json.loads(self._json_text)

    @property
    def json_text(self) -> bytes:
        """JSON received so far, without the decoded fields."""
        return bytes(self._json_text)

    @property
    def found(self) -> list[DecodedField]:
        """Decoded fields in order, including the received part of an incomplete one."""
        cut = self._value.decoded(complete=False) if self._value is not None else None
        return self._decoded_fields if cut is None else [*self._decoded_fields, cut]

    def decoded(self, value: object) -> DecodedField | None:
        """Return the field of a placeholder; None for any other value."""
        if not isinstance(value, str) or not value.startswith(self._placeholder_prefix):
            return None
        return self._decoded_fields[int(value[len(self._placeholder_prefix) :])]

    def _scan_outside_string(self, data: bytes, offset: int) -> int:
        quote = data.find(b'"', offset)
        piece = data[offset:] if quote < 0 else data[offset:quote]
        self._json_text += piece
        self._text_before_string = (self._text_before_string + piece.strip(_SPACE))[:2]
        if quote < 0:
            return len(data)
        self._in_string = True
        if self._text_before_string == b":" and self._last_string in self._names:
            self._value = _StringField(expect_base64=self._names[self._last_string])
        else:
            self._json_text += b'"'
        self._text_before_string = self._last_string = b""
        return quote + 1

    def _scan_string(self, data: bytes, offset: int) -> int:
        found = _INSIDE.match(data, offset)
        end = found.end() if found else offset
        piece = data[offset:end]
        if self._value is not None:
            self._value.feed(piece)
        else:
            self._json_text += piece
            self._last_string = (
                self._last_string if len(self._last_string) > 64 else self._last_string + piece[:65]
            )
        if end < len(data) and data[end] == 0x22:
            self._in_string = False
            if self._value is not None:
                self._finish_value(complete=True)
            else:
                self._json_text += b'"'
            return end + 1
        self._pending = data[end:]
        return len(data)

    def _finish_value(self, *, complete: bool) -> None:
        assert self._value is not None  # noqa: S101
        decoded = self._value.decoded(complete=complete)
        if decoded is None:
            self._json_text += b'"' + self._value.raw + (b'"' if complete else b"")
        else:
            self._json_text += f'"{self._placeholder_prefix}{len(self._decoded_fields)}"'.encode()
            self._decoded_fields.append(decoded)
        self._value = None


class _StringField:
    """Reads a string that may be base64: decoded as soon as that is clear, else kept unchanged."""

    def __init__(self, *, expect_base64: bool) -> None:
        self.raw = bytearray()
        self._expect_base64 = expect_base64
        self._decoder: IncrementalBase64Decoder | None = None
        self._decided = False
        self._pending = b""

    def feed(self, piece: bytes) -> None:
        if self._decoder is not None:
            self._decode(piece)
            return
        self.raw += piece
        if not self._decided and len(self.raw) >= _SNIFF_BYTES:
            self._decide()

    def decoded(self, *, complete: bool) -> DecodedField | None:
        if not self._decided:
            self._decide()
        if self._decoder is None:
            return None
        end = self._decoder.end()
        return DecodedField(end.data, complete and end.complete and not self._pending, end.invalid_text)

    def _decide(self) -> None:
        self._decided = True
        start = _unescape(bytes(self.raw[:_SNIFF_BYTES]))
        data_url = re.match(rb"\s*data:[^,]*;base64,", start, re.IGNORECASE)
        if not data_url and not (
            self._expect_base64 and start.strip() and not start.startswith((b"http", b"data:"))
        ):
            return
        self._decoder = IncrementalBase64Decoder()
        held = bytes(self.raw)
        self.raw.clear()
        self._decode(held.partition(b",")[2] if data_url else held)

    def _decode(self, piece: bytes) -> None:
        piece = self._pending + piece
        half = _HALF_ESCAPE.search(piece, max(len(piece) - 6, 0))
        cut = half.start() if half else len(piece)
        piece, self._pending = piece[:cut], piece[cut:]
        assert self._decoder is not None  # noqa: S101
        self._decoder.feed(_unescape(piece))


def _unescape(text: bytes) -> bytes:
    """Return the text with JSON's escapes undone; PHP escapes each slash."""
    if b"\\" not in text:
        return text
    if b"\\\\" not in text:
        text = text.replace(b"\\/", b"/")
    return _ESCAPE.sub(_unescape_character, text) if b"\\" in text else text


def _unescape_character(escape: re.Match[bytes]) -> bytes:
    code, short = escape.groups()
    return _SHORT[short[0]] if short else chr(int(code, 16)).encode("utf-8", "surrogatepass")
