"""The options of the magics: declared once, documented by argparse, and taken off the front of a raw prompt."""

from __future__ import annotations

import argparse
import json
import keyword
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError

from puq_magics.core.errors import InputError
from puq_magics.core.files import check_save_path

# A word as a shell reads it: quotes keep it together.
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+""", re.DOTALL)

# What the shell itself reads: it would break, or give up its ``_``.
_IPYTHON_NAMES = frozenset(
    ("In", "Out", "_", "__", "___", "_ih", "_oh", "_dh", "exit", "quit", "get_ipython")
)


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its spellings, what argparse is told, and whether a value follows."""

    flags: tuple[str, ...]
    argparse_kwargs: dict[str, Any]
    #: What Tab offers for the value: ``chat model``, ``variable``, ``path``, ``voice``, ``chat``; else its choices.
    completes: str = ""

    @property
    def takes_value(self) -> bool:
        """Whether a value follows."""
        return "action" not in self.argparse_kwargs or self.argparse_kwargs["action"] == "append"


def option(*flags: str, completes: str = "", **argparse_kwargs: Any) -> Option:
    """Declare an option, in argparse's words."""
    return Option(flags, argparse_kwargs, completes)


def parse_variable_name(text: str) -> str:
    """The name of a variable, as ``-o`` takes it."""
    if not text.isidentifier() or keyword.iskeyword(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name for a variable")
    if text in _IPYTHON_NAMES:
        raise argparse.ArgumentTypeError(f"{text!r} is a variable of IPython's own")
    return text


def parse_number(text: str) -> float:
    """A number, as ``-t`` takes it."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value != value or abs(value) == float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def parse_positive_int(text: str) -> int:
    """A whole number above 0, as ``--max-tokens`` takes it."""
    if not text.isascii() or not text.isdigit() or int(text[:12]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text[:12])


def parse_image_size(text: str) -> str:
    """A size in pixels, as ``--size`` takes it; ``auto`` leaves it to the model."""
    if text != "auto" and not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write it like 1024x1024")
    return text


def parse_speed(text: str) -> float:
    """How fast to speak, as ``--speed`` takes it."""
    value = parse_number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a speed above 0; 1 is the usual one")
    return value


def model_option(kind: str, setting: str) -> Option:
    """``-m`` of a magic that asks models of a kind."""
    words = f"the model, or an alias; else PuqMagics.{setting}"
    return option("-m", "--model", help=words, completes=f"{kind} model")


MODEL = model_option("chat", "chat_model")
SYSTEM = option("-s", "--system", help="the system prompt; with the first turn of a conversation, that one's")
TEMPERATURE = option(
    "-t", "--temperature", type=parse_number, help="how freely to choose words; 0 is the least"
)
MAX_TOKENS = option("--max-tokens", type=parse_positive_int, help="the most tokens to answer with")
NO_STREAM = option("--no-stream", action="store_true", help="wait for the whole answer")
OUT = option(
    "-o",
    "--out",
    type=parse_variable_name,
    metavar="NAME",
    completes="variable",
    help="the variable that gets the result",
)
RAW = option("--raw", action="store_true", help="fill no {{name}}")
PARAM = option(
    "--param",
    action="append",
    metavar="KEY=VALUE",
    help="a further field of the request; JSON when it is JSON",
)
QUIET = option("-q", "--quiet", action="store_true", help="show nothing")
DRY_RUN = option("--dry-run", action="store_true", help="show the request as a curl line, and send nothing")
SAVE = option("--save", metavar="PATH", completes="path", help="a file to keep the result in")
FORCE = option("--force", action="store_true", help="let --save replace a file")

CHAT = option(
    "-c",
    "--chat",
    metavar="NAME",
    completes="chat",
    help="the conversation to join; else PuqMagics.chat; '' for none",
)
CONTINUE = option(
    "--continue",
    dest="continue_",
    action="store_true",
    help="go on with the last answer, which was interrupted or cut off",
)
ATTACH = option(
    "-a",
    "--attach",
    action="append",
    metavar="PATH|NAME",
    completes="path or variable",
    help="a file, or a variable with an image, a figure or a text, to send along; may be repeated",
)
FORMAT = option(
    "-f",
    "--format",
    choices=("markdown", "text", "code", "json", "html"),
    help="what to make of the answer: code goes into a new cell, json gives .data",
)
SCHEMA = option(
    "--schema",
    metavar="NAME|PATH|FIELDS",
    completes="schema or path",
    help="the JSON to answer with: a JSON Schema, a pydantic model, a dataclass, or like 'name, age int'",
)
ALL_BLOCKS = option(
    "--all-blocks", action="store_true", help="with -f code: all blocks of code, not the first"
)

IMAGE_MODEL = model_option("image", "image_model")
SIZE = option(
    "--size", type=parse_image_size, completes="size", help="like 1024x1024; else PuqMagics.image_size"
)
COUNT = option("-n", "--count", type=parse_positive_int, help="how many images")

SPEECH_MODEL = model_option("speech", "speech_model")
VOICE = option("--voice", completes="voice", help="the voice, like alloy; else PuqMagics.voice")
AUDIO_FORMAT = option(
    "--audio-format", choices=("mp3", "wav", "opus", "flac", "aac"), help="the file format to ask for"
)
SPEED = option("--speed", type=parse_speed, help="how fast to speak; 1 is the usual")
AUTOPLAY = option("--autoplay", action="store_true", help="start to play at once")

TRANSCRIBE_MODEL = model_option("transcription", "transcribe_model")
LANGUAGE = option("--language", completes="language", help="the language that is spoken, like en")
RESPONSE_FORMAT = option(
    "--response-format",
    choices=("json", "verbose_json", "text"),
    help="how the router answers; verbose_json has the times of each segment",
)
STREAM = option("--stream", action="store_true", help="show the words while the rest is still being heard")
RECORD = option("--record", action="store_true", help="record with the microphone")


class CommandLine:
    """The options of one magic; a decorator for its function, and the reader of its lines."""

    def __init__(self, *options: Option) -> None:
        self._options = options
        self._by_flag = {flag: opt for opt in options for flag in opt.flags}
        self._function: Callable[..., Any] | None = None
        self._cached_parser: Any = None

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate the magic, so that ``%magic?`` documents its options.

        They become ``magic_arguments`` when they are first wanted: a dozen parsers would take a good part of the time
        of ``%load_ext``.
        """
        self._function = function
        function.command_line = self  # type: ignore[attr-defined]  # for Tab
        function.getdoc = self.documentation  # type: ignore[attr-defined]  # IPython asks for it before __doc__
        return function

    def documentation(self) -> str:
        """The magic's documentation, options included."""
        _ = self._parser
        return (self._function and self._function.__doc__) or ""

    @property
    def _parser(self) -> Any:
        if self._cached_parser is None:
            from IPython.core.magic_arguments import argument, magic_arguments

            function: Any = self._function
            for opt in reversed(self._options):
                function = argument(*opt.flags, **opt.argparse_kwargs)(function)
            self._cached_parser = magic_arguments()(function).parser
            self._cached_parser.allow_abbrev = False  # a mistyped flag is an error, not another flag
        return self._cached_parser

    @property
    def options(self) -> tuple[Option, ...]:
        """The options, as declared."""
        return self._options

    def parse(self, line: str) -> tuple[argparse.Namespace, str]:
        """Take the options off the front of a line; the rest comes back raw, quotes and all.

        ``--`` ends the options. Raises InputError.
        """
        words: list[str] = []
        position = 0
        while word := self._next_word(line, position):
            text, end = word
            if not line[position:].lstrip().startswith("-") or text == "-":  # a quoted one is the prompt's
                break
            position = end
            if text == "--":
                break
            words.append(text)
            if self._takes_value(text):
                value = self._next_word(line, position, value_of=text)
                if value is None:
                    break
                words.append(value[0])
                position = value[1]
        return self._parse_words(words), line[position:].strip()

    def parse_with_argument(self, line: str, hint: str) -> tuple[argparse.Namespace, str]:
        """Read a line without a prompt: options before and behind one word, which is empty when there is none.

        Raises InputError, with ``hint`` for a second word.
        """
        args, rest = self.parse(line)
        word, *trailing = rest.split(None, 1) or [""]
        if trailing:
            options = f"{line.rstrip().removesuffix(rest)} {trailing[0]}"
            args, left = self.parse(options)
            if left:
                raise InputError(f"{left!r} is one too many.", hint=hint)
        return args, word

    def parse_intermixed(self, line: str) -> tuple[argparse.Namespace, list[str]]:
        """Read a line of words with options anywhere among them. Raises InputError."""
        args, rest = self.parse(line)
        words: list[str] = []
        while rest:
            text, end = self._next_word(rest, 0) or ("", len(rest))
            words.append(text)
            trailing = rest[end:].strip()
            if trailing.startswith("-") and not trailing.startswith("-- "):
                more, trailing = self.parse(trailing)
                self._merge(args, more)
            rest = trailing
        return args, words

    def _merge(self, args: argparse.Namespace, more: argparse.Namespace) -> None:
        """Take over what was given; a flag or value that was not has its default."""
        for name, value in vars(more).items():
            if value != self._parser.get_default(name):
                setattr(args, name, value)

    def _next_word(self, line: str, position: int, *, value_of: str = "") -> tuple[str, int] | None:
        start = position + len(line[position:]) - len(line[position:].lstrip())
        if start == len(line):
            return None
        match = _WORD.match(line, start)
        if match is None or (match.end() < len(line) and not line[match.end()].isspace()):
            # No shell word, such as one with a lone apostrophe: the prompt's own; as a value it would be half of it.
            word = line[start:].split(None, 1)[0]
            if value_of and ("'" in word or '"' in word):
                raise InputError(
                    f"the value of {value_of} has a quote that is not closed: {word}.",
                    hint=f"""Put all of it in quotes, like {value_of} "it's".""",
                )
            return word, start + len(word)
        return "".join(shlex.split(match.group())), match.end()

    def _takes_value(self, word: str) -> bool:
        found = self._by_flag.get(word)
        return found is not None and found.takes_value

    def _parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        self._check_flags(words)
        try:
            namespace: argparse.Namespace = self._parser.parse_args(self._attach_values(words))
        except UsageError as exc:
            raise InputError(f"{str(exc).removeprefix('argument ')}.", hint=self._usage_hint()) from None
        for value in vars(namespace).values():
            if isinstance(value, list) and (not value or [] in value):  # what argparse makes of it
                raise InputError("-- is not a value.", hint=self._usage_hint())
        return namespace

    def _check_flags(self, words: Sequence[str]) -> None:
        value_follows = False
        for word in words:
            if value_follows:
                value_follows = False
                continue
            name = word.split("=", 1)[0]
            known = name in self._by_flag or (not name.startswith("--") and name[:2] in self._by_flag)
            if name in ("-h", "--help") and not known:
                raise InputError(f"%{self._parser.prog.lstrip('%')}? shows the options.")
            if not known:
                prefixed = [flag for flag in self._by_flag if len(name) > 2 and flag.startswith(name)]
                nearest_flags = prefixed or _nearest_flags(name, self._by_flag)
                suggestion = f" Did you mean {nearest_flags[0]}?" if nearest_flags else ""
                raise InputError(f"there is no option {name}.{suggestion}", hint=self._usage_hint())
            value_follows = self._takes_value(word)

    def _attach_values(self, words: Sequence[str]) -> list[str]:
        """``-t -1`` as ``-t=-1``: argparse would take the value for an option."""
        attached: list[str] = []
        value_follows = False
        for word in words:
            if value_follows:
                attached.append(f"{attached.pop()}={word}")
                value_follows = False
            else:
                attached.append(word)
                value_follows = self._takes_value(word)
        return attached

    def _usage_hint(self) -> str:
        more = f"%{self._parser.prog.lstrip('%')}? says more."
        if not self._options:
            return f"It has none; {more}"
        longest = [max(opt.flags, key=len) for opt in self._options]
        return f"The options are {', '.join(longest)}; -- ends them, {more}"


def parse_options_only(command: CommandLine, line: str) -> argparse.Namespace:
    """Read a line that has options at most. Raises InputError."""
    args, rest = command.parse(line)
    if rest:
        raise InputError(f"{rest!r} is one too many.", hint="This magic takes options only.")
    return args


def _nearest_flags(name: str, known: Iterable[str]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(name, known, n=1)


def parse_params(
    pairs: Sequence[str] | None, reserved: Sequence[str], client_parameters: Sequence[str] = ()
) -> dict[str, Any]:
    """``--param KEY=VALUE`` as fields of the request, the last one of a key winning. Raises InputError."""
    params: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InputError(f"--param {pair} has no value.", hint="Write it like --param seed=7.")
        if key in reserved:
            raise InputError(f"{key} is not for --param.", hint="There is an option of its own for it.")
        if key in client_parameters:
            raise InputError(f"--param cannot send a field named {key}.", hint="Leave it out.")
        try:
            params[key] = json.loads(text)
        except ValueError:
            params[key] = text
    return params


_PROMPT_HINT = "The prompt goes below, into the cell."


def parse_prompt(
    command: CommandLine, name: str, line: str, cell: str | None, *, promptless_option: str = ""
) -> tuple[argparse.Namespace, str]:
    """The options, and the prompt as it was typed. Raises InputError, for an empty prompt too.

    ``without`` names the option that does without a prompt.
    """
    if cell is None:
        args, prompt = command.parse(line)
    else:
        args, prompt = _parse_cell_line(command, line), cell.strip("\n")
    if not prompt.strip() and not getattr(args, promptless_option, False):
        hint = f"Write it below %%{name}, or after the options of %{name}."
        raise InputError("the prompt is empty.", hint=hint)
    return args, prompt


def _parse_cell_line(command: CommandLine, line: str) -> argparse.Namespace:
    """The line of a cell: options, and the model as a word of its own, before or after them."""
    args, word = command.parse_with_argument(line, _PROMPT_HINT)
    if word and args.model is not None:
        raise InputError(f"{word!r} is one too many: -m names the model.", hint=_PROMPT_HINT)
    args.model = word or args.model
    return args


def resolve_save_path(args: argparse.Namespace, extensions: Sequence[str], number: int = 1) -> Path | None:
    """The path that ``--save`` names; None without it. Raises InputError for one that cannot be written."""
    if args.save is None:
        return None
    return check_save_path(args.save, args.force, extensions=extensions, number=number, force_hint="--force")
