"""Arms of a comparison: models, and values of what varies, a name in the prompt or a setting of the request."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.suggestions import did_you_mean

#: The factor that every arm has.
MODEL = "model"
#: Settings that may vary, and the fields of a request that they are.
PARAMETERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_completion_tokens",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "reasoning_effort": "reasoning_effort",
}


@dataclass(frozen=True)
class Arm:
    """One model and one value of each other factor."""

    #: The level of each factor, the model first.
    levels: Mapping[str, Any]
    #: Fields of the request that vary.
    params: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The model."""
        return str(self.levels[MODEL])

    def name(self, factors: Sequence[str]) -> str:
        """Return the levels of some factors for reading."""
        return " · ".join(level_name(factor, self.levels[factor]) for factor in factors)


def level_name(factor: str, level: Any) -> str:
    """Return a level for reading: a model by its name, others with their factor, as in ``temperature=0``."""
    return str(level) if factor == MODEL else f"{factor}={level}"


def plan_arms(
    models: Sequence[str], vary: Mapping[str, Sequence[Any]], prompt_names: Sequence[str]
) -> list[Arm]:
    """Return all arms; ``prompt_names`` are the names in the prompt's expressions. Raises InputError."""
    if not models:
        raise InputError("no model is named.", hint="Name one or more: -m a -m b")
    for name, values in vary.items():
        if not values:
            raise InputError(f"{name} has no values.", hint=f"Write --vary {name}=a,b")
        if name not in prompt_names and name not in PARAMETERS:
            near = did_you_mean(name, [*prompt_names, *PARAMETERS])
            raise InputError(
                f"{name!r} is neither in the prompt nor a setting.",
                hint=f"{near} Write {{{{{name}}}}} in the prompt.".strip(),
            )
    fields = {name: PARAMETERS[name] for name in vary if name in PARAMETERS and name not in prompt_names}
    combinations = (
        dict(zip((MODEL, *vary), levels, strict=True)) for levels in product(models, *vary.values())
    )
    return [Arm(levels, {field: levels[name] for name, field in fields.items()}) for levels in combinations]


def parse_vary(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Parse ``NAME=a,b`` into values: numbers and truth values as in JSON, else texts. Raises InputError.

    A value with a comma stands in double quotes, ``NAME="a, b",c``, or in a JSON list, ``NAME=["a, b", "c"]``.
    """
    vary: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise InputError(
                f"--vary {text} names no factor.", hint="Write it like --vary style=terse,florid"
            )
        if name in vary or name == MODEL:
            raise InputError(f"--vary {name} is given twice.", hint="Put all values into one --vary.")
        try:
            vary[name] = _values(values.strip())
        except (ValueError, RecursionError, csv.Error) as error:
            raise InputError(
                f"--vary {name}: the values cannot be read ({error}).",
                hint=f'Quote those with commas or quotes: \'{name}="a, b",c\', or \'{name}=["a, b", "c"]\'',
            ) from None
    return vary


def _values(text: str) -> list[Any]:
    """Return the values in a text: a list in JSON, as a variable is filled in, or parts between commas.

    Raises ValueError and csv.Error.
    """
    if not text.startswith("["):
        parts = next(csv.reader([text], skipinitialspace=True, strict=True), [])
        return [_value(part.strip()) for part in parts if part.strip()]
    values = json.loads(text)
    if not all(isinstance(value, str | bool | int | float) for value in values):
        raise ValueError("a list holds texts and numbers alone")
    return list(values)


def _value(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=str)  # NaN is no number that a request can hold
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float) else text
