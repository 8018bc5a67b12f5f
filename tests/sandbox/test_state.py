from threading import Thread

import pytest

from puq_magics.sandbox.state import (
    DEFAULT_PACE,
    FaultPlan,
    ImageStore,
    RequestRecord,
    Settings,
    State,
    TokenAccount,
)


@pytest.fixture
def state() -> State:
    return State(TokenAccount(5.0))


def test_out_of_the_box(state: State) -> None:
    assert state.settings == Settings(pace=DEFAULT_PACE, balance=5.0, fail=None, drop_after=None)
    assert state.chunk_interval == 1 / DEFAULT_PACE


def test_only_what_is_given_changes(state: State) -> None:
    state.configure(pace=0, fail="429:2")
    state.configure(drop_after=3, balance=1.5)
    assert state.settings == Settings(pace=0, balance=1.5, fail="429:2", drop_after=3)
    assert state.chunk_interval == 0


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


def test_a_token_is_made_up_and_is_never_the_same() -> None:
    tokens = {TokenAccount(1).token for _ in range(10)}
    assert len(tokens) == 10
    assert all(token.startswith("sandbox-") and len(token) > 30 for token in tokens)


@pytest.mark.parametrize("header", ["Token secret", "token secret", "Token  secret"])
def test_its_own_key_is_admitted(header: str) -> None:
    assert TokenAccount(1, "secret").accepts(header)


@pytest.mark.parametrize(
    "header",
    ["", "secret", "Token", "Token ", "Token secre", "Token secrets", "Bearer secret", "Token sécret"],
)
def test_anything_else_is_not(header: str) -> None:
    assert not TokenAccount(1, "secret").accepts(header)


def test_charges_from_many_threads_add_up() -> None:
    account = TokenAccount(1000.0)
    threads = [Thread(target=lambda: [account.charge(1.0) for _ in range(100)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert account.balance == 200.0


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


def test_an_image_is_found_by_its_name_alone() -> None:
    gallery = ImageStore()
    one, other = gallery.add(b"one"), gallery.add(b"other")
    assert (gallery.find(one), gallery.find(other)) == (b"one", b"other")
    assert len(one) >= 32
    assert gallery.find("one") is None


def test_the_oldest_go_first() -> None:
    gallery = ImageStore()
    names = [gallery.add(bytes([number])) for number in range(70)]
    assert [gallery.find(name) is not None for name in names] == [False] * 6 + [True] * 64


def test_large_ones_make_room() -> None:
    gallery = ImageStore()
    names = [gallery.add(bytes(30 * 1024 * 1024)) for _ in range(3)]
    assert [gallery.find(name) is not None for name in names] == [False, True, True]


def test_after_an_hour_they_are_gone() -> None:
    time = 1000.0
    gallery = ImageStore(lambda: time)
    name = gallery.add(b"one")
    time += 3600
    assert gallery.find(name) == b"one"
    time += 1
    assert gallery.find(name) is None
