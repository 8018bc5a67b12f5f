import pytest

from puq_magics.sandbox.state import DEFAULT_PACE, RequestRecord, Settings, State, TokenAccount


@pytest.fixture
def state() -> State:
    return State(TokenAccount(5.0))


def test_out_of_the_box(state: State) -> None:
    assert state.settings == Settings(pace=DEFAULT_PACE, balance=5.0, fail=None, drop_after=None)
    assert state.pause == 1 / DEFAULT_PACE


def test_only_what_is_given_changes(state: State) -> None:
    state.configure(pace=0, fail="429:2")
    state.configure(drop_after=3, balance=1.5)
    assert state.settings == Settings(pace=0, balance=1.5, fail="429:2", drop_after=3)
    assert state.pause == 0


def test_none_is_a_value(state: State) -> None:
    state.configure(pace=7, fail="500", drop_after=3)
    state.configure(pace=None, fail=None, drop_after=None)
    assert state.settings == Settings(pace=DEFAULT_PACE, balance=5.0, fail=None, drop_after=None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pace": -1},
        {"pace": float("nan")},
        {"pace": float("inf")},
        {"balance": float("nan")},
        {"fail": "x"},
        {"drop_after": -1},
        {"models": 2},
        {"models": 20_001},
    ],
)
def test_a_wrong_value_changes_nothing(state: State, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each value has words of its own
        state.configure(**{"pace": 3, "balance": 2.0, "fail": "429", "drop_after": 1, "models": 50, **wrong})  # type: ignore[arg-type]
    assert state.settings == Settings(pace=DEFAULT_PACE, balance=5.0, fail=None, drop_after=None)


def test_faults_are_taken_off_the_plan(state: State) -> None:
    state.configure(fail="429:2")
    assert (state.next_fault(), state.settings.fail) == (429, "429:1")
    assert (state.next_fault(), state.settings.fail) == (429, None)
    assert state.next_fault() is None


def test_the_oldest_requests_are_forgotten(state: State) -> None:
    for number in range(1001):
        state.record_request(RequestRecord("GET", f"/{number}", 200))
    assert len(state.requests) == 1000
    assert state.requests[0].path == "/1"
