"""What Tab offers: models, voices, sizes, variables, files, and what else can stand at a word. Never waits."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from traitlets import Bool

from puq_magics.api.types import Model
from puq_magics.core.errors import PuqError
from puq_magics.magics.completion.cursor import quote_word, split_quote
from puq_magics.session.session import Session
from puq_magics.session.settings import SANDBOX, SANDBOX_LOCAL, model_setting

if TYPE_CHECKING:
    from puq_magics.session.account import Account

_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer", "verse")
_SIZES = {
    "1024x1024": "square",
    "1536x1024": "landscape",
    "1024x1536": "portrait",
    "1792x1024": "wide",
    "1024x1792": "tall",
    "512x512": "small",
    "256x256": "smaller",
    "auto": "as the model likes",
}
_LANGUAGES = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hr": "Croatian",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sl": "Slovenian",
    "sr": "Serbian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
_SANDBOX_ACTIONS = {"start": "and use it", "stop": "and go back", "status": "what it does"}
_FAULTS = {
    "429:2": "too many requests, twice",
    "500:1": "a server error, once",
    "503:1": "not available, once",
    "401": "no key that counts",
    "402": "no credits",
    "0": "no failures",
}
_MODEL_SETTINGS = {model_setting(kind): kind for kind in ("chat", "image", "speech", "transcription")}
_MAX_MODELS = 500  # models at once; IPython passes on no more
_NON_DATA_TYPES = (ModuleType, FunctionType, BuiltinFunctionType, type)


@dataclass(frozen=True, slots=True)
class CompletionItem:
    """One completion: the value itself, and what a front end says beside it."""

    text: str
    type: str
    #: A folder, in which more can be typed.
    is_open: bool = False


def filter_by_prefix(items: Iterable[CompletionItem], prefix: str) -> list[CompletionItem]:
    """Those that begin with what is typed, in their order."""
    prefix = prefix.casefold()
    return [item for item in items if item.text.casefold().startswith(prefix)]


def rank_matches(names: Iterable[str], prefix: str) -> list[str]:
    """Names that begin with what is typed, then those that do behind a ``/``, then those with it inside."""
    prefix = prefix.casefold()
    ranks: tuple[list[str], list[str], list[str]] = ([], [], [])
    for name in names:
        folded = name.casefold()
        if prefix in folded:
            ranks[0 if folded.startswith(prefix) else 1 if f"/{prefix}" in folded else 2].append(name)
    return [name for rank in ranks for name in rank]


class Candidates:
    """The values that can be typed in one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = session.settings
        # A list of models, the setting ``model_kinds``, and the enabled codes by kind that follow from the two.
        self._codes_cache: tuple[Mapping[str, Model], dict[str, str], dict[str, list[str]]] = ({}, {}, {})
        self._sources: dict[str, Callable[[], Iterator[CompletionItem]]] = {
            "voice": self._voices,
            "size": self._sizes,
            "variable": self.data_variables,
            "provider": self._providers,
            "language": lambda: _items_from(_LANGUAGES),
            "action": lambda: _items_from(_SANDBOX_ACTIONS),
            "fault": lambda: _items_from(_FAULTS),
            "schema": self._schemas,
            "chat": self._chats,
            "branch": self._branches,
        }

    def items(self, value_kind: str, fragment: str, after: str = "") -> list[CompletionItem]:
        """What can stand for ``what`` (see `Option.completes`) where ``fragment`` is typed, as it is inserted."""
        quote, prefix = split_quote(fragment)
        found: list[CompletionItem] = []
        for each in value_kind.split(" or "):
            kind = each.removesuffix(" model")
            if kind != each:
                found += self.models(kind, prefix)
            elif each == "path":
                found += _path_items(prefix)
            elif each in self._sources:
                found += filter_by_prefix(self._sources[each](), prefix)
        return [
            CompletionItem(quote_word(item.text, quote, is_open=item.is_open, after=after), item.type)
            for item in dict.fromkeys(found)
        ]

    # Models ----------------------------------------------------------------------------------------------------

    def models(self, kind: str, prefix: str) -> Iterator[CompletionItem]:
        """Aliases, the model that is set, and those of the router that are known by now."""
        kind_of, known = self._cached_models()
        aliases, default = self._settings.aliases, self._default_model(kind)
        named = [alias for alias, code in aliases.items() if not known or kind_of(code) == kind]
        names = [*named, *([default] if default else []), *self._model_codes(kind, kind_of, known)]
        for name in islice(rank_matches(dict.fromkeys(names), prefix), _MAX_MODELS):
            if name in aliases:
                yield CompletionItem(name, f"{kind}: alias of {aliases[name]}")
            else:
                is_set = ", the one that is set" if name == default else ""
                yield CompletionItem(name, f"{_describe_model(kind, known.get(name))}{is_set}")

    def _model_codes(
        self, kind: str, kind_of: Callable[[str], str], known: Mapping[str, Model]
    ) -> Sequence[str]:
        """The enabled models of a kind: sorted out once for a list and a setting."""
        kinds = dict(self._settings.model_kinds)
        if self._codes_cache[0] is not known or self._codes_cache[1] != kinds:
            codes: dict[str, list[str]] = {}
            for code, model in known.items():
                if model.enabled and code.isprintable():
                    codes.setdefault(kind_of(code), []).append(code)
            self._codes_cache = (known, kinds, codes)
        return self._codes_cache[2].get(kind, ())

    def _cached_models(self) -> tuple[Callable[[str], str], Mapping[str, Model]]:
        """What models are for, and those that are known; where none are, the list is sent for."""
        if not self._is_account_available():
            return (lambda _: ""), {}
        if "puq_magics.api.transport" not in sys.modules:  # it takes longer than anyone waits for a Tab
            threading.Thread(target=self._start_model_fetch, name="puq-completion", daemon=True).start()
            return (lambda _: ""), {}
        account = self._start_model_fetch()
        return ((lambda _: ""), {}) if account is None else (account.kind, account.model_list.cached)

    def _start_model_fetch(self) -> Account | None:
        try:
            account = self._session.account()
        except PuqError:  # no key: then nothing can be known
            return None
        account.model_list.fetch_in_background(balance=True)
        return account

    def _is_account_available(self) -> bool:
        """Whether the account can be had without starting a sandbox, or asking for a keyring to be unlocked."""
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
            return effective.model(kind)  # to ask the session would start one, or wait for the upstream
        try:
            return self._session.default_model(kind)
        except PuqError:
            return None

    def _providers(self) -> Iterator[CompletionItem]:
        _, known = self._cached_models()
        for provider in dict.fromkeys(
            code.split("/", 1)[0] for code in known if "/" in code and code.isprintable()
        ):
            yield CompletionItem(provider, "provider")

    # Settings --------------------------------------------------------------------------------------------------

    def setting_values(self, name: str, fragment: str, after: str = "") -> list[CompletionItem]:
        """What can stand behind ``%config PuqMagics.name =``."""
        trait = self._settings.traits(config=True).get(name)
        if trait is None:
            return []
        if name in _MODEL_SETTINGS:
            return self.items(f"{_MODEL_SETTINGS[name]} model", fragment or "'", after)
        if name in ("voice", "image_size", "chat"):
            return self.items(name.removeprefix("image_"), fragment or "'", after)
        values = (SANDBOX, SANDBOX_LOCAL) if name == "base_url" else getattr(trait, "values", None)
        if values:  # an Enum has them all
            quote, prefix = split_quote(fragment or "'")
            items = filter_by_prefix((CompletionItem(str(value), name) for value in values), prefix)
            return [CompletionItem(quote_word(item.text, quote or "'", after=after), name) for item in items]
        if isinstance(trait, Bool):
            return filter_by_prefix((CompletionItem("True", name), CompletionItem("False", name)), fragment)
        return []

    def _voices(self) -> Iterator[CompletionItem]:
        if self._settings.voice:
            yield CompletionItem(self._settings.voice, "the voice that is set")
        yield from (CompletionItem(voice, "voice") for voice in _VOICES if voice != self._settings.voice)

    def _sizes(self) -> Iterator[CompletionItem]:
        if self._settings.image_size:
            yield CompletionItem(self._settings.image_size, "the size that is set")
        yield from (item for item in _items_from(_SIZES) if item.text != self._settings.image_size)

    # Conversations ---------------------------------------------------------------------------------------------

    def _chats(self) -> Iterator[CompletionItem]:
        for conversation in self._session.conversations:
            number = len(conversation.turns)
            yield CompletionItem(
                conversation.name, f"conversation: {number} turn{'' if number == 1 else 's'}"
            )

    def _branches(self) -> Iterator[CompletionItem]:
        for conversation in self._session.conversations:
            yield from (
                CompletionItem(each.name, f"branch: {each.reason}")
                for each in reversed(conversation.branches)
            )

    # Variables -------------------------------------------------------------------------------------------------

    def variables(self, *, hidden: bool = False) -> Iterator[CompletionItem]:
        """The user's variables, with their types; with ``hidden`` IPython's own, too."""
        hidden_names: Mapping[str, Any] = self._session.shell.user_ns_hidden
        namespace = self._session.namespace
        last_items: list[CompletionItem] = []
        for name, value in list(namespace.items()):
            item = CompletionItem(name, type(value).__name__)
            if (
                name in ("In", "Out")
                or (name in hidden_names and hidden_names[name] is value)
                or name.startswith("_")
            ):
                if hidden or name in ("In", "Out"):
                    last_items.append(item)
            elif issubclass(type(value), _NON_DATA_TYPES):
                last_items.append(item)
            else:
                yield item
        yield from last_items

    def data_variables(self) -> Iterator[CompletionItem]:
        """The user's variables that hold data."""
        names = ("In", "Out")
        functions = {kind.__name__ for kind in _NON_DATA_TYPES}
        yield from (o for o in self.variables() if o.text not in names and o.type not in functions)

    def _schemas(self) -> Iterator[CompletionItem]:
        """The user's classes, and variables that can hold a schema."""
        kinds = {"dict", "str", "Schema"}
        for item in self.variables():
            if item.text in ("In", "Out"):
                continue
            if item.type in kinds or isinstance(self._session.namespace.get(item.text), type):
                yield item


def _items_from(table: Mapping[str, str]) -> Iterator[CompletionItem]:
    return (CompletionItem(text, words) for text, words in table.items())


def _describe_model(kind: str, model: Model | None) -> str:
    """What a model is for (front ends show its first letter as a sign), and what it costs, where that is known."""
    prices = ((model.input_price, "in"), (model.output_price, "out")) if model is not None else ()
    known = [f"{price:.4g} {way}" for price, way in prices if price is not None]
    return f"{kind}: {', '.join(known)}" if known else f"{kind} model"


def _path_items(prefix: str) -> Iterator[CompletionItem]:
    """Files and folders that begin with what is typed, folders first; hidden ones where a dot is typed."""
    folder, _, name = prefix.rpartition("/")
    folder += "/" if "/" in prefix else ""
    if prefix == "~":
        yield CompletionItem("~/", "folder", is_open=True)
        return
    try:
        entries = sorted(
            os.scandir(Path(folder).expanduser() if folder else "."), key=lambda entry: entry.name
        )
    except (OSError, RuntimeError, ValueError):  # no such folder, nobody's home
        return
    matches = [
        entry for entry in entries if entry.name.startswith(name) and (name or not entry.name.startswith("."))
    ]
    for entry in sorted(matches, key=lambda entry: not entry.is_dir()):
        is_folder = entry.is_dir()
        text = f"{folder}{entry.name}{'/' if is_folder else ''}"
        yield CompletionItem(text, "folder" if is_folder else "file", is_folder)
