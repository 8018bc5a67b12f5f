"""Estimates and the budget, as sums."""

from __future__ import annotations

from operator import mul

import pytest

from puq_magics.api.types import Model, Usage
from puq_magics.core.errors import BudgetError
from puq_magics.session.budget import (
    DEFAULT_ANSWER_TOKENS,
    CallInfo,
    CostTracker,
    Estimate,
    find_model,
    usage_cost,
    usage_or_estimate,
)

MINI = Model("openai/mini", "Mini", input_price=2.0, output_price=8.0)
UNIT = 1_000_000


def test_a_cost_is_tokens_times_prices() -> None:
    assert usage_cost(MINI, Usage(1_000_000, 500_000, 1_500_000), UNIT) == 6.0
    assert usage_cost(MINI, Usage(1_000, 500, 1_500), 1_000) == 6.0


def test_a_cost_without_its_price_is_not_known() -> None:
    assert usage_cost(None, Usage(1, 1, 2), UNIT) is None
    assert usage_cost(MINI, None, UNIT) is None
    assert usage_cost(Model("a/b", "b", input_price=1.0), Usage(1, 1, 2), UNIT) is None


def test_a_missing_price_does_not_count_where_there_are_no_tokens() -> None:
    assert usage_cost(Model("a/b", "b", input_price=1.0), Usage(UNIT, 0, UNIT), UNIT) == 1.0


def test_a_chat_is_estimated_by_its_limit() -> None:
    estimate = CostTracker().estimate(CallInfo("chat", MINI.code, 1_000, 500), MINI, UNIT)
    assert estimate.cost == pytest.approx((1_000 * 2 + 500 * 8) / UNIT)
    assert "at most 500 tokens" in str(estimate)


def test_without_a_limit_by_what_is_usual_and_then_by_the_longest_so_far() -> None:
    costs, info = CostTracker(), CallInfo("chat", MINI.code, 0)
    assert costs.estimate(info, MINI, UNIT).cost == DEFAULT_ANSWER_TOKENS * 8 / UNIT
    costs.record(info, 0.1, Usage(10, 5_000, 5_010))
    costs.record(info, 0.1, Usage(10, 70, 80))
    costs.record(info, 0.1, Usage(10, 9_000, 9_010), complete=False)
    costs.record(CallInfo("chat", MINI.code, 0, max_tokens=8_000), 0.1, Usage(10, 8_000, 8_010))
    estimate = costs.estimate(info, MINI, UNIT)
    assert estimate.cost == 5_000 * 8 / UNIT
    assert "as long as the longest so far" in str(estimate)


def test_short_answers_say_nothing_of_the_next() -> None:
    costs, info = CostTracker(), CallInfo("chat", MINI.code, 0)
    costs.record(info, 0.1, Usage(10, 1, 11))
    assert costs.estimate(info, MINI, UNIT).cost == DEFAULT_ANSWER_TOKENS * 8 / UNIT


def test_several_answers_cost_several_times() -> None:
    info = CallInfo("chat", MINI.code, 0, max_tokens=100, count=10)
    assert CostTracker().estimate(info, MINI, UNIT).cost == 1_000 * 8 / UNIT


def test_what_is_held_counts_until_it_is_released() -> None:
    costs, estimate = CostTracker(), Estimate(0.3, "so")
    with costs.reserve(0.5, estimate, None):
        with pytest.raises(BudgetError), costs.reserve(0.5, estimate, None):
            pass
        with costs.reserve(0.5, estimate, None, over_budget=True):
            pass
    with costs.reserve(0.5, estimate, None):
        pass


PRICED = Model("a/priced", "Priced", input_price=15.0, output_price=40.0)


@pytest.mark.parametrize(
    ("info", "model", "tokens", "words"),
    [
        (CallInfo("speech", "a/x", 9, characters=1_000), MINI, (1_000, 2_000), "1,000 characters as tokens"),
        (CallInfo("speech", "a/x", characters=1_000), Model("a/x", "X", input_price=15.0), (1_000, 0), ""),
        (
            CallInfo("transcription", "a/x", read_audio_seconds=lambda: 60.0),
            PRICED,
            (600, 240),
            "10 tokens a second",
        ),
        (
            CallInfo("transcription", "a/x", read_audio_seconds=lambda: 60.0),
            Model("a/x", "X", input_price=1),
            (600, 0),
            "",
        ),
        (CallInfo("image", "a/x", 7, count=2, megapixels=1.0), PRICED, (7, 8_320), "8,320 tokens of image"),
        (CallInfo("image", "a/x", 7), Model("a/x", "X", output_price=40.0), (0, 6_240), "6,240 tokens"),
    ],
)
def test_media_are_estimated_by_the_lists_prices_for_their_length(
    info: CallInfo, model: Model, tokens: tuple[int, int], words: str
) -> None:
    estimate = CostTracker().estimate(info, model, UNIT)
    prices = model.input_price or 0.0, model.output_price or 0.0
    assert estimate.cost == pytest.approx(sum(map(mul, tokens, prices)) / UNIT)
    assert "by the list's prices and " in str(estimate)
    assert words in str(estimate)


@pytest.mark.parametrize(
    ("info", "model", "words"),
    [
        (CallInfo("image", "a/x"), None, "the price of a/x is not known"),
        (CallInfo("image", "a/x"), Model("a/x", "X", input_price=1.0), "the price of a/x is not known"),
        (CallInfo("speech", "a/x", characters=5), Model("a/x", "X"), "the price of a/x is not known"),
        (CallInfo("transcription", "a/x"), PRICED, "the length of the recording is not known"),
        (
            CallInfo("transcription", "a/x", read_audio_seconds=lambda: None),
            PRICED,
            "the length of the recording is not known",
        ),
    ],
)
def test_what_cannot_be_estimated_is_refused(info: CallInfo, model: Model | None, words: str) -> None:
    costs = CostTracker()
    estimate = costs.estimate(info, model, UNIT)
    assert estimate.cost is None
    with pytest.raises(BudgetError, match=f"a budget of 0.5 credits is set: {words}") as caught:
        costs.check(0.5, estimate)
    assert "--over-budget allows one call" in str(caught.value.hint)


def test_without_a_price_by_the_dearest_such_call_so_far() -> None:
    costs = CostTracker()
    costs.record(CallInfo("image", "a/image", count=2), 0.08, None)
    costs.record(CallInfo("image", "a/image", count=2), 0.04, None)
    costs.record(CallInfo("image", "b/image", count=2), 5.0, None)
    estimate = costs.estimate(CallInfo("image", "a/image", count=3), None, UNIT)
    assert estimate.cost == pytest.approx(0.12)
    assert "by the dearest such call so far" in str(estimate)
    assert costs.estimate(CallInfo("image", "another/image"), None, UNIT).cost is None


def test_the_budget_counts_estimate_or_balance_whichever_is_larger() -> None:
    costs, info = CostTracker(), CallInfo("chat", MINI.code)
    costs.record(info, 0.2, None)
    costs.check(0.5, Estimate(0.3, "so"))
    with pytest.raises(BudgetError, match=r"0\.2 credits are spent \(by estimate"):
        costs.check(0.5, Estimate(0.31, "so"))
    costs.record(info, 0.1, None, balance_fall=0.2)
    with pytest.raises(BudgetError, match=r"0\.4 credits are spent \(by the balance"):
        costs.check(0.5, Estimate(0.2, "so"))
    costs.reset()
    costs.check(0.5, Estimate(0.5, "so"))


def test_a_fall_of_the_balance_counts_while_calls_run_and_once() -> None:
    costs, free = CostTracker(), Estimate(0.0, "free")
    with costs.reserve(1.0, free, 10.0):
        assert costs.watches_balance
        with costs.reserve(1.0, free, 9.0):
            assert costs.balance_fall(8.0) == 2.0
        assert costs.balance_fall(7.5) == 0.5
        assert costs.balance_fall(9.5) == 0.0  # a top-up
    assert not costs.watches_balance
    with costs.reserve(1.0, free, 5.0):  # others have spent meanwhile
        assert costs.balance_fall(5.0) == 0.0
        assert costs.balance_fall(None) is None
        assert not costs.watches_balance


def test_a_refusal_says_how_to_go_on() -> None:
    with pytest.raises(BudgetError) as caught:
        CostTracker().check(0.5, Estimate(0.75, "by the list's prices"))
    assert caught.value.hint is not None
    assert "Nothing was sent. --over-budget allows one call" in caught.value.hint
    assert "%config PuqMagics.budget = 2" in caught.value.hint


def test_a_budget_that_is_used_up_lets_only_free_calls_through() -> None:
    costs = CostTracker()
    costs.record(CallInfo("chat", MINI.code), 0.5, None)
    with pytest.raises(BudgetError):
        costs.check(0.5, Estimate(0.1, "so"))
    costs.check(0.5, Estimate(0.0, "free"))
    with pytest.raises(BudgetError):
        CostTracker().check(0.0, Estimate(0.1, "so"))


def test_an_answer_that_broke_off_is_counted_by_its_characters() -> None:
    assert usage_or_estimate(None, 7, "12345678") == Usage(7, 2, 9)
    assert usage_or_estimate(None, 7, "") is None
    assert usage_or_estimate(Usage(1, 2, 3), 7, "text") == Usage(1, 2, 3)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (Usage(0, 0, 30), Usage(7, 23, 30)),
        (Usage(0, 0, 5), Usage(5, 2, 7)),
        (Usage(10, 0, 30), Usage(10, 20, 30)),
        (Usage(0, 20, 30), Usage(10, 20, 30)),
        (Usage(10, 0, 10), Usage(10, 2, 12)),
        (Usage(0, 20, 20), Usage(7, 20, 27)),
        (Usage(0, 0, 0, 0.5), Usage(7, 2, 9, 0.5)),
        (Usage(10, 20, 99, 0.5), Usage(10, 20, 99, 0.5)),
    ],
)
def test_what_the_router_does_not_count_is_estimated(usage: Usage, counted: Usage) -> None:
    assert usage_or_estimate(usage, 7, "12345678") == counted


def test_a_model_is_found_without_its_provider() -> None:
    models = {MINI.code: MINI}
    assert find_model(models, "openai/mini") is MINI
    assert find_model(models, "mini") is MINI
    assert find_model(models, "other") is None
    assert find_model(models | {"b/mini": Model("b/mini", "x")}, "mini") is None
