"""The account's balance, as a number that displays with its unit."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from puq_magics.core.errors import InvalidResponseError, NotFoundError, PaymentRequiredError, PuqError
from puq_magics.core.threads import start_daemon
from puq_magics.outputs.results.base import DisplayOnce
from puq_magics.outputs.results.footer import format_credits

if TYPE_CHECKING:
    from puq_magics.session.session import Session

_FIRST_FETCH_TIMEOUT = 1.0  # seconds


class Balance(DisplayOnce, float):
    """Credits; ``change`` is the difference from the first balance of this session."""

    #: Credits more (below 0: less) than at first.
    change: float = 0.0

    def __repr__(self) -> str:
        words = f"{float(self):,.2f} credits" if 0.1 <= abs(self) < 1e15 else format_credits(self)
        if self.change:
            how = "added" if self.change > 0 else "spent"
            change = format_credits(abs(self.change)).removesuffix(" credits")
            words += f" ({change} {how} in this session)"
        return words

    __str__ = __repr__

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": repr(self)}


def fetch_balance(session: Session, *, quick: bool = False) -> Balance:
    """Fetch the balance; ``quick`` shortens the timeout. Raises APIError."""
    account = session.account()
    account.model_list.wait(_FIRST_FETCH_TIMEOUT)  # the first look of this session may be on its way
    try:
        balance = Balance(account.balance(quick=quick))
    except PaymentRequiredError as error:
        if error.reason:  # a limit of the plan
            raise
        account.record_balance(0.0)  # at 0 or below a router answers this question so, too
        balance = Balance(0.0)
    except (NotFoundError, InvalidResponseError) as error:
        error.hint = f"{session.address().host} may be a server that keeps no balance."
        raise
    balance.change = -(account.balance_drop or 0.0)
    return balance


def balance_text(session: Session, seconds: float) -> str:
    """Return the balance as text, quickly: without an answer in time, the text says so."""
    words: list[str] = []
    done = threading.Event()

    def _fetch() -> None:
        try:
            words.append(str(fetch_balance(session, quick=True)))
        except PuqError as error:
            words.append(f"not known: {error.message}")
        finally:
            done.set()

    start_daemon(_fetch, name="puq-balance")
    done.wait(seconds)
    return words[0] if words else f"not known: no answer within {seconds:.0f} s"
