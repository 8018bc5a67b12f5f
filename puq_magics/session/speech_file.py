"""Speech that goes to a file while it comes; the file has its name once all of it is there."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from puq_magics.core.errors import InputError
from puq_magics.core.media_types import MediaType
from puq_magics.core.files import targets, writing


class SpeechFile:
    """The file of ``--save``, beside its name until ``finish``; without a target it is none.

    A file that cannot be written stops nobody from listening: ``problem`` says what went wrong.
    """

    def __init__(self, target: Path | None, *, force: bool) -> None:
        self._target = target
        self._force = force
        self._stack = ExitStack()
        self._file: BinaryIO | None = None
        #: Where it is, once it is finished.
        self.path: Path | None = None
        #: Why it is not there.
        self.problem: InputError | None = None

    def write(self, data: bytes, kind: MediaType) -> None:
        """Write more, so that it is on disk when this returns."""
        if self._target is None or self.problem is not None:
            return
        try:
            if self._file is None:
                self._target = targets(self._target, kind.extension)[0]
                self._file = self._stack.enter_context(writing(self._target, self._force))
            self._file.write(data)
            self._file.flush()
        except (OSError, InputError) as exc:
            self._fail(exc)

    def finish(self, audio: bytes, *, as_it_came: bool) -> None:
        """Give the file its name; ``audio`` is what it has to hold, if that is not just what came."""
        if self._file is None or self.problem is not None:
            return
        try:
            if not as_it_came:
                self._file.seek(0)
                self._file.truncate()
                self._file.write(audio)
            self._stack.close()
        except (OSError, InputError) as exc:
            self._fail(exc)
        else:
            self.path = self._target

    def drop(self) -> None:
        """Leave no file behind."""
        dropped = _DroppedError()
        with suppress(_DroppedError):
            self._stack.__exit__(_DroppedError, dropped, None)

    def _fail(self, exc: OSError | InputError) -> None:
        self.problem = exc if isinstance(exc, InputError) else None
        try:
            self._stack.__exit__(type(exc), exc, exc.__traceback__)
        except InputError as told:
            self.problem = told
        if self.problem is None:
            self.problem = InputError(f"{self._target} cannot be written: {exc}.", hint="Name another file.")


class _DroppedError(Exception):
    """Ends the writing."""
