"""Arms of a comparison: models, and values of what varies, a name in the prompt or a setting of the request."""

from __future__ import annotations

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
    """Parse ``NAME=a,b`` into values, read as JSON where they are. Raises InputError."""
    vary: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise InputError(
                f"--vary {text} names no factor.", hint="Write it like --vary style=terse,florid"
            )
        if name in vary or name == MODEL:
            raise InputError(f"--vary {name} is there twice.", hint="Put all values into one --vary.")
        vary[name] = _items(values) or [_value(part.strip()) for part in values.split(",") if part.strip()]
    return vary


def _items(text: str) -> list[Any]:
    """Return the items of a list in JSON, as a variable is filled in; empty for any other text."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return []
    is_plain = isinstance(items, list) and all(isinstance(item, bool | int | float | str) for item in items)
    return items if is_plain else []


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float) else text
