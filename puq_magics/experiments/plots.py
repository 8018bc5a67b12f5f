"""Plots of a study's figures, by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from puq_magics.experiments.arms import level_name
from puq_magics.experiments.frames import missing_data_error


def plot_summary(records: Sequence[Mapping[str, Any]], factors: Sequence[str]) -> Any:
    """Draw the score of each record of a summary with its interval, or else its seconds; return matplotlib's Axes.

    A notebook shows it at the end of the cell, as it does with every plot. Raises ConfigurationError without
    matplotlib.
    """
    try:
        from matplotlib import pyplot
    except ImportError:
        raise missing_data_error("plots") from None
    has_scores = any(record.get("score") is not None for record in records)
    key = "score" if has_scores else "seconds_p50"
    records = [record for record in records if record.get(key) is not None]  # others have no answer
    values = [record[key] for record in records]
    positions = range(len(records))
    _, axes = pyplot.subplots(figsize=(7, 0.9 + 0.45 * len(records)), layout="constrained")
    errors = [_error_bars(record, key) for record in records]
    axes.errorbar(
        values, positions, xerr=list(zip(*errors, strict=True)) if has_scores else None, fmt="o", capsize=4
    )
    labels = [" · ".join(level_name(name, record[name]) for name in factors) for record in records]
    axes.set_yticks(list(positions), labels)
    axes.set_ylim(len(records) - 0.5, -0.5)
    axes.set_xlabel("score (95 % interval)" if has_scores else "seconds (median)")
    axes.grid(axis="x", alpha=0.3)
    return axes


def _error_bars(record: Mapping[str, Any], key: str) -> tuple[float, float]:
    """Return the lengths of a point's error bars; none for an interval without bounds, of a single row."""
    bounds = (record[key] - record.get("low", record[key]), record.get("high", record[key]) - record[key])
    return tuple(max(0.0, bound) if isfinite(bound) else 0.0 for bound in bounds)  # type: ignore[return-value]
