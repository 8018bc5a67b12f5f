"""Options of the magics: declared once, documented by argparse, and parsed off the front of a raw prompt."""

from __future__ import annotations

import argparse
import inspect
import json
import keyword
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from IPython.core.error import UsageError

from puq_magics.core.errors import InputError, MissingVariableError

if TYPE_CHECKING:
    from puq_magics.prompts.template import FilledText
    from puq_magics.session.session import Session
    from puq_magics.session.settings import PuqMagics

#: Substitutes variables in a text; with ``plain=True`` only values that can be a name, a number or a path.
FillText = Callable[..., "FilledText"]
F = TypeVar("F", bound=Callable[..., Any])

# A word as a shell has it: quotes keep it together, and so do the braces of an expression.
_WORD_PART = r"""\{\{.*?\}\}|\\.|"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"'\\]"""
_PART = re.compile(_WORD_PART, re.DOTALL)
_WORD = re.compile(f"(?:{_WORD_PART})+", re.DOTALL)
# A path of Windows, whose backslashes escape nothing, with the flag before it: C:\x.png, "C:\my files\", \\server\x.
_WINDOWS_PATH = re.compile(
    r"""(--?[\w-]+=)?(?:"((?:[A-Za-z]:|\\)\\[^"]*)"|((?:[A-Za-z]:|\\)\\[^\s"']*))(?=\s|$)"""
)
# What looks like an expression of another notation.
_OTHER_NOTATION = re.compile(r"\$\{[^\W\d][^{}\s]*\}|\$[^\W\d]\w*|(?<!\{)\{[^\W\d][^{},\s]*\}(?!\})")
# An option and the beginning of a value without quotes.
_UNQUOTED_VALUE = re.compile(r"""(?<!\S)(--?[\w-]+)[\s=]\s*(?=[^\s"'])""")
_CONTROL_CHARS = re.compile(r"[\x00-\x1f\x7f]")

# Names that IPython itself uses: the shell would break, or lose its ``_``.
_IPYTHON_NAMES = ("In", "Out", "_", "__", "___", "_ih", "_oh", "_dh", "exit", "quit", "get_ipython")
#: Fields of requests that ``--param`` cannot set, by the kind of the model.
_FIELDS_WITH_OPTIONS = {
    "chat": ("model", "messages", "stream", "temperature", "max_completion_tokens"),
    "image": ("model", "prompt", "size", "n", "image", "image[]"),
    "speech": ("model", "input", "voice", "response_format", "speed", "instructions"),
    "transcription": ("model", "file", "language", "prompt", "temperature", "response_format", "stream"),
}
_JSON_WORDS = {
    "True": "true",
    "False": "false",
    "None": "null",
}  # values of Python, as {{name}} fills them in
#: Hint for errors in the braces of a prompt, of the magics that have ``--raw``.
RAW_HINT = "With --raw the text is sent as it is."
_FILL_HINT = "Write {{name}}, with the name of a variable whose value is short."
_CELL_HINT = "Write the prompt below, in the cell."


class UnknownOptionError(InputError):
    """An option that the magic does not have; ``magics`` are those that have it."""

    #: The option as typed, and similar ones that exist.
    name: str
    suggestions: Sequence[str]

    def __init__(
        self, name: str, suggestions: Sequence[str] = (), *, magics: Sequence[str] = (), hint: str = ""
    ) -> None:
        guess = f" Did you mean {suggestions[0]}?" if suggestions else ""
        if magics:
            guess = f" It is an option of {', '.join(magics[:3])}{' and others' if len(magics) > 3 else ''}."
        super().__init__(f"there is no option {name}.{guess}", hint=hint)
        self.name, self.suggestions = name, suggestions


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its flags, and the arguments of argparse's ``add_argument``."""

    flags: tuple[str, ...]
    argparse_kwargs: dict[str, Any]
    #: The kind of completions for its value, such as ``chat model`` or ``path``; else its choices.
    completes: str = ""
    #: The title above it and its like on the help page.
    group: str = "Options"
    #: True if the value is free text, in which single braces and dollars are usual.
    is_text: bool = False
    #: True if a single name in quotes is a list of one field, which is written ``name,``.
    quoted_name_is_field: bool = False

    @property
    def takes_value(self) -> bool:
        """True if a value follows."""
        return "action" not in self.argparse_kwargs or self.argparse_kwargs["action"] == "append"


def option(
    *flags: str,
    completes: str = "",
    group: str = "Options",
    is_text: bool = False,
    quoted_name_is_field: bool = False,
    **argparse_kwargs: Any,
) -> Option:
    """Declare an option with the arguments of ``add_argument``."""
    return Option(flags, argparse_kwargs, completes, group, is_text, quoted_name_is_field)


def flag(
    *flags: str,
    help: str,  # noqa: A002 - argparse's name
    group: str = "Options",
    **argparse_kwargs: Any,
) -> Option:
    """Declare an option without a value."""
    return Option(flags, {"action": "store_true", "help": help, **argparse_kwargs}, group=group)


def parse_variable_name(text: str) -> str:
    """Parse the variable name of ``-o``."""
    if not text.isidentifier() or keyword.iskeyword(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name for a variable")
    if text in _IPYTHON_NAMES:
        raise argparse.ArgumentTypeError(f"{text!r} is a variable of IPython's own")
    return text


def parse_number(text: str, description: str = "number") -> float:
    """Parse a finite number, such as that of ``-t``."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value != value or abs(value) == float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a {description}")
    return value


def parse_positive_int(text: str) -> int:
    """Parse a whole number above 0, such as that of ``--max-tokens``."""
    if not text.isascii() or not text.isdigit() or int(text[:12]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text[:12])


#: All that decorate a magic.
_COMMANDS: list[CommandLine] = []


class CommandLine:
    """The options of one magic: a decorator for its function, and the parser of its lines.

    ``argument`` is the kind of completions for an argument that is no option, and ``repeats`` allows several.
    ``operand`` is the help page's name for what follows the options, such as ``PROMPT``, and ``body`` that of the
    cell's body if the magic is for cells alone.
    """

    def __init__(
        self, *options: Option, argument: str = "", repeats: bool = False, operand: str = "", body: str = ""
    ) -> None:
        #: The options, as declared.
        self.options = options
        self.argument = argument
        self.repeats = repeats
        self.operand = operand
        self.body = body
        self.by_flag = {flag: opt for opt in options for flag in opt.flags}
        self._function: Any = None
        self._has_cell = False
        self._cached_parser: argparse.ArgumentParser | None = None

    def __call__(self, function: F, *, has_cell: bool = False) -> F:
        """Decorate the magic, so that ``%magic?`` documents its options.

        The parser is made on first use: a dozen of them would take a good part of the time of ``%load_ext``.
        """
        self._function, self._has_cell = function, has_cell
        _COMMANDS.append(self)
        function.command_line = self  # type: ignore[attr-defined]  # for Tab
        function.getdoc = self.documentation  # type: ignore[attr-defined]  # IPython calls it before __doc__
        return function

    def documentation(self) -> str:
        """Return the help page of the magic: usage, explanation, examples and options."""
        return self._parser.format_help()

    def takes_value(self, flag: str) -> bool:
        """Return True if a value follows this flag."""
        return flag in self.by_flag and self.by_flag[flag].takes_value

    @property
    def _parser(self) -> argparse.ArgumentParser:
        if self._cached_parser is None:
            from puq_magics.magics.help import create_parser

            groups: dict[str, list[tuple[tuple[str, ...], dict[str, Any]]]] = {}
            for opt in self.options:
                groups.setdefault(opt.group, []).append((opt.flags, opt.argparse_kwargs))
            description = f"{self._usage()}\n\n{inspect.getdoc(self._function)}"
            self._cached_parser = create_parser(self._name, description, groups)
            self._function.parser = self._cached_parser  # IPython's matchers use it
        return self._cached_parser

    def _usage(self) -> str:
        options = " [options]" if self.options else ""
        if self.body:
            return f"Usage:\n\n  %%{self._name}{options} {self.operand}".rstrip() + f"\n  {self.body}"
        usage = f"Usage:\n\n  %{self._name}{options} {self.operand}".rstrip()
        if self._has_cell:
            usage += f"\n\n  %%{self._name} [MODEL]{options}\n  {self.operand}"
        return usage

    def parse(self, line: str, fill: FillText | None = None) -> tuple[argparse.Namespace, str]:
        """Parse the options at the front of a line, up to ``--``; return the rest raw, quotes included.

        ``fill`` substitutes variables in the values of the options, unless ``--raw`` is among them. Its notes on the
        system prompt are ``option_notes`` of the namespace. Raises InputError.
        """
        option_words, end, _ = self._scan_options(line, 0)
        return self._parse_words(option_words, fill), line[end:].strip()

    def parse_prompt_line(self, line: str, fill: FillText | None = None) -> tuple[argparse.Namespace, str]:
        """Parse options and a prompt as ``parse`` does; raise InputError for an option behind the prompt, too."""
        _, end, options_ended = self._scan_options(line, 0)
        if not options_ended:
            for word in line[end:].split():
                name = word.partition("=")[0]
                if name in self.by_flag or (re.fullmatch(r"-[a-z][\d.]+", word) and word[:2] in self.by_flag):
                    raise InputError(
                        f"{word} is an option of %{self._name}, and stands behind the prompt.",
                        hint="Put it before the prompt. If it is a part of the prompt, write -- before the prompt.",
                    )
        return self.parse(line, fill)

    def parse_intermixed(
        self, line: str, fill: FillText | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse a line of arguments with options anywhere among them. Raises InputError."""
        option_words, position, options_ended = self._scan_options(line, 0)
        arguments: list[str] = []
        while word := self._next_word(line, position):
            arguments.append(word[0])
            position = word[1]
            if not options_ended:
                more, position, options_ended = self._scan_options(line, position)
                option_words += more
        if filler := self._filler(fill, option_words):
            arguments = [fill_name(word, filler) for word in arguments]
        return self._parse_words(option_words, fill), arguments

    def parse_with_argument(
        self, line: str, hint: str, fill: FillText | None = None
    ) -> tuple[argparse.Namespace, str]:
        """Parse a line of options and at most one argument, which is empty when there is none.

        Raises InputError, with ``hint`` for a second argument.
        """
        args, arguments = self.parse_intermixed(line, fill)
        if len(arguments) > 1:
            raise self.unexpected_argument(arguments[1], line, hint)
        return args, "".join(arguments)

    def unexpected_argument(self, argument: str, line: str, hint: str) -> InputError:
        """Return the error on an argument too many; it may be the rest of a text without quotes."""
        unquoted = [
            flag for flag in _UNQUOTED_VALUE.findall(line) if (opt := self.by_flag.get(flag)) and opt.is_text
        ]
        if unquoted:
            hint = f"If it is part of the text of {unquoted[-1]}, put all of that in quotes. {hint}"
        return InputError(f"unexpected argument {argument!r}.", hint=hint)

    def _scan_options(self, line: str, position: int) -> tuple[list[str], int, bool]:
        """Collect the options from ``position`` on.

        Returns the words, the position behind them, and True where ``--`` ended the options.
        """
        words: list[str] = []
        while word := self._next_word(line, position):
            text, end = word
            if not line[position:].lstrip().startswith("-") or text == "-":  # a quoted one is the prompt's
                break
            position = end
            if text == "--":
                return words, position, True
            words.append(text)
            if self.takes_value(text) and (value := self._next_word(line, position, value_of=text)):
                is_quoted = line[position:].lstrip()[:1] in ("'", '"')
                is_name = is_quoted and value[0].isidentifier()
                is_field = is_name and text in self.by_flag and self.by_flag[text].quoted_name_is_field
                words.append(f"{value[0]}," if is_field else value[0])
                position = value[1]
        return words, position, False

    def _next_word(self, line: str, position: int, *, value_of: str = "") -> tuple[str, int] | None:
        start = position + len(line[position:]) - len(line[position:].lstrip())
        if start == len(line):
            return None
        if path := _WINDOWS_PATH.match(line, start):
            return "".join(part or "" for part in path.groups()), path.end()
        match = _WORD.match(line, start)
        if match is None or (match.end() < len(line) and not line[match.end()].isspace()):
            # Not a shell word, such as one with a lone apostrophe: part of the prompt; a value would be cut in half.
            word = line[start:].split(None, 1)[0]
            if value_of and ("'" in word or '"' in word):
                raise InputError(
                    f"the value of {value_of} has a quote that is not closed: {word}.",
                    hint=f"""Put all of it in quotes, like {value_of} "it's".""",
                )
            return word, start + len(word)
        return _PART.sub(_unquote, match.group()), match.end()

    def _parse_words(self, words: Sequence[str], fill: FillText | None) -> argparse.Namespace:
        options, notes = self._checked_options(words), list[str]()
        if filler := self._filler(fill, options):
            options = [self._fill_option(option, filler, notes) for option in options]
        try:
            namespace: argparse.Namespace = self._parser.parse_args(options)
        except UsageError as exc:  # IPython's, for argparse's error, which has fields
            cause, message, hint = exc.__context__, str(exc), self._usage_hint()
            if isinstance(cause, argparse.ArgumentError):
                message = f"{cause.argument_name}: {cause.message}"
                hint = self._option_hint(str(cause.argument_name).partition("/")[0])
            raise InputError(f"{message}.", hint=hint) from None
        for name, value in vars(namespace).items():
            if isinstance(value, list) and (not value or [] in value):  # argparse's result for ``-a --``
                flag = f"--{name.replace('_', '-')}"
                raise InputError(f"{flag}: -- is not a value.", hint=self._option_hint(flag))
        namespace.option_notes = tuple(notes)
        return namespace

    def _filler(self, fill: FillText | None, options: Sequence[str]) -> FillText | None:
        """Return what substitutes variables in values; None with ``--raw``."""
        if fill is None or "--raw" in options:
            return None
        return partial(fill, raw_hint=RAW_HINT) if "--raw" in self.by_flag else fill

    def _fill_option(self, option: str, fill: FillText, notes: list[str]) -> str:
        """Substitute variables in an option's value, ``--flag=value`` or ``-fvalue``; raise InputError."""
        match = re.fullmatch(r"(--[^=]*|-.)(=?)(.*)", option, re.DOTALL)
        name, equals, value = match.groups() if match else (option, "", "")
        if not value or not self.takes_value(name):
            return option
        subject = f"the value of {name}"
        try:
            if not self.by_flag[name].is_text:
                may_be_empty = "--chat" in self.by_flag[name].flags  # no conversation
                return f"{name}{equals}{fill_name(value, fill, subject, may_be_empty=may_be_empty)}"
            if "{{" not in value:
                _check_notation(value, fill, subject)
                return option
            filled = _fill_value(value, fill, subject)
        except InputError as error:
            if self.body and isinstance(error, MissingVariableError):
                error.extend_hint("Options are filled in once, from variables; columns are for the prompt.")
            raise
        notes += filled.notes
        if filled.text == "None" and "--param" not in self.by_flag[name].flags:
            raise InputError(f"{subject}: {value} is None.", hint="Give the variable a value first.")
        if filled.notes and "--system" not in self.by_flag[name].flags:
            raise InputError(f"{subject}: {filled.notes[0]}.", hint=_FILL_HINT)
        return f"{name}{equals}{filled.text}"

    def _checked_options(self, words: Sequence[str]) -> list[str]:
        """Check the flags, and attach values, ``-t=-1``: argparse would parse ``-1`` as an option."""
        checked: list[str] = []
        value_follows = False
        for word in words:
            if value_follows:
                checked[-1] += f"={word}"
                value_follows = False
            else:
                self._check_flag(word.split("=", 1)[0])
                checked.append(word)
                value_follows = self.takes_value(word)
        return checked

    def _check_flag(self, name: str) -> None:
        if name in self.by_flag or (not name.startswith("--") and name[:2] in self.by_flag):
            return
        if name in ("-h", "--help"):
            raise InputError(f"there is no option {name}.", hint=self._usage_hint())
        magics = [command._title for command in _COMMANDS if name in command.by_flag]
        suggestions = [flag for flag in self.by_flag if len(name) > 2 and flag.startswith(name)]
        if not suggestions and not magics:
            from puq_magics.core.suggestions import closest_match

            suggestions = [near] if (near := closest_match(name, self.by_flag)) else []
        raise UnknownOptionError(name, suggestions, magics=magics, hint=self._usage_hint())

    @property
    def _name(self) -> str:
        return str(self._function.__name__)

    @property
    def _title(self) -> str:
        return f"{'%%' if self.body else '%'}{self._name}"

    def _usage_hint(self) -> str:
        if not self.options:
            return f"It has no options; %{self._name}? explains it."
        return f"%{self._name}? shows the options; -- ends them."

    def _option_hint(self, flag: str) -> str:
        """Return what an option is for."""
        description = str(self.by_flag[flag].argparse_kwargs["help"]) if flag in self.by_flag else ""
        return f"{flag}: {description}. {self._usage_hint()}" if description else self._usage_hint()


def _unquote(part: re.Match[str]) -> str:
    """Return a part of a word without its quotes; a backslash that escapes nothing is one of a path."""
    text = part.group()
    if text[0] == "'":
        return text[1:-1]
    if text[0] == '"':
        return re.sub(r'\\(["\\])', r"\1", text[1:-1])
    is_escape = len(text) == 2 and text[0] == "\\" and not re.match(r"[\w.]", text[1])
    return text[1] if is_escape else text


def fill_name(text: str, fill: FillText, subject: str = "", *, may_be_empty: bool = False) -> str:
    """Substitute variables in a name, such as that of a file or a model. Raises InputError."""
    from puq_magics.core.files import path_exists

    if "{{" in text:
        filled = _fill_value(text, fill, subject, plain=True)
        subject = subject or text
        if filled.notes:
            raise InputError(f"{subject}: {filled.notes[0]}.", hint=_FILL_HINT)
        if not filled.text.strip() and not may_be_empty:
            raise InputError(f"{subject}: {text} is empty.", hint="Give the variable a value first.")
        if found := _CONTROL_CHARS.search(filled.text):
            kind = "a line break" if found.group() in "\r\n" else "a control character"
            raise InputError(
                f"{subject}: {text} holds {kind}.", hint="Remove it, with {{name | trim}} at the ends."
            )
        return filled.text
    other = _OTHER_NOTATION.search(text)
    if other and not path_exists(Path(text)):
        raise _notation_error(other.group(), subject or text)
    return text


def _fill_value(text: str, fill: FillText, subject: str, **kind: bool) -> FilledText:
    """Substitute variables in a value; errors begin with ``subject``, if it is not empty."""
    try:
        return fill(text, **kind)
    except InputError as error:
        if subject:
            error.add_context(subject)
        raise


def _check_notation(text: str, fill: FillText, subject: str) -> None:
    """Raise InputError for a text that is a variable in another notation, and nothing else: ``{x}``, ``seed=$x``."""
    value = re.sub(r"^[\w.-]+=", "", text)
    if _OTHER_NOTATION.fullmatch(value) is None:
        return
    try:
        fill(f"{{{{{value.strip('${}')}}}}}")
    except MissingVariableError:
        return  # such as {name} for the model, or $HOME
    except InputError:
        pass
    raise _notation_error(value, subject)


def _notation_error(text: str, subject: str) -> InputError:
    name = text.strip("${}")
    return InputError(f"{subject}: {text} is not substituted.", hint=f"Write {{{{{name}}}}}.")


def parse_options_only(command: CommandLine, line: str, fill: FillText | None = None) -> argparse.Namespace:
    """Parse a line without arguments. Raises InputError."""
    args, rest = command.parse(line, fill)
    if rest:
        raise command.unexpected_argument(rest, line, "This magic takes options only.")
    return args


def is_dry_run(args: argparse.Namespace) -> bool:
    """Return whether ``--dry-run`` was given. Raises InputError for ``--full`` without it."""
    if args.full and not args.dry_run:
        raise InputError("--full is for --dry-run.", hint="Write --dry-run --full.")
    return bool(args.dry_run)


def chat_params(args: argparse.Namespace, session: Session) -> dict[str, Any]:
    """Return the further fields of a chat request, by options and settings; None is not sent. Raises InputError."""
    params: dict[str, Any] = {
        "temperature": session.settings.temperature if args.temperature is None else args.temperature,
        "max_completion_tokens": args.max_tokens or session.max_tokens,
    }
    return params | parse_params(args.param, "chat")


def image_params(args: argparse.Namespace, settings: PuqMagics) -> dict[str, Any]:
    """Return the further fields of an image request, as ``chat_params`` does."""
    params: dict[str, Any] = {"size": args.size or settings.image_size, "n": args.count}
    return params | parse_params(args.param, "image")


def parse_params(pairs: Sequence[str] | None, kind: str) -> dict[str, Any]:
    """Parse ``--param KEY=VALUE`` into fields of a request of this kind; the last value of a key wins.

    Raises InputError, also for a field that has an option.
    """
    params: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InputError(f"--param {pair} has no value.", hint="Write it like --param seed=7.")
        if key in _FIELDS_WITH_OPTIONS[kind]:
            raise InputError(f"{key} is not for --param.", hint="Use the option or argument for it.")
        try:
            params[key] = json.loads(_JSON_WORDS.get(text, text))
        except ValueError:
            params[key] = text
        except RecursionError:
            raise InputError(
                f"the value of --param {key} is nested too deeply.", hint="Write it with fewer brackets."
            ) from None
    return params


def parse_prompt(
    command: CommandLine,
    name: str,
    line: str,
    cell: str | None,
    *,
    fill: FillText | None = None,
    promptless_option: str = "",
) -> tuple[argparse.Namespace, str]:
    """Parse the options, and return them with the prompt as typed.

    In a cell magic, the line may name the model. Raises InputError, also for an empty prompt, unless
    ``promptless_option`` is set.
    """
    if cell is None:
        args, prompt = command.parse_prompt_line(line, fill)
    else:
        args, model = command.parse_with_argument(line, _CELL_HINT, fill)
        if model and args.model is not None:
            raise InputError(f"unexpected argument {model!r}: -m names the model.", hint=_CELL_HINT)
        args.model, prompt = model or args.model, cell.strip("\n")
    if not prompt.strip() and not getattr(args, promptless_option, False):
        hint = f"Write it below %%{name}, or after the options of %{name}."
        raise InputError("the prompt is empty.", hint=hint)
    return args, prompt


def resolve_save_path(args: argparse.Namespace, extensions: Sequence[str], number: int = 1) -> Path | None:
    """Return the path of ``--save``; None without it. Raises InputError for one that cannot be written."""
    if args.save is None:
        return None
    from puq_magics.core.files import check_save_path

    if "{{" in args.save:  # with --raw
        raise InputError(
            f"{args.save} is not a file name: nothing is substituted in it.", hint="Remove --raw."
        )
    return check_save_path(args.save, args.force, extensions=extensions, number=number, force_hint="--force")
