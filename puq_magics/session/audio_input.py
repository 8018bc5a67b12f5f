"""Audio to transcribe: a file by its path, or a variable by its name."""

from __future__ import annotations

import os
import re
import shlex
import sys
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO, TextIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from puq_magics.core.errors import InputError
from puq_magics.core.suggestions import did_you_mean
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
    """Audio to send, and where it was found, for people."""

    upload: Upload
    #: The name of the file, or of the variable; no folder.
    name: str
    #: Which of the two was taken, where both are there.
    note: str = ""
    #: The file that is read; None for what is in memory.
    path: Path | None = None


def find_audio(text: str, variables: Mapping[str, Any]) -> AudioInput:
    """The audio that is meant by a path, as it was typed or in quotes, or by a variable's name.

    An existing file wins. Raises InputError.
    """
    from puq_magics.api.uploads import Upload

    text = text.strip()
    if not text:
        raise InputError("there is nothing to transcribe.", hint=ACCEPTED_HINT)
    path = _path(text)
    is_name = text.isidentifier() and text in variables
    if is_name and not (_path_exists(path) and not path.is_dir()):
        return from_value(variables[text], text)
    if _path_exists(path):
        note = f"the file {path.name} was taken, not the variable" if is_name else ""
        return AudioInput(Upload.from_path(path), path.name, note, path)
    raise _not_found_error(text, path, variables)


def from_value(value: Any, name: str) -> AudioInput:
    """The audio in a variable. Raises InputError."""
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
    """True if the text, as it was typed, is the path of something."""
    try:
        return bool(text.strip()) and _path_exists(_path(text.strip()))
    except InputError:
        return False


# --- paths ---------------------------------------------------------------------------------------------------------


def _path(text: str) -> Path:
    """Return the path that was typed, literally or as a shell would read it."""
    raw = _expand_user(text)
    if _path_exists(raw):
        return raw
    try:
        words = shlex.split(text, posix=os.name != "nt")
    except ValueError:  # a lone quote is a part of the name
        return raw
    if len(words) != 1:
        return raw
    return _expand_user(words[0].strip("\"'") if os.name == "nt" else words[0])


def _path_exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # it may be; the error will say so
        return True
    except (OSError, ValueError):  # a name that no file can have
        return False


def _expand_user(text: str) -> Path:
    if "\0" in text:
        raise InputError("there is a zero byte in the path.", hint=ACCEPTED_HINT)
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"{text} has an unknown user in its path.", hint="Write the path in full.") from None


def _not_found_error(text: str, path: Path, variables: Mapping[str, Any]) -> InputError:
    shown = text if len(text) <= 200 else f"{text[:200]}…"
    if text.isidentifier():
        meant = did_you_mean(text, variables)
        return InputError(
            f"there is neither a file nor a variable named {shown}.", hint=meant or ACCEPTED_HINT
        )
    meant_variable = _variable_hint(text, variables)
    if meant_variable:
        return InputError(f"there is no file {shown}.", hint=meant_variable)
    folder = path.parent
    if not _path_exists(folder):
        return InputError(f"there is no folder {folder}.", hint=f"The working folder is {Path.cwd()}")
    meant = did_you_mean(path.name, _list_folder(folder))
    return InputError(f"there is no file {shown}.", hint=meant or f"The working folder is {Path.cwd()}")


def _variable_hint(text: str, variables: Mapping[str, Any]) -> str:
    """Suggest what to write instead of ``s.audio`` or ``"s"`` if s is a variable.

    Empty for what looks like a file.
    """
    found = re.match(r"[\"']?([^\W\d]\w*)(?:[\"']$|[.\[(])", text)
    if found is None or found[1] not in variables or Path(text).suffix.lower() in AUDIO_SUFFIXES:
        return ""
    return f"{found[1]} is a variable: %puq_transcribe {found[1]}"


def _list_folder(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


# --- variables -----------------------------------------------------------------------------------------------------


def _read_value(value: Any, name: str) -> bytes | Path:
    """Return the bytes of a value, or of the file that it names."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, os.PathLike | str):
        return _expand_user(str(os.fspath(value)))
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
    """All of an open file, whatever was read of it; it is left where it was."""
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
    """The path of an open file, if it is still that file's: then it need not be read into memory."""
    try:
        path = Path(file.name)
        same = os.path.samestat(os.fstat(file.fileno()), path.stat()) and path.is_file()
        if same and file.writable():
            file.flush()
    except (OSError, TypeError, ValueError, AttributeError):
        return None
    return path if same else None


def _is_ipython_audio(value: Any) -> bool:
    """True for IPython's Audio and its subclasses."""
    module = sys.modules.get("IPython.lib.display")
    return module is not None and isinstance(value, module.Audio)


def _read_ipython_audio(value: Any, name: str) -> bytes | Path:
    if isinstance(value.data, bytes) and value.data:
        return value.data
    if value.url and _path_exists(path := Path(str(value.url))):
        return path
    raise InputError(
        f"the Audio {name} holds no sound, only an address.", hint="Download it, and give the file."
    )


# --- arrays --------------------------------------------------------------------------------------------------------


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")  # without it there is no array
    return numpy is not None and isinstance(value, numpy.ndarray)


def _array_and_rate(value: Any) -> tuple[Any, Any] | None:
    """``(array, rate)`` or ``(rate, array)``, as the array and the rate."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return None
    first, second = value
    if _is_array(first) and first.ndim > 0:
        return first, second
    return (second, first) if _is_array(second) and second.ndim > 0 else None


def _to_wav(array: Any, rate: Any, name: str) -> bytes:
    """Samples as a WAV file of 16 bits. Raises InputError."""
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
    """The samples as frames × channels; channels × frames are turned round."""
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
    """Samples from -1 to 1 (what is louder is made softer as a whole), or whole numbers of 8, 16 or 32 bits."""
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
