"""An answer as it streams: what real routers send, read into text.

They are known to send keep-alive comments, null contents, chunks without choices, several choices, an error in
the middle, no ``[DONE]``, a whole JSON answer where a stream was asked for, or an HTML page of a proxy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from puq_magics.api.sse import Event, SSEDecoder
from puq_magics.api.types import (
    Completion,
    Delta,
    joined_surrogates,
    read_pieces,
    read_usage,
)
from puq_magics.core.errors import (
    AnswerError,
    APIError,
    NetworkError,
    StreamError,
    error_object,
    error_words,
    with_words,
)

if TYPE_CHECKING:
    from puq_magics.api.transport import Response

_DONE = "[DONE]"
_BOM = b"\xef\xbb\xbf"
# How an event stream begins: a field, or a comment.
_FIELDS = (b"data", b"event", b"id", b"retry", b":")
#: Bytes after which a body's beginning is clear, or never will be.
_SNIFF = 1 << 12
_MEBI = 1 << 20
#: Seconds to wait for the end of the body after the answer's end, to use the connection again.
_PATIENCE = 0.02
_NOTHING = Delta()
#: Events in one parse: so few that their objects are gone before the garbage collector looks at them.
_AT_ONCE = 100


class ChatStream:
    """A streamed answer. Iterate over its deltas, or ``receive`` them with a time limit; close it.

    What has come is in ``text`` (and ``completion``) at any time, also after an error.
    """

    def __init__(
        self, response: Response, model: str, request_id: str | None = None, *, max_size: int = 64 * _MEBI
    ) -> None:
        self.model = model
        self.request_id = request_id
        #: When the first words came, by ``time.monotonic``.
        self.first_heard: float | None = None
        #: Whether the answer has ended, well or not.
        self.finished = False
        self._response = response
        self._decoder = SSEDecoder()
        self._max_size = max_size
        self._size = 0
        self._texts: dict[int, _Words] = {0: _Words()}
        self._reasoning = _Words()
        self._finish_reason: str | None = None
        self._head: dict[str, Any] = {}
        self._usage: object = None
        self._beginning: bytes | None = b""  # until it is clear what comes
        self._whole: list[bytes] | None = None  # the parts of a body that is no stream

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Delta]:
        while not self.finished:
            delta = self.receive()
            if delta:
                yield delta

    def close(self) -> None:
        """Close the stream; the router is told to stop by the closed connection."""
        self.finished = True
        self._response.close()

    @property
    def text(self) -> str:
        """What has come of the answer."""
        return self._texts[0].text

    @property
    def reasoning(self) -> str:
        """What has come of the model's reasoning."""
        return self._reasoning.text

    @property
    def completion(self) -> Completion:
        """What has come, as a value."""
        text, reasoning = self.text, self.reasoning
        message = {"role": "assistant", "content": text} | ({"reasoning": reasoning} if reasoning else {})
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason}
        raw = self._head | {"choices": [choice]} | ({"usage": self._usage} if self._usage else {})
        model = raw.get("model")
        return Completion(
            text=text,
            model=model if isinstance(model, str) and model else self.model,
            reasoning=reasoning,
            finish_reason=self._finish_reason,
            usage=read_usage(self._usage),
            request_id=self.request_id,
            alternatives={i: words.text for i, words in self._texts.items() if i},
            raw=raw,
        )

    def receive(self, wait: float | None = None) -> Delta | None:
        """What came since the last call; None when nothing came within ``wait`` seconds, or the answer ended.

        Raises StreamError for an answer that breaks off, NetworkError for a cut connection; either has what had
        come in ``partial``.
        """
        if self.finished:
            return None
        try:
            data = self._response.receive(wait)
            delta = None if data is None else self._take(data)
        except APIError as error:
            self.close()
            error.rewrite(self._response.redact)
            if isinstance(error, NetworkError) and self._finish_reason is not None:
                return None  # the answer was whole
            error.partial = self.text
            raise
        except BaseException:
            self.close()
            raise
        if self.finished and (left := Delta(self._texts[0].end(), self._reasoning.end())):
            delta = left if delta is None else _sum([delta, left])
        if delta and self.first_heard is None:
            self.first_heard = monotonic()
        return delta

    def _take(self, data: bytes) -> Delta | None:
        self._size += len(data)
        if self._size > self._max_size:
            raise AnswerError(
                f"the answer is larger than {self._max_size:,} bytes.",
                hint="What came is kept; ask for less.",
            )
        ended = not data
        if self._beginning is not None:
            data = self._begin(data)
        if self._whole is not None:
            self._whole.append(data)
            return self._read_whole() if ended else _NOTHING
        delta = self._absorb(self._decoder.feed(data))
        return self._end_of_body(delta) if ended and not self.finished else delta

    def _begin(self, data: bytes) -> bytes:
        """Whether events come, by how the body begins, whatever its Content-Type; what is to be read now."""
        start = (self._beginning or b"") + data
        words = start.removeprefix(_BOM).lstrip()
        unclear = any(name != words and name.startswith(words) for name in (_BOM, *_FIELDS))
        if data and unclear and len(start) < _SNIFF:
            self._beginning = start
            return b""
        self._beginning = None
        says_events = self._response.headers.get("content-type", "").lower().startswith("text/event-stream")
        if words[:1] in (b"{", b"[", b"<") or not (says_events or words.startswith(_FIELDS)):
            self._whole = []
        return start

    def _read_whole(self) -> Delta:
        """A body that is no stream: JSON, if the router does not stream, or a proxy's page."""
        body = b"".join(self._whole or ())
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            raise not_json(body) from None
        delta = self._absorb_objects([answer])
        if not any(words.text for words in self._texts.values()) and self._finish_reason is None:
            raise AnswerError("the answer holds no text.", hint="Check the base URL.")
        self._end()
        return delta

    def _absorb(self, events: list[Event]) -> Delta:
        if not events:
            return _NOTHING
        datas = [event.data for event in events]
        ends = datas[-1].strip() == _DONE
        if ends:
            datas.pop()
        deltas = []
        for start in range(0, len(datas), _AT_ONCE):
            deltas.append(self._absorb_some(datas[start : start + _AT_ONCE]))
            if self.finished:
                break
        if ends and not self.finished:
            self._end()
        return _sum(deltas)

    def _absorb_some(self, datas: list[str]) -> Delta:
        try:
            objects = json.loads("[" + ",".join(datas) + "]")  # one parse for all
        except (ValueError, RecursionError):
            objects = []
        return self._absorb_objects(objects) if len(objects) == len(datas) else self._absorb_each(datas)

    def _absorb_each(self, datas: list[str]) -> Delta:
        """One by one: one of them is ``[DONE]``, or no JSON."""
        deltas = []
        for data in datas:
            if data.strip() == _DONE:
                self._end()
                break
            try:
                value = json.loads(data)
            except (ValueError, RecursionError):
                raise StreamError(
                    f"the stream holds an event that is not JSON: {data[:80]!r}.", hint="Try again."
                ) from None
            deltas.append(self._absorb_objects([value]))
        return _sum(deltas)

    def _absorb_last(self, event: Event) -> Delta:
        """An event that lacks its blank line: it counts if it is whole."""
        try:
            if event.data.strip() != _DONE:
                json.loads(event.data)
        except (ValueError, RecursionError):
            return _NOTHING
        return self._absorb_each([event.data])

    def _absorb_objects(self, chunks: list[Any]) -> Delta:
        texts = _plain_texts(chunks)
        if texts and not self._head:
            self._note(chunks[0])
        others = chunks[len(texts) :]
        texts = [self._texts[0].add("".join(texts))] if texts else []
        reasoning = []
        for chunk in others:
            if not isinstance(chunk, dict):
                continue
            for piece in read_pieces(chunk):
                text = self._texts.setdefault(piece.index, _Words()).add(piece.text)
                if piece.index == 0:
                    texts.append(text)
                    reasoning.append(self._reasoning.add(piece.reasoning))
                    self._finish_reason = piece.finish_reason or self._finish_reason
            self._note(chunk)
        return Delta("".join(texts), "".join(reasoning))

    def _note(self, chunk: Mapping[str, Any]) -> None:
        """What stands beside the choices."""
        if chunk.get("error"):
            words, code = error_object(chunk)
            code = f" ({code})" if code and code not in words else ""
            raise StreamError(
                with_words(f"the answer broke off with an error of the router{code}", words),
                hint="Try again, or use another model.",
            )
        self._usage = chunk.get("usage") or self._usage
        for key in ("id", "created", "model", "object"):
            if chunk.get(key) and key not in self._head:
                self._head[key] = chunk[key]

    def _end_of_body(self, delta: Delta) -> Delta:
        if (last := self._decoder.flush()) is not None:
            more = self._absorb_last(last)
            delta = _sum([delta, more])
        self._response.close()
        if self._finish_reason is None and not self.finished:
            raise StreamError(
                "the answer ended before it was finished.", hint="What came is kept; ask again for the rest."
            )
        self.finished = True
        return delta

    def _end(self) -> None:
        """The end of the answer: leave the connection ready for the next request, if that is quick."""
        self.finished = True
        deadline = monotonic() + _PATIENCE
        try:
            while (left := deadline - monotonic()) > 0 and self._response.receive(left) != b"":
                pass
        except APIError:
            pass  # the answer is whole; what comes after does not matter
        self._response.close()


class _Words:
    """Text that comes in parts, and never shows half a character that JSON escapes split over two."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._half = ""

    @property
    def text(self) -> str:
        return joined_surrogates(self._parts)

    def add(self, part: str) -> str:
        """Keep the part; give what of it, and of the half before it, is whole."""
        self._parts.append(part)
        part, self._half = self._half + part, ""
        if part and "\ud800" <= part[-1] <= "\udbff":
            part, self._half = part[:-1], part[-1]
        return joined_surrogates([part])

    def end(self) -> str:
        """What stands for a half that never got its other half."""
        half, self._half = self._half, ""
        return joined_surrogates([half])


def _sum(deltas: list[Delta]) -> Delta:
    if len(deltas) == 1:
        return deltas[0]
    return Delta("".join(delta.text for delta in deltas), "".join(delta.reasoning for delta in deltas))


def _plain_texts(chunks: list[Any]) -> list[str]:
    """The texts of the first chunks that are of the common shape: one choice, a string in its delta, no more to note.

    Most of a long answer is this, and this takes a fifth of the time of the tolerant way.
    """
    texts: list[str] = []
    try:
        for chunk in chunks:
            (choice,) = chunk["choices"]
            delta = choice["delta"]
            text = delta["content"]
            if (
                len(delta) > 1
                or choice["finish_reason"] is not None
                or choice["index"] != 0
                or text.__class__ is not str
                or chunk.get("usage")
                or "error" in chunk
            ):
                break
            texts.append(text)
    except (KeyError, TypeError, ValueError, AttributeError):
        pass  # the tolerant way takes it from here
    return texts


def read_completion(answer: Any, model: str, request_id: str | None) -> Completion:
    """A whole answer's JSON as a value. Raises StreamError or AnswerError when it holds none."""
    if not isinstance(answer, dict):
        raise AnswerError("the answer is not a JSON object.", hint="Check the base URL.")
    if answer.get("error"):
        words, _ = error_object(answer)
        raise AnswerError(with_words("the router answered with an error", words), hint="Try again.")
    pieces = {piece.index: piece for piece in read_pieces(answer)}
    if not pieces:
        raise AnswerError("the answer holds no choices.", hint="Check the base URL.")
    first = pieces.pop(min(pieces))
    named = answer.get("model")
    return Completion(
        text=joined_surrogates([first.text]),
        model=named if isinstance(named, str) and named else model,
        reasoning=joined_surrogates([first.reasoning]),
        finish_reason=first.finish_reason,
        usage=read_usage(answer.get("usage")),
        request_id=request_id,
        alternatives={index: joined_surrogates([piece.text]) for index, piece in pieces.items()},
        raw=answer,
    )


def not_json(body: bytes) -> AnswerError:
    """The error for a body that should have been JSON."""
    words, _ = error_words(body)
    if not words:
        return AnswerError("the answer is empty.", hint="Check the base URL; a proxy may stand between.")
    return AnswerError(
        with_words("the answer is not JSON", words),
        hint="Check the base URL; a proxy may have answered in its place.",
    )
