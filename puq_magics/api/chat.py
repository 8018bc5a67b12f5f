"""An answer as it streams: what real routers send, read into text.

They are known to send keep-alive comments, null contents, chunks without choices, several choices, an error in
the middle, no ``[DONE]``, a whole JSON answer where a stream was asked for, or an HTML page of a proxy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from puq_magics.api.error_body import append_detail, not_json_error, parse_error_json, raise_for_error_object
from puq_magics.api.sse import ServerSentEvent, SSEDecoder
from puq_magics.api.types import (
    ChatCompletion,
    Delta,
    join_surrogates,
    read_choices,
    read_usage,
)
from puq_magics.core.errors import APIConnectionError, APIError, InvalidResponseError, StreamError

if TYPE_CHECKING:
    from puq_magics.api.response import Response

_DONE = "[DONE]"
_BOM = b"\xef\xbb\xbf"
# How an event stream begins: a field, or a comment.
_SSE_FIELDS = (b"data", b"event", b"id", b"retry", b":")
#: Bytes after which a body's beginning is clear, or never will be.
_SNIFF_BYTES = 1 << 12
_MEBI = 1 << 20
#: Seconds to wait for the end of the body after the answer's end, to use the connection again.
_DRAIN_TIMEOUT = 0.02
_EMPTY_DELTA = Delta()
#: Events in one parse: so few that their objects are gone before the garbage collector looks at them.
_PARSE_BATCH = 100


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
        self.first_received_at: float | None = None
        #: Whether the answer has ended, well or not.
        self.finished = False
        self._response = response
        self._decoder = SSEDecoder()
        self._max_size = max_size
        self._size = 0
        self._texts: dict[int, _TextBuffer] = {0: _TextBuffer()}
        self._reasoning = _TextBuffer()
        self._finish_reason: str | None = None
        self._metadata: dict[str, Any] = {}
        self._usage: object = None
        self._undecided: bytes | None = b""  # until it is clear what comes
        self._body_parts: list[bytes] | None = None  # the parts of a body that is no stream

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
    def completion(self) -> ChatCompletion:
        """What has come, as a value."""
        text, reasoning = self.text, self.reasoning
        message = {"role": "assistant", "content": text} | ({"reasoning": reasoning} if reasoning else {})
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason}
        raw = self._metadata | {"choices": [choice]} | ({"usage": self._usage} if self._usage else {})
        model = raw.get("model")
        return ChatCompletion(
            text=text,
            model=model if isinstance(model, str) and model else self.model,
            reasoning=reasoning,
            finish_reason=self._finish_reason,
            usage=read_usage(self._usage),
            request_id=self.request_id,
            alternatives={i: words.text for i, words in self._texts.items() if i},
            raw=raw,
        )

    def receive(self, timeout: float | None = None) -> Delta | None:
        """What came since the last call; None when nothing came within ``wait`` seconds, or the answer ended.

        Raises StreamError for an answer that breaks off, APIConnectionError for a cut connection; either has what had
        come in ``partial``.
        """
        if self.finished:
            return None
        try:
            data = self._response.receive(timeout)
            delta = None if data is None else self._process(data)
        except APIError as error:
            self.close()
            error.redact_with(self._response.redact)
            if isinstance(error, APIConnectionError) and self._finish_reason is not None:
                return None  # the answer was whole
            error.partial = self.text
            raise
        except BaseException:
            self.close()
            raise
        if self.finished and (left := Delta(self._texts[0].end(), self._reasoning.end())):
            delta = left if delta is None else _merge_deltas([delta, left])
        if delta and self.first_received_at is None:
            self.first_received_at = monotonic()
        return delta

    def _process(self, data: bytes) -> Delta | None:
        self._size += len(data)
        if self._size > self._max_size:
            raise InvalidResponseError(
                f"the answer is larger than {self._max_size:,} bytes.",
                hint="What came is kept; ask for less.",
            )
        ended = not data
        if self._undecided is not None:
            data = self._detect_format(data)
        if self._body_parts is not None:
            self._body_parts.append(data)
            return self._parse_body() if ended else _EMPTY_DELTA
        delta = self._handle_events(self._decoder.feed(data))
        return self._finish_body(delta) if ended and not self.finished else delta

    def _detect_format(self, data: bytes) -> bytes:
        """Whether events come, by how the body begins, whatever its Content-Type; what is to be read now."""
        start = (self._undecided or b"") + data
        words = start.removeprefix(_BOM).lstrip()
        unclear = any(name != words and name.startswith(words) for name in (_BOM, *_SSE_FIELDS))
        if data and unclear and len(start) < _SNIFF_BYTES:
            self._undecided = start
            return b""
        self._undecided = None
        is_event_stream = (
            self._response.headers.get("content-type", "").lower().startswith("text/event-stream")
        )
        if words[:1] in (b"{", b"[", b"<") or not (is_event_stream or words.startswith(_SSE_FIELDS)):
            self._body_parts = []
        return start

    def _parse_body(self) -> Delta:
        """A body that is no stream: JSON, if the router does not stream, or a proxy's page."""
        body = b"".join(self._body_parts or ())
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            raise not_json_error(body) from None
        delta = self._handle_chunks([answer])
        if not any(words.text for words in self._texts.values()) and self._finish_reason is None:
            raise InvalidResponseError("the answer holds no text.", hint="Check the base URL.")
        self._finish()
        return delta

    def _handle_events(self, events: list[ServerSentEvent]) -> Delta:
        if not events:
            return _EMPTY_DELTA
        datas = [event.data for event in events]
        ends = datas[-1].strip() == _DONE
        if ends:
            datas.pop()
        deltas = []
        for start in range(0, len(datas), _PARSE_BATCH):
            deltas.append(self._handle_batch(datas[start : start + _PARSE_BATCH]))
            if self.finished:
                break
        if ends and not self.finished:
            self._finish()
        return _merge_deltas(deltas)

    def _handle_batch(self, datas: list[str]) -> Delta:
        try:
            objects = json.loads("[" + ",".join(datas) + "]")  # one parse for all
        except (ValueError, RecursionError):
            objects = []
        return self._handle_chunks(objects) if len(objects) == len(datas) else self._handle_each(datas)

    def _handle_each(self, datas: list[str]) -> Delta:
        """One by one: one of them is ``[DONE]``, or no JSON."""
        deltas = []
        for data in datas:
            if data.strip() == _DONE:
                self._finish()
                break
            try:
                value = json.loads(data)
            except (ValueError, RecursionError):
                raise StreamError(
                    f"the stream holds an event that is not JSON: {data[:80]!r}.", hint="Try again."
                ) from None
            deltas.append(self._handle_chunks([value]))
        return _merge_deltas(deltas)

    def _handle_incomplete(self, event: ServerSentEvent) -> Delta:
        """An event that lacks its blank line: it counts if it is whole."""
        try:
            if event.data.strip() != _DONE:
                json.loads(event.data)
        except (ValueError, RecursionError):
            return _EMPTY_DELTA
        return self._handle_each([event.data])

    def _handle_chunks(self, chunks: list[Any]) -> Delta:
        texts = _fast_path_texts(chunks)
        if texts and not self._metadata:
            self._handle_metadata(chunks[0])
        others = chunks[len(texts) :]
        texts = [self._texts[0].add("".join(texts))] if texts else []
        reasoning = []
        for chunk in others:
            if not isinstance(chunk, dict):
                continue
            for choice in read_choices(chunk):
                text = self._texts.setdefault(choice.index, _TextBuffer()).add(choice.text)
                if choice.index == 0:
                    texts.append(text)
                    reasoning.append(self._reasoning.add(choice.reasoning))
                    self._finish_reason = choice.finish_reason or self._finish_reason
            self._handle_metadata(chunk)
        return Delta("".join(texts), "".join(reasoning))

    def _handle_metadata(self, chunk: Mapping[str, Any]) -> None:
        """What stands beside the choices."""
        if chunk.get("error"):
            words, code = parse_error_json(chunk)
            code = f" ({code})" if code and code not in words else ""
            raise StreamError(
                append_detail(f"the answer broke off with an error of the router{code}", words),
                hint="Try again, or use another model.",
            )
        self._usage = chunk.get("usage") or self._usage
        for key in ("id", "created", "model", "object"):
            if chunk.get(key) and key not in self._metadata:
                self._metadata[key] = chunk[key]

    def _finish_body(self, delta: Delta) -> Delta:
        if (last := self._decoder.flush()) is not None:
            more = self._handle_incomplete(last)
            delta = _merge_deltas([delta, more])
        self._response.close()
        if self._finish_reason is None and not self.finished:
            raise StreamError(
                "the answer ended before it was finished.", hint="What came is kept; ask again for the rest."
            )
        self.finished = True
        return delta

    def _finish(self) -> None:
        """The end of the answer: leave the connection ready for the next request, if that is quick."""
        self.finished = True
        deadline = monotonic() + _DRAIN_TIMEOUT
        try:
            while (left := deadline - monotonic()) > 0 and self._response.receive(left) != b"":
                pass
        except APIError:
            pass  # the answer is whole; what comes after does not matter
        self._response.close()


class _TextBuffer:
    """Text that comes in parts, and never shows half a character that JSON escapes split over two."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._high_surrogate = ""

    @property
    def text(self) -> str:
        return join_surrogates(self._parts)

    def add(self, part: str) -> str:
        """Keep the part; give what of it, and of the half before it, is whole."""
        self._parts.append(part)
        part, self._high_surrogate = self._high_surrogate + part, ""
        if part and "\ud800" <= part[-1] <= "\udbff":
            part, self._high_surrogate = part[:-1], part[-1]
        return join_surrogates([part])

    def end(self) -> str:
        """What stands for a half that never got its other half."""
        half, self._high_surrogate = self._high_surrogate, ""
        return join_surrogates([half])


def _merge_deltas(deltas: list[Delta]) -> Delta:
    if len(deltas) == 1:
        return deltas[0]
    return Delta("".join(delta.text for delta in deltas), "".join(delta.reasoning for delta in deltas))


def _fast_path_texts(chunks: list[Any]) -> list[str]:
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


def read_completion(answer: Any, model: str, request_id: str | None) -> ChatCompletion:
    """A whole answer's JSON as a value. Raises StreamError or InvalidResponseError when it holds none."""
    if not isinstance(answer, dict):
        raise InvalidResponseError("the answer is not a JSON object.", hint="Check the base URL.")
    raise_for_error_object(answer)
    choices = {choice.index: choice for choice in read_choices(answer)}
    if not choices:
        raise InvalidResponseError("the answer holds no choices.", hint="Check the base URL.")
    first = choices.pop(min(choices))
    named = answer.get("model")
    return ChatCompletion(
        text=join_surrogates([first.text]),
        model=named if isinstance(named, str) and named else model,
        reasoning=join_surrogates([first.reasoning]),
        finish_reason=first.finish_reason,
        usage=read_usage(answer.get("usage")),
        request_id=request_id,
        alternatives={index: join_surrogates([choice.text]) for index, choice in choices.items()},
        raw=answer,
    )
