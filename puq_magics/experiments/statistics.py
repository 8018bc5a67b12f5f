"""Statistics of comparisons that were made on the same rows: intervals, paired tests, strengths from votes.

Everything is deterministic: resampling starts from a fixed seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import ceil, exp, lgamma, log, log1p, sqrt
from operator import mul
from statistics import fmean, pvariance
from typing import NamedTuple

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
    return PairedTest(difference, p, wins, ties, losses, _rows_needed(differences))


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


class PairVote(NamedTuple):
    """A vote between two arms."""

    a: str
    b: str
    #: The share of ``a``: 1 if it won, 0.5 for a tie.
    share: float
    weight: float = 1.0


def bradley_terry(votes: Sequence[PairVote]) -> dict[str, Interval]:
    """Return each arm's chance to win against an average arm, with its interval.

    A won and a lost vote between each two arms, of a weight of one by the number of arms, keep the strengths finite,
    and the intervals wide where all votes are the same. The intervals are those of the information in the votes.
    """
    arms = sorted({arm for vote in votes for arm in (vote.a, vote.b)})
    if not arms:
        return {}
    wins = {(a, b): 1 / len(arms) for a in arms for b in arms if a != b}
    for a, b, share, weight in votes:
        wins[a, b] += share * weight
        wins[b, a] += (1 - share) * weight
    strengths = _fit(arms, wins)
    halves = [_Z * sqrt(variance) for variance in _variances(arms, wins, strengths)]
    return {
        arm: Interval(*(1 / (1 + exp(-log(strengths[arm]) - shift)) for shift in (0, -half, half)))
        for arm, half in zip(arms, halves, strict=True)
    }


Wins = Mapping[tuple[str, str], float]


def _fit(arms: Sequence[str], wins: Wins) -> Mapping[str, float]:
    """Return the strengths of the arms by Hunter's iteration; the mean of their logarithms is 0."""
    strengths = dict.fromkeys(arms, 1.0)
    for _ in range(300):
        updated = {}
        for a in arms:
            others = [b for b in arms if b != a]
            weight = sum((wins[a, b] + wins[b, a]) / (strengths[a] + strengths[b]) for b in others)
            updated[a] = sum(wins[a, b] for b in others) / weight
        mean = exp(fmean(log(strength) for strength in updated.values()))
        strengths = {arm: strength / mean for arm, strength in updated.items()}
    return strengths


def _variances(arms: Sequence[str], wins: Wins, strengths: Mapping[str, float]) -> list[float]:
    """Return the variance of each logarithm: the diagonal of the inverse of the information about them.

    As only differences are known, that is a pseudo-inverse: with 1/n added everywhere, it is the inverse less 1/n.
    """
    count = len(arms)
    rows = [[1 / count] * count + [float(n == m) for m in range(count)] for n in range(count)]
    for n, m in combinations(range(count), 2):
        a, b = arms[n], arms[m]
        total = wins[a, b] + wins[b, a]
        information = total * strengths[a] * strengths[b] / (strengths[a] + strengths[b]) ** 2
        for row, column, sign in ((n, n, 1), (m, m, 1), (n, m, -1), (m, n, -1)):
            rows[row][column] += sign * information
    for n in range(count):  # Gauss-Jordan; the matrix is positive definite, and needs no pivots
        rows[n] = [value / rows[n][n] for value in rows[n]]
        for m in range(count):
            if m != n:
                factor = rows[m][n]
                rows[m] = [value - factor * pivot for value, pivot in zip(rows[m], rows[n], strict=True)]
    return [rows[n][count + n] - 1 / count for n in range(count)]


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
