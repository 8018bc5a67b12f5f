"""Answers of the router as frozen values, read tolerantly in both shapes.

The API is documented thinly: where a field is missing or of another type than promised it is taken as absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from puq_magics.api.error_body import append_detail, describe_error, raise_for_error_object
from puq_magics.core.errors import InvalidResponseError

_KINDS = (
    ("speech", r"(?<![a-z])(?:tts|speech|voice|hibari|kokoro|piper)"),
    ("transcription", r"whisper|transcri|(?<![a-z])(?:stt|asr)(?![a-z])"),
    ("image", r"image|dall-?e|flux|diffusion|imagen|midjourney|recraft|ideogram"),
    ("embedding", r"embed|rerank|moderation"),
)


def model_kind(code: str) -> str:
    """Return ``chat``, ``speech``, ``transcription``, ``image`` or ``embedding``, guessed from the model's name."""
    name = code.rsplit("/", 1)[-1]
    return next((kind for kind, pattern in _KINDS if re.search(pattern, name, re.IGNORECASE)), "chat")


Message = Mapping[str, Any]
_MAX_TOKENS = 2**53


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts reported by the router."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    #: Credits, where the router reports the cost of the call.
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """An entry of the model list."""

    #: What to send as ``model``: ``provider/model_name``.
    code: str
    name: str
    provider: str = ""
    description: str = ""
    enabled: bool = True
    #: Credits per million tokens, as documented; None when the list does not say.
    input_price: float | None = None
    output_price: float | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """The part of an answer received since the last call; false if empty."""

    text: str = ""
    reasoning: str = ""

    def __bool__(self) -> bool:
        return bool(self.text or self.reasoning)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model asks to be run."""

    #: Names the call in the message that answers it; of a router that sends none, it counts the calls.
    id: str
    name: str
    #: The arguments as the model wrote them: a JSON object, unless the model made a mistake.
    arguments: str
    #: Further fields of the call, which some models require to be sent back.
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    def parse_arguments(self) -> dict[str, Any] | None:
        """Return the arguments; None if they are no JSON object. No text at all stands for no arguments.

        >>> ToolCall("call_1", "weather", '{"city": "Oslo"}').parse_arguments()
        {'city': 'Oslo'}
        """
        try:
            arguments = json.loads(self.arguments) if self.arguments.strip() else {}
        except (ValueError, RecursionError):
            return None
        return arguments if isinstance(arguments, dict) else None


@dataclass(frozen=True, slots=True)
class ChatCompletion:
    """A complete chat answer."""

    text: str
    model: str
    reasoning: str = ""
    #: The model's words if it refused to answer; they are its ``text``, too.
    refusal: str = ""
    #: The functions that the model asks to be run.
    calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    #: The router's id for the request, to quote when asking its people.
    request_id: str | None = None
    #: The texts of further choices, by index, when several were asked for.
    alternatives: Mapping[int, str] = field(default_factory=dict)
    #: The answer as the router's JSON had it (put together from the events of a stream).
    raw: Mapping[str, Any] = field(default_factory=dict)
    #: What a reader should know of how the answer came; may be empty.
    note: str = ""


def add_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    """Return the tokens of two calls together; None if both are unknown."""
    if one is None or other is None:
        return one or other
    cost = (one.cost or 0.0) + (other.cost or 0.0)
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        one.total_tokens + other.total_tokens,
        None if one.cost is None and other.cost is None else cost,
    )


# The names of a count, in lower case and letters alone: of chats, of images and sound, and of Gemini.
_USAGE_KEYS = (
    ("prompttokens", "inputtokens", "prompttokencount"),
    ("completiontokens", "outputtokens", "candidatestokencount"),
    ("totaltokens", "totaltokencount"),
)
_REASONING_KEYS = ("reasoningtokens", "thoughtstokencount")
_COST_KEYS = ("cost", "totalcost", "estimatedcost")


def merge_usage(old: object, new: object) -> object:
    """Return the ``usage`` of an answer so far with that of a later event: the later count of each counts."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new or old
    return old | {key: value for key, value in new.items() if value not in (None, 0, "", {})}


def read_usage(value: object) -> Usage | None:
    """Return the ``usage`` of an answer, in any spelling; None without one, or where all counts are zero."""
    if not isinstance(value, dict):
        return None
    named = _normalize_keys(value)
    prompt, completion, total = (
        next((count for key in keys if (count := _read_token_count(named.get(key))) is not None), None)
        for keys in _USAGE_KEYS
    )
    prompt, completion = prompt or 0, completion or 0
    if total is not None and completion:  # some count the reasoning in the total alone
        completion += min(_reasoning_tokens(named), max(0, total - prompt - completion))
    total = max(total or 0, prompt + completion)
    cost = _read_cost(named)
    return Usage(prompt, completion, total, cost) if total or prompt or completion or cost else None


def _normalize_keys(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key).lower().replace("_", ""): count for key, count in usage.items()}


def _reasoning_tokens(usage: Mapping[str, Any]) -> int:
    """Return the tokens of reasoning that a usage reports."""
    details = (usage.get(key) for key in ("completiontokensdetails", "outputtokensdetails"))
    places = [usage, *(_normalize_keys(each) for each in details if isinstance(each, dict))]
    counts = (_read_token_count(place.get(key)) for place in places for key in _REASONING_KEYS)
    return next(filter(None, counts), 0)


def _read_cost(usage: Mapping[str, Any]) -> float | None:
    """Return the cost that a usage reports; None without one, or for one that cannot be true."""
    value = next((usage[key] for key in _COST_KEYS if usage.get(key) is not None), None)
    if isinstance(value, dict):
        value = value.get("total_cost")
    cost = read_number(value)
    return cost if cost is not None and cost >= 0 else None


def read_models(answer: object) -> tuple[Model, ...]:
    """Return the model list, of the router's shape (``models``) or OpenAI's (``data``), without duplicates."""
    listed = answer
    if isinstance(answer, dict):
        # llama.cpp answers both, and in `models` means something else.
        listed = answer.get("data") if isinstance(answer.get("data"), list) else answer.get("models")
        if listed is None and answer.get("object") == "list":
            listed = []  # Ollama, when it has none
    if not isinstance(listed, list):
        raise _no_models_error(answer)
    models: dict[str, Model] = {}
    for entry in listed:
        if isinstance(entry, dict) and (model := _read_model(entry)) is not None:
            models.setdefault(model.code, model)
    if listed and not models:
        raise_for_error_object(listed)
        if not any(isinstance(entry, dict) for entry in listed):
            raise _no_models_error(listed)
    return tuple(models.values())


def _no_models_error(answer: object) -> InvalidResponseError:
    """Return the error for what is no model list; raise it if it reports one."""
    raise_for_error_object(answer)
    detail, _ = describe_error(answer) if isinstance(answer, list) else ("", None)
    return InvalidResponseError(
        append_detail("the model list is not a list of models", detail), hint="Check the base URL."
    )


def _read_model(entry: Mapping[str, Any]) -> Model | None:
    code = _clean_text(entry.get("code")) or _clean_text(entry.get("id")) or _clean_text(entry.get("name"))
    if not code or " " in code or len(code) > 200:
        return None  # not a name that can be sent
    provider = entry.get("provider")
    if isinstance(provider, dict):
        provider = provider.get("name") or provider.get("code")
    return Model(
        code=code,
        name=_clean_text(entry.get("name")) or code,
        provider=_clean_text(provider) or _clean_text(entry.get("owned_by")),
        description=_clean_text(entry.get("description")),
        enabled=entry.get("status", 1) not in (0, "0", False),
        input_price=_read_price(entry.get("input_price")),
        output_price=_read_price(entry.get("output_price")),
    )


def read_balance(answer: object) -> float:
    """Return the balance, in credits. Raises InvalidResponseError without one."""
    balance = read_number(answer.get("balance")) if isinstance(answer, dict) else None
    if balance is None:
        raise InvalidResponseError(
            "the answer holds no balance.", hint="Check the base URL: other servers have none."
        )
    return balance


def join_surrogates(texts: Iterable[str]) -> str:
    """Join texts, and surrogate pairs that JSON escapes split over two of them.

    Half of a pair becomes U+FFFD: it cannot be sent, saved or shown.
    """
    text = "".join(texts)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _clean_text(value: object, limit: int = 2_000) -> str:
    """Return a name or a description as one line of printable text."""
    if not isinstance(value, str):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in value[:limit]).split())


def _read_token_count(value: object) -> int | None:
    """Return a token count, also one in quotes or a float; None for any value that cannot be one."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,3}(?:,\d{3})+", value.strip()):
        value = value.replace(",", "")
    number = read_number(value)
    return int(number) if number is not None and 0 <= number <= _MAX_TOKENS else None


def _read_price(value: object) -> float | None:
    price = read_number(value)
    return None if price is None or price < 0 else price  # some lists say -1 for "it depends"


def read_number(value: object) -> float | None:
    """Return a finite number, also one in quotes; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) != float("inf") and number == number else None
