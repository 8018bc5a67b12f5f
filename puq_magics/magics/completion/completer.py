"""What Tab offers at a cursor: where it stands, what can stand there, and how that is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from puq_magics.magics.commands import PuqCommands
from puq_magics.magics.completion.candidates import Candidates, CompletionItem, filter_by_prefix
from puq_magics.magics.completion.cursor import CursorPosition, PartialLine, locate_cursor, parse_partial_line
from puq_magics.magics.completion.expressions import (
    PartialExpression,
    iter_filters,
    iter_keys,
    iter_members,
    parse_partial_expression,
    resolve_path,
)
from puq_magics.magics.options import CommandLine, Option
from puq_magics.session.session import Session

#: What a magic's argument is, where it has one.
_ARGUMENT_KINDS = {
    "puq_sandbox": "action",
    "puq_transcribe": "path or variable",
    "puq_models": "provider",
    "puq_choose": "provider",
    "puq_chats": "chat",
}
#: What follows an option that does not say so itself.
_OPTION_VALUE_KINDS = {"--fail": "fault"}
_MOST_MODELS = 400  # before the options of a line; IPython takes 500 completions in all


@dataclass(frozen=True, slots=True)
class CompletionResult:
    """What is offered instead of ``fragment``, which stands before the cursor; best first."""

    fragment: str
    items: list[CompletionItem]


class Completer:
    """Completes the magics of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._candidates = Candidates(session)

    def complete(self, text: str, offset: int) -> CompletionResult | None:
        """What can stand at a cursor; None where it is not for us to say."""
        lines, cells = self._registered_commands("line"), self._registered_commands("cell")
        cursor = locate_cursor(text, offset, lines, cells)
        if cursor is None:
            return None
        if cursor.part == "setting":
            fragment = cursor.before.lstrip()
            return CompletionResult(
                fragment, self._candidates.setting_values(cursor.name, fragment, cursor.after)
            )
        command = (lines if cursor.part == "line" else cells)[cursor.name]
        options = {flag: option for option in command.options for flag in option.flags}
        if "--raw" in options and (found := self._complete_expression(cursor, options)) is not None:
            return found
        if cursor.part == "body":
            return CompletionResult("", [])
        line = parse_partial_line(
            cursor.before, _takes_value(options), prompt=cursor.part == "line" and cursor.name in cells
        )
        line = _join_path_words(cursor, line)
        return CompletionResult(line.fragment, self._complete_word(cursor, line, options))

    def _registered_commands(self, kind: str) -> dict[str, CommandLine]:
        """Our magics, as they are registered now; IPython's own are not looked at, which would load the lazy ones."""
        registered = self._session.shell.magics_manager.registry.values()
        return {
            name: function.command_line
            for magics in registered
            if isinstance(magics, PuqCommands)
            for name, function in magics.magics[kind].items()
            if hasattr(function, "command_line")
        }

    # In a line -------------------------------------------------------------------------------------------------

    def _complete_word(
        self, cursor: CursorPosition, line: PartialLine, options: Mapping[str, Option]
    ) -> list[CompletionItem]:
        if line.option:
            return self._option_values(line, options.get(line.option), cursor.after)
        if line.fragment.startswith("-") and not line.options_ended:
            return _flag_items(line, options)
        items: list[CompletionItem] = []
        if value_kind := self._argument_kind(cursor, line, options):
            items = self._candidates.items(value_kind, line.fragment, cursor.after)[:_MOST_MODELS]
        if not line.fragment and not line.options_ended:
            items += _flag_items(line, options)
        return items

    def _argument_kind(self, cursor: CursorPosition, line: PartialLine, options: Mapping[str, Option]) -> str:
        """What can stand for the word at the cursor, which is no option: the model of a cell, once."""
        if cursor.part == "line":
            repeated = cursor.name in ("puq_models", "puq_choose")
            return _ARGUMENT_KINDS.get(cursor.name, "") if repeated or not line.words else ""
        model = options.get("-m")
        if model is None or line.words or set(model.flags) & set(line.flags):
            return ""
        return model.completes

    def _option_values(self, line: PartialLine, option: Option | None, after: str) -> list[CompletionItem]:
        if option is None:
            return []
        if choices := option.argparse_kwargs.get("choices"):
            return filter_by_prefix(
                (CompletionItem(str(choice), "choice") for choice in choices), line.fragment
            )
        value_kind = option.completes or next(
            (_OPTION_VALUE_KINDS[flag] for flag in option.flags if flag in _OPTION_VALUE_KINDS), ""
        )
        return self._candidates.items(value_kind, line.fragment, after)

    # In a prompt -----------------------------------------------------------------------------------------------

    def _complete_expression(
        self, cursor: CursorPosition, options: Mapping[str, Option]
    ) -> CompletionResult | None:
        expression = parse_partial_expression(cursor.before)
        if expression is None or self._is_raw(cursor, options):
            return None
        items = self._expression_items(expression, cursor.after)
        fragment = expression.fragment
        if expression.kind != "key":
            items = filter_by_prefix(items, fragment)
        return CompletionResult(fragment, items)

    def _is_raw(self, cursor: CursorPosition, options: Mapping[str, Option]) -> bool:
        line = f"{cursor.head if cursor.part == 'body' else cursor.before} "
        return "--raw" in parse_partial_line(line, _takes_value(options), prompt=cursor.part == "line").flags

    def _expression_items(self, expression: PartialExpression, after: str) -> list[CompletionItem]:
        if expression.kind == "name":
            return list(self._candidates.variables(hidden=expression.fragment.startswith("_")))
        if expression.kind == "filter":
            return [CompletionItem(*words) for words in iter_filters()]
        if expression.kind == "other":
            return []
        value = resolve_path(expression.path, self._session.namespace)
        if expression.kind == "key":
            return _key_items(value, expression.fragment, after)
        return [CompletionItem(*words) for words in iter_members(value)]


def _takes_value(options: Mapping[str, Option]) -> Callable[[str], bool]:
    return lambda flag: flag in options and options[flag].takes_value


def _join_path_words(cursor: CursorPosition, line: PartialLine) -> PartialLine:
    """A path may have spaces in it as it stands, where nothing else is named: ``%puq_transcribe my talk.mp3``."""
    whole = " ".join((*line.words, line.fragment))
    is_path = "path" in _ARGUMENT_KINDS.get(cursor.name, "") and cursor.part == "line"
    if is_path and not line.option and not line.fragment.startswith("-") and cursor.before.endswith(whole):
        return replace(line, fragment=whole, words=())
    return line


def _flag_items(line: PartialLine, options: Mapping[str, Option]) -> list[CompletionItem]:
    """The options that are not given yet, in the order of their help; short ones where one dash is typed."""
    items = []
    for option in {id(each): each for each in options.values()}.values():
        if option.argparse_kwargs.get("action") == "append" or not set(option.flags) & set(line.flags):
            words = str(option.argparse_kwargs.get("help", "option"))
            items += [CompletionItem(flag, words) for flag in sorted(option.flags, key=len, reverse=True)]
    prefix = line.fragment if line.fragment.startswith("-") else "--"
    return filter_by_prefix(items, prefix)


def _key_items(value: object, fragment: str, after: str) -> list[CompletionItem]:
    """Keys as they are written between brackets: closed, unless that is done behind the cursor already."""
    quote = fragment[:1] if fragment[:1] in ("'", '"') else ""
    items = []
    for key, kind in iter_keys(value):
        is_number = key.isdigit() and kind == "key"
        if is_number and quote:
            continue
        if not is_number and (set(key) & set("\\\"'\n{}") or not key):  # cannot be written simply
            continue
        mark = "" if is_number else quote or '"'
        closing = "" if mark and after.startswith(mark) else f"{mark}{'' if after.startswith(']') else ']'}"
        items.append(CompletionItem(f"{mark}{key}{closing}", kind))
    return filter_by_prefix(items, fragment)
