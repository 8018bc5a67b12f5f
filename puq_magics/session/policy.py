"""A teacher's policy: limits on the calls of a session, read from a TOML or YAML file.

It is a guard rail: who owns the kernel can step over it. The router's keys and balances are the fence.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from puq_magics.core.errors import BudgetError, ConfigurationError, InputError, PolicyError
from puq_magics.core.files import check_is_file, expand_path
from puq_magics.core.secret import redact_json
from puq_magics.core.suggestions import did_you_mean
from puq_magics.core.text import format_size, pluralize
from puq_magics.outputs.results.footer import format_spent

if TYPE_CHECKING:
    from puq_magics.outputs.results.base import Result
    from puq_magics.session.budget import CallInfo

#: Text that stands in an answer in place of a solution.
REMOVED = "[removed: it would give a solution away]"
_MAX_FILE_BYTES, _MAX_SOLUTION_CHARS = 200_000, 50_000
_SPACE = r"(?:\s|\\[nrt])"  # also as JSON has it
_MARKS = "*`"  # of Markdown
#: Fields of a request that go round a limit: ``--param`` can send them.
_FIELDS_OF_LIMITS = {
    "models": ("models",),
    "tools": ("tools", "functions", "plugins", "web_search_options"),
    "media": ("modalities", "audio"),
    "system": ("system", "instructions"),
    "max_tokens": ("max_output_tokens",),
}


@dataclass
class Policy:
    """Limits on the calls of a session, and what to say where one applies.

    ``messages`` holds the teacher's words by the name of a limit, ``message`` those for all others.
    """

    #: The file, and its name.
    path: Path | None = None
    name: str = ""
    #: Patterns of the allowed models, such as ``sandbox/*``; empty allows all.
    models: tuple[str, ...] = ()
    #: The most tokens of one answer.
    max_tokens: int | None = None
    #: The most images, and the most chat calls, of the session.
    max_images: int | None = None
    questions: int | None = None
    #: Credits that the session may spend.
    budget: float | None = None
    #: System prompt of every chat; empty leaves it to the user.
    system: str = ""
    #: Whether images, speech and transcription, and whether tools, are allowed.
    media: bool = True
    tools: bool = True
    #: Texts that no answer may contain; whitespace and case do not matter.
    solutions: tuple[str, ...] = field(default=(), repr=False)
    message: str = ""
    messages: Mapping[str, str] = field(default_factory=dict)
    #: Chat calls and images so far.
    counts: dict[str, int] = field(default_factory=lambda: {"chat": 0, "image": 0}, init=False)

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._solutions = [_compile_solution(text) for text in self.solutions if text.split()]

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a policy from a ``.toml``, ``.yaml`` or ``.yml`` file. Raises ConfigurationError."""
        file = expand_path(str(path))
        try:
            if check_is_file(file, "Check its path.").st_size > _MAX_FILE_BYTES:
                raise InputError(f"it is larger than {format_size(_MAX_FILE_BYTES)}.", hint="Shorten it.")
            text = file.read_text(encoding="utf-8-sig")
        except InputError as error:
            raise ConfigurationError(
                f"the policy {path} cannot be read: {error.message}", hint=error.hint
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigurationError(
                f"the policy {path} cannot be read: {reason}.", hint="Check its path."
            ) from None
        return cls(path=file.resolve(), name=file.name, **_check_fields(_parse(file, text), file.name))

    def check(self, info: CallInfo) -> None:
        """Check a call against the limits. Raises PolicyError."""
        if not self.media and info.kind in ("image", "speech", "transcription"):
            raise self._refusal("media", "images, speech and transcription are off.")
        if self.models and not any(fnmatchcase(info.model, pattern) for pattern in self.models):
            raise self._refusal(
                "models", f"the model {info.model} is not allowed; use {_any_of(self.models)}."
            )
        self._check_fields_of_limits(info)
        if info.kind == "chat":
            self._check_count("questions", "chat", info.count, self.questions, "question")
            limit = self.max_tokens
            if limit is not None and (info.max_tokens is None or info.max_tokens > limit):
                raise self._refusal("max_tokens", f"an answer may have at most {limit:,} tokens.")
        if info.kind == "image":
            self._check_count("max_images", "image", info.count, self.max_images, "image")

    def admit(self, info: CallInfo) -> None:
        """Check a call, and count it. Raises PolicyError."""
        with self._lock:
            self.check(info)
            if info.kind in self.counts:
                self.counts[info.kind] += info.count

    def refuse_cost(self, error: BudgetError) -> PolicyError:
        """Return the error for a call that would exceed the policy's budget."""
        return self._refusal("budget", error.message)

    def check_tools(self) -> None:
        """Raise PolicyError if tools are off."""
        if not self.tools:
            raise self._refusal("tools", "tools are off.")

    def resolve_system(self, requested: str | None) -> str:
        """Return the system prompt of every chat. Raises PolicyError if the user requests another."""
        if requested is not None and requested != self.system:
            raise self._refusal("system", "the system prompt is fixed.")
        return self.system

    def redact(self, text: str) -> str:
        """Return a text without the solutions."""
        for solution in self._solutions:
            text = solution.sub(REMOVED, text)
        return text

    def redact_result(self, result: Result) -> None:
        """Take the solutions out of an answer, and say so in its footer."""
        texts = {name: getattr(result, name, "") for name in ("text", "reasoning", "refusal")}
        redacted = {name: self.redact(text) for name, text in texts.items() if text}
        calls = getattr(result, "own_calls", ())
        if not self._solutions or not (redacted or calls):
            return
        result.raw = redact_json(result.raw, self.redact)
        if alternatives := getattr(result, "alternatives", None):
            result.alternatives = redact_json(dict(alternatives), self.redact)  # type: ignore[attr-defined]
        for name, text in redacted.items():
            setattr(result, name, text)
        if calls:
            calls = tuple(each.with_arguments(self.redact(each.call.arguments)) for each in calls)
            result.own_calls = calls  # type: ignore[attr-defined]
        if any(REMOVED in text for text in (*redacted.values(), *(each.call.arguments for each in calls))):
            result.add_note(
                f"a solution was removed from the answer. {self._words('solutions')}".rstrip(". ")
            )

    def rows(self, spent: float) -> list[tuple[str, str]]:
        """Return the limits by name, and how much of them is used; the solutions themselves are not told.

        ``spent`` is in credits.
        """
        asked, images = self.counts["chat"], self.counts["image"]
        values = {
            "policy": self.name,
            "models": ", ".join(self.models),
            "answers": f"at most {self.max_tokens:,} tokens each" if self.max_tokens else "",
            "questions": "" if self.questions is None else f"{asked:,} of {self.questions:,}",
            "images": "" if self.max_images is None else f"{images:,} of {self.max_images:,}",
            "budget": "" if self.budget is None else format_spent(spent, self.budget),
            "system": self.system,
            "media": "" if self.media else "images, speech and transcription are off",
            "tools": "" if self.tools else "off",
            "solutions": "removed from answers" if self.solutions else "",
        }
        return [(label, value) for label, value in values.items() if value]

    def _check_fields_of_limits(self, info: CallInfo) -> None:
        for limit_name, names in _FIELDS_OF_LIMITS.items():
            value = getattr(self, limit_name)
            is_limited = not value if isinstance(value, bool) else bool(value)
            for name in names:
                if is_limited and info.params.get(name) is not None:
                    raise self._refusal(limit_name, f"the field {name} is not allowed.")

    def _check_count(self, limit_name: str, kind: str, more: int, limit: int | None, noun: str) -> None:
        if limit is not None and self.counts[kind] + more > limit:
            raise self._refusal(limit_name, f"this notebook may have {pluralize(limit, noun)}.")

    def _words(self, limit_name: str) -> str:
        return self.messages.get(limit_name) or self.message

    def _refusal(self, limit_name: str, reason: str) -> PolicyError:
        words = self._words(limit_name)
        if not words:
            return PolicyError(reason, hint=f"The policy {self.name} says so: nothing was sent.")
        return PolicyError(words, hint=f"By the policy {self.name} {reason} Nothing was sent.")


def _any_of(models: tuple[str, ...]) -> str:
    return models[0] if len(models) == 1 else f"one of {', '.join(models)}"


def _parse(file: Path, text: str) -> Any:
    """Return the content of a policy file. Raises ConfigurationError."""
    suffix = file.suffix.lower()
    if suffix not in (".toml", ".yaml", ".yml"):
        raise ConfigurationError(f"{file.name} is no policy.", hint="Name a .toml, .yaml or .yml file.")
    loads: Callable[[str], Any] = tomllib.loads
    problems: tuple[type[Exception], ...] = (tomllib.TOMLDecodeError, RecursionError)
    if suffix != ".toml":
        try:
            import yaml
        except ImportError:
            raise ConfigurationError(
                "reading YAML needs PyYAML: pip install pyyaml.", hint="Or write the policy as TOML."
            ) from None
        loads, problems = _load_yaml, (yaml.YAMLError, RecursionError, ValueError)
    try:
        return loads(text)
    except problems as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigurationError(
            f"the policy {file.name} is not valid: {reason}.",
            hint="Correct the file.",
        ) from None


def _load_yaml(text: str) -> Any:
    """Return the content of a YAML file. Raises ValueError for a repeated name, of which YAML takes the last."""
    import yaml

    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(node, yaml.MappingNode):
        names = [str(key.value) for key, _ in node.value]
        if repeated := next((name for name, number in Counter(names).items() if number > 1), None):
            raise ValueError(f"duplicate field {repeated!r}")
    return yaml.safe_load(text)


def _compile_solution(text: str) -> re.Pattern[str]:
    """Return what finds a solution also with other space, other quotes, emphasis, and as JSON has it."""
    tokens = re.findall(r"\w+|[^\w\s]", text)
    pattern = ""
    for before, token in zip(["", *tokens], tokens, strict=False):
        if before:
            space = f"{_SPACE}{'+' if _is_word(before) and _is_word(token) else '*'}"
            marks = "" if before in _MARKS or token in _MARKS else f"[{_MARKS}]{{0,3}}"
            pattern += f"{marks}{space}{marks}"
        pattern += {"'": r"\\?[\"']", '"': r"\\?[\"']", "\\": r"\\{1,2}"}.get(token, re.escape(token))
    start = r"(?<!\w)" if _is_word(tokens[0]) else ""
    end = r"(?!\w)" if _is_word(tokens[-1]) else ""
    return re.compile(f"{start}{pattern}{end}", re.IGNORECASE)


def _is_word(token: str) -> bool:
    return re.fullmatch(r"\w+", token) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_solution_list(value: Any) -> bool:
    return _is_list(value) and sum(map(len, value)) <= _MAX_SOLUTION_CHARS


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_credits(value: Any) -> bool:
    return type(value) in (int, float) and isfinite(value) and value >= 0


def _is_message_table(value: Any) -> bool:
    return isinstance(value, dict) and all(name in _FIELDS and _is_text(text) for name, text in value.items())


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "models": (_is_list, 'a list of texts, such as ["a/b", "c/*"]'),
    "max_tokens": (lambda value: _is_count(value) and value > 0, "a whole number above 0"),
    "max_images": (_is_count, "a whole number"),
    "questions": (_is_count, "a whole number"),
    "budget": (_is_credits, "a number of credits"),
    "system": (_is_text, "a text"),
    "media": (_is_switch, "true or false"),
    "tools": (_is_switch, "true or false"),
    "solutions": (
        _is_solution_list,
        f'a list of texts, such as ["a + b", "42"], with at most {_MAX_SOLUTION_CHARS:,} characters',
    ),
    "message": (_is_text, "a text"),
    "messages": (_is_message_table, "a table of texts by the names of fields"),
}


def _check_fields(content: Any, name: str) -> dict[str, Any]:
    """Return the fields of a policy. Raises ConfigurationError: what is misspelt would forbid nothing."""
    if not isinstance(content, dict):
        raise ConfigurationError(f"the policy {name} has no fields.", hint='Write models = ["…"], say.')
    for key, value in content.items():
        if key not in _FIELDS:
            guess = did_you_mean(str(key), _FIELDS)
            raise ConfigurationError(
                f"the policy {name} has an unknown field {str(key)!r}.",
                hint=guess or f"It takes {', '.join(_FIELDS)}.",
            )
        is_valid, description = _FIELDS[key]
        if not is_valid(value):
            raise ConfigurationError(
                f"{key} of the policy {name} is not {description}.", hint="Correct the file."
            )
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
