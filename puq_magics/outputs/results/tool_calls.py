"""Calls of functions that a model asked for: what was called, with what, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from puq_magics.api.tool_calls import NOT_RUN
from puq_magics.api.types import ToolCall
from puq_magics.core.text import one_line, pluralize

#: ``asked`` and ``running`` only while the cell runs.
Status = Literal["not run", "asked", "running", "done", "failed", "refused"]
#: Characters of a call in one line; the whole is in the fold below it.
_LINE_CHARS = 160
#: Characters of the arguments and lines of a result that are shown.
_MAX_SHOWN_CHARS, _TERMINAL_LINES = 20_000, 4


@dataclass(frozen=True, repr=False)
class FunctionCall:
    """A call that a model asked for, and its outcome."""

    call: ToolCall
    status: Status = "not run"
    #: What the model was told: the function's result, or why there is none; empty if it was not told anything.
    result: str = ""
    #: The traceback of a function that failed; the model is told its last line alone.
    traceback: str = ""

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.call.name

    @property
    def arguments(self) -> Any:
        """The arguments, as an object; the text as it came if that is none."""
        arguments = self.call.parse_arguments()
        return self.call.arguments if arguments is None else arguments

    @property
    def id(self) -> str:
        """Name of the call, by the router."""
        return self.call.id

    @property
    def is_settled(self) -> bool:
        """True if it has its outcome."""
        return self.status in ("done", "failed", "refused")

    @property
    def answer(self) -> str:
        """Content of the message that answers the call."""
        return self.result or NOT_RUN

    def with_arguments(self, arguments: str) -> FunctionCall:
        """Return it with other arguments, as JSON."""
        return replace(self, call=replace(self.call, arguments=arguments))

    def __str__(self) -> str:
        arguments = self.arguments
        if not isinstance(arguments, dict):
            return f"{self.name}({arguments})"
        shown = ", ".join(f"{name}={_format_argument(value)}" for name, value in arguments.items())
        return f"{self.name}({shown})"

    def __repr__(self) -> str:
        outcome = f" → {one_line(self.result, 80)!r}" if self.result else ""
        return f"<{one_line(str(self), _LINE_CHARS)} {self.status}{outcome}>"


def _format_argument(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def calls_to_markdown(calls: Sequence[FunctionCall], *, final: bool = True) -> str:
    """Return calls, each with its result folded, as safe Markdown; empty without any.

    Unless ``final``, nothing is said of those that have not been run.
    """
    return "\n\n".join(_call_to_markdown(call, final) for call in calls)


def _call_to_markdown(call: FunctionCall, final: bool) -> str:
    from puq_magics.outputs.markdown.code import code_block
    from puq_magics.outputs.markdown.feed import escape_inline, fold, strip_control_chars

    def literal(text: str) -> str:
        cut = text[:_MAX_SHOWN_CHARS]
        more = f"… ({len(text) - len(cut):,} characters more in .calls)" if len(text) > len(cut) else ""
        return "\n".join(code_block("text", (strip_control_chars(cut) + more).split("\n")))

    whole = str(call)
    code = f"<code>{escape_inline(whole, _LINE_CHARS)}</code>"
    parts = [literal(whole)] if len(whole) > _LINE_CHARS or "\n" in whole else []
    outcome = escape_inline(_outcome(call, final))
    title = f"{code} {outcome}" if outcome else code
    if call.status in ("asked", "running") or (call.status == "not run" and not final):
        return "\n\n".join([title, *parts])  # all of it is to be seen before it is run
    if call.status in ("done", "failed"):
        parts.append(literal(call.traceback or call.result))
    return fold(title, "\n\n".join(parts)) if parts else title


def _outcome(call: FunctionCall, final: bool) -> str:
    if call.status == "failed":
        return f"failed: {one_line(call.result, 120)}"
    if call.status in ("done", "asked") or (call.status == "not run" and not final):
        return ""
    return {"running": "… running", "refused": "refused", "not run": "not run"}[call.status]


def calls_to_text(calls: Sequence[FunctionCall], *, final: bool = True) -> str:
    """Return calls, each with the first lines of its result, as plain text; empty without any."""
    lines = [line for call in calls if final or call.is_settled for line in call_lines(call)]
    return "\n".join(lines)


def call_lines(call: FunctionCall, before: FunctionCall | None = None) -> list[str]:
    """Return the lines of plain text for a call and its outcome; without those of a state ``before`` it."""
    from puq_magics.outputs.control_chars import strip_control_chars

    whole = strip_control_chars(str(call))
    if call.status == "asked":  # the question has it, unless it is too long
        cut = whole[:_MAX_SHOWN_CHARS]
        more = f"… ({len(whole) - len(cut):,} characters more)" if len(whole) > len(cut) else ""
        return [cut + more] if len(whole) > _LINE_CHARS else []
    is_new = before is None or before.status not in ("asked", "running")
    title = [one_line(whole, _LINE_CHARS)] if is_new else []
    if call.status == "done":
        lines = strip_control_chars(call.result).strip().split("\n")
        shown = [f"    {one_line(line, 200)}" for line in lines[:_TERMINAL_LINES]]
        shown[0] = f"  → {shown[0].strip()}"
        left_out = len(lines) - len(shown)
        return [
            *title,
            *shown,
            *([f"    … {pluralize(left_out, 'line')} more in .calls"] if left_out else []),
        ]
    if call.status == "running":
        return title
    outcome = strip_control_chars(_outcome(call, final=True))
    return [f"{title[0]} {outcome}"] if title else [f"  {outcome}"]
