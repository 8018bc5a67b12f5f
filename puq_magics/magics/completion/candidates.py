"""Completion candidates: models, voices, sizes, variables, files, …; never blocks on the network."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from traitlets import Bool

from puq_magics.api.types import Model
from puq_magics.core.errors import InputError, PuqError
from puq_magics.core.files import expand_path
from puq_magics.core.text import one_line, pluralize
from puq_magics.core.threads import start_daemon
from puq_magics.magics.completion.cursor import quote_word, split_quote
from puq_magics.session.session import Session
from puq_magics.session.settings import MODEL_KINDS, SANDBOX, SANDBOX_LOCAL, model_setting

if TYPE_CHECKING:
    from puq_magics.session.account import Account

_VOICES = dict.fromkeys(
    ("alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer", "verse"), ""
)
_SANDBOX_VOICES = dict.fromkeys(("alloy", "echo", "fable", "nova", "onyx", "shimmer"), "")
_SIZES = {
    "1024x1024": "square",
    "1536x1024": "landscape",
    "1024x1536": "portrait",
    "1792x1024": "wide",
    "1024x1792": "tall",
    "512x512": "small",
    "256x256": "smaller",
    "auto": "chosen by the model",
}
_LANGUAGE_LIST = (
    "ar Arabic, bg Bulgarian, cs Czech, da Danish, de German, el Greek, en English, es Spanish, "
    "et Estonian, fi Finnish, fr French, he Hebrew, hi Hindi, hr Croatian, hu Hungarian, id Indonesian, "
    "it Italian, ja Japanese, ko Korean, lt Lithuanian, lv Latvian, nl Dutch, no Norwegian, pl Polish, "
    "pt Portuguese, ro Romanian, ru Russian, sk Slovak, sl Slovenian, sr Serbian, sv Swedish, th Thai, "
    "tr Turkish, uk Ukrainian, vi Vietnamese, zh Chinese"
)
_LANGUAGES = dict(pair.split() for pair in _LANGUAGE_LIST.split(", "))
_SANDBOX_ACTIONS = {"start": "and use it", "stop": "and use the router as before", "status": "show its state"}
_CASSETTE_ACTIONS = {
    "record": "ask the router, and keep each answer",
    "replay": "answer from the cassette",
    "auto": "replay what is there, record the rest",
    "off": "ask the router",
    "status": "show what is kept",
    "pack": "make one file of it",
}
_FAULTS = {
    "429:2": "too many requests, twice",
    "500:1": "a server error, once",
    "503:1": "unavailable, once",
    "401": "the key is not valid",
    "402": "no credits",
    "0": "no failures",
}
_SCHEMA_TYPES = {
    "str": "a text",
    "int": "a whole number",
    "int 1..5": "a whole number of a range",
    "float": "a number",
    "bool": "true or false",
    "date": "2026-11-30",
    "datetime": "2026-11-30T12:00:00Z",
    "time": "12:00:00Z",
    "any": "anything",
}
# The text before a type in the short form of a schema: a field's name, a bracket or a bar.
_BEFORE_TYPE = re.compile(r"(?:.*[\w$?:]\s+\[?|.*[|\[])(?=\w*$)", re.DOTALL)
_MODEL_SETTINGS = {model_setting(kind): kind for kind in MODEL_KINDS if model_setting(kind)}
_MAX_MODELS = 500  # IPython passes on no more completions
_MAX_CELLS = 10
_SHELL_LISTS = ("In", "Out")
_NON_DATA_TYPES = (ModuleType, FunctionType, BuiltinFunctionType, type)


@dataclass(frozen=True, slots=True)
class CompletionItem:
    """One completion.

    ``type`` is one short word, as JupyterLab leaves it no more room; ``description`` is shown where there is some.
    """

    text: str
    type: str
    description: str = ""
    #: True for a folder: the path can continue.
    is_open: bool = False


def filter_by_prefix(items: Iterable[CompletionItem], prefix: str) -> list[CompletionItem]:
    """Return the items that begin with ``prefix``, in their order, whatever their case."""
    prefix = prefix.casefold()
    return [item for item in items if item.text.casefold().startswith(prefix)]


def rank_matches(names: Iterable[str], prefix: str) -> list[str]:
    """Return the names that begin with ``prefix``, then those with it after a ``/``, then those with it inside."""
    prefix = prefix.casefold()
    ranks: tuple[list[str], list[str], list[str]] = ([], [], [])
    for name in names:
        folded = name.casefold()
        if prefix in folded:
            ranks[0 if folded.startswith(prefix) else 1 if f"/{prefix}" in folded else 2].append(name)
    return [name for rank in ranks for name in rank]


class Candidates:
    """The values that can be completed in one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = session.settings
        self._sources: dict[str, Callable[[], Iterator[CompletionItem]]] = {
            "voice": self._voices,
            "size": partial(self._default_first, "image_size", _SIZES),
            "variable": partial(self.variables, data_only=True),
            "provider": self._providers,
            "language": lambda: _items_from("language", _LANGUAGES),
            "action": lambda: _items_from("action", _SANDBOX_ACTIONS),
            "cassette action": lambda: _items_from("action", _CASSETTE_ACTIONS),
            "cassette": self._cassettes,
            "fault": lambda: _items_from("fault", _FAULTS),
            "schema": self._schemas,
            "chat": self._chats,
            "branch": self._branches,
            "cell": self._cells,
        }

    def items(self, value_kind: str, fragment: str, after: str = "") -> list[CompletionItem]:
        """Return the completions of ``fragment``, quoted as needed.

        ``value_kind`` is that of ``Option.completes``; ``after`` is the text after the cursor.
        """
        quote, prefix = split_quote(fragment)
        matches: list[CompletionItem] = []
        for each in value_kind.split(" or "):
            kind = each.removesuffix(" model")
            if kind != each:
                matches += self.models(kind, prefix)
            elif each == "path":
                matches += _path_items(prefix)
            elif each == "functions":
                matches += self._functions(prefix)
            elif each == "schema" and (before := _BEFORE_TYPE.match(prefix)) is not None:
                matches += self._field_types(before.group(), prefix)
            elif each in self._sources:
                matches += filter_by_prefix(self._sources[each](), prefix)
        return [
            replace(item, text=quote_word(item.text, quote, is_open=item.is_open, after=after))
            for item in dict.fromkeys(matches)
        ]

    def _cassettes(self) -> Iterator[CompletionItem]:
        """Yield the cassettes beside the notebook."""
        from puq_magics.session.cassette import list_cassettes

        return (CompletionItem(name, "cassette") for name in list_cassettes())

    # Models ----------------------------------------------------------------------------------------------------

    def models(self, kind: str, prefix: str) -> Iterator[CompletionItem]:
        """Yield the aliases, the default model, and the router's models that are fetched already."""
        account, known = self._cached_models()
        aliases, default = self._settings.aliases, self._default_model(kind)
        names = [
            alias for alias, code in aliases.items() if not (account and known) or account.kind(code) == kind
        ]
        names += [default] if default else []
        if account is not None:
            names += [
                code for code, each in known.items() if _is_offered(each) and account.kind(code) == kind
            ]
        for name in islice(rank_matches(dict.fromkeys(names), prefix), _MAX_MODELS):
            if name in aliases:
                yield CompletionItem(name, "alias", f"{kind} model: {aliases[name]}")
            else:
                suffix = ", the default" if name == default else ""
                yield CompletionItem(name, kind, f"{_describe_model(kind, known.get(name))}{suffix}")

    def _cached_models(self) -> tuple[Account | None, Mapping[str, Model]]:
        """Return the account and its cached models, if any; fetch the models in the background."""
        if not self._is_account_available():
            return None, {}
        if "puq_magics.api.transport" not in sys.modules:  # importing it takes too long for a Tab
            start_daemon(self._start_model_fetch, name="puq-completion")
            return None, {}
        account = self._start_model_fetch()
        return account, {} if account is None else account.model_list.cached

    def _start_model_fetch(self) -> Account | None:
        try:
            account = self._session.account()
        except PuqError:  # no key
            return None
        account.model_list.fetch_in_background(balance=True)
        return account

    def _is_account_available(self) -> bool:
        """Return True if the account is available without starting a sandbox or unlocking a keyring."""
        effective, credentials = self._session.effective, self._session.credentials
        if effective.is_sandbox:
            return self._session.sandbox_manager.is_serving(effective.base_url)
        try:
            return credentials.needs_no_keyring(self._session.address())
        except PuqError:
            return False

    def _default_model(self, kind: str) -> str | None:
        effective, router = self._session.effective, self._session.sandbox_manager
        if effective.is_sandbox and (not router.is_serving(effective.base_url) or router.backends.upstream):
            return effective.model(kind)  # session.default_model would start one, or wait for the upstream
        try:
            return self._session.default_model(kind)
        except PuqError:
            return None

    def _providers(self) -> Iterator[CompletionItem]:
        _, known = self._cached_models()
        codes = (code for code in known if "/" in code and code.isprintable())
        return _items_from("provider", dict.fromkeys((code.split("/", 1)[0] for code in codes), ""))

    # Settings --------------------------------------------------------------------------------------------------

    def setting_values(self, name: str, fragment: str, after: str = "") -> list[CompletionItem]:
        """Return the completions of a value in ``%config PuqMagics.name =``."""
        trait = self._settings.traits(config=True).get(name)
        if trait is None:
            return []
        if name in _MODEL_SETTINGS:
            return self.items(f"{_MODEL_SETTINGS[name]} model", fragment or "'", after)
        if name in ("voice", "image_size", "chat"):
            return self.items(name.removeprefix("image_"), fragment or "'", after)
        values = (SANDBOX, SANDBOX_LOCAL) if name == "base_url" else getattr(trait, "values", None)
        if values:  # an Enum's
            quote, prefix = split_quote(fragment or "'")
            items = filter_by_prefix((CompletionItem(str(value), name) for value in values), prefix)
            return [CompletionItem(quote_word(item.text, quote or "'", after=after), name) for item in items]
        if isinstance(trait, Bool):
            return filter_by_prefix((CompletionItem("True", name), CompletionItem("False", name)), fragment)
        return []

    def _voices(self) -> Iterator[CompletionItem]:
        """Yield the voices: of a sandbox those that it has; no other router says which it has."""
        _, known = self._cached_models()
        has_few = self._session.effective.is_sandbox or "sandbox/tts" in known
        return self._default_first("voice", _SANDBOX_VOICES if has_few else _VOICES)

    def _default_first(self, setting: str, table: Mapping[str, str]) -> Iterator[CompletionItem]:
        """Yield the values of a table, with that of the setting as the first."""
        default = getattr(self._settings, setting)
        word = setting.removeprefix("image_")
        first = {default: f"the default {word}"} if default else {}
        return _items_from(word, first | dict(table) | first)

    # Conversations ---------------------------------------------------------------------------------------------

    def _chats(self) -> Iterator[CompletionItem]:
        for conversation in self._session.conversations:
            turns = pluralize(len(conversation.turns), "turn")
            yield CompletionItem(conversation.name, "chat", turns)

    def _branches(self) -> Iterator[CompletionItem]:
        for conversation in self._session.conversations:
            for branch in reversed(conversation.branches):
                yield CompletionItem(branch.name, "branch", branch.reason)

    def _cells(self) -> Iterator[CompletionItem]:
        """Yield the latest cells before this one, the last one first."""
        cells = self._session.cells
        for number in reversed(cells.numbers[-_MAX_CELLS:]):
            yield CompletionItem(f"cell:{number}", "cell", one_line(cells.source(number), 60))

    # Variables -------------------------------------------------------------------------------------------------

    def variables(self, *, hidden: bool = False, data_only: bool = False) -> Iterator[CompletionItem]:
        """Yield the user's variables, data first; with ``hidden`` IPython's own too."""
        hidden_names: Mapping[str, Any] = self._session.shell.user_ns_hidden
        last_items: list[CompletionItem] = []
        for name, value in list(self._session.namespace.items()):
            item = CompletionItem(name, type(value).__name__)
            is_hidden = name.startswith("_") or (name in hidden_names and hidden_names[name] is value)
            if name in _SHELL_LISTS or issubclass(type(value), _NON_DATA_TYPES) or is_hidden:
                if hidden or name in _SHELL_LISTS or not is_hidden:
                    last_items.append(item)
            else:
                yield item
        if not data_only:
            yield from last_items

    def _functions(self, prefix: str) -> list[CompletionItem]:
        """Return the user's functions, behind those that are there already: ``f,g``."""
        earlier, comma, _ = prefix.rpartition(",")
        skipped = {*earlier.split(","), *self._session.shell.user_ns_hidden}
        items = (
            CompletionItem(
                f"{earlier}{comma}{name}", "function", (value.__doc__ or "").strip().split("\n")[0]
            )
            for name, value in list(self._session.namespace.items())
            if isinstance(value, FunctionType) and name not in skipped and not name.startswith("_")
        )
        return filter_by_prefix(items, prefix)

    def _schemas(self) -> Iterator[CompletionItem]:
        """Yield the user's classes, and variables that can hold a schema."""
        kinds = {"dict", "str", "Schema"}
        for item in self.variables():
            is_class = isinstance(self._session.namespace.get(item.text), type)
            if item.text not in _SHELL_LISTS and (item.type in kinds or is_class):
                yield item

    def _field_types(self, before: str, prefix: str) -> Iterator[CompletionItem]:
        """Yield the types of a field in the short form of a schema, the user's classes last."""
        names = self._session.namespace
        classes = [item for item in self._schemas() if isinstance(names.get(item.text), type)]
        for item in filter_by_prefix(
            (*_items_from("type", _SCHEMA_TYPES), *classes), prefix.removeprefix(before)
        ):
            yield replace(item, text=f"{before}{item.text}", is_open=True)


def _items_from(word: str, table: Mapping[str, str]) -> Iterator[CompletionItem]:
    return (CompletionItem(text, word, description) for text, description in table.items())


def _is_offered(model: Model) -> bool:
    return model.enabled and model.code.isprintable()


def _describe_model(kind: str, model: Model | None) -> str:
    """Describe a model by its kind and its prices, if known."""
    prices = ((model.input_price, "in"), (model.output_price, "out")) if model is not None else ()
    known = [f"{price:.4g} {way}" for price, way in prices if price is not None]
    return f"{kind}: {', '.join(known)}" if known else f"{kind} model"


def _path_items(prefix: str) -> Iterator[CompletionItem]:
    """Yield the files and folders that begin with ``prefix``, folders first; hidden ones only after a dot."""
    folder, _, name = prefix.rpartition("/")
    folder += "/" if "/" in prefix else ""
    if prefix == "~":
        yield CompletionItem("~/", "folder", is_open=True)
        return
    try:
        entries = list(os.scandir(expand_path(folder or ".")))
    except (OSError, InputError):  # no such folder, or an unknown user
        return
    for is_file, entry_name in sorted((not entry.is_dir(), entry.name) for entry in entries):
        if entry_name.startswith(name) and (name or not entry_name.startswith(".")):
            text = f"{folder}{entry_name}{'' if is_file else '/'}"
            yield CompletionItem(text, "file" if is_file else "folder", is_open=not is_file)
