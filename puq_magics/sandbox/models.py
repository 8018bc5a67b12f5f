"""The sandbox's models and their prices: scripted, local, upstream and invented ones.

Prices are in credits per 1M tokens. Everything is counted in tokens, so that prices suffice for an estimate:

* an image costs `TOKENS_PER_MEGAPIXEL` tokens of output a megapixel (1,048,576 pixels), and its prompt as in a chat;
* speech costs one token of input a character;
* a transcription costs `TOKENS_PER_SECOND` tokens of input a second of audio.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, islice, product
from random import Random
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["chat", "image", "speech", "transcription"]
#: What answers for a model: a script, an engine on this machine, or another server.
BackendKind: TypeAlias = Literal["script", "local", "upstream"]

TOKENS_PER_MEGAPIXEL: Final = 1024
TOKENS_PER_SECOND: Final = 10

#: Credits per 1M tokens of prompt and of completion.
Price: TypeAlias = tuple[float, float]
#: Default price of a real chat model.
DEFAULT_PRICE: Final[Price] = (0.15, 0.60)


@dataclass(frozen=True)
class Provider:
    """Provider of models."""

    number: int
    code: str
    name: str
    description: str

    @property
    def json_fields(self) -> dict[str, object]:
        """The provider, as each line of the model list shows it."""
        return {
            "id": self.number,
            "name": self.name,
            "description": self.description,
            "code": self.code,
            "status": 1,
        }


SANDBOX: Final = Provider(
    1, "sandbox", "Sandbox", "A router on this machine. Its answers are scripted, not written by a model."
)
# Numbered apart from those that are invented for a longer list.
LOCAL: Final = Provider(
    101, "local", "Local", "Small models that answer on this machine. Nothing is sent anywhere."
)
UPSTREAM: Final = Provider(102, "upstream", "Upstream", "The server that this router passes chats on to.")


@dataclass(frozen=True)
class ModelEntry:
    """One model of the list; prices in credits per 1M tokens, or None."""

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
    backend_kind: BackendKind = "script"

    @property
    def backend_name(self) -> str:
        """The code without its provider, as the backend knows it."""
        return self.code.partition("/")[2]

    def price(self, *, prompt: int = 0, completion: int = 0) -> float:
        """Return the cost of so many tokens, in credits."""
        return (prompt * (self.input_price or 0.0) + completion * (self.output_price or 0.0)) / 1_000_000


def _chat(name: str, input_price: float, output_price: float, description: str) -> ModelEntry:
    return ModelEntry(
        f"sandbox/{name}", name.capitalize(), f"Scripted: {description}.", input_price, output_price
    )


_MODELS: Final = (
    _chat(
        "chat", 0.15, 0.60, "made from the question, with a table, code and a formula where it asks for them"
    ),
    _chat("short", 0.15, 0.60, "a few sentences about the question"),
    _chat("tour", 2.50, 10.00, "a long Markdown tour, with tables, code and formulas"),
    _chat("echo", 0.10, 0.40, "answers with the request as it arrived, without the key"),
    _chat("think", 1.10, 4.40, "shows some reasoning before it answers"),
    _chat("clumsy", 0.10, 0.40, "its JSON does not match the schema at first, and does when sent back"),
    _chat("stall", 0.15, 0.60, "a few words, then keep-alives and no more text"),
    _chat("silence", 0.15, 0.60, "a few words, then not a single byte more"),
    _chat("fail", 0.15, 0.60, "a few words, then an error in mid-answer"),
    _chat("clever", 2.50, 10.00, "does sums, and is right nine times in ten"),
    _chat("guesser", 0.10, 0.40, "does sums, and is right one time in two"),
    _chat("slow", 0.50, 2.00, "does sums, always right, after many words"),
    _chat("moody", 0.10, 0.40, "does sums, and fails one time in four"),
    replace(
        _chat("forbidden", 15.00, 75.00, ""),
        description="Listed, but not granted to this key: always answers 403.",
        granted=False,
    ),
    replace(_chat("retired", 30.00, 60.00, ""), description="Disabled: always answers 403.", enabled=False),
    ModelEntry(
        "sandbox/tts",
        "Speech",
        "Text to speech by espeak-ng where that is installed, else as tones. A character is a token.",
        15.00,
        None,
        "speech",
    ),
    ModelEntry(
        "sandbox/whisper",
        "Transcription",
        f"Recognises the sandbox's own speech, and no other. A second is {TOKENS_PER_SECOND} tokens.",
        10.00,
        None,
        "transcription",
    ),
    ModelEntry(
        "sandbox/image",
        "Image",
        f"A landscape drawn from the prompt, not by a model. A megapixel is {TOKENS_PER_MEGAPIXEL} tokens.",
        5.00,
        40.00,
        "image",
    ),
)

#: The scripted models by code, in the order of the list.
MODELS: Final[Mapping[str, ModelEntry]] = MappingProxyType({model.code: model for model in _MODELS})

#: The default model of each kind.
DEFAULT_MODELS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "chat": "sandbox/chat",
        "image": "sandbox/image",
        "speech": "sandbox/tts",
        "transcription": "sandbox/whisper",
    }
)


def local_models(gguf: str | None = None, chat_price: Price = DEFAULT_PRICE) -> tuple[ModelEntry, ...]:
    """Return the models that answer on this machine; ``gguf`` names a chat model that replaces the usual one."""
    code, name, description = (
        ("smollm2-135m-instruct", "SmolLM2 135M Instruct", "A very small model, often wrong.")
        if gguf is None
        else ("-".join(gguf.split()), gguf, "The GGUF file that the sandbox was given.")
    )
    speech = "Text to speech in English by a small model. A character is a token."
    transcription = f"Transcribes English. A second is {TOKENS_PER_SECOND} tokens."
    models = (
        ModelEntry(f"local/{code}", name, description, *chat_price),
        ModelEntry("local/hibari", "Hibari", speech, 15.00, None, "speech"),
        ModelEntry("local/whisper-tiny.en", "Whisper tiny.en", transcription, 10.00, None, "transcription"),
    )
    return tuple(replace(model, provider=LOCAL, backend_kind="local") for model in models)


def upstream_model(name: str, price: Price) -> ModelEntry:
    """Return the entry for a model of the upstream, by its name there."""
    return ModelEntry(
        f"upstream/{name}",
        name,
        "Answered by the upstream of this router.",
        *price,
        provider=UPSTREAM,
        backend_kind="upstream",
    )


def list_response(models: Iterable[ModelEntry], *, enabled_only: bool = False) -> dict[str, object]:
    """Return the body of ``GET /v1/models``."""
    lines = [
        {
            "id": number,
            "name": model.name,
            "description": model.description,
            "code": model.code,
            "status": int(model.enabled),
            "input_price": model.input_price,
            "output_price": model.output_price,
            "provider": model.provider.json_fields,
        }
        for number, model in enumerate(models, start=1)
        if model.enabled or not enabled_only
    ]
    return {"models": lines}


#: More than any router has, and still quickly sent.
MAX_MODELS: Final = 20_000

_PROVIDERS: Final = (
    "Alderbrook AI",
    "Brightwater",
    "Cobaltine Labs",
    "Driftmark",
    "Elmhurst Research",
    "Fernwood",
    "Glasshouse Systems",
    "Hollowbyte",
    "Inkwell AI",
    "Juniper Labs",
    "Kestrelworks",
    "Lanternfish",
)
_FAMILIES: Final = ("Heron", "Quill", "Tundra", "Marble", "Saffron", "Otter", "Basalt", "Willow", "Comet")
_SIZES: Final = ("Nano", "Mini", "Small", "Medium", "Large", "Max")
_SUFFIXES: Final = ("", " Instruct", " Preview", " Turbo", " Long", " Reasoner")
#: Kinds, the word for each in a name, and one in how many models is of that kind; the rest are chats.
_OTHER_KINDS: Final[tuple[tuple[Kind, str, int], ...]] = (
    ("image", " Image", 17),
    ("speech", " TTS", 23),
    ("transcription", " Whisper", 29),
)


@cache
def with_invented_models(number: int) -> Mapping[str, ModelEntry]:
    """Return the sandbox's models and invented ones up to ``number`` in all, the same at every call."""
    missing = max(0, number - len(MODELS))
    invented = {model.code: model for model in islice(_invent_models(), missing)}
    return MappingProxyType(dict(MODELS) | invented)


def _invent_models() -> Iterator[ModelEntry]:
    """Yield models without end, with no code twice, in a shuffled order as in a real list."""
    random = Random(2000)  # noqa: S311 - nothing secret; a fixed seed makes a fixed list
    providers = [
        Provider(number, name.lower().replace(" ", "-"), name, f"{name}: an invented provider.")
        for number, name in enumerate(_PROVIDERS, start=2)
    ]
    for version in count(1):
        names = list(product(providers, _FAMILIES, _SIZES, _SUFFIXES))
        random.shuffle(names)
        for place, (provider, family, size, suffix) in enumerate(names, start=1):
            kind, word = next(((k, w) for k, w, every in _OTHER_KINDS if place % every == 0), ("chat", ""))
            name = f"{family}{word} {version}.{random.randrange(10)} {size}{suffix}"
            price = round(0.05 * 2 ** random.uniform(0, 8), 2) if random.random() >= 0.1 else None
            output = price and kind in ("chat", "image") and round(price * random.randint(2, 5), 2)
            yield ModelEntry(
                code=f"{provider.code}/{name.lower().replace(' ', '-')}",
                name=name,
                description=f"Invented for a longer list; answers as the sandbox's own models do ({kind}).",
                input_price=price,
                output_price=output or None,
                kind=kind,
                enabled=random.random() >= 0.05,
                provider=provider,
            )
