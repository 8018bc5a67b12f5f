from threading import Thread

import pytest

from puq_magics.sandbox.state import TokenAccount


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
