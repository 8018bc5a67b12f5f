"""One call of a run, from its request to its outcome; for threads, of the kernel or of another process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import uniform
from time import monotonic
from typing import Any

from puq_magics.api.client import Router
from puq_magics.api.finish_reason import is_cut_off
from puq_magics.api.request import repeat_number
from puq_magics.api.types import ChatCompletion, Message
from puq_magics.core.errors import (
    BUG_HINT,
    APIConnectionError,
    APIError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    InvalidAnswerError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    PuqError,
    RateLimitError,
    RecordingError,
    ServerError,
    UnprocessableEntityError,
)
from puq_magics.core.text import one_line
from puq_magics.experiments.calls import CallOutcome, CallSpec
from puq_magics.experiments.limiter import AdaptiveLimiter
from puq_magics.prompts.extraction import CODE_FENCE, WORDS_AROUND
from puq_magics.prompts.schema.schema import Schema

#: Requests for one call that the router turns away; each waits longer than the one before.
MAX_ATTEMPTS = 6
_MAX_PAUSE = 60.0  # seconds


@dataclass
class CallWorker:
    """Makes calls with one router, and reads their answers."""

    router: Router
    limiter: AdaptiveLimiter
    schema: Schema | None = None
    on_start: Callable[[str], None] = lambda _: None
    #: True as soon as the router has refused a ``response_format``: the schema goes into the prompt from then on.
    _describes_format: bool = field(default=False, init=False)

    def run(self, spec: CallSpec) -> tuple[CallOutcome, PuqError | None]:
        """Make a call; return its outcome, and the error that ended it, if any."""
        outcome = CallOutcome(spec.key, spec.model)
        start = monotonic()
        self.router.take_timing()
        # of this thread: a cassette keeps the repeats in the order of the plan
        repeat_number.set(spec.repeat)
        problem: PuqError | None = None
        try:
            answer = self._send(spec, outcome, spec.messages)
            _add_answer(outcome, answer)
            if answer.refusal or not answer.text:
                raise _no_answer_error(answer)
            if self.schema is not None:
                self._read_data(spec, outcome, self.schema)
        except PuqError as error:
            problem = error
            if ends_run(error):
                self.limiter.stop()
            outcome.error = one_line(f"{error.message}", 300)
            outcome.is_final = isinstance(
                error, InvalidAnswerError | BadRequestError | UnprocessableEntityError
            )
        timing = self.router.take_timing()
        outcome.seconds = round(monotonic() - start if timing is None else timing.seconds, 4)
        return outcome, problem

    def _read_data(self, spec: CallSpec, outcome: CallOutcome, schema: Schema) -> None:
        """Extract the data; ask once more for an answer that does not fit. Raises PuqError."""
        try:
            _read_data(outcome, schema)
            return
        except InvalidAnswerError as error:
            if is_cut_off(outcome.finish_reason) or not outcome.text:
                raise
            repair = [
                *spec.messages,
                {"role": "assistant", "content": outcome.text},
                {"role": "user", "content": error.repair_prompt},
            ]
        _add_answer(outcome, self._send(spec, outcome, repair))
        _read_data(outcome, schema)

    def _send(self, spec: CallSpec, outcome: CallOutcome, messages: Any) -> ChatCompletion:
        """Send a request, again while the router turns it away. Raises APIError."""
        while True:
            if not self.limiter.acquire():
                raise RunStoppedError("the run was stopped before this call.")
            answer: ChatCompletion | None = None
            try:
                if not outcome.attempts:
                    self.on_start(spec.key)
                outcome.attempts += 1
                answer = self._request(spec, messages)
                return answer
            except APIError as error:
                pause = self._pause(error, outcome.attempts)
                if pause is None:
                    raise
                failure = error
            finally:
                self.limiter.release(answered=answer is not None)
            if not self.limiter.wait(pause):
                raise failure

    def _request(self, spec: CallSpec, messages: Any) -> ChatCompletion:
        params = spec.params
        if self.schema is not None and not self._describes_format and "response_format" in params:
            try:
                return self.router.chat(messages, model=spec.model, extra_body=params)
            except APIStatusError as error:
                if not error.rejects_response_format():
                    raise
                self._describes_format = True
        if self._describes_format and self.schema is not None:
            params = {name: value for name, value in params.items() if name != "response_format"}
            messages = _with_instructions(messages, self.schema.instructions)
        return self.router.chat(messages, model=spec.model, extra_body=params)

    def _pause(self, error: APIError, attempts: int) -> float | None:
        """Return the seconds before the next attempt; None for an error that another one would not mend."""
        if isinstance(error, RateLimitError) and not error.reason:
            self.limiter.record_rate_limit(error.retry_after)
        elif isinstance(error, ServerError):
            self.limiter.record_server_error()
            if error.status != 503:  # the router may have made the call, and charged it
                return None
        elif not (isinstance(error, APIConnectionError) and not error.was_sent):
            return None
        if attempts >= MAX_ATTEMPTS:
            return None
        retry_after = error.retry_after if isinstance(error, APIStatusError) else None
        if retry_after is not None and retry_after > _MAX_PAUSE:
            return None
        return (retry_after or min(_MAX_PAUSE, 0.5 * 2**attempts)) * uniform(1.0, 1.3)  # noqa: S311 - jitter


def _no_answer_error(answer: ChatCompletion) -> InvalidAnswerError:
    if answer.refusal:
        return InvalidAnswerError(f"the model refused: {one_line(answer.refusal)}")
    if answer.calls:
        names = ", ".join(dict.fromkeys(call.name for call in answer.calls))
        return InvalidAnswerError(
            f"the answer calls functions, which a run does not do: {one_line(names, 100)}."
        )
    return InvalidAnswerError(f"the answer has no text (finish reason: {answer.finish_reason}).")


class RunStoppedError(PuqError):
    """The run ended before this call was sent."""


def worker_fault(error: Exception) -> PuqError:
    """Return the error for a fault of this package in a worker."""
    return PuqError(f"a worker failed: {type(error).__name__}: {error}", hint=BUG_HINT)


def ends_run(error: PuqError | None) -> bool:
    """Return whether no other call can do better: the key is refused, or the balance is spent."""
    is_quota = isinstance(error, RateLimitError) and bool(error.reason)
    return isinstance(error, AuthenticationError | PaymentRequiredError | RecordingError) or is_quota


def ends_model(error: PuqError | None) -> bool:
    """Return whether no other call of this model can do better."""
    return isinstance(error, PermissionDeniedError | NotFoundError)


def _add_answer(outcome: CallOutcome, answer: ChatCompletion) -> None:
    """Keep an answer, and add its tokens to those of an earlier attempt."""
    outcome.text, outcome.model, outcome.finish_reason = answer.text, answer.model, answer.finish_reason
    if answer.usage is not None:
        outcome.prompt_tokens = (outcome.prompt_tokens or 0) + answer.usage.prompt_tokens
        outcome.completion_tokens = (outcome.completion_tokens or 0) + answer.usage.completion_tokens
        if answer.usage.cost is not None:
            outcome.cost = (outcome.cost or 0.0) + answer.usage.cost


def _read_data(outcome: CallOutcome, schema: Schema) -> None:
    answer = schema.read_answer(outcome.text, is_complete=not is_cut_off(outcome.finish_reason))
    outcome.data = answer.data
    outcome.repairs = ", ".join(
        repair for repair in answer.repairs if repair not in (CODE_FENCE, WORDS_AROUND)
    )


def _with_instructions(messages: Any, instructions: str) -> list[Message]:
    """Return the messages with instructions at the end of the system prompt."""
    first, *others = messages
    if first["role"] != "system":
        return [{"role": "system", "content": instructions}, first, *others]
    return [{"role": "system", "content": f"{first['content']}\n\n{instructions}"}, *others]
