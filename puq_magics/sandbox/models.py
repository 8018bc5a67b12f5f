"""The sandbox's models and what they cost: the scripted ones, and the real ones of this machine.

Prices are in credits per 1M tokens; so that these are enough for an estimate, everything is counted in tokens:

* an image costs `IMAGE_TOKENS` tokens of output a megapixel (1,048,576 pixels), and its prompt as in a chat;
* speech costs one token of input a character;
* a transcription costs `AUDIO_TOKENS` tokens of input a second of audio.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, islice
from random import Random
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["chat", "image", "speech", "transcription"]
#: Who makes a model's answers: a script, an engine on this machine, or another server.
BackendKind: TypeAlias = Literal["script", "local", "upstream"]

TOKENS_PER_MEGAPIXEL: Final = 1024
TOKENS_PER_SECOND: Final = 10

#: Credits per 1M tokens of prompt and of completion.
Price: TypeAlias = tuple[float, float]
#: What a real chat model costs when nobody says otherwise.
DEFAULT_PRICE: Final[Price] = (0.15, 0.60)


@dataclass(frozen=True)
class Provider:
    """Who a model is from."""

    number: int
    code: str
    name: str
    description: str

    @property
    def to_json(self) -> dict[str, object]:
        """The provider as each line of the list has it."""
        return {
            "id": self.number,
            "name": self.name,
            "description": self.description,
            "code": self.code,
            "status": 1,
        }


SANDBOX: Final = Provider(
    1, "sandbox", "Sandbox", "A router on this machine. Its answers are scripted: no model writes them."
)
# Numbered apart from those that are invented for a longer list.
LOCAL: Final = Provider(
    101, "local", "Local", "Small models that answer on this machine. Nothing is sent anywhere."
)
UPSTREAM: Final = Provider(102, "upstream", "Upstream", "The server that this router passes chats on to.")


@dataclass(frozen=True)
class ModelEntry:
    """One line of the list; prices in credits per 1M tokens, or None."""

    code: str
    name: str
    description: str
    input_price: float | None
    output_price: float | None
    kind: Kind = "chat"
    #: Listed as enabled (status 1) or disabled (0).
    enabled: bool = True
    #: Whether the sandbox's token may use it.
    granted: bool = True
    provider: Provider = SANDBOX
    #: Who makes its answers.
    backend_kind: BackendKind = "script"

    @property
    def backend_name(self) -> str:
        """What it is called by the one who answers: the code without its provider."""
        return self.code.partition("/")[2]

    def price(self, *, prompt: int = 0, completion: int = 0) -> float:
        """What so many tokens cost, in credits."""
        return (prompt * (self.input_price or 0.0) + completion * (self.output_price or 0.0)) / 1_000_000


_MODELS: Final = (
    ModelEntry(
        "sandbox/chat",
        "Chat",
        "Scripted: made of the question, with a table, code and a formula where it asks for them.",
        0.15,
        0.60,
    ),
    ModelEntry("sandbox/short", "Short", "Scripted: a few sentences on what it was asked.", 0.15, 0.60),
    ModelEntry(
        "sandbox/tour", "Tour", "Scripted: a long Markdown tour, with tables, code and formulas.", 2.50, 10.00
    ),
    ModelEntry(
        "sandbox/echo", "Echo", "Scripted: answers with the request as it arrived, key left out.", 0.10, 0.40
    ),
    ModelEntry("sandbox/think", "Think", "Scripted: shows some reasoning before it answers.", 1.10, 4.40),
    ModelEntry(
        "sandbox/clumsy",
        "Clumsy",
        "Scripted: its JSON does not fit the schema the first time, and does when sent back.",
        0.10,
        0.40,
    ),
    ModelEntry(
        "sandbox/stall", "Stall", "Scripted: a few words, then keep-alives and no more words.", 0.15, 0.60
    ),
    ModelEntry(
        "sandbox/silence", "Silence", "Scripted: a few words, then not a single byte more.", 0.15, 0.60
    ),
    ModelEntry("sandbox/fail", "Fail", "Scripted: some words, then an error in mid-answer.", 0.15, 0.60),
    ModelEntry(
        "sandbox/forbidden",
        "Forbidden",
        "Listed, but not granted to this key: always answers 403.",
        15.00,
        75.00,
        granted=False,
    ),
    ModelEntry("sandbox/retired", "Retired", "Disabled: always answers 403.", 30.00, 60.00, enabled=False),
    ModelEntry(
        "sandbox/tts",
        "Speech",
        "Text to speech by espeak-ng where that is installed, else as tones. A character is a token.",
        15.00,
        None,
        kind="speech",
    ),
    ModelEntry(
        "sandbox/whisper",
        "Transcription",
        f"Knows the sandbox's own speech again, and no other. A second is {TOKENS_PER_SECOND} tokens.",
        10.00,
        None,
        kind="transcription",
    ),
    ModelEntry(
        "sandbox/image",
        "Image",
        f"A landscape drawn from the prompt; no model paints it. A megapixel is {TOKENS_PER_MEGAPIXEL} tokens.",
        5.00,
        40.00,
        kind="image",
    ),
)

#: Every model of the sandbox's own by its code, in the order of the list.
MODELS: Final[Mapping[str, ModelEntry]] = MappingProxyType({model.code: model for model in _MODELS})

#: For each kind, the model to ask when none is named.
DEFAULT_MODELS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "chat": "sandbox/chat",
        "image": "sandbox/image",
        "speech": "sandbox/tts",
        "transcription": "sandbox/whisper",
    }
)


def local_models(gguf: str | None = None, chat_price: Price = DEFAULT_PRICE) -> tuple[ModelEntry, ...]:
    """The models that answer on this machine; ``gguf`` is the name of a chat model to take instead of the usual."""
    chat = (
        ModelEntry(
            "local/smollm2-135m-instruct",
            "SmolLM2 135M Instruct",
            "A very small model; it errs a lot.",
            *chat_price,
        )
        if gguf is None
        else ModelEntry(
            f"local/{'-'.join(gguf.split())}", gguf, "The GGUF file that the sandbox was given.", *chat_price
        )
    )
    speech = ModelEntry(
        "local/hibari",
        "Hibari",
        "Text to speech in English by a small model. A character is a token.",
        15.00,
        None,
        kind="speech",
    )
    transcription = ModelEntry(
        "local/whisper-tiny.en",
        "Whisper tiny.en",
        f"Transcribes English. A second is {TOKENS_PER_SECOND} tokens.",
        10.00,
        None,
        kind="transcription",
    )
    return tuple(
        replace(model, provider=LOCAL, backend_kind="local") for model in (chat, speech, transcription)
    )


def upstream_model(name: str, price: Price) -> ModelEntry:
    """A model of the upstream, by the name that it has there."""
    return ModelEntry(
        f"upstream/{name}",
        name,
        "Answered by the upstream of this router.",
        *price,
        provider=UPSTREAM,
        backend_kind="upstream",
    )


def list_response(models: Iterable[ModelEntry], *, enabled_only: bool = False) -> dict[str, object]:
    """The answer of ``GET /v1/models``."""
    lines = [
        {
            "id": number,
            "name": model.name,
            "description": model.description,
            "code": model.code,
            "status": int(model.enabled),
            "input_price": model.input_price,
            "output_price": model.output_price,
            "provider": model.provider.to_json,
        }
        for number, model in enumerate(models, start=1)
        if model.enabled or not enabled_only
    ]
    return {"models": lines}


#: More than any router has, and still quickly sent.
MAX_MODELS: Final = 20_000

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
def with_invented_models(number: int) -> Mapping[str, ModelEntry]:
    """The sandbox's own models and, up to ``number`` in all, invented ones; the same at every call."""
    missing = max(0, number - len(MODELS))
    return MappingProxyType(dict(MODELS) | {model.code: model for model in islice(_invented(), missing)})


def _invented() -> Iterator[ModelEntry]:
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


def _model(provider: Provider, name: str, kind: Kind, random: Random) -> ModelEntry:
    price = round(0.05 * 2 ** random.uniform(0, 8), 2)
    priced = random.random() >= 0.1
    return ModelEntry(
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
