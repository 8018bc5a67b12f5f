from collections.abc import Callable
from functools import partial

import pytest

from puq_magics.sandbox import validation as fields
from puq_magics.sandbox.validation import ErrorResponse

number = partial(fields.number, default=1.0, least=0.25, most=4)
whole = partial(fields.whole_number, default=1, least=1, most=4)
choice = partial(fields.choice, options=("wav", "mp3"), default="wav")
text = partial(fields.text, most=5)


@pytest.mark.parametrize(
    ("read", "value", "result"),
    [
        (number, None, 1.0),
        (number, 0.25, 0.25),
        (number, 4, 4),
        (whole, None, 1),
        (whole, 3, 3),
        (choice, None, "wav"),
        (choice, "mp3", "mp3"),
        (text, "Hello", "Hello"),
        (fields.boolean, None, False),
        (fields.boolean, True, True),
    ],
)
def test_what_fits(read: Callable[..., object], value: object, result: object) -> None:
    assert read({"it": value}, "it") == result


@pytest.mark.parametrize(
    ("read", "value", "status"),
    [
        (number, 0.2, 400),
        (number, 4.01, 400),
        (number, "1", 400),
        (number, True, 400),
        (whole, 0, 400),
        (whole, 1.0, 400),
        (whole, True, 400),
        (choice, "ogg", 400),
        (choice, ["wav"], 400),
        (text, None, 422),
        (text, "", 400),
        (text, " \n", 400),
        (text, "Hello!", 400),
        (text, 5, 400),
        (fields.boolean, "yes", 400),
    ],
)
def test_what_does_not(read: Callable[..., object], value: object, status: int) -> None:
    with pytest.raises(ErrorResponse, match="'it'") as caught:
        read({"it": value}, "it")
    assert caught.value.status == status
