"""What Tab offers at a cursor: where it stands, what can stand there, and how that is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from puq_magics.magics.commands import WorkspaceMagics
from puq_magics.magics.completion.candidates import Candidates, Offer, matching
from puq_magics.magics.completion.cursor import Place, Typed, find_place, read_words
from puq_magics.magics.completion.expressions import (
    Expression,
    filters,
    keys_of,
    members_of,
    unfinished,
    value_at,
)
from puq_magics.magics.options import CommandLine, Option
from puq_magics.session.session import Session

#: What a magic's argument is, where it has one.
_ARGUMENTS = {
    "puq_sandbox": "action",
    "puq_transcribe": "path or variable",
    "puq_models": "provider",
    "puq_choose": "provider",
    "puq_chats": "chat",
}
#: What follows an option that does not say so itself.
_VALUES = {"--fail": "fault"}
_MOST_MODELS = 400  # before the options of a line; IPython takes 500 completions in all


@dataclass(frozen=True, slots=True)
class Found:
    """What is offered instead of ``fragment``, which stands before the cursor; best first."""

    fragment: str
    offers: list[Offer]


class Completer:
    """Completes the magics of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._candidates = Candidates(session)

    def complete(self, text: str, offset: int) -> Found | None:
        """What can stand at a cursor; None where it is not for us to say."""
        lines, cells = self._command_lines("line"), self._command_lines("cell")
        place = find_place(text, offset, lines, cells)
        if place is None:
            return None
        if place.part == "setting":
            fragment = place.before.lstrip()
            return Found(fragment, self._candidates.setting(place.name, fragment, place.after))
        command = (lines if place.part == "line" else cells)[place.name]
        options = {flag: option for option in command.options for flag in option.flags}
        if "--raw" in options and (found := self._in_expression(place, options)) is not None:
            return found
        if place.part == "body":
            return Found("", [])
        typed = read_words(
            place.before, _takers(options), prompt=place.part == "line" and place.name in cells
        )
        typed = _whole_path(place, typed)
        return Found(typed.fragment, self._at_word(place, typed, options))

    def _command_lines(self, kind: str) -> dict[str, CommandLine]:
        """Our magics, as they are registered now; IPython's own are not looked at, which would load the lazy ones."""
        registered = self._session.shell.magics_manager.registry.values()
        return {
            name: function.command_line
            for magics in registered
            if isinstance(magics, WorkspaceMagics)
            for name, function in magics.magics[kind].items()
            if hasattr(function, "command_line")
        }

    # In a line -------------------------------------------------------------------------------------------------

    def _at_word(self, place: Place, typed: Typed, options: Mapping[str, Option]) -> list[Offer]:
        if typed.option:
            return self._values(typed, options.get(typed.option), place.after)
        if typed.fragment.startswith("-") and not typed.ended:
            return _flags(typed, options)
        offers: list[Offer] = []
        if what := self._argument(place, typed, options):
            offers = self._candidates.offers(what, typed.fragment, place.after)[:_MOST_MODELS]
        if not typed.fragment and not typed.ended:
            offers += _flags(typed, options)
        return offers

    def _argument(self, place: Place, typed: Typed, options: Mapping[str, Option]) -> str:
        """What can stand for the word at the cursor, which is no option: the model of a cell, once."""
        if place.part == "line":
            repeated = place.name in ("puq_models", "puq_choose")
            return _ARGUMENTS.get(place.name, "") if repeated or not typed.words else ""
        model = options.get("-m")
        if model is None or typed.words or set(model.flags) & set(typed.flags):
            return ""
        return model.completes

    def _values(self, typed: Typed, option: Option | None, after: str) -> list[Offer]:
        if option is None:
            return []
        if choices := option.settings.get("choices"):
            return matching((Offer(str(choice), "choice") for choice in choices), typed.fragment)
        what = option.completes or next((_VALUES[flag] for flag in option.flags if flag in _VALUES), "")
        return self._candidates.offers(what, typed.fragment, after)

    # In a prompt -----------------------------------------------------------------------------------------------

    def _in_expression(self, place: Place, options: Mapping[str, Option]) -> Found | None:
        expression = unfinished(place.before)
        if expression is None or self._is_raw(place, options):
            return None
        offers = self._expression_words(expression, place.after)
        fragment = expression.fragment
        if expression.kind != "key":
            offers = matching(offers, fragment)
        return Found(fragment, offers)

    def _is_raw(self, place: Place, options: Mapping[str, Option]) -> bool:
        line = f"{place.head if place.part == 'body' else place.before} "
        return "--raw" in read_words(line, _takers(options), prompt=place.part == "line").flags

    def _expression_words(self, expression: Expression, after: str) -> list[Offer]:
        if expression.kind == "name":
            return list(self._candidates.variables(hidden=expression.fragment.startswith("_")))
        if expression.kind == "filter":
            return [Offer(*words) for words in filters()]
        if expression.kind == "other":
            return []
        value = value_at(expression.path, self._session.namespace)
        if expression.kind == "key":
            return _keys(value, expression.fragment, after)
        return [Offer(*words) for words in members_of(value)]


def _takers(options: Mapping[str, Option]) -> Callable[[str], bool]:
    return lambda flag: flag in options and options[flag].takes_value


def _whole_path(place: Place, typed: Typed) -> Typed:
    """A path may have spaces in it as it stands, where nothing else is named: ``%puq_transcribe my talk.mp3``."""
    whole = " ".join((*typed.words, typed.fragment))
    is_path = "path" in _ARGUMENTS.get(place.name, "") and place.part == "line"
    if is_path and not typed.option and not typed.fragment.startswith("-") and place.before.endswith(whole):
        return replace(typed, fragment=whole, words=())
    return typed


def _flags(typed: Typed, options: Mapping[str, Option]) -> list[Offer]:
    """The options that are not given yet, in the order of their help; short ones where one dash is typed."""
    offers = []
    for option in {id(each): each for each in options.values()}.values():
        if option.settings.get("action") == "append" or not set(option.flags) & set(typed.flags):
            words = str(option.settings.get("help", "option"))
            offers += [Offer(flag, words) for flag in sorted(option.flags, key=len, reverse=True)]
    begun = typed.fragment if typed.fragment.startswith("-") else "--"
    return matching(offers, begun)


def _keys(value: object, fragment: str, after: str) -> list[Offer]:
    """Keys as they are written between brackets: closed, unless that is done behind the cursor already."""
    quote = fragment[:1] if fragment[:1] in ("'", '"') else ""
    offers = []
    for key, kind in keys_of(value):
        is_number = key.isdigit() and kind == "key"
        if is_number and quote:
            continue
        if not is_number and (set(key) & set("\\\"'\n{}") or not key):  # cannot be written simply
            continue
        mark = "" if is_number else quote or '"'
        closing = "" if mark and after.startswith(mark) else f"{mark}{'' if after.startswith(']') else ']'}"
        offers.append(Offer(f"{mark}{key}{closing}", kind))
    return matching(offers, fragment)
