"""Comparisons of arms on the same rows, said in a sentence first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.text import pluralize, wrap_for_terminal
from puq_magics.experiments.arms import level_name
from puq_magics.experiments.statistics import ALPHA, PairedTest, count_outcomes, holm, paired_test


@dataclass(frozen=True)
class Pair:
    """Two arms, compared on the rows that both have: ``b`` minus ``a``."""

    a: str
    b: str
    test: PairedTest
    #: The p-value, with Holm's correction over all pairs.
    p: float
    #: True if the values are shares of yes, which are told in points.
    is_rate: bool

    @property
    def is_clear(self) -> bool:
        """True if the difference is larger than chance explains."""
        return self.p < ALPHA

    def __str__(self) -> str:
        test, difference = self.test, self.test.difference
        better, worse = (self.b, self.a) if difference.value > 0 else (self.a, self.b)
        wins, losses = (test.wins, test.losses) if better == self.b else (test.losses, test.wins)
        counts = f"{test.rows:,} rows: {count_outcomes(wins, test.ties, losses)} of {better}"
        if self.is_clear:
            bounds = sorted(abs(bound) for bound in (difference.low, difference.high))
            low, high = bounds if difference.low * difference.high > 0 else (0.0, bounds[1])
            span = f"{self._amount(low)} to {self._amount(high, unit=True)}"
            return f"{better} is better than {worse} by {span} ({counts})."
        more = "no difference was seen"
        if test.rows_needed is not None:
            missing = max(test.rows_needed - test.rows, 1)
            size = self._amount(abs(difference.value), unit=True)
            more = f"about {pluralize(missing, 'more row')} would, if {better} is better by {size}"
        return f"cannot tell {self.a} and {self.b} apart: {more} ({counts})."

    def _amount(self, value: float, unit: bool = False) -> str:
        if self.is_rate:
            return f"{100 * value:.0f}{' points' if unit else ''}"
        return f"{value:.2g}"


class Sentences:
    """Something that is read: a terminal wraps it, a notebook shows each line as a paragraph."""

    def __repr__(self) -> str:
        return "\n".join(wrap_for_terminal([str(self)], indent=2))

    def _repr_markdown_(self) -> str:
        from puq_magics.outputs.markdown.feed import escape_inline

        return "\n\n".join(map(escape_inline, str(self).splitlines()))


@dataclass(frozen=True, repr=False)
class Comparison(Sentences):
    """All pairs of the levels of a factor."""

    factor: str
    pairs: Sequence[Pair]
    #: Pairs without a row in common, as sentences.
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        return "\n".join([*map(str, self.pairs), *self.notes])


def compare_arms(
    factor: str, values: Mapping[Any, Mapping[Any, float]], *, is_rate: bool = False
) -> Comparison:
    """Compare each two arms by the values of the rows that both have; ``is_rate`` if those are shares of yes.

    Raises InputError for fewer than two arms.
    """
    if len(values) < 2:
        raise InputError(f"{factor} has one level only.", hint="Compare a factor that varies.")
    pairs, apart = [], list[str]()
    values = {level_name(factor, level): by_row for level, by_row in values.items()}
    for a, b in combinations(values, 2):
        rows = [row for row in values[a] if row in values[b]]
        if not rows:  # one of them has failed throughout
            apart.append(f"{a} and {b} have no row in common.")
            continue
        pairs.append((a, b, paired_test([(values[a][row], values[b][row]) for row in rows])))
    if not pairs:
        raise InputError(apart[0], hint="Look at the errors of the calls.")
    corrected = holm([test.p for *_, test in pairs])
    tested = [Pair(a, b, test, p, is_rate) for (a, b, test), p in zip(pairs, corrected, strict=True)]
    return Comparison(factor, tested, apart)


@dataclass(frozen=True, repr=False)
class RepeatAgreement(Sentences):
    """Agreement of the repeats of one arm."""

    arm: Mapping[str, Any]
    #: Rows with two answers or more, and those whose answers are all the same.
    rows: int
    agreeing: int
    #: Two different answers of the first row that has some; None if all agree.
    first_difference: tuple[str, str] | None

    def __str__(self) -> str:
        name = " · ".join(level_name(factor, level) for factor, level in self.arm.items())
        text = f"{name}: the repeats agree in {self.agreeing:,} of {self.rows:,} rows"
        if self.first_difference is not None:
            first, second = (
                answer if len(answer) <= 60 else f"{answer[:60]}…" for answer in self.first_difference
            )
            text += f"; first difference: {first!r}, {second!r}"
        return text


class Agreements(Sentences, list[RepeatAgreement]):
    """Agreement of the repeats of each arm."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))


def repeat_agreement(records: Sequence[Mapping[str, Any]], factors: Sequence[str]) -> Agreements:
    """Return the agreement of the repeats, for each arm."""
    arms: dict[tuple[Any, ...], dict[Any, list[str]]] = {}
    for record in records:
        arm = arms.setdefault(tuple(record[name] for name in factors), {})
        if record["answer"] is not None:
            arm.setdefault(record["row"], []).append(record["answer"].strip())
    results = Agreements()
    for key, rows in arms.items():
        repeated = [answers for answers in rows.values() if len(answers) > 1]
        differing = [answers for answers in repeated if len(set(answers)) > 1]
        first = None
        if differing:
            answers = differing[0]
            first = (answers[0], next(answer for answer in answers if answer != answers[0]))
        arm_levels = dict(zip(factors, key, strict=True))
        results.append(RepeatAgreement(arm_levels, len(repeated), len(repeated) - len(differing), first))
    return results
