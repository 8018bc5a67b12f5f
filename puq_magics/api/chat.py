"""Chat answers, complete and streamed.

Routers are known to send keep-alive comments, null contents, chunks without choices, several choices, an error in
the middle, no ``[DONE]``, a complete JSON answer in place of a stream, or an HTML page of a proxy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from puq_magics.api.error_body import not_json_error, raise_for_error_object
from puq_magics.api.sse import ServerSentEvent
from puq_magics.api.streams import DONE, EventStream, is_complete_event
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

#: Bytes of an answer: the longest of text take some MB, images and audio in it some more.
MAX_CHAT_BYTES = 64 << 20
#: Seconds to wait for the body's end after the answer's end, so that the connection can be used again.
_DRAIN_TIMEOUT = 0.02
_EMPTY_DELTA = Delta()
#: Events in one parse: few enough that the garbage collector does not traverse their objects.
_PARSE_BATCH = 100


class ChatStream(EventStream[Delta]):
    """A streamed answer: iterate over its deltas, or ``receive`` them with a time limit; close it.

    ``text`` and ``completion`` hold what has been received at any time, also after an error.
    """

    _size_hint = "Request a shorter answer."

    def __init__(
        self, response: Response, model: str, request_id: str | None = None, *, max_size: int = MAX_CHAT_BYTES
    ) -> None:
        super().__init__(response, request_id, max_size)
        self.model = model
        self._texts: dict[int, _TextBuffer] = {0: _TextBuffer()}
        self._reasoning = _TextBuffer()
        self._finish_reason: str | None = None
        self._metadata: dict[str, Any] = {}
        self._usage: object = None

    @property
    def text(self) -> str:
        """The text received so far."""
        return self._texts[0].text

    @property
    def reasoning(self) -> str:
        """The model's reasoning received so far."""
        return self._reasoning.text

    @property
    def completion(self) -> ChatCompletion:
        """Answer received so far."""
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

    def _partial(self) -> str:
        return self.text

    def _is_complete_despite(self, error: APIError) -> bool:
        return isinstance(error, APIConnectionError) and self._finish_reason is not None

    def _process(self, data: bytes) -> Delta | None:
        ended = not data
        data = self._detect_format(data)
        if self._body_parts is not None:
            self._body_parts.append(data)
            delta = self._parse_body() if ended else _EMPTY_DELTA
        else:
            delta = self._handle_events(self._decoder.feed(data))
            if ended and not self.finished:
                delta = self._finish_body(delta)
        if self.finished and (rest := Delta(self._texts[0].end(), self._reasoning.end())):
            delta = _merge_deltas([delta, rest])
        return delta

    def _parse_body(self) -> Delta:
        """Read a body that is not a stream: JSON, if the router does not stream, or a proxy's page."""
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
        ends = datas[-1].strip() == DONE
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
        """Read events one by one: one of them is ``[DONE]``, or not JSON."""
        deltas = []
        for data in datas:
            if data.strip() == DONE:
                self._finish()
                break
            deltas.append(self._handle_chunks([self._parse_event(data)]))
        return _merge_deltas(deltas)

    def _handle_incomplete(self, event: ServerSentEvent) -> Delta:
        """Read an event that lacks its blank line, if it is complete."""
        return self._handle_each([event.data]) if is_complete_event(event.data) else _EMPTY_DELTA

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
        """Read what is beside the choices. Raises StreamError for an error."""
        self._raise_for_error(chunk)
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
                "the answer ended before it was finished.", hint="Send it again, or continue it."
            )
        self.finished = True
        return delta

    def _finish(self) -> None:
        """End the answer; leave the connection ready for the next request, if that is quick."""
        self.finished = True
        deadline = monotonic() + _DRAIN_TIMEOUT
        try:
            while (left := deadline - monotonic()) > 0 and self._response.receive(left) != b"":
                pass
        except APIError:
            pass  # the answer is complete
        self._response.close()


class _TextBuffer:
    """Joins parts of a text; never returns half of a surrogate pair that JSON escapes split over two parts."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._high_surrogate = ""

    @property
    def text(self) -> str:
        return join_surrogates(self._parts)

    def add(self, part: str) -> str:
        """Add a part; return its complete characters, with the half of one before it."""
        self._parts.append(part)
        part, self._high_surrogate = self._high_surrogate + part, ""
        if part and "\ud800" <= part[-1] <= "\udbff":
            part, self._high_surrogate = part[:-1], part[-1]
        return join_surrogates([part])

    def end(self) -> str:
        """Return the replacement for a half that is left."""
        half, self._high_surrogate = self._high_surrogate, ""
        return join_surrogates([half])


def _merge_deltas(deltas: list[Delta]) -> Delta:
    if len(deltas) == 1:
        return deltas[0]
    return Delta("".join(delta.text for delta in deltas), "".join(delta.reasoning for delta in deltas))


def _fast_path_texts(chunks: list[Any]) -> list[str]:
    """Return the texts of the first chunks that have the common shape: one choice with a string in its delta.

    Most chunks of a long answer have it; this takes a fifth of the time of the tolerant way.
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
        pass  # the tolerant way reads the rest
    return texts


def read_completion(answer: Any, model: str, request_id: str | None) -> ChatCompletion:
    """Read a complete answer's JSON. Raises InvalidResponseError if it holds no answer."""
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
