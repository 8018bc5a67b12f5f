"""Models that nobody trained, to make the list as long as a real router's can be.

They answer like ``sandbox/short``, or as the endpoint of their kind does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import count, islice
from random import Random
from types import MappingProxyType
from typing import Final

from puq_magics.sandbox.models import CATALOG, Kind, Model, Provider

#: More than any router has, and still quickly sent.
MOST_MODELS: Final = 20_000

_PROVIDERS: Final = (
    ("alderbrook", "Alderbrook AI"),
    ("brightwater", "Brightwater"),
    ("cobaltine", "Cobaltine Labs"),
    ("driftmark", "Driftmark"),
    ("elmhurst", "Elmhurst Research"),
    ("fernwood", "Fernwood"),
    ("glasshouse", "Glasshouse Systems"),
    ("hollowbyte", "Hollowbyte"),
    ("inkwell-ai", "Inkwell AI"),
    ("juniper-labs", "Juniper Labs"),
    ("kestrelworks", "Kestrelworks"),
    ("lanternfish", "Lanternfish"),
)
_FAMILIES: Final = ("Heron", "Quill", "Tundra", "Marble", "Saffron", "Otter", "Basalt", "Willow", "Comet")
_SIZES: Final = ("Nano", "Mini", "Small", "Medium", "Large", "Max")
_EXTRAS: Final = ("", " Instruct", " Preview", " Turbo", " Long", " Reasoner")
#: What the names of a kind have in them, as names of real models do, and one in how many is of that kind.
_OTHER_KINDS: Final[tuple[tuple[Kind, str, int], ...]] = (
    ("image", "Image", 17),
    ("speech", "TTS", 23),
    ("transcription", "Whisper", 29),
)


@cache
def padded(number: int) -> Mapping[str, Model]:
    """The sandbox's own models and, up to ``number`` in all, invented ones; the same at every call."""
    missing = max(0, number - len(CATALOG))
    return MappingProxyType(dict(CATALOG) | {model.code: model for model in islice(_invented(), missing)})


def _invented() -> Iterator[Model]:
    """Models without end, no two of one code."""
    random = Random(2000)  # noqa: S311 - nothing here is secret; a seed, so that the list is the same each time
    providers = [
        Provider(number, code, name, f"{name}: a provider that the sandbox has made up.")
        for number, (code, name) in enumerate(_PROVIDERS, start=2)
    ]
    # Not in the order of the codes, as in a real list; every version has all combinations before the next.
    for version in count(1):
        names = [
            (provider, family, size, extra)
            for provider in providers
            for family in _FAMILIES
            for size in _SIZES
            for extra in _EXTRAS
        ]
        random.shuffle(names)
        for place, (provider, family, size, extra) in enumerate(names):
            kind, word = _kind(place)
            name = f"{family}{word} {version}.{random.randrange(10)} {size}{extra}"
            yield _model(provider, name, kind, random)


def _kind(place: int) -> tuple[Kind, str]:
    """Of which kind the model at this place is, and the word that its name has for it."""
    for kind, word, every in _OTHER_KINDS:
        if place % every == every - 1:
            return kind, f" {word}"
    return "chat", ""


def _model(provider: Provider, name: str, kind: Kind, random: Random) -> Model:
    price = round(0.05 * 2 ** random.uniform(0, 8), 2)
    priced = random.random() >= 0.1
    return Model(
        code=f"{provider.code}/{name.lower().replace(' ', '-')}",
        name=name,
        description=f"Invented for a longer list: answers as the sandbox's own do ({kind}).",
        input_price=price if priced else None,
        output_price=round(price * random.choice((2, 3, 4, 5)), 2)
        if priced and kind in ("chat", "image")
        else None,
        kind=kind,
        enabled=random.random() >= 0.05,
        provider=provider,
    )
