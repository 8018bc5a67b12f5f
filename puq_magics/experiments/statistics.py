"""Statistics of comparisons that were made on the same rows: intervals, paired tests, strengths from votes.

Everything is deterministic: resampling starts from a fixed seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, exp, lgamma, log, log1p, sqrt
from operator import mul
from statistics import fmean, pvariance

from puq_magics.core.text import pluralize

_Z = 1.959964  # of a two-sided interval of 95 %
_Z_POWER = 0.841621  # of a power of 80 %
_RESAMPLES = 2_000
_MAX_EXACT = 12  # rows
_MIN_DIFFERING = 6  # rows: of fewer all the same way have a p-value above 0.05
#: p-values below count as a difference.
ALPHA = 0.05


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval of 95 %."""

    value: float
    low: float
    high: float


def wilson_interval(successes: float, total: int) -> Interval:
    """Return a rate with its Wilson interval; ``successes`` may be a sum of rates, each of one row's repeats.

    >>> wilson_interval(17, 20)
    Interval(value=0.85, low=0.6396, high=0.9476)
    """
    if not total:
        return Interval(0.0, 0.0, 1.0)
    rate, z = successes / total, _Z
    center = (rate + z * z / (2 * total)) / (1 + z * z / total)
    half = z * sqrt(rate * (1 - rate) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return Interval(rate, round(max(0.0, center - half), 4), round(min(1.0, center + half), 4))


def bootstrap_mean(values: Sequence[float]) -> Interval:
    """Return a mean with the interval of its bootstrap distribution, by percentiles."""
    if len(values) < 2:
        return Interval(values[0] if values else 0.0, float("-inf"), float("inf"))
    means = _resampled_means(values)
    return Interval(fmean(values), _quantile(means, 0.025), _quantile(means, 0.975))


def mcnemar_p(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the exact McNemar test on the discordant pairs.

    >>> round(mcnemar_p(10, 1), 3)
    0.012
    """
    total = wins + losses
    logs = (
        lgamma(total + 1) - lgamma(number + 1) - lgamma(total - number + 1) - total * log(2)
        for number in range(min(wins, losses) + 1)
    )
    return min(1.0, 2 * sum(map(exp, logs)))


def paired_rate_difference(wins: int, losses: int, total: int) -> Interval:
    """Return the difference of two rates on the same rows, with the interval that belongs to the exact test.

    Given the number of discordant rows, the share of wins among them has a Clopper-Pearson interval.
    """
    discordant = wins + losses
    if not discordant:
        upper = 1 - (ALPHA / 2) ** (1 / total) if total else 1.0
        return Interval(0.0, -upper, upper)
    low, high = _clopper_pearson(wins, discordant)
    scale = discordant / total
    return Interval((wins - losses) / total, (2 * low - 1) * scale, (2 * high - 1) * scale)


def _clopper_pearson(successes: int, total: int) -> tuple[float, float]:
    # By logarithms: from some thousand rows on, the coefficients are beyond what a float holds.
    ways = [lgamma(total + 1) - lgamma(n + 1) - lgamma(total - n + 1) for n in range(total + 1)]

    def tail(rate: float, least: int) -> float:
        won, lost = log(rate), log1p(-rate)
        return sum(exp(ways[n] + n * won + (total - n) * lost) for n in range(least, total + 1))

    low = _bisect(lambda rate: tail(rate, successes) - ALPHA / 2) if successes else 0.0
    high = _bisect(lambda rate: tail(rate, successes + 1) - (1 - ALPHA / 2)) if successes < total else 1.0
    return low, high


def _bisect(function: Callable[[float], float]) -> float:
    """Return the root between 0 and 1 of a function that grows."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class PairedTest:
    """Comparison of two arms on the same rows: ``b`` minus ``a``."""

    difference: Interval
    p: float
    wins: int
    ties: int
    losses: int
    #: True if the values are rates, from 0 to 1.
    is_rate: bool
    #: Rows after which such a difference would show in four of five studies; None if there is no difference.
    rows_needed: int | None

    @property
    def rows(self) -> int:
        """Number of rows that both arms have."""
        return self.wins + self.ties + self.losses


def paired_test(pairs: Sequence[tuple[float, float]]) -> PairedTest:
    """Compare two arms by the pairs ``(a, b)`` of their values, one pair a row.

    Yes and no are compared by the exact McNemar test. Other values are compared by turning the signs of the rows'
    differences, which a few rows cannot make look certain; their interval is that of a bootstrap over the rows.
    """
    differences = [b - a for a, b in pairs]
    wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    values = [value for pair in pairs for value in pair]
    if all(value in (0, 1) for value in values):
        p, difference = mcnemar_p(wins, losses), paired_rate_difference(wins, losses, len(pairs))
    else:
        p, difference = sign_flip_p(differences), bootstrap_mean(differences)
    ties = len(pairs) - wins - losses
    is_rate = all(0 <= value <= 1 for value in values)
    return PairedTest(difference, p, wins, ties, losses, is_rate, _rows_needed(differences))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the mean of paired differences, if their signs are chance.

    All combinations of signs are tried for up to 12 rows that differ, else a sample of them.

    >>> sign_flip_p([0.5, 0.5, 0.5, 0.5])
    0.125
    """
    sizes = [abs(difference) for difference in differences if difference]
    observed = abs(sum(differences)) - 1e-9
    if len(sizes) <= _MAX_EXACT:
        sums: list[float] = [sum(map(mul, sizes, signs)) for signs in product((1, -1), repeat=len(sizes))]
        return sum(abs(total) >= observed for total in sums) / len(sums)
    chooser = random.Random(0)  # noqa: S311 - not for secrets
    sums = [sum(map(mul, sizes, chooser.choices((1, -1), k=len(sizes)))) for _ in range(_RESAMPLES)]
    return (1 + sum(abs(total) >= observed for total in sums)) / (1 + len(sums))


def _rows_needed(differences: Sequence[float]) -> int | None:
    mean = fmean(differences)
    if not mean:
        return None
    by_power = ceil((_Z + _Z_POWER) ** 2 * pvariance(differences) / mean**2)
    differing = sum(difference != 0 for difference in differences)
    by_test = ceil(_MIN_DIFFERING * len(differences) / differing)  # fewer can never be clear
    return max(by_power, by_test, len(differences))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values with Holm's correction for so many comparisons.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda n: p_values[n])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, n in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[n]))
        corrected[n] = highest
    return corrected


def count_outcomes(wins: int, ties: int, losses: int) -> str:
    """Return the counts as a text.

    >>> count_outcomes(2, 1, 0)
    '2 wins, 1 tie, 0 losses'
    """
    return ", ".join([pluralize(wins, "win"), pluralize(ties, "tie"), pluralize(losses, "loss", "losses")])


Votes = Sequence[tuple[str, str, float]]


def bradley_terry(votes: Votes) -> dict[str, Interval]:
    """Return each arm's chance to win against an average arm, from votes ``(a, b, share of a)``; a tie is 0.5.

    Intervals come from a bootstrap over the votes. A quarter of a won and of a lost vote between each two arms
    keeps the strengths finite.
    """
    arms = sorted({arm for a, b, _ in votes for arm in (a, b)})
    if not votes:
        return {}
    chooser = random.Random(0)  # noqa: S311 - not for secrets
    samples = [_fit(arms, chooser.choices(votes, k=len(votes))) for _ in range(300)]
    fitted = _fit(arms, votes)
    return {
        arm: Interval(
            fitted[arm],
            _quantile(sorted(sample[arm] for sample in samples), 0.025),
            _quantile(sorted(sample[arm] for sample in samples), 0.975),
        )
        for arm in arms
    }


def _fit(arms: Sequence[str], votes: Votes) -> Mapping[str, float]:
    """Fit the strengths by Hunter's iteration; return them as chances against the mean strength."""
    wins = {(a, b): 0.25 for a in arms for b in arms if a != b}
    for a, b, share in votes:
        wins[a, b] += share
        wins[b, a] += 1 - share
    strengths = dict.fromkeys(arms, 1.0)
    for _ in range(100):
        updated = {}
        for a in arms:
            others = [b for b in arms if b != a]
            weight = sum((wins[a, b] + wins[b, a]) / (strengths[a] + strengths[b]) for b in others)
            updated[a] = sum(wins[a, b] for b in others) / weight
        mean = exp(fmean(log(strength) for strength in updated.values()))
        strengths = {arm: strength / mean for arm, strength in updated.items()}
    return {arm: strength / (1 + strength) for arm, strength in strengths.items()}


def quantiles(values: Sequence[float], *shares: float) -> list[float]:
    """Return quantiles of values, such as the median for 0.5."""
    ordered = sorted(values)
    return [_quantile(ordered, share) for share in shares]


def _quantile(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    lower = int(position)
    upper = min(lower + 1, len(ordered) - 1)
    return ordered[lower] + (ordered[upper] - ordered[lower]) * (position - lower)


def _resampled_means(values: Sequence[float]) -> list[float]:
    chooser = random.Random(0)  # noqa: S311 - not for secrets
    count = len(values)
    return sorted(sum(chooser.choices(values, k=count)) / count for _ in range(_RESAMPLES))
