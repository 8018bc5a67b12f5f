"""Running a function that a model called: what it prints is bounded, what it raises is caught, async is awaited."""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
import threading
import traceback
from collections.abc import AsyncIterable, Awaitable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.secret import redact_secrets
from puq_magics.prompts.tools.results import error_to_text, result_to_text, unsendable_text
from puq_magics.prompts.tools.tool import Tool

#: Characters that a function may print; the rest is counted.
MAX_PRINTED_CHARS = 20_000
#: The file that a cell's code seems to be in.
_CELL_FILE = re.compile(r'File (?:"[^"\n]*[/\\]ipykernel_\d+[/\\]\d+\.py"|"<ipython-input-[^">\n]*>")')
_MAX_TRACEBACK_CHARS, _MAX_FRAMES = 10_000, 10


@dataclass(frozen=True)
class Outcome:
    """Outcome of a call: the text for the model; with the traceback, for the user, if the function failed."""

    text: str
    failed: bool = False
    traceback: str = ""


def run_tool(tool: Tool, arguments: Mapping[str, Any], limit: int) -> Outcome:
    """Run a function with arguments that fit its schema; its result has at most about ``limit`` characters.

    Exceptions become part of the outcome, but for KeyboardInterrupt.
    """
    try:
        with bounded_output(MAX_PRINTED_CHARS):
            value = tool.call(arguments)
            if inspect.isasyncgen(value):
                value = _collect(value)
            if inspect.isawaitable(value):
                value = await_in_thread(value)
            try:
                return Outcome(result_to_text(value, limit))
            except InputError as error:
                return Outcome(unsendable_text(value, error), failed=True)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a function may raise anything, and call exit()
        return Outcome(error_to_text(error, limit), failed=True, traceback=_format_traceback(error))


async def _collect(values: AsyncIterable[Any]) -> list[Any]:
    return [value async for value in values]


def _format_traceback(error: BaseException) -> str:
    """Return the traceback from the function on."""
    frames: TracebackType | None = error.__traceback__
    while frames is not None and _module_of(frames).startswith(("puq_magics.", "asyncio.")):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames, limit=-_MAX_FRAMES, chain=False)
    text = _CELL_FILE.sub("In the notebook", "".join(lines))
    return redact_secrets(text[-_MAX_TRACEBACK_CHARS:].rstrip())


def _module_of(frames: TracebackType) -> str:
    return str(frames.tb_frame.f_globals.get("__name__"))


def await_in_thread(value: Awaitable[Any]) -> Any:
    """Await a value in a thread with an event loop of its own, as the loop of a kernel runs already."""
    results: list[Any] = []
    errors: list[BaseException] = []
    done = threading.Event()
    loop = asyncio.new_event_loop()

    async def _await() -> Any:
        return await value

    task = loop.create_task(_await())

    def _run() -> None:
        try:
            results.append(loop.run_until_complete(task))
        except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
            errors.append(error)
        finally:
            loop.close()
            done.set()

    threading.Thread(target=_run, daemon=True).start()
    try:
        while not done.wait(0.2):  # on Windows, waiting without end cannot be interrupted
            pass
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(task.cancel)
        raise
    if errors:
        raise errors[0]
    return results[0]


@contextmanager
def bounded_output(limit: int) -> Iterator[None]:
    """Pass on at most ``limit`` characters of what is printed, and say how many more there were."""
    out, err = _BoundedWriter(sys.stdout, limit), _BoundedWriter(sys.stderr, limit)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            yield
    finally:
        for each in (out, err):
            each.finish()


class _BoundedWriter:
    """A text stream that drops what is beyond a number of characters."""

    def __init__(self, out: Any, limit: int) -> None:
        self._out = out
        self._left = limit
        self._dropped = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)

    def write(self, text: str) -> int:
        shown = text[: self._left]
        self._left -= len(shown)
        self._dropped += len(text) - len(shown)
        if shown:
            self._out.write(shown)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def finish(self) -> None:
        """Say how much was dropped."""
        if self._dropped:
            self._out.write(f"\n… {self._dropped:,} characters more were printed\n")
