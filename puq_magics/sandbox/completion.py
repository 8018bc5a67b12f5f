"""An answer in the OpenAI shapes that the router passes through."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Literal

from puq_magics.sandbox.scripted.scripts import CallPart, StreamStep, Token

FinishReason = Literal["stop", "length", "tool_calls"] | None


def completion_id() -> str:
    """An id for an answer."""
    return f"chatcmpl-{secrets.token_hex(12)}"


def token_usage(prompt: int, completion: int) -> dict[str, int]:
    """Return token counts as in the API's ``usage``."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def delta(token: Token | CallPart) -> dict[str, object]:
    """Return the delta of one token."""
    if isinstance(token, Token):
        return {token.field: token.text}
    call = _call_json(token, "") if token.id else {"function": {"arguments": token.text}}
    return {"tool_calls": [{"index": token.index, **call}]}


def _call_json(call: CallPart, arguments: str) -> dict[str, object]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


class CompletionBuilder:
    """One answer in progress: id, text so far, usage; its ``choices`` are alike."""

    def __init__(self, model: str, prompt_tokens: int, choices: int = 1) -> None:
        self.id = completion_id()
        self.model = model
        self.created = int(time.time())
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = 0
        self._choices = choices
        self._words: dict[str, list[str]] = {"content": []}
        self._calls: list[tuple[CallPart, list[str]]] = []

    def add(self, token: Token | CallPart) -> None:
        """Append a token."""
        self.completion_tokens += self._choices
        if isinstance(token, Token):
            self._words.setdefault(token.field, []).append(token.text)
        elif token.id:
            self._calls.append((token, []))
        else:
            self._calls[token.index][1].append(token.text)

    def add_all(self, steps: Iterable[StreamStep]) -> StreamStep | None:
        """Append tokens up to the first step that is none, and return that."""
        for step in steps:
            if not isinstance(step, Token | CallPart):
                return step
            self.add(step)
        return None

    @property
    def usage(self) -> dict[str, int]:
        """The tokens so far."""
        return token_usage(self.prompt_tokens, self.completion_tokens)

    def chunk(self, delta: Mapping[str, object], finish_reason: FinishReason = None) -> dict[str, object]:
        """One event of a stream."""
        choice = {"delta": delta, "finish_reason": finish_reason}
        return self._envelope("chat.completion.chunk", choices=self._numbered(choice))

    def usage_chunk(self) -> dict[str, object]:
        """The last event, for those who asked for the usage."""
        return self._envelope("chat.completion.chunk", choices=[], usage=self.usage)

    def full_response(self, finish_reason: FinishReason) -> dict[str, object]:
        """The answer to a request that did not ask for a stream."""
        message: dict[str, object] = {"role": "assistant"}
        message |= {field: "".join(words) for field, words in self._words.items()}
        if self._calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = [_call_json(call, "".join(parts)) for call, parts in self._calls]
        choice = {"message": message, "finish_reason": finish_reason}
        return self._envelope("chat.completion", choices=self._numbered(choice), usage=self.usage)

    def _numbered(self, choice: Mapping[str, object]) -> list[dict[str, object]]:
        return [{"index": index, **choice} for index in range(self._choices)]

    def _envelope(self, kind: str, **fields: object) -> dict[str, object]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, **fields}
