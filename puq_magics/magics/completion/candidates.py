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
from puq_magics.magics.completion.cursor import quoted, unquoted
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
_ACTIONS = {"start": "and use it", "stop": "and go back", "status": "what it does"}
_FAULTS = {
    "429:2": "too many requests, twice",
    "500:1": "a server error, once",
    "503:1": "not available, once",
    "401": "no key that counts",
    "402": "no credits",
    "0": "no failures",
}
_MODEL_SETTINGS = {model_setting(kind): kind for kind in ("chat", "image", "speech", "transcription")}
_MOST = 500  # models at once; IPython passes on no more
_NO_DATA = (ModuleType, FunctionType, BuiltinFunctionType, type)


@dataclass(frozen=True, slots=True)
class Offer:
    """One completion: the value itself, and what a front end says beside it."""

    text: str
    type: str
    #: A folder, in which more can be typed.
    is_open: bool = False


def matching(offers: Iterable[Offer], typed: str) -> list[Offer]:
    """Those that begin with what is typed, in their order."""
    typed = typed.casefold()
    return [offer for offer in offers if offer.text.casefold().startswith(typed)]


def matching_names(names: Iterable[str], typed: str) -> list[str]:
    """Names that begin with what is typed, then those that do behind a ``/``, then those with it inside."""
    typed = typed.casefold()
    ranks: tuple[list[str], list[str], list[str]] = ([], [], [])
    for name in names:
        folded = name.casefold()
        if typed in folded:
            ranks[0 if folded.startswith(typed) else 1 if f"/{typed}" in folded else 2].append(name)
    return [name for rank in ranks for name in rank]


class Candidates:
    """The values that can be typed in one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = session.settings
        # A list of models, the setting ``model_kinds``, and the enabled codes by kind that follow from the two.
        self._sorted_out: tuple[Mapping[str, Model], dict[str, str], dict[str, list[str]]] = ({}, {}, {})
        self._lists: dict[str, Callable[[], Iterator[Offer]]] = {
            "voice": self._voices,
            "size": self._sizes,
            "variable": self.results,
            "provider": self._providers,
            "language": lambda: _named(_LANGUAGES),
            "action": lambda: _named(_ACTIONS),
            "fault": lambda: _named(_FAULTS),
            "schema": self._schemas,
            "chat": self._chats,
            "branch": self._branches,
        }

    def offers(self, what: str, fragment: str, after: str = "") -> list[Offer]:
        """What can stand for ``what`` (see `Option.completes`) where ``fragment`` is typed, as it is inserted."""
        quote, typed = unquoted(fragment)
        found: list[Offer] = []
        for each in what.split(" or "):
            kind = each.removesuffix(" model")
            if kind != each:
                found += self.models(kind, typed)
            elif each == "path":
                found += _paths(typed)
            elif each in self._lists:
                found += matching(self._lists[each](), typed)
        return [
            Offer(quoted(offer.text, quote, is_open=offer.is_open, after=after), offer.type)
            for offer in dict.fromkeys(found)
        ]

    # Models ----------------------------------------------------------------------------------------------------

    def models(self, kind: str, typed: str) -> Iterator[Offer]:
        """Aliases, the model that is set, and those of the router that are known by now."""
        kind_of, known = self._known_models()
        aliases, default = self._settings.aliases, self._default_model(kind)
        named = [alias for alias, code in aliases.items() if not known or kind_of(code) == kind]
        names = [*named, *([default] if default else []), *self._codes(kind, kind_of, known)]
        for name in islice(matching_names(dict.fromkeys(names), typed), _MOST):
            if name in aliases:
                yield Offer(name, f"{kind}: alias of {aliases[name]}")
            else:
                is_set = ", the one that is set" if name == default else ""
                yield Offer(name, f"{_words(kind, known.get(name))}{is_set}")

    def _codes(self, kind: str, kind_of: Callable[[str], str], known: Mapping[str, Model]) -> Sequence[str]:
        """The enabled models of a kind: sorted out once for a list and a setting."""
        kinds = dict(self._settings.model_kinds)
        if self._sorted_out[0] is not known or self._sorted_out[1] != kinds:
            codes: dict[str, list[str]] = {}
            for code, model in known.items():
                if model.enabled and code.isprintable():
                    codes.setdefault(kind_of(code), []).append(code)
            self._sorted_out = (known, kinds, codes)
        return self._sorted_out[2].get(kind, ())

    def _known_models(self) -> tuple[Callable[[str], str], Mapping[str, Model]]:
        """What models are for, and those that are known; where none are, the list is sent for."""
        if not self._has_account_at_hand():
            return (lambda _: ""), {}
        if "puq_magics.api.transport" not in sys.modules:  # it takes longer than anyone waits for a Tab
            threading.Thread(target=self._send_for_list, name="puq-completion", daemon=True).start()
            return (lambda _: ""), {}
        account = self._send_for_list()
        return ((lambda _: ""), {}) if account is None else (account.kind, account.model_list.cached)

    def _send_for_list(self) -> Account | None:
        try:
            account = self._session.account()
        except PuqError:  # no key: then nothing can be known
            return None
        account.model_list.fetch_in_background(balance=True)
        return account

    def _has_account_at_hand(self) -> bool:
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

    def _providers(self) -> Iterator[Offer]:
        _, known = self._known_models()
        for provider in dict.fromkeys(
            code.split("/", 1)[0] for code in known if "/" in code and code.isprintable()
        ):
            yield Offer(provider, "provider")

    # Settings --------------------------------------------------------------------------------------------------

    def setting(self, name: str, fragment: str, after: str = "") -> list[Offer]:
        """What can stand behind ``%config PuqMagics.name =``."""
        trait = self._settings.traits(config=True).get(name)
        if trait is None:
            return []
        if name in _MODEL_SETTINGS:
            return self.offers(f"{_MODEL_SETTINGS[name]} model", fragment or "'", after)
        if name in ("voice", "image_size", "chat"):
            return self.offers(name.removeprefix("image_"), fragment or "'", after)
        values = (SANDBOX, SANDBOX_LOCAL) if name == "base_url" else getattr(trait, "values", None)
        if values:  # an Enum has them all
            quote, typed = unquoted(fragment or "'")
            offers = matching((Offer(str(value), name) for value in values), typed)
            return [Offer(quoted(offer.text, quote or "'", after=after), name) for offer in offers]
        if isinstance(trait, Bool):
            return matching((Offer("True", name), Offer("False", name)), fragment)
        return []

    def _voices(self) -> Iterator[Offer]:
        if self._settings.voice:
            yield Offer(self._settings.voice, "the voice that is set")
        yield from (Offer(voice, "voice") for voice in _VOICES if voice != self._settings.voice)

    def _sizes(self) -> Iterator[Offer]:
        if self._settings.image_size:
            yield Offer(self._settings.image_size, "the size that is set")
        yield from (offer for offer in _named(_SIZES) if offer.text != self._settings.image_size)

    # Conversations ---------------------------------------------------------------------------------------------

    def _chats(self) -> Iterator[Offer]:
        for conversation in self._session.conversations:
            number = len(conversation.turns)
            yield Offer(conversation.name, f"conversation: {number} turn{'' if number == 1 else 's'}")

    def _branches(self) -> Iterator[Offer]:
        for conversation in self._session.conversations:
            yield from (Offer(each.name, f"branch: {each.why}") for each in reversed(conversation.branches))

    # Variables -------------------------------------------------------------------------------------------------

    def variables(self, *, hidden: bool = False) -> Iterator[Offer]:
        """The user's variables, with their types; with ``hidden`` IPython's own, too."""
        shells: Mapping[str, Any] = self._session.shell.user_ns_hidden
        namespace = self._session.namespace
        late: list[Offer] = []
        for name, value in list(namespace.items()):
            offer = Offer(name, type(value).__name__)
            if name in ("In", "Out") or (name in shells and shells[name] is value) or name.startswith("_"):
                if hidden or name in ("In", "Out"):
                    late.append(offer)
            elif issubclass(type(value), _NO_DATA):
                late.append(offer)
            else:
                yield offer
        yield from late

    def results(self) -> Iterator[Offer]:
        """The user's variables that hold data."""
        names = ("In", "Out")
        functions = {kind.__name__ for kind in _NO_DATA}
        yield from (o for o in self.variables() if o.text not in names and o.type not in functions)

    def _schemas(self) -> Iterator[Offer]:
        """The user's classes, and variables that can hold a schema."""
        kinds = {"dict", "str", "Schema"}
        for offer in self.variables():
            if offer.text in ("In", "Out"):
                continue
            if offer.type in kinds or isinstance(self._session.namespace.get(offer.text), type):
                yield offer


def _named(table: Mapping[str, str]) -> Iterator[Offer]:
    return (Offer(text, words) for text, words in table.items())


def _words(kind: str, model: Model | None) -> str:
    """What a model is for (front ends show its first letter as a sign), and what it costs, where that is known."""
    prices = ((model.input_price, "in"), (model.output_price, "out")) if model is not None else ()
    known = [f"{price:.4g} {way}" for price, way in prices if price is not None]
    return f"{kind}: {', '.join(known)}" if known else f"{kind} model"


def _paths(typed: str) -> Iterator[Offer]:
    """Files and folders that begin with what is typed, folders first; hidden ones where a dot is typed."""
    folder, _, name = typed.rpartition("/")
    folder += "/" if "/" in typed else ""
    if typed == "~":
        yield Offer("~/", "folder", is_open=True)
        return
    try:
        entries = sorted(
            os.scandir(Path(folder).expanduser() if folder else "."), key=lambda entry: entry.name
        )
    except (OSError, RuntimeError, ValueError):  # no such folder, nobody's home
        return
    fitting = [
        entry for entry in entries if entry.name.startswith(name) and (name or not entry.name.startswith("."))
    ]
    for entry in sorted(fitting, key=lambda entry: not entry.is_dir()):
        is_folder = entry.is_dir()
        text = f"{folder}{entry.name}{'/' if is_folder else ''}"
        yield Offer(text, "folder" if is_folder else "file", is_folder)
