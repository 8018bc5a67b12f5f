"""Tables of figures with their targets, for people and as JSON."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

JUDGED = "puq_magics"  # the subject that the targets are for


@dataclass(frozen=True)
class UpperLimit:
    """A target: the median of the samples, or their worst, is not above the limit."""

    limit: float
    worst: bool = False

    def is_met(self, samples: list[float]) -> bool:
        """Whether these samples meet it."""
        return (max(samples) if self.worst else statistics.median(samples)) <= self.limit

    def __str__(self) -> str:
        return f"≤ {_number(self.limit)}{' (worst)' if self.worst else ''}"


@dataclass
class Row:
    """One figure of every subject: the samples of its runs."""

    label: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    target: UpperLimit | None = None

    def add(self, subject: str, value: float) -> None:
        """Note one run's value."""
        self.samples.setdefault(subject, []).append(value)

    @property
    def verdict(self) -> str:
        """`met`, `MISSED`, or nothing where there is no target or nothing was measured."""
        if self.target is None or JUDGED not in self.samples:
            return ""
        return "met" if self.target.is_met(self.samples[JUDGED]) else "MISSED"


@dataclass
class Table:
    """The figures of one scenario."""

    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, label: str, target: UpperLimit | None = None) -> Row:
        """Append a row, or give the one of that label."""
        for row in self.rows:
            if row.label == label:
                return row
        self.rows.append(Row(label, target=target))
        return self.rows[-1]

    def __str__(self) -> str:
        subjects = list(dict.fromkeys(name for row in self.rows for name in row.samples))
        lines = [["", *subjects, "target", "verdict"]]
        for row in filter(lambda row: row.samples, self.rows):
            cells = [_spread(row.samples.get(name, [])) for name in subjects]
            lines.append([row.label, *cells, str(row.target or ""), row.verdict])
        return "\n".join([f"### {self.title}", "", *_markdown(lines), *(f"\n{note}" for note in self.notes)])

    def as_json(self) -> dict[str, Any]:
        """Every sample, by row and subject."""
        return {
            "title": self.title,
            "notes": self.notes,
            "rows": [
                {
                    "label": row.label,
                    "target": row.target.limit if row.target else None,
                    "verdict": row.verdict or None,
                    "samples": {name: list(map(_finite, values)) for name, values in row.samples.items()},
                }
                for row in self.rows
            ],
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _spread(samples: list[float]) -> str:
    """`median (min–max)`, or the one value there is."""
    if not samples:
        return ""
    middle = _number(statistics.median(samples))
    if len(samples) == 1:
        return middle
    return f"{middle} ({_number(min(samples))}–{_number(max(samples))})"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "never"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _markdown(lines: Iterable[list[str]]) -> list[str]:
    """A Markdown table whose columns line up in plain text too."""
    rows = list(lines)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [padded[0], rule, *padded[1:]]
