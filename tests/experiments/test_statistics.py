"""Statistics against published values and by simulation."""

from __future__ import annotations

import random
from math import isclose

import pytest

from puq_magics.experiments.statistics import (
    PairVote,
    bootstrap_mean,
    bradley_terry,
    holm,
    mcnemar_p,
    paired_rate_difference,
    paired_test,
    quantiles,
    sign_flip_p,
    wilson_interval,
)
from puq_magics.experiments.voting import Vote, summarize_votes


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (17, 20, 0.6396, 0.9476),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
        (0, 0, 0, 1),
    ],
)
def test_wilson(successes: int, total: int, low: float, high: float) -> None:
    interval = wilson_interval(successes, total)
    assert isclose(interval.low, low, abs_tol=2e-4)
    assert isclose(interval.high, high, abs_tol=2e-4)


@pytest.mark.parametrize(
    ("wins", "losses", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (10, 1, 0.01172), (8, 8, 1.0), (15, 4, 0.01921)]
)
def test_mcnemar(wins: int, losses: int, p: float) -> None:
    assert isclose(mcnemar_p(wins, losses), p, abs_tol=1e-4)
    assert mcnemar_p(wins, losses) == mcnemar_p(losses, wins)


@pytest.mark.parametrize(
    ("wins", "losses"), [(5, 0), (6, 0), (10, 1), (9, 2), (15, 5), (30, 14), (0, 6), (700, 500)]
)
def test_the_interval_of_a_rate_difference_agrees_with_its_test(wins: int, losses: int) -> None:
    interval = paired_rate_difference(wins, losses, 50)
    excludes_zero = interval.low > 0 or interval.high < 0
    assert excludes_zero == (mcnemar_p(wins, losses) < 0.05)
    assert interval.low <= interval.value <= interval.high


def test_paired_data_tell_more_than_two_rates() -> None:
    pairs = [(1, 1)] * 50 + [(0, 0)] * 35 + [(0, 1)] * 12 + [(1, 0)] * 2
    test = paired_test([(float(a), float(b)) for a, b in pairs])
    assert test.p < 0.02
    assert (test.wins, test.ties, test.losses) == (12, 85, 2)
    assert test.rows_needed is not None


def test_coverage_of_the_paired_interval_by_simulation() -> None:
    chooser = random.Random(1)
    covered = 0
    for _ in range(200):
        outcomes = chooser.choices((1, -1, 0), weights=(20, 10, 70), k=80)
        interval = paired_rate_difference(outcomes.count(1), outcomes.count(-1), 80)
        covered += interval.low <= 0.1 <= interval.high
    assert covered >= 180


def test_numbers_are_compared_by_a_bootstrap_over_rows() -> None:
    chooser = random.Random(2)
    values = [(chooser.gauss(5, 1), chooser.gauss(6, 1)) for _ in range(60)]
    test = paired_test(values)
    assert test.p < 0.01
    assert test.difference.low > 0.3
    assert paired_test(values) == test
    same = paired_test([(a, a) for a, _ in values])
    assert same.p == 1.0
    assert same.rows_needed is None
    assert bootstrap_mean([2.0]).high == float("inf")


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([], 1.0),
        ([0.0, 0.0], 1.0),
        ([0.5] * 4, 0.125),
        ([0.5] * 6, 0.03125),
        ([1, 2, -3], 1.0),
        ([1, 2, 3], 0.25),
    ],
)
def test_a_few_rows_are_never_certain(differences: list[float], p: float) -> None:
    assert sign_flip_p(differences) == p


def test_the_signs_of_many_rows_are_sampled() -> None:
    chooser = random.Random(4)
    noise = [chooser.gauss(0, 1) for _ in range(200)]
    assert sign_flip_p(noise) > 0.05
    assert sign_flip_p([each + 0.5 for each in noise]) < 0.001
    assert sign_flip_p([0.25] * 200) < 0.001


@pytest.mark.parametrize(
    ("pairs", "needed"),
    [([(0.0, 0.5)] * 4, 6), ([(0.0, 1.0)] * 3 + [(1.0, 1.0)] * 3, 12), ([(1.0, 1.0)] * 9, None)],
)
def test_rows_that_would_do(pairs: list[tuple[float, float]], needed: int | None) -> None:
    assert paired_test(pairs).rows_needed == needed


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    assert holm([]) == []
    assert holm([0.9, 0.9]) == [1.0, 1.0]


def test_bradley_terry_finds_the_order_and_widens_with_few_votes() -> None:
    chooser = random.Random(3)
    strength = {"best": 4.0, "middle": 2.0, "worst": 1.0}
    votes = []
    for _ in range(300):
        a, b = chooser.sample(list(strength), 2)
        votes.append(PairVote(a, b, float(chooser.random() < strength[a] / (strength[a] + strength[b]))))
    fitted = bradley_terry(votes)
    assert sorted(fitted, key=lambda arm: -fitted[arm].value) == ["best", "middle", "worst"]
    assert fitted["best"].low > fitted["worst"].high
    few = bradley_terry(votes[:9])
    assert few["best"].high - few["best"].low > fitted["best"].high - fitted["best"].low


def test_votes_that_all_agree_are_not_certain() -> None:
    one = bradley_terry([PairVote("a", "b", 1.0)])
    assert one["a"].low < 0.5 < one["a"].value < one["a"].high < 1
    many = bradley_terry([PairVote("a", "b", 1.0)] * 20)
    assert 0.5 < many["a"].low < many["a"].value < 1


def test_coverage_of_the_intervals_of_votes_by_simulation() -> None:
    chooser = random.Random(5)
    strength = {"best": 2.0, "middle": 1.0, "worst": 0.5}  # of geometric mean 1
    hits, trials = 0, 200
    for _ in range(trials):
        winners = chooser.choices(list(strength), list(strength.values()), k=25)
        votes = [Vote(str(n), tuple(strength), winner) for n, winner in enumerate(winners)]
        fitted = bradley_terry([pair for vote in votes for pair in vote.pairs()])
        hits += sum(
            each.low <= strength[arm] / (1 + strength[arm]) <= each.high for arm, each in fitted.items()
        )
    assert 0.92 < hits / (3 * trials) < 0.99


def test_arms_that_were_never_compared_are_told_apart() -> None:
    votes = [Vote("1", ("a", "b"), "a"), Vote("2", ("x", "y"), "y"), Vote("3", ("b", "c"), "tie")]
    first, second = summarize_votes(votes)
    assert sorted([[arm for arm, *_ in each.counts] for each in (first, second)]) == [
        ["a", "c", "b"],
        ["y", "x"],
    ]
    assert sorted([first.votes, second.votes]) == [1, 2]


def test_bradley_terry_without_votes() -> None:
    assert bradley_terry([]) == {}


def test_quantiles() -> None:
    assert quantiles([3.0, 1.0, 2.0], 0.5, 0.95) == [2.0, pytest.approx(2.9)]
