"""Estimates and the budget, as sums."""

from __future__ import annotations

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


def test_speech_costs_by_its_characters() -> None:
    costs = CostTracker()
    costs.record(CallInfo("speech", "a/tts", characters=1_000), 0.5, None)
    assert costs.estimate(CallInfo("speech", "a/tts", characters=100), None, UNIT).cost == pytest.approx(0.05)


def test_what_is_held_counts_until_it_is_released() -> None:
    costs, estimate = CostTracker(), Estimate(0.3, "so")
    reserved = costs.reserve(0.5, estimate, None)
    with pytest.raises(BudgetError):
        costs.reserve(0.5, estimate, None)
    costs.release(reserved)
    assert costs.reserve(0.5, estimate, None) == 0.3


def test_without_prices_and_balance_no_budget_can_be_kept() -> None:
    with pytest.raises(BudgetError, match="cannot be kept here"):
        CostTracker().check(0.5, Estimate(None, "the price is not known"), None)


def test_images_are_estimated_by_what_images_cost_so_far() -> None:
    costs = CostTracker()
    assert costs.estimate(CallInfo("image", "a/image"), None, UNIT).cost is None
    costs.record(CallInfo("image", "a/image", count=2), 0.08, None)
    costs.record(CallInfo("speech", "a/tts"), 5.0, None)
    estimate = costs.estimate(CallInfo("image", "another/image", count=3), None, UNIT)
    assert estimate.cost == pytest.approx(0.12)
    assert "mean of 1 such calls of other models" in str(estimate)


def test_the_budget_counts_estimate_or_balance_whichever_is_larger() -> None:
    costs = CostTracker()
    costs.record(CallInfo("chat", MINI.code), 0.2, None)
    costs.check(0.5, Estimate(0.3, "so"), None)
    with pytest.raises(BudgetError, match=r"0\.2 credits are spent \(by estimate"):
        costs.check(0.5, Estimate(0.31, "so"), 0.1)
    with pytest.raises(BudgetError, match=r"0\.4 credits are spent \(by the balance"):
        costs.check(0.5, Estimate(0.2, "so"), 0.4)


def test_a_refusal_says_how_to_go_on() -> None:
    with pytest.raises(BudgetError) as caught:
        CostTracker().check(0.5, Estimate(0.75, "by the list's prices"), None)
    assert caught.value.hint is not None
    assert "Nothing was sent" in caught.value.hint
    assert "%config PuqMagics.budget = 2" in caught.value.hint


def test_a_budget_that_is_used_up_lets_only_free_calls_through() -> None:
    costs = CostTracker()
    unknown = Estimate(None, "not known")
    costs.check(0.5, unknown, 0.4)
    with pytest.raises(BudgetError):
        costs.check(0.5, unknown, 0.5)
    costs.check(0.5, Estimate(0.0, "free"), 0.5)
    with pytest.raises(BudgetError):
        CostTracker().check(0.0, unknown, 0.0)


def test_an_answer_that_broke_off_is_counted_by_its_characters() -> None:
    assert usage_or_estimate(None, 7, "12345678") == Usage(7, 2, 9)
    assert usage_or_estimate(None, 7, "") is None
    assert usage_or_estimate(Usage(1, 2, 3), 7, "text") == Usage(1, 2, 3)


def test_a_model_is_found_without_its_provider() -> None:
    models = {MINI.code: MINI}
    assert find_model(models, "openai/mini") is MINI
    assert find_model(models, "mini") is MINI
    assert find_model(models, "other") is None
    assert find_model(models | {"b/mini": Model("b/mini", "x")}, "mini") is None
