import pytest

from puq_magics.sandbox.backends.meter import UsageMeter
from puq_magics.sandbox.models import ModelEntry
from puq_magics.sandbox.state import TokenAccount

MODEL = ModelEntry("upstream/x", "x", "", 1_000_000.0, 10_000_000.0)  # 1 credit and 10 a token


@pytest.fixture
def account() -> TokenAccount:
    return TokenAccount(1000.0)


@pytest.fixture
def meter(account: TokenAccount) -> UsageMeter:
    return UsageMeter(account, MODEL, prompt_tokens=7)


def test_nothing_is_charged_for_no_answer(account: TokenAccount, meter: UsageMeter) -> None:
    assert meter.usage == {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}
    assert account.balance == 1000


def test_it_counts_as_it_goes(account: TokenAccount, meter: UsageMeter) -> None:
    balances = []
    for _ in range(3):
        meter.add_tokens()
        balances.append(account.balance)
    assert balances == [983, 973, 963]
    assert meter.usage["completion_tokens"] == 3


@pytest.mark.parametrize("counted", [0, 3, 9])
def test_the_true_count_puts_it_right(account: TokenAccount, meter: UsageMeter, counted: int) -> None:
    meter.add_tokens(counted)
    meter.set_usage({"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9})
    assert account.balance == 1000 - 5 - 40
    meter.add_tokens()  # which it knows already
    assert account.balance == 1000 - 5 - 40
    assert (meter.reported, meter.usage["total_tokens"]) == (True, 9)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "much",
        [],
        {},
        {"prompt_tokens": 5},
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": 5, "completion_tokens": -1},
        {"prompt_tokens": "5", "completion_tokens": 1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
    ],
)
def test_what_is_no_count_changes_nothing(account: TokenAccount, meter: UsageMeter, usage: object) -> None:
    meter.set_usage(usage)
    assert (meter.reported, account.balance) == (False, 1000)
