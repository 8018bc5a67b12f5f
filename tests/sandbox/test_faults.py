import pytest

from puq_magics.sandbox.state import FaultPlan


def taken(text: str | None, times: int) -> list[int | None]:
    plan = FaultPlan.parse(text)
    statuses = []
    for _ in range(times):
        status, plan = plan.take()
        statuses.append(status)
    return statuses


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (None, [None, None, None]),
        ("", [None, None, None]),
        ("429:2", [429, 429, None]),
        ("500", [500, 500, 500]),
        ("429:1, 503:1", [429, 503, None]),
        ("429:0,500:1", [500, None, None]),
        ("500,429:2", [500, 500, 500]),
    ],
)
def test_faults_come_in_order_and_are_counted_down(text: str | None, statuses: list[int | None]) -> None:
    assert taken(text, 3) == statuses


@pytest.mark.parametrize(
    "text", ["teapot", "200", "429:", "429:-1", "429:many", "4290", "429;500", "429:2:3"]
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no fault"):
        FaultPlan.parse(text)


def test_a_plan_tells_what_is_left() -> None:
    _, plan = FaultPlan.parse("429:2,500").take()
    assert str(plan) == "429:1,500"
    _, plan = plan.take()
    assert str(plan) == "500"
