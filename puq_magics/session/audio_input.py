"""Audio to transcribe: a file by its path, or a variable by its name."""

from __future__ import annotations

import os
import re
import shlex
import sys
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO, TextIOBase
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from puq_magics.core.audio_duration import audio_duration
from puq_magics.core.errors import InputError
from puq_magics.core.files import expand_path, missing_file_error, missing_name_error, path_exists, quote_name
from puq_magics.core.media_types import SNIFF_BYTES, detect_audio_type
from puq_magics.outputs.results import SpeechResult

if TYPE_CHECKING:
    from puq_magics.api.uploads import Upload

ACCEPTED_HINT = (
    "It takes a file's path, or a variable with bytes, speech, an Audio, (array, rate) or an open file."
)
#: How the names of audio files end.
AUDIO_SUFFIXES = (".mp3", ".wav", ".ogg", ".oga", ".opus", ".flac", ".aac", ".m4a", ".mp4", ".webm")
_MAX_CHANNELS = 32
_MAX_RATE_HZ = 10_000_000  # Hz


@dataclass(frozen=True)
class AudioInput:
    """Audio to send, and its name for messages."""

    upload: Upload
    #: The name of the file, or of the variable; no folder.
    name: str
    #: Set if a file and a variable have the name: which of them was used.
    note: str = ""
    #: The file that is read; None for audio in memory.
    path: Path | None = None

    @cached_property
    def duration(self) -> float | None:
        """Seconds of audio, by its headers; None if they do not tell."""
        try:
            with self.upload.open() as file, _whole_content(file) as content:
                kind = detect_audio_type(content[:SNIFF_BYTES])
                return audio_duration(content, kind.format) if kind is not None else None
        except (OSError, ValueError):  # it has gone since, or was truncated
            return None


def find_audio(text: str, variables: Mapping[str, Any]) -> AudioInput:
    """Return the audio at a path, as it was typed or in quotes, or in a variable.

    An existing file wins. Raises InputError.
    """
    from puq_magics.api.uploads import Upload

    text = text.strip()
    if not text:
        raise InputError("there is nothing to transcribe.", hint=ACCEPTED_HINT)
    path = _path(text)
    is_name = text.isidentifier() and text in variables
    if is_name and not (path_exists(path) and not path.is_dir()):
        return from_value(variables[text], text)
    if path_exists(path):
        note = f"the file {path.name} was used, not the variable" if is_name else ""
        return AudioInput(Upload.from_path(path), path.name, note, path)
    raise _not_found_error(text, path, variables)


def from_value(value: Any, name: str) -> AudioInput:
    """Return the audio in a variable. Raises InputError."""
    from puq_magics.api.uploads import Upload

    try:
        content = _read_value(value, name)
    except (OSError, ValueError) as exc:
        raise InputError(f"the variable {name} cannot be read: {exc}.") from None
    if isinstance(content, Path):
        return AudioInput(Upload.from_path(content), f"{content.name} (variable {name})", path=content)
    if not content:
        raise InputError(f"the variable {name} holds no audio: it is empty.", hint=ACCEPTED_HINT)
    try:
        upload = Upload.from_bytes(content)
    except InputError as exc:
        raise InputError(f"the variable {name}: {exc.message}", hint=exc.hint) from None
    return AudioInput(upload, f"variable {name}")


def from_recording(data: bytes, mime: str) -> AudioInput:
    """Return the audio of a recorder. Raises InputError."""
    from puq_magics.api.uploads import Upload

    kind = mime.partition(";")[0].strip()
    try:
        return AudioInput(Upload.from_bytes(data), "a recording")
    except InputError as exc:
        said = f" ({kind})" if kind else ""
        raise InputError(f"the recording{said} cannot be sent: {exc.message}", hint=exc.hint) from None


def exists(text: str) -> bool:
    """Return whether the text, as it was typed, is the path of something."""
    try:
        return bool(text.strip()) and path_exists(_path(text.strip()))
    except InputError:
        return False


@contextmanager
def _whole_content(file: BinaryIO) -> Iterator[bytes | mmap]:
    """Yield the content of a file, mapped into memory if it is one of the system's."""
    try:
        mapped = mmap(file.fileno(), 0, access=ACCESS_READ)
    except (OSError, ValueError):  # a file in memory has no number
        yield file.read()
        return
    with mapped:
        yield mapped


# --- paths ---------------------------------------------------------------------------------------------------------


def _path(text: str) -> Path:
    """Return the path that was typed, literally or as a shell would read it."""
    raw = expand_path(text)
    if path_exists(raw):
        return raw
    try:
        words = shlex.split(text, posix=os.name != "nt")
    except ValueError:  # a lone quote is a part of the name
        return raw
    if len(words) != 1:
        return raw
    return expand_path(words[0].strip("\"'") if os.name == "nt" else words[0])


def _not_found_error(text: str, path: Path, variables: Mapping[str, Any]) -> InputError:
    if text.isidentifier():
        return missing_name_error(text, variables, ACCEPTED_HINT)
    if hint := _variable_hint(text, variables):
        return InputError(f"there is no file {quote_name(text)}.", hint=hint)
    return missing_file_error(text, path)


def _variable_hint(text: str, variables: Mapping[str, Any]) -> str:
    """Suggest what to write instead of ``s.audio`` or ``"s"`` if s is a variable.

    Empty for what looks like a file.
    """
    found = re.match(r"[\"']?([^\W\d]\w*)(?:[\"']$|[.\[(])", text)
    if found is None or found[1] not in variables or Path(text).suffix.lower() in AUDIO_SUFFIXES:
        return ""
    return f"{found[1]} is a variable: %puq_transcribe {found[1]}"


# --- variables -----------------------------------------------------------------------------------------------------


def _read_value(value: Any, name: str) -> bytes | Path:
    """Return the bytes of a value, or of the file that it names."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, os.PathLike | str):
        return expand_path(value)
    if isinstance(value, SpeechResult):
        return value.audio
    if callable(getattr(value, "read", None)):
        return _read_file(value, name)
    if _is_ipython_audio(value):
        return _read_ipython_audio(value, name)
    pair = _array_and_rate(value)
    if pair is not None:
        return _to_wav(*pair, name)
    if _is_array(value):
        hint = f"Give the rate too, in Hz: pair = ({name}, 16000), then %puq_transcribe pair"
        raise InputError(f"the array {name} does not say how many samples a second it has.", hint=hint)
    raise InputError(f"the variable {name} is {_type_name(value)}, not audio.", hint=ACCEPTED_HINT)


def _type_name(value: Any) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def _read_file(file: Any, name: str) -> bytes | Path:
    """Return all of an open file, from its beginning; the position in it is kept."""
    if getattr(file, "closed", False):
        raise InputError(f"the file {name} is closed.", hint="Open it again, or give its path.")
    if isinstance(file, TextIOBase):
        raise InputError(f"the file {name} is open for text.", hint='Open it with "rb".')
    if (path := _path_of_open_file(file)) is not None:
        return path
    if not (hasattr(file, "seekable") and file.seekable()):
        data = file.read()
    else:
        position = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(position)
    if not isinstance(data, bytes):
        raise InputError(f"what is read of {name} is not bytes.", hint='Open it with "rb".')
    return data


def _path_of_open_file(file: Any) -> Path | None:
    """Return the path of an open file if it still names that file: then it need not be read into memory."""
    try:
        path = Path(file.name)
        same = os.path.samestat(os.fstat(file.fileno()), path.stat()) and path.is_file()
        if same and file.writable():
            file.flush()
    except (OSError, TypeError, ValueError, AttributeError):
        return None
    return path if same else None


def _is_ipython_audio(value: Any) -> bool:
    """Return whether the value is an IPython Audio."""
    module = sys.modules.get("IPython.lib.display")
    return module is not None and isinstance(value, module.Audio)


def _read_ipython_audio(value: Any, name: str) -> bytes | Path:
    if isinstance(value.data, bytes) and value.data:
        return value.data
    if value.url and path_exists(path := Path(str(value.url))):
        return path
    raise InputError(
        f"the Audio {name} holds no sound, only an address.", hint="Download it, and give the file."
    )


# --- arrays --------------------------------------------------------------------------------------------------------


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")  # without it there is no array
    return numpy is not None and isinstance(value, numpy.ndarray)


def _array_and_rate(value: Any) -> tuple[Any, Any] | None:
    """Return the array and the rate of ``(array, rate)`` or ``(rate, array)``."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return None
    first, second = value
    if _is_array(first) and first.ndim > 0:
        return first, second
    return (second, first) if _is_array(second) and second.ndim > 0 else None


def _to_wav(array: Any, rate: Any, name: str) -> bytes:
    """Return samples as a WAV file of 16 bits. Raises InputError."""
    try:
        hertz = round(float(rate))
    except (TypeError, ValueError, OverflowError):
        hertz = 0
    if not 0 < hertz <= _MAX_RATE_HZ:
        raise InputError(f"the rate of {name} is {rate!r}.", hint="Give samples a second, like 16000.")
    frames = _frames(array, name)
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(frames.shape[1])
        out.setsampwidth(2)
        out.setframerate(hertz)
        out.writeframes(_to_int16(frames, name).tobytes())
    return file.getvalue()


def _frames(array: Any, name: str) -> Any:
    """Return the samples as frames × channels; channels × frames are transposed."""
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    if array.ndim == 2 and array.shape[0] <= _MAX_CHANNELS < array.shape[1]:
        array = array.T
    if array.size == 0:
        raise InputError(f"the array {name} is empty.", hint=ACCEPTED_HINT)
    if array.ndim != 2 or array.shape[1] > _MAX_CHANNELS:
        shape = " × ".join(map(str, array.shape))
        raise InputError(
            f"the array {name} has the shape {shape}.",
            hint="Sound is one row of samples, or frames × channels.",
        )
    return array


def _to_int16(array: Any, name: str) -> Any:
    """Return samples as int16: floats from -1 to 1 (louder ones are scaled down), or integers of 8 to 32 bits."""
    kind = array.dtype.kind
    if kind == "f":
        array = array.astype("f8")
        loudest = float(abs(array).max())
        if not loudest < float("inf"):
            raise InputError(
                f"the array {name} has samples that are no numbers.", hint="Replace NaN and infinity."
            )
        return (array * (32767 / max(1.0, loudest))).round().astype("<i2")
    if array.dtype.str[1:] in ("u1", "i1"):
        return ((array.astype("i4") - (128 if kind == "u" else 0)) << 8).astype("<i2")
    if array.dtype.str[1:] == "i4":
        return (array >> 16).astype("<i2")
    if kind in "iu" and array.min() >= -32768 and array.max() <= 32767:
        return array.astype("<i2")
    raise InputError(
        f"the array {name} holds {array.dtype}.",
        hint="Give floats from -1 to 1, or int16: array.astype('float32')",
    )
