"""The head of a GGUF file: whether it is one, whether its weights are all there, and how much it reads at once.

llama.cpp finds such faults too, but tells them in its log, and late.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
#: The format's numbers for the types of its values, and how each is packed.
_TYPES: Final[Mapping[int, struct.Struct]] = MappingProxyType(
    {
        number: struct.Struct("<" + code)
        for number, code in {
            **dict(enumerate("BbHhIif?")),
            **dict(enumerate("Qqd", start=10)),
        }.items()
    }
)
_STRING, _ARRAY = 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
#: The weights begin at a multiple of so many bytes, if the file names no other.
_ALIGNMENT: Final = 32


class GgufError(ValueError):
    """A file cannot be loaded as a model; the message, for the user, has the file's name."""


@dataclass(frozen=True)
class Gguf:
    """Metadata of a GGUF file."""

    #: As ``llama``; empty where it does not say.
    architecture: str
    #: What it was trained to read at once, in tokens; None where it does not say.
    context_length: int | None


def read_gguf(path: Path) -> Gguf:
    """Read the head; raises GgufError for a file that is missing, not a GGUF, or cut short.

    The last tensor may still be cut in its midst: only llama.cpp knows how long each kind is.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise GgufError(f"{path.name} is not a GGUF file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(_GgufReader(data, len(_MAGIC)))
    except FileNotFoundError:
        raise GgufError(f"{path.name} does not exist in {path.parent}") from None
    except OSError as error:
        raise GgufError(f"{path.name} cannot be read: {error.strerror or error}") from None
    except (_TruncatedFileError, struct.error):
        raise GgufError(f"{path.name} is cut short or damaged: fetch it again") from None
    except _UnsupportedFileError as error:
        raise GgufError(f"{path.name} is a GGUF file of a kind that is not known here: {error}") from None


class _TruncatedFileError(Exception):
    """The file ends before what its head announces."""


class _UnsupportedFileError(Exception):
    """The file has what the format, as it is known here, has not."""


class _GgufReader:
    """Takes value after value; raises _TruncatedFileError or struct.error for what would lie behind the end."""

    def __init__(self, data: mmap.mmap, at: int) -> None:
        self.data = data
        self.at = at

    def skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self.data):
            raise _TruncatedFileError

    def number(self, packed: struct.Struct) -> int:
        begin = self.at
        self.skip(packed.size)
        (number,) = packed.unpack_from(self.data, begin)
        return int(number)

    def text(self) -> str:
        size = self.number(_U64)
        begin = self.at
        self.skip(size)
        return self.data[begin : self.at].decode(errors="replace")

    def value(self) -> int | str | None:
        """A value behind its type's number: text, or a whole number; None for an array."""
        kind = self.number(_U32)
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.number(_packed(kind))
        kind, count = self.number(_U32), self.number(_U64)
        if kind == _STRING:
            for _ in range(count):
                self.skip(self.number(_U64))
        else:
            self.skip(_packed(kind).size * count)
        return None


def _packed(kind: int) -> struct.Struct:
    try:
        return _TYPES[kind]
    except KeyError:
        raise _UnsupportedFileError(f"it has values of type {kind}") from None


def _read(reader: _GgufReader) -> Gguf:
    version = reader.number(_U32)
    if version not in _VERSIONS:
        raise _UnsupportedFileError(f"its version is {version}")
    tensors, entries = reader.number(_U64), reader.number(_U64)
    metadata: dict[str, int | str | None] = {}
    for _ in range(entries):
        name = reader.text()
        metadata[name] = reader.value()
    last = 0
    for _ in range(tensors):
        reader.skip(reader.number(_U64))  # its name
        reader.skip(_U64.size * reader.number(_U32) + _U32.size)  # its shape, and its kind
        last = max(last, reader.number(_U64))
    alignment = _whole(metadata.get("general.alignment")) or _ALIGNMENT
    begin = -(-reader.at // alignment) * alignment
    if begin + last >= len(reader.data):
        raise _TruncatedFileError
    architecture = str(metadata.get("general.architecture") or "")
    return Gguf(architecture, _whole(metadata.get(f"{architecture}.context_length")))


def _whole(value: int | str | None) -> int | None:
    return value if isinstance(value, int) else None
