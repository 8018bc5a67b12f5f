"""Check of a GGUF file's header: format, completeness, context length.

llama.cpp finds such faults, too, but late and only in its log.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Final

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
#: Value types of the format by their number.
_TYPES: Final = {
    number: struct.Struct("<" + code)
    for number, code in {**dict(enumerate("BbHhIif?")), **dict(enumerate("Qqd", start=10))}.items()
}
_STRING, _ARRAY = 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
#: The weights begin at a multiple of this many bytes unless the file says otherwise.
_ALIGNMENT: Final = 32
_TRUNCATED: Final = "is cut short or damaged: fetch it again"


class GgufError(ValueError):
    """A file cannot be loaded as a model; the message, for the user, begins with the file's name."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path.name} {problem}")
        self.path = path
        #: Predicate of a sentence about the file.
        self.problem = problem


@dataclass(frozen=True)
class Gguf:
    """Metadata of a GGUF file."""

    #: Such as ``llama``; empty if unknown.
    architecture: str
    #: Tokens that the model was trained to read at once; None if unknown.
    context_length: int | None


def read_gguf(path: Path) -> Gguf:
    """Read the header; raises GgufError for a file that is missing, not a GGUF, or cut short.

    A cut within the last tensor is not noticed: only llama.cpp knows its size.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise GgufError(path, "is not a GGUF file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(data, len(_MAGIC)).read_header()
    except FileNotFoundError:
        raise GgufError(path, f"does not exist in {path.parent}") from None
    except OSError as error:
        raise GgufError(path, f"cannot be read: {error.strerror or error}") from None
    except EOFError:
        raise GgufError(path, _TRUNCATED) from None
    except _UnsupportedError as error:
        raise GgufError(path, f"is a GGUF file of a kind that is not known here: {error}") from None


class _UnsupportedError(Exception):
    """The file uses a feature of the format that is not known here."""


class _Reader:
    """Sequential reader; raises EOFError at the end of the file."""

    def __init__(self, data: mmap.mmap, position: int) -> None:
        self._data = data
        self._position = position

    def read_header(self) -> Gguf:
        """Read everything before the weights."""
        version = self._number(_U32)
        if version not in _VERSIONS:
            raise _UnsupportedError(f"its version is {version}")
        tensors, entries = self._number(_U64), self._number(_U64)
        metadata = dict(self._entry() for _ in range(entries))
        last_offset = 0
        for _ in range(tensors):
            self._skip(self._number(_U64))  # its name
            self._skip(_U64.size * self._number(_U32) + _U32.size)  # its shape and type
            last_offset = max(last_offset, self._number(_U64))
        alignment = metadata.get("general.alignment")
        if not isinstance(alignment, int) or alignment < 1:
            alignment = _ALIGNMENT
        start = -(-self._position // alignment) * alignment
        if start + last_offset >= len(self._data):
            raise EOFError
        architecture = str(metadata.get("general.architecture") or "")
        context_length = metadata.get(f"{architecture}.context_length")
        return Gguf(architecture, context_length if isinstance(context_length, int) else None)

    def _skip(self, size: int) -> int:
        """Skip some bytes; return the position where they begin."""
        start = self._position
        self._position += size
        if self._position > len(self._data):
            raise EOFError
        return start

    def _number(self, form: struct.Struct) -> int:
        (number,) = form.unpack_from(self._data, self._skip(form.size))
        return int(number) if isfinite(number) else 0

    def _text(self) -> str:
        start = self._skip(self._number(_U64))
        return self._data[start : self._position].decode(errors="replace")

    def _entry(self) -> tuple[str, int | str | None]:
        """Read a name and its value: text or a whole number; None for an array."""
        name, kind = self._text(), self._number(_U32)
        if kind == _STRING:
            return name, self._text()
        if kind != _ARRAY:
            return name, self._number(_form(kind))
        kind, count = self._number(_U32), self._number(_U64)
        if kind == _STRING:
            for _ in range(count):
                self._skip(self._number(_U64))
        else:
            self._skip(_form(kind).size * count)
        return name, None


def _form(kind: int) -> struct.Struct:
    if kind not in _TYPES:
        raise _UnsupportedError(f"it has values of type {kind}")
    return _TYPES[kind]
