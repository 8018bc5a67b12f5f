"""Speech as it streams: the audio's own bytes, once it is clear that they are audio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from puq_magics.core.errors import AnswerError, APIError, error_words, with_words
from puq_magics.core.media_types import ENOUGH, MediaType, audio_type, said_instead

if TYPE_CHECKING:
    from puq_magics.api.transport import Response

_LONGEST_WORDS = 1 << 16  # bytes of words that came instead
_LONGEST_OTHER = 1 << 20  # and of what is nothing known
_CLEAR = 64  # bytes that tell audio from anything else
_KEPT = "What came is in the error's .partial."


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
        self.first_heard: float | None = None
        #: Whether the answer has ended, well or not.
        self.finished = False
        self._response = response
        self._max_size = max_size
        self._size = 0
        self._start = bytearray()  # until it is clear what comes
        self._decided = False  # whether that is audio
        self._given: list[bytes] = []
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

    def receive(self, wait: float | None = None) -> bytes | None:
        """What came since the last call; None when nothing came within ``wait`` seconds, or the answer ended.

        Raises AnswerError for what is not audio, NetworkError for a cut connection; either has the bytes that had
        come in ``partial``.
        """
        if self.finished:
            return None
        try:
            data = self._response.receive(wait)
            return None if data is None else self._take(data)
        except APIError as error:
            self.close()
            error.rewrite(self._response.redact)
            error.partial = error.partial or b"".join([*self._given, self._start])
            raise
        except BaseException:
            self.close()
            raise

    def _take(self, data: bytes) -> bytes | None:
        ended = not data
        self._size += len(data)
        if self._size > self._max_size:
            raise AnswerError(f"the answer is larger than {self._max_size:,} bytes.", hint=_KEPT)
        if self.type is None:
            data = self._begin(data, ended)
        if ended:
            self.close()
        if not data:
            return None
        if self.first_heard is None:
            self.first_heard = monotonic()
        self._given.append(data)
        return data

    def _begin(self, data: bytes, ended: bool) -> bytes:
        """The bytes to give: all that came, once they are known to be audio; what is none is read to its end."""
        self._start += data
        if not ended and len(self._start) < _CLEAR:
            return b""
        if not self._decided:
            self._decided = ended or len(self._start) >= ENOUGH
            self.type = audio_type(bytes(self._start[:ENOUGH]))
            if self.type is not None:
                start, self._start = bytes(self._start), bytearray()
                return start
        if ended or len(self._start) >= _LONGEST_WORDS:
            says_words = said_instead(bytes(self._start[:ENOUGH]))
            if ended or says_words or len(self._start) >= _LONGEST_OTHER:
                content_type = self._response.headers.get("content-type", "")
                raise _not_audio(bytes(self._start), says_words, content_type)
        return b""


def read_speech(stream: SpeechStream) -> Speech:
    """The whole of a stream. Raises what it raises."""
    with stream:
        data = b"".join(stream)
    assert stream.type is not None  # noqa: S101 - no byte came before it was known, and none at all is an error
    return Speech(data, stream.type, stream.request_id)


def _not_audio(body: bytes, found: str, content_type: str) -> AnswerError:
    if not body:
        return AnswerError("the answer is empty.", hint="Try again, or use another model or voice.")
    if found in ("HTML", "JSON", "text", "XML"):
        words, _ = error_words(body)
        return AnswerError(
            with_words(f"the answer holds {found} where audio should be", words),
            hint="Check the model and the voice.",
        )
    kind = "".join(c for c in content_type.partition(";")[0][:80] if c.isprintable())
    return AnswerError(
        f"the answer is not audio that can be played{f' ({kind})' if kind else ''}.",
        hint=f"Ask for another format, such as mp3 or wav. {_KEPT}",
    )
