"""Speech as it streams: the audio's own bytes, once it is clear that they are audio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from puq_magics.api.error_body import append_detail, parse_error_body
from puq_magics.core.errors import APIError, InvalidResponseError
from puq_magics.core.media_types import SNIFF_BYTES, MediaType, describe_non_media, detect_audio_type

if TYPE_CHECKING:
    from puq_magics.api.response import Response

_LONGEST_WORDS = 1 << 16  # bytes of words that came instead
_LONGEST_OTHER = 1 << 20  # and of what is nothing known
_MIN_SNIFF_BYTES = 64  # bytes that tell audio from anything else
_PARTIAL_HINT = "What came is in the error's .partial."


@dataclass(frozen=True, slots=True)
class Speech:
    """A whole answer."""

    data: bytes = field(repr=False)
    type: MediaType
    #: The router's id for the request, to quote when asking its people.
    request_id: str | None = None


class SpeechStream:
    """Audio that streams. Iterate over its bytes, or ``receive`` them with a time limit; close it.

    An error's ``partial`` holds the bytes that came before it.
    """

    def __init__(self, response: Response, request_id: str | None = None, *, max_size: int = 1 << 30) -> None:
        self.request_id = request_id
        #: What it is, by its first bytes; None until they came. No byte is given before.
        self.type: MediaType | None = None
        #: When the first audio came, by ``time.monotonic``.
        self.first_received_at: float | None = None
        #: Whether the answer has ended, well or not.
        self.finished = False
        self._response = response
        self._max_size = max_size
        self._size = 0
        self._undecided = bytearray()  # until it is clear what comes
        self._decided = False  # whether that is audio
        self._received: list[bytes] = []
        self._ended = False

    def __enter__(self) -> SpeechStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while not self.finished:
            data = self.receive()
            if data:
                yield data

    def close(self) -> None:
        """Close the stream; the router is told to stop by the closed connection."""
        self.finished = True
        self._response.close()

    def receive(self, timeout: float | None = None) -> bytes | None:
        """What came since the last call; None when nothing came within ``wait`` seconds, or the answer ended.

        Raises InvalidResponseError for what is not audio, APIConnectionError for a cut connection; either has
        the bytes that had
        come in ``partial``.
        """
        if self.finished:
            return None
        try:
            data = self._response.receive(timeout)
            return None if data is None else self._process(data)
        except APIError as error:
            self.close()
            error.redact_with(self._response.redact)
            error.partial = error.partial or b"".join([*self._received, self._undecided])
            raise
        except BaseException:
            self.close()
            raise

    def _process(self, data: bytes) -> bytes | None:
        ended = not data
        self._size += len(data)
        if self._size > self._max_size:
            raise InvalidResponseError(
                f"the answer is larger than {self._max_size:,} bytes.", hint=_PARTIAL_HINT
            )
        if self.type is None:
            data = self._detect_audio(data, ended)
        if ended:
            self.close()
        if not data:
            return None
        if self.first_received_at is None:
            self.first_received_at = monotonic()
        self._received.append(data)
        return data

    def _detect_audio(self, data: bytes, ended: bool) -> bytes:
        """The bytes to give: all that came, once they are known to be audio; what is none is read to its end."""
        self._undecided += data
        if not ended and len(self._undecided) < _MIN_SNIFF_BYTES:
            return b""
        if not self._decided:
            self._decided = ended or len(self._undecided) >= SNIFF_BYTES
            self.type = detect_audio_type(bytes(self._undecided[:SNIFF_BYTES]))
            if self.type is not None:
                start, self._undecided = bytes(self._undecided), bytearray()
                return start
        if ended or len(self._undecided) >= _LONGEST_WORDS:
            text_kind = describe_non_media(bytes(self._undecided[:SNIFF_BYTES]))
            if ended or text_kind or len(self._undecided) >= _LONGEST_OTHER:
                content_type = self._response.headers.get("content-type", "")
                raise _not_audio_error(bytes(self._undecided), text_kind, content_type)
        return b""


def read_speech(stream: SpeechStream) -> Speech:
    """The whole of a stream. Raises what it raises."""
    with stream:
        data = b"".join(stream)
    assert stream.type is not None  # noqa: S101 - no byte came before it was known, and none at all is an error
    return Speech(data, stream.type, stream.request_id)


def _not_audio_error(body: bytes, text_kind: str, content_type: str) -> InvalidResponseError:
    if not body:
        return InvalidResponseError("the answer is empty.", hint="Try again, or use another model or voice.")
    if text_kind in ("HTML", "JSON", "text", "XML"):
        words, _ = parse_error_body(body)
        return InvalidResponseError(
            append_detail(f"the answer holds {text_kind} where audio should be", words),
            hint="Check the model and the voice.",
        )
    kind = "".join(c for c in content_type.partition(";")[0][:80] if c.isprintable())
    return InvalidResponseError(
        f"the answer is not audio that can be played{f' ({kind})' if kind else ''}.",
        hint=f"Ask for another format, such as mp3 or wav. {_PARTIAL_HINT}",
    )
