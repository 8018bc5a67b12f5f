"""A form on its way out: read from disk as it is sent."""

from __future__ import annotations

from typing import BinaryIO, Protocol

from requests_toolbelt.multipart.encoder import MultipartEncoder

from puq_magics.core.errors import InputError
from puq_magics.api.uploads import Form, Upload


class Sendable(Protocol):
    """A body that a connection reads."""

    @property
    def len(self) -> int:
        """Bytes in all."""

    def read(self, size: int = -1) -> bytes:
        """The next bytes; none at the end."""


class EncodedForm:
    """A form as a body, for one attempt; close it.

    Reading raises InputError when the file is not as long as it was, or cannot be read.
    """

    def __init__(self, form: Form, patience: float) -> None:
        #: Seconds that a piece may take to send.
        self.patience = patience
        self._form = form
        self._file = _File(form.file)
        part = (form.file.name, self._file, form.file.mime)
        self._encoder = MultipartEncoder([*form.fields, ("file", part)])
        self._sent = 0
        self.len: int = self._encoder.len
        self.content_type: str = self._encoder.content_type

    def read(self, size: int = -1) -> bytes:
        """The next bytes; none at the end. What was read before has been sent."""
        if self._form.on_progress is not None:
            self._form.on_progress(self._sent, self.len)
        data: bytes = self._encoder.read(size)
        self._sent += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _File:
    """A file of just so many bytes: a body must be as long as its header says."""

    def __init__(self, upload: Upload) -> None:
        self._name = upload.name
        #: Bytes left; the encoder's word for them.
        self.len = upload.size
        try:
            self._file: BinaryIO = upload.open()
        except OSError as exc:
            raise self._unreadable(exc) from None

    def read(self, size: int = -1) -> bytes:
        wanted = self.len if size < 0 else min(size, self.len)
        try:
            data = self._file.read(wanted)
        except OSError as exc:
            raise self._unreadable(exc) from None
        if wanted and not data:
            raise InputError(
                f"{self._name!r} became shorter while it was sent.",
                hint="Let what writes it finish, then try again.",
            )
        self.len -= len(data)
        return data

    def close(self) -> None:
        self._file.close()

    def _unreadable(self, exc: OSError) -> InputError:
        reason = (exc.strerror or type(exc).__name__).lower()
        return InputError(
            f"{self._name!r} cannot be read any more ({reason}).", hint="Check the file, then try again."
        )
