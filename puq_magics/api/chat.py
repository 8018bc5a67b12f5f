"""Chat answers, complete and streamed.

Routers are known to send keep-alive comments, null contents, chunks without choices, several choices, an error in
the middle, no ``[DONE]``, a complete JSON answer in place of a stream, or an HTML page of a proxy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from puq_magics.api.choices import ChoiceBuilder, read_choices
from puq_magics.api.error_body import (
    append_detail,
    describe_error,
    no_answer_error,
    not_json_error,
    parse_error_json,
    raise_for_error_object,
)
from puq_magics.api.finish_reason import FINISH_FIELDS, choose_reason, finish_kind, read_finish_reason
from puq_magics.api.response import decode_json
from puq_magics.api.sse import ServerSentEvent, is_keep_alive
from puq_magics.api.streams import DONE, EventStream, is_end, objects_in, parse_objects
from puq_magics.api.tool_calls import read_tool_calls
from puq_magics.api.types import ChatCompletion, Delta, join_surrogates, merge_usage, read_usage
from puq_magics.core.errors import APIConnectionError, APIError, InvalidResponseError, StreamError
from puq_magics.core.secret import redact_json

if TYPE_CHECKING:
    from puq_magics.api.response import Response

#: Bytes of an answer: the longest of text take some MB, images and audio in it some more.
MAX_CHAT_BYTES = 64 << 20
#: Members of an answer that hold the model's own words, which stay as they are.
MODEL_TEXT = frozenset(
    ("content", "text", "reasoning", "reasoning_content", "thinking", "refusal", "arguments")
)
#: Characters of an answer and its reasoning: no model writes a quarter of it, and showing text takes time.
MAX_ANSWER_CHARS = 4 << 20
#: Seconds to wait for the body's end after the answer's end, so that the connection can be used again.
_DRAIN_TIMEOUT = 0.02
_EMPTY_DELTA = Delta()
#: Fields of a chunk and of its choice that hold nothing of the answer but its text.
_PLAIN_CHUNK_KEYS = frozenset(
    {"choices", "created", "id", "model", "object", "provider", "service_tier", "system_fingerprint", "usage"}
)
_PLAIN_CHOICE_KEYS = frozenset({"delta", "finish_reason", "index", "logprobs", "native_finish_reason"})
#: Fields of an event whose last value counts.
_REPEATED_FIELDS = frozenset(FINISH_FIELDS)
_SIMPLE_TYPES = (str, int, float)
_USAGE_NAMES = ("usage", "usageMetadata", "usage_metadata")
#: Fields of an event that is no part of an answer, in which a server says why it ends.
_TEXT_FIELDS = ("message", "msg", "detail")
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
        self._choices: dict[int, ChoiceBuilder] = {}
        self._chars = 0  # of the first choice
        self._metadata: dict[str, Any] = {}
        self._usage: object = None
        self._note = ""
        self._unread: Mapping[str, Any] | None = None  # the last event, if it is no part of an answer

    @property
    def text(self) -> str:
        """The text received so far."""
        choice = self._choice
        return choice.text.text or choice.refusal

    @property
    def reasoning(self) -> str:
        """The model's reasoning received so far."""
        return self._choice.reasoning.text

    @property
    def completion(self) -> ChatCompletion:
        """Answer received so far."""
        choice = self._choice
        choices = [self._choices[index].to_json() for index in sorted(self._choices)] or [choice.to_json()]
        raw = self._metadata | {"choices": choices} | ({"usage": self._usage} if self._usage else {})
        raw = redact_json(raw, self._response.redact, MODEL_TEXT)
        model = raw.get("model")
        return ChatCompletion(
            text=self.text,
            model=model if isinstance(model, str) and model else self.model,
            reasoning=self.reasoning,
            refusal=join_surrogates([choice.refusal]),
            calls=read_tool_calls(raw["choices"][0]["message"]),
            finish_reason=self._finish_reason,
            usage=read_usage(self._usage),
            request_id=self.request_id,
            alternatives={i: other.text.text for i, other in self._choices.items() if i != choice.index},
            raw=raw,
            note=self._note,
        )

    @property
    def _choice(self) -> ChoiceBuilder:
        """The first choice."""
        return self._choices[min(self._choices)] if self._choices else ChoiceBuilder(0)

    @property
    def _finish_reason(self) -> str | None:
        """The finish reason of the first choice, or the one beside the choices."""
        return choose_reason(self._choice.finish_reason, read_finish_reason(self._metadata))

    def _partial(self) -> str:
        return self.text

    def _is_complete_despite(self, error: APIError) -> bool:
        reason = self._finish_reason
        if isinstance(error, StreamError) and reason and finish_kind(reason) != "failed":
            self._note = (
                error.message
                if error.detail is None
                else append_detail("the router reported an error after the answer", error.detail, error.code)
            )
            return True
        return isinstance(error, APIConnectionError) and reason is not None

    def _is_event(self, answer: Mapping[str, Any]) -> bool:
        choices = answer.get("choices")
        return isinstance(choices, list) and any(
            isinstance(each, dict) and each.get("delta") is not None for each in choices
        )

    def _process(self, data: bytes) -> Delta | None:
        ended = not data
        events = self._decode(data, ended)
        if events is None:
            delta = self._parse_body() if ended else _EMPTY_DELTA
        else:
            delta = self._handle_events(events)
            if ended and not self.finished:
                self._finish_body()
        if self.finished:
            choice = self._choice
            delta = _merge_deltas([delta, Delta(choice.text.end(), choice.reasoning.end())])
        return delta

    def _parse_body(self) -> Delta:
        """Read a body that is not a stream: JSON, if the router does not stream, or a proxy's page."""
        body = b"".join(self._body_parts or ())
        try:
            answer = decode_json(body)
        except (ValueError, RecursionError):
            return self._parse_chunks(body)
        delta = self._handle_chunks([answer])
        if not self._choices:
            raise no_answer_error(answer, "text")
        self._finish()
        return delta

    def _parse_chunks(self, body: bytes) -> Delta:
        """Read a body of several chunks, one after the other."""
        try:
            chunks = parse_objects(body.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            raise not_json_error(body) from None
        delta = self._handle_chunks(chunks)
        self._finish_body()
        return delta

    def _handle_events(self, events: list[ServerSentEvent]) -> Delta:
        if len(events) <= _PARSE_BATCH:
            return self._handle_batch(events) if events else _EMPTY_DELTA
        batches = (events[start : start + _PARSE_BATCH] for start in range(0, len(events), _PARSE_BATCH))
        return _merge_deltas([self._handle_batch(batch) for batch in batches])

    def _handle_batch(self, events: list[ServerSentEvent]) -> Delta:
        datas = [event.data for event in events if event.type == "message"]
        ends = datas[-1:] == [DONE]
        if ends:
            datas.pop()
        try:
            objects = json.loads("[" + ",".join(datas) + "]")  # one parse for all
        except (ValueError, RecursionError):
            objects = []
        if self.finished or len(objects) != len(datas) or len(datas) + ends != len(events):
            return self._handle_each(events)
        delta = self._handle_chunks(objects)
        if ends:
            self._finish()
        return delta

    def _handle_each(self, events: list[ServerSentEvent]) -> Delta:
        """Read events one by one: not all are JSON, or of the usual type."""
        deltas = []
        for event in events:
            if self.finished:
                self._read_late_usage(event)
            elif is_end(event.data):
                self._finish()
            else:
                deltas.append(self._handle_chunks([self._parse_event(event)], checked=True))
        return _merge_deltas(deltas)

    def _handle_chunks(self, chunks: list[Any], *, checked: bool = False) -> Delta:
        first = self._choices.get(0)
        texts = _fast_path_texts(chunks) if first is not None and first.text.is_cumulative is False else []
        others = chunks[len(texts) :]
        shown, reasoning = [], []
        if first is not None and texts:
            self._check_length(text := "".join(texts))
            shown.append(first.text.append(text))
        for chunk in (each for other in others for each in objects_in(other)):
            if not checked:
                self._raise_for_error(chunk)
            parts = read_choices(chunk)
            if parts or "choices" not in chunk:
                self._unread = None if parts else chunk
            for part in parts:
                self._check_length(part.text, part.reasoning)
                choice = self._choices.setdefault(part.index, ChoiceBuilder(part.index))
                text, thought = choice.add(part)
                if part.index == 0:
                    shown.append(text)
                    reasoning.append(thought)
            self._handle_metadata(chunk)
        delta = Delta("".join(shown), "".join(reasoning))
        self._chars += len(delta.text) + len(delta.reasoning)
        return delta

    def _check_length(self, text: str, reasoning: str = "") -> None:
        """Raise InvalidResponseError, before a part is added with which the answer would be too long."""
        if self._chars + len(text) + len(reasoning) > MAX_ANSWER_CHARS:
            raise _too_long_error(self.text + text)

    def _handle_metadata(self, chunk: Mapping[str, Any]) -> None:
        """Keep the fields of an event beside its choices."""
        if (usage := find_usage(chunk)) is not None:
            self._usage = merge_usage(self._usage, usage)
        for key, value in chunk.items():
            if key in ("choices", "usage") or not value:
                continue
            if key not in self._metadata or key in _REPEATED_FIELDS or not isinstance(value, _SIMPLE_TYPES):
                self._metadata[key] = value  # lists of sources grow with each event

    def _finish_body(self) -> None:
        self._response.close()
        if self._finish_reason is None:
            said = {key: text for key in _TEXT_FIELDS if isinstance(text := self._metadata.get(key), str)}
            detail, _ = parse_error_json(said)
            raise StreamError(
                append_detail("the answer ended before it was finished", detail),
                hint="Send it again, or continue it.",
            )
        self.finished = True

    def _finish(self) -> None:
        """End the answer; leave the connection ready for the next request, if that is quick.

        Some routers send the usage behind the end.
        """
        self.finished = True
        if self._finish_reason is None and self._unread is not None and _holds_words(self._unread):
            self._note = append_detail(
                "no finish reason came, but an event that is no part of an answer",
                *describe_error(self._unread),
            )
        deadline = monotonic() + _DRAIN_TIMEOUT
        try:
            while (left := deadline - monotonic()) > 0 and (data := self._response.receive(left)) != b"":
                for event in self._decoder.feed(data or b""):
                    self._read_late_usage(event)
        except APIError:
            pass  # the answer is complete
        self._response.close()

    def _read_late_usage(self, event: ServerSentEvent) -> None:
        with suppress(ValueError, RecursionError):
            answer = json.loads(event.data)
            self._usage = merge_usage(self._usage, find_usage(answer) if isinstance(answer, dict) else None)


def _merge_deltas(deltas: list[Delta]) -> Delta:
    if len(deltas) == 1:
        return deltas[0]
    return Delta("".join(delta.text for delta in deltas), "".join(delta.reasoning for delta in deltas))


def _holds_words(event: Mapping[str, Any]) -> bool:
    """Return whether an event holds a text of several words, which is not its usage."""
    inner = [value for each in event.values() if isinstance(each, dict) for value in each.values()]
    texts = [value for value in (*event.values(), *inner) if isinstance(value, str)]
    return find_usage(event) is None and any(
        " " in text.strip() and not is_keep_alive(text) for text in texts
    )


def _fast_path_texts(chunks: list[Any]) -> list[str]:
    """Return the texts of the first chunks that hold nothing but a string in the delta of one choice.

    Most chunks of a long answer do; this takes a fifth of the time of the tolerant way.
    """
    texts: list[str] = []
    try:
        for chunk in chunks:
            (choice,) = chunk["choices"]
            delta = choice["delta"]
            text = delta["content"]
            if (
                (len(delta) > 1 and any(delta[name] for name in delta if name not in ("content", "role")))
                or choice["finish_reason"] is not None
                or choice["index"] != 0
                or text.__class__ is not str
                or chunk.get("usage")
                or not chunk.keys() <= _PLAIN_CHUNK_KEYS
                or not choice.keys() <= _PLAIN_CHOICE_KEYS
                or choice.get("logprobs")
            ):
                break
            texts.append(text)
    except (KeyError, TypeError, ValueError, AttributeError):
        pass  # the tolerant way reads the rest
    return texts


def find_usage(answer: Mapping[str, Any]) -> object:
    """Return the ``usage`` of an answer or an event, wherever routers put it; None without one."""
    choices = answer.get("choices")
    places: list[Any] = [answer, answer.get("x_groq"), answer.get("response")]
    for choice in choices if isinstance(choices, list) else ():
        places += [choice, choice.get("delta") if isinstance(choice, dict) else None]
    for place in places:
        for name in _USAGE_NAMES if isinstance(place, dict) else ():
            if place.get(name) and read_usage(place[name]) is not None:
                return place[name]
    return None


def _too_long_error(text: str) -> InvalidResponseError:
    error = InvalidResponseError(
        f"the answer is longer than {MAX_ANSWER_CHARS:,} characters.",
        hint="Request a shorter answer.",
        python_hint="The text is in the error's .partial.",
    )
    error.partial = join_surrogates([text])
    return error


def read_completion(answer: Any, model: str, request_id: str | None) -> ChatCompletion:
    """Read a complete answer's JSON. Raises InvalidResponseError if it holds no answer."""
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, dict):
        raise InvalidResponseError("the answer is not a JSON object.", hint="Check the base URL.")
    raise_for_error_object(answer)
    listed = read_choices(answer)
    choices = {choice.index: choice for choice in listed}
    if len(choices) < len(listed):
        choices = dict(enumerate(listed))
    if not choices:
        raise no_answer_error(answer, "choices")
    first = choices.pop(min(choices))
    if len(first.text) + len(first.reasoning) > MAX_ANSWER_CHARS:
        raise _too_long_error(first.text)
    named, refusal = answer.get("model"), join_surrogates([first.refusal])
    return ChatCompletion(
        text=join_surrogates([first.text]) or refusal,
        model=named if isinstance(named, str) and named else model,
        reasoning=join_surrogates([first.reasoning]),
        refusal=refusal,
        calls=read_tool_calls(first.message),
        finish_reason=choose_reason(first.finish_reason, read_finish_reason(answer)),
        usage=read_usage(find_usage(answer)),
        request_id=request_id,
        alternatives={index: join_surrogates([choice.text]) for index, choice in choices.items()},
        raw=answer,
    )
