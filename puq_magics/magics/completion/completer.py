"""Completion at a cursor: the magic and word it is in, and the items for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from puq_magics.core.errors import InputError
from puq_magics.magics.commands import PuqCommands
from puq_magics.magics.completion.candidates import Candidates, CompletionItem, filter_by_prefix
from puq_magics.magics.completion.cursor import CursorPosition, PartialLine, locate_cursor, parse_partial_line
from puq_magics.magics.completion.expressions import (
    PartialExpression,
    iter_columns,
    iter_filters,
    iter_keys,
    iter_members,
    parse_partial_expression,
    resolve_path,
)
from puq_magics.magics.options import CommandLine, Option
from puq_magics.session.session import Session

_MAX_ARGUMENTS = 400  # before the options of a line; IPython takes 500 completions in all


@dataclass(frozen=True, slots=True)
class CompletionResult:
    """Items to replace ``fragment``, the text before the cursor; best first."""

    fragment: str
    items: list[CompletionItem]


class Completer:
    """Completes the magics of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._candidates = Candidates(session)

    def complete(self, text: str, offset: int) -> CompletionResult | None:
        """Return the completions at ``offset`` characters of a cell; None outside of this package's magics."""
        lines, cells = self._registered_commands("line"), self._registered_commands("cell")
        cursor = locate_cursor(text, offset, lines, cells)
        if cursor is None:
            return None
        if cursor.part == "setting":
            fragment = cursor.before.lstrip()
            items = self._candidates.setting_values(cursor.name, fragment, cursor.after)
            return CompletionResult(fragment, items)
        command = (lines if cursor.part == "line" else cells)[cursor.name]
        if (result := self._complete_expression(cursor, command)) is not None:
            return result
        if cursor.part == "body":
            return CompletionResult("", [])
        has_prompt = cursor.part == "line" and bool(command.operand) and not command.argument
        line = parse_partial_line(cursor.before, command.takes_value, prompt=has_prompt)
        line = _join_path_words(cursor, line, command)
        return CompletionResult(line.fragment, self._complete_word(cursor, line, command))

    def _registered_commands(self, kind: str) -> dict[str, CommandLine]:
        """Return the command lines of the registered magics of a kind, ``line`` or ``cell``, by name."""
        commands = self._session.shell.magics_manager.registry.get(PuqCommands.__name__)
        functions = {} if commands is None else commands.magics[kind]
        return {name: function.command_line for name, function in functions.items()}

    # In a line -------------------------------------------------------------------------------------------------

    def _complete_word(
        self, cursor: CursorPosition, line: PartialLine, command: CommandLine
    ) -> list[CompletionItem]:
        if line.option:
            return self._option_values(line, command.by_flag.get(line.option), cursor.after)
        if line.fragment.startswith("-") and not line.options_ended:
            return _flag_items(line, command)
        items: list[CompletionItem] = []
        if value_kind := _argument_kind(cursor, line, command):
            items = self._candidates.items(value_kind, line.fragment, cursor.after)[:_MAX_ARGUMENTS]
        if not line.fragment and not line.options_ended:
            items += _flag_items(line, command)
        return items

    def _option_values(self, line: PartialLine, option: Option | None, after: str) -> list[CompletionItem]:
        if option is None:
            return []
        if choices := option.argparse_kwargs.get("choices"):
            items = (CompletionItem(str(choice), "choice") for choice in choices)
            return filter_by_prefix(items, line.fragment)
        return self._candidates.items(option.completes, line.fragment, after)

    # In a prompt -----------------------------------------------------------------------------------------------

    def _complete_expression(self, cursor: CursorPosition, command: CommandLine) -> CompletionResult | None:
        expression = parse_partial_expression(cursor.before)
        if expression is None or _is_raw(cursor, command):
            return None
        items = self._expression_items(expression, cursor.after)
        if expression.kind == "name" and cursor.part == "body":
            columns = self._columns(cursor, command)
            hidden = {item.text for item in columns}
            items = columns + [item for item in items if item.text not in hidden]
        if expression.kind != "key":
            items = filter_by_prefix(items, expression.fragment)
        return CompletionResult(expression.fragment, items)

    def _expression_items(self, expression: PartialExpression, after: str) -> list[CompletionItem]:
        if expression.kind == "name":
            return list(self._candidates.variables(hidden=expression.fragment.startswith("_")))
        if expression.kind == "filter":
            return [CompletionItem(*item) for item in iter_filters()]
        if expression.kind == "other":
            return []
        value = resolve_path(expression.path, self._session.namespace)
        if expression.kind == "key":
            return _key_items(value, expression.fragment, after)
        return [CompletionItem(*item) for item in iter_members(value)]

    def _columns(self, cursor: CursorPosition, command: CommandLine) -> list[CompletionItem]:
        """Return the columns of the table whose rows fill the prompt, if it is a variable."""
        if not (takes_over := "--over" in command.by_flag) and not command.argument:
            return []
        try:
            args, name = command.parse_with_argument(cursor.head, "")
        except InputError:  # an unfinished line
            return []
        table = self._session.namespace.get(args.over if takes_over else name)
        return [CompletionItem(*item) for item in iter_columns(table)]


def _argument_kind(cursor: CursorPosition, line: PartialLine, command: CommandLine) -> str:
    """Return the kind of the argument at the cursor; in the line of most cells, that is the model, once."""
    if cursor.part == "line" or command.argument:
        return command.argument if command.repeats or not line.words else ""
    model = command.by_flag.get("-m")
    if model is None or line.words or set(model.flags) & set(line.flags):
        return ""
    return model.completes


def _is_raw(cursor: CursorPosition, command: CommandLine) -> bool:
    line = f"{cursor.head if cursor.part == 'body' else cursor.before} "
    return "--raw" in parse_partial_line(line, command.takes_value, prompt=cursor.part == "line").flags


def _join_path_words(cursor: CursorPosition, line: PartialLine, command: CommandLine) -> PartialLine:
    """Join the words of a path that has spaces and no quotes: ``%puq_transcribe my talk.mp3``."""
    path = " ".join((*line.words, line.fragment))
    takes_path = "path" in command.argument and cursor.part == "line"
    if takes_path and not line.option and not line.fragment.startswith("-") and cursor.before.endswith(path):
        return replace(line, fragment=path, words=())
    return line


def _flag_items(line: PartialLine, command: CommandLine) -> list[CompletionItem]:
    """Return the flags that are not given yet, in the order of the help; short ones only after one dash."""
    items = []
    for option in command.options:
        if option.argparse_kwargs.get("action") == "append" or not set(option.flags) & set(line.flags):
            description = str(option.argparse_kwargs["help"])
            items += [
                CompletionItem(flag, "option", description)
                for flag in sorted(option.flags, key=len, reverse=True)
            ]
    prefix = line.fragment if line.fragment.startswith("-") else "--"
    return filter_by_prefix(items, prefix)


def _key_items(value: object, fragment: str, after: str) -> list[CompletionItem]:
    """Return the keys as they are written between brackets, with the closing ones that are not there yet."""
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
