"""The quiet line below an answer: model · tokens · cost · seconds, and what is amiss."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from puq_magics.api.finish_reason import finish_kind
from puq_magics.api.types import Usage
from puq_magics.core.text import one_line

_FINISH_WARNINGS = {
    "length": "cut off at the token limit",
    "filter": "cut off by the content filter",
    "failed": "cut off by a failure",
}
_UNIT_GAP = re.compile(r"(?<=\d) (?=(?:s|min|h|tokens|credits)\b)")


@dataclass(frozen=True, slots=True)
class Footer:
    """The facts, in order, and apart from them what a reader must not miss."""

    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_call(
        cls,
        *,
        model: str,
        usage: Usage | None = None,
        cost: float | None = None,
        tells_unknown_cost: bool = False,
        seconds: float | None = None,
        finish_reason: str | None = None,
        status: str = "",
        notes: Sequence[str] = (),
        is_empty: bool = False,
    ) -> Footer:
        """The footer of a call; what is not known is left out."""
        facts = [model]
        if usage is not None:
            facts.append(f"{usage.total_tokens:,} tokens")
        if cost is not None:
            facts.append(f"about {format_credits(cost)}")
        elif tells_unknown_cost:
            facts.append("cost not known")
        if seconds is not None:
            facts.append(f"{seconds:.1f} s")
        warnings = [text for text in (_finish_warning(finish_reason), status) if text]
        if is_empty and not warnings:
            warnings.append("no text came")
        return cls(tuple(facts), (*warnings, *notes))

    def with_style(self, style: str) -> Footer:
        """Apply the setting ``footer``: ``full``; ``short``, the model alone; ``none``. Warnings stay."""
        facts = {"full": self.facts, "short": self.facts[:1], "none": ()}[style]
        return Footer(facts, self.warnings)

    def to_text(self) -> str:
        """One line of plain text."""
        from puq_magics.outputs.control_chars import strip_control_chars

        return strip_control_chars(" · ".join([*self.warnings, *self.facts])).replace("\n", " ")

    def append_to_text(self, text: str) -> str:
        """The text with the footer in brackets below it."""
        line = self.to_text()
        return "\n\n".join(part for part in (text, f"[{line}]" if line else "") if part)

    def append_to_markdown(self, safe: str) -> str:
        """Append the footer to Markdown; ``safe`` must be sanitized."""
        parts = [f"**⚠ {escape_fact(words)}**" for words in self.warnings]
        parts += [escape_fact(fact) for fact in self.facts]
        line = f"<sub>{' · '.join(parts)}</sub>" if parts else ""
        return "\n\n".join(part for part in (safe, line) if part)


def escape_fact(words: str) -> str:
    """Return a fact as Markdown or HTML, in which a narrow page does not part a number from its unit."""
    from puq_magics.outputs.markdown.feed import escape_inline

    return _UNIT_GAP.sub("\u00a0", escape_inline(words))


def _finish_warning(reason: str | None) -> str:
    """Return what a reader must know of how the answer ended; empty for a complete answer."""
    kind = finish_kind(reason)
    if kind == "complete":
        return ""
    spelled = {"length": "length", "filter": "content_filter"}.get(kind)
    quoted = "" if reason == spelled else f" ({one_line(reason or '', 40)})"
    return f"{_FINISH_WARNINGS.get(kind, 'ended for a reason that is not known')}{quoted}"


def format_spent(spent: float, budget: float) -> str:
    """Return how much of a budget is spent, as text."""
    return f"{format_credits(spent).removesuffix(' credits')} of {format_credits(budget)}"


def format_credits(amount: float) -> str:
    """An amount for people: cents of large ones, two digits of small ones, and never an exponent."""
    size = abs(amount)
    if size >= 10 or size == 0:
        digits = f"{amount:,.2f}".removesuffix(".00")
    elif size < 1e-12:
        digits = "0"
    else:
        digits = f"{amount:.{max(0, 1 - floor(log10(size)))}f}"
        digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return f"{digits} credits"
