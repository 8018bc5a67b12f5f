"""Charges for an answer while it streams."""

from __future__ import annotations

from puq_magics.sandbox.completion import token_usage
from puq_magics.sandbox.models import ModelEntry
from puq_magics.sandbox.state import TokenAccount


class UsageMeter:
    """Charge an account for one answer, by a count of our own until the backend reports its count."""

    def __init__(self, account: TokenAccount, model: ModelEntry, prompt_tokens: int) -> None:
        self._account = account
        self._model = model
        self._prompt = prompt_tokens
        self._completion = 0
        self._charged = 0.0
        #: True once the backend has reported its count.
        self.reported = False

    @property
    def usage(self) -> dict[str, int]:
        """Tokens so far, as in the API's ``usage``."""
        return token_usage(self._prompt, self._completion)

    def add_tokens(self, tokens: int = 1) -> None:
        """Charge for more tokens of an answer, and the first time for its prompt, too."""
        if not self.reported:
            self._completion += tokens
            self._charge()

    def set_usage(self, usage: object) -> None:
        """Use the backend's own token counts, if they are valid."""
        match usage:
            case {"prompt_tokens": int(prompt), "completion_tokens": int(completion)} if (
                prompt >= 0 <= completion
            ):
                self._prompt, self._completion, self.reported = prompt, completion, True
                self._charge()

    def _charge(self) -> None:
        price = self._model.price(prompt=self._prompt, completion=self._completion)
        self._account.charge(price - self._charged)
        self._charged = price
