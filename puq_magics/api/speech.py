"""Speech, complete and streamed: the bytes of the audio, once they are known to be audio."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from puq_magics.api.error_body import append_detail, parse_error_body
from puq_magics.api.streams import ResponseStream
from puq_magics.core.errors import InvalidResponseError
from puq_magics.core.media_types import SNIFF_BYTES, MediaType, describe_non_media, detect_audio_type

if TYPE_CHECKING:
    from puq_magics.api.response import Response

#: Bytes of audio: 11 minutes without compression, at 48 kHz in stereo; models take some 4,000 characters at once.
_MAX_BYTES = 128 << 20
_MAX_TEXT_BYTES = 1 << 16  # of text in place of audio
_MAX_UNKNOWN_BYTES = 1 << 20  # of any other content
_MIN_SNIFF_BYTES = 64  # bytes that are needed to detect audio
_PARTIAL_HINT = "The part received is in the error's .partial."


@dataclass(frozen=True, slots=True)
class Speech:
    """Complete audio."""

    data: bytes = field(repr=False)
    type: MediaType
    #: The router's id for the request, to quote to its support.
    request_id: str | None = None


class SpeechStream(ResponseStream[bytes]):
    """Streamed audio: iterate over its bytes, or ``receive`` them with a time limit; close it.

    An error's ``partial`` holds the bytes received before it.
    """

    _size_hint, _size_python_hint = "Send a shorter text, or ask for a compressed format.", _PARTIAL_HINT

    def __init__(
        self, response: Response, request_id: str | None = None, *, max_size: int = _MAX_BYTES
    ) -> None:
        super().__init__(response, request_id, max_size)
        #: The type by the first bytes; None until they came. No byte is returned before.
        self.type: MediaType | None = None
        self._undecided = bytearray()  # until the type is known
        self._decided = False  # whether that is audio
        self._received: list[bytes] = []

    def _process(self, data: bytes) -> bytes | None:
        ended = not data
        if self.type is None:
            data = self._detect_audio(data, ended)
        if ended:
            self.close()
        if not data:
            return None
        self._received.append(data)
        return data

    def _partial(self) -> bytes:
        self._received = [b"".join([*self._received, self._undecided])]
        self._undecided = bytearray()
        return self._received[0]

    def _detect_audio(self, data: bytes, ended: bool) -> bytes:
        """Return all bytes received once they are audio; other content is read to its end for the error."""
        self._undecided += data
        if not ended and len(self._undecided) < _MIN_SNIFF_BYTES:
            return b""
        if not self._decided:
            self._decided = ended or len(self._undecided) >= SNIFF_BYTES
            self.type = detect_audio_type(bytes(self._undecided[:SNIFF_BYTES]))
            if self.type is not None:
                start, self._undecided = bytes(self._undecided), bytearray()
                return start
        if ended or len(self._undecided) >= _MAX_TEXT_BYTES:
            text_kind = describe_non_media(bytes(self._undecided[:SNIFF_BYTES]))
            if ended or text_kind or len(self._undecided) >= _MAX_UNKNOWN_BYTES:
                content_type = self._response.headers.get("content-type", "")
                raise _not_audio_error(bytes(self._undecided), text_kind, content_type)
        return b""


def read_speech(stream: SpeechStream) -> Speech:
    """Read a whole stream. Raises what it raises."""
    with stream:
        data = b"".join(stream)
    assert stream.type is not None  # noqa: S101 - no byte came before it was known, and none at all is an error
    return Speech(data, stream.type, stream.request_id)


def _not_audio_error(body: bytes, text_kind: str, content_type: str) -> InvalidResponseError:
    if not body:
        return InvalidResponseError("the answer is empty.", hint="Try again, or use another model or voice.")
    if text_kind in ("HTML", "JSON", "text", "XML"):
        detail, _ = parse_error_body(body)
        return InvalidResponseError(
            append_detail(f"the answer holds {text_kind} where audio should be", detail),
            hint="Check the model and the voice.",
        )
    kind = "".join(c for c in content_type.partition(";")[0][:80] if c.isprintable())
    return InvalidResponseError(
        f"the answer is not audio that can be played{f' ({kind})' if kind else ''}.",
        hint="Request another format, such as mp3 or wav.",
        python_hint=_PARTIAL_HINT,
    )
