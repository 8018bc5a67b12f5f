"""Declarations of every magic and its options; the module that does a magic's work is imported when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)

from puq_magics.core.errors import InputError, OneLineInterrupt
from puq_magics.magics.options import (
    RAW_HINT,
    CommandLine,
    F,
    Option,
    flag,
    option,
    parse_number,
    parse_options_only,
    parse_positive_int,
    parse_prompt,
    parse_variable_name,
)
from puq_magics.session.last_exception import FailureTracker
from puq_magics.session.session import Session
from puq_magics.session.settings import IMAGE_SIZE, MODEL_KINDS, model_setting

if TYPE_CHECKING:
    from puq_magics.magics.grid import GridAnswers
    from puq_magics.magics.map import MapAnswers
    from puq_magics.outputs.results import ImageResult, SpeechResult, TranscriptResult
    from puq_magics.outputs.results.chat import ChatResult
    from puq_magics.outputs.results.compare import CompareResult
    from puq_magics.outputs.tables.audit import AuditReport
    from puq_magics.outputs.tables.conversations import ConversationTable, ConversationTranscript
    from puq_magics.outputs.tables.table import ModelTable
    from puq_magics.outputs.tables.usage_report import UsageReport
    from puq_magics.prompts.template import FilledText
    from puq_magics.session.balance import Balance
    from puq_magics.widgets.chooser import ModelChooser


def _parse_image_size(text: str) -> str:
    if not IMAGE_SIZE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write it like 1024x1024")
    return text


def _parse_speed(text: str) -> float:
    value = parse_number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a speed above 0; 1 is normal speed")
    return value


def _parse_pace(text: str) -> float:
    description = "number of chunks a second; 0 is as fast as possible"
    value = parse_number(text, description)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a {description}")
    return value


def _parse_speed_or_zero(text: str) -> float:
    value = parse_number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a speed; 2 is twice as fast, 0 is at once")
    return value


def _parse_credits(text: str) -> float:
    return parse_number(text, "number of credits")


def _parse_count_or_zero(text: str) -> int:
    return 0 if text == "0" else parse_positive_int(text)


def _model_option(kind: str) -> Option:
    description = f"the model, or an alias; default: PuqMagics.{model_setting(kind)}"
    return option("-m", "--model", group="Model", help=description, completes=f"{kind} model")


def _system_option(description: str) -> Option:
    return option("-s", "--system", is_text=True, metavar="TEXT", group="Model", help=description)


# Options of several magics -------------------------------------------------------------------------------------

MODEL = _model_option("chat")
SYSTEM = _system_option("the system prompt; on the first turn it becomes the conversation's system prompt")
RUN_SYSTEM = _system_option("the system prompt of every call")
TEMPERATURE = option(
    "-t",
    "--temperature",
    type=parse_number,
    metavar="NUMBER",
    group="Model",
    help="sampling temperature; 0 is the most deterministic",
)
MAX_TOKENS = option(
    "--max-tokens",
    type=parse_positive_int,
    metavar="COUNT",
    group="Model",
    help="maximum number of tokens in the answer",
)
NO_STREAM = flag("--no-stream", group="Model", help="wait for the whole answer")
OUT = option(
    "-o",
    "--out",
    type=parse_variable_name,
    metavar="NAME",
    completes="variable",
    group="Result",
    help="the variable that gets the result",
)
RAW = flag("--raw", group="Prompt", help="do not substitute {{name}}")
PARAM = option(
    "--param",
    is_text=True,
    action="append",
    metavar="KEY=VALUE",
    group="Request",
    help="a further field of the request; parsed as JSON if possible; may be repeated",
)
QUIET = flag("-q", "--quiet", group="Result", help="show nothing")
DRY_RUN = flag(
    "--dry-run", group="Request", help="show an estimate and the request, with a curl line; send nothing"
)
FULL = flag("--full", group="Request", help="with --dry-run: show the whole curl line")
OVER_BUDGET = flag(
    "--over-budget", group="Request", help="make the calls of this cell even if they exceed PuqMagics.budget"
)
SAVE = option("--save", metavar="PATH", completes="path", group="Result", help="save the result to this file")
FORCE = flag("--force", group="Result", help="allow --save to replace a file")
SCHEMA = option(
    "--schema",
    is_text=True,
    quoted_name_is_field=True,
    metavar="NAME|PATH|FIELDS",
    completes="schema or path",
    group="Answer",
    help="form of a JSON answer: a pydantic model, a dataclass or a TypedDict, of which .parsed has the instance, "
    "'[Model]' for a list, a JSON Schema, or fields: 'mood good|bad, score int 1..5, note str?, tags [str]'",
)
TOOLS_AUTO = option(
    "--tools-auto",
    action="append",
    metavar="F,G",
    completes="functions",
    group="Tools",
    help="functions that the model may call without asking you",
)
ROUNDS = option(
    "--rounds",
    type=parse_positive_int,
    default=5,
    metavar="COUNT",
    group="Tools",
    help="the most rounds of function calls; default: 5",
)
PROVIDER = option("--provider", completes="provider", group="Models", help="only models of this provider")
CHAT_OPTIONS = (MODEL, SYSTEM, TEMPERATURE, MAX_TOKENS, NO_STREAM)
OUTPUT_OPTIONS = (OUT, SAVE, FORCE, QUIET, DRY_RUN, FULL, OVER_BUDGET)

# Options and arguments of each magic -----------------------------------------------------------------------------

CHAT_COMMAND = CommandLine(
    *CHAT_OPTIONS,
    option(
        "-c",
        "--chat",
        metavar="NAME",
        completes="chat",
        group="Conversation",
        help="the conversation to join; default: PuqMagics.chat; '' for none",
    ),
    flag(
        "--continue",
        dest="continue_",
        group="Conversation",
        help="continue the last answer, if it was interrupted or cut off",
    ),
    option(
        "-a",
        "--attach",
        action="append",
        metavar="PATH|NAME|cell:N",
        completes="path or variable or cell",
        group="Prompt",
        help="attach a file (text, image, PDF, Word, notebook, table), a folder or pattern, a variable, "
        "or a cell with its outputs; may be repeated",
    ),
    option(
        "-f",
        "--format",
        choices=("markdown", "text", "code", "json", "html"),
        group="Answer",
        help="format of the answer: code is put into a new cell, json is parsed into .data",
    ),
    SCHEMA,
    flag("--all-blocks", group="Answer", help="with -f code: all code blocks, not only the first"),
    option(
        "--tools",
        action="append",
        metavar="F,G",
        completes="functions",
        group="Tools",
        help="functions of the notebook that the model may call; you are asked before each call",
    ),
    TOOLS_AUTO,
    ROUNDS,
    RAW,
    *OUTPUT_OPTIONS,
    PARAM,
    operand="PROMPT",
)
IMAGE_COMMAND = CommandLine(
    _model_option("image"),
    option(
        "--size",
        type=_parse_image_size,
        completes="size",
        group="Image",
        help="size in pixels, such as 1024x1024; default: PuqMagics.image_size",
    ),
    option("-n", "--count", type=parse_positive_int, group="Image", help="number of images"),
    option(
        "-a",
        "--attach",
        action="append",
        metavar="PATH|NAME",
        completes="path or variable",
        group="Image",
        help="an image to edit, as a file or a variable; may be repeated",
    ),
    RAW,
    *OUTPUT_OPTIONS,
    PARAM,
    operand="PROMPT",
)
SPEAK_COMMAND = CommandLine(
    _model_option("speech"),
    option(
        "--voice",
        completes="voice",
        group="Speech",
        help="the voice, such as alloy; default: PuqMagics.voice",
    ),
    option(
        "--audio-format",
        choices=("mp3", "wav", "opus", "flac", "aac"),
        group="Speech",
        help="audio format of the file",
    ),
    option("--speed", type=_parse_speed, group="Speech", help="speaking rate; 1 is normal speed"),
    option(
        "--instructions",
        is_text=True,
        metavar="TEXT",
        group="Speech",
        help="how to speak, such as 'slowly, in a whisper', where the model supports it",
    ),
    flag("--autoplay", group="Speech", help="play the audio at once"),
    RAW,
    *OUTPUT_OPTIONS,
    PARAM,
    operand="TEXT",
)
TRANSCRIBE_COMMAND = CommandLine(
    _model_option("transcription"),
    option(
        "--language", completes="language", group="Recording", help="language of the recording, such as en"
    ),
    option(
        "--response-format",
        choices=("json", "verbose_json", "text"),
        group="Transcript",
        help="format of the router's response; verbose_json has the times of each segment",
    ),
    option(
        "--prompt",
        is_text=True,
        metavar="TEXT",
        group="Recording",
        help="names and terms to expect in the recording, or the text before it",
    ),
    TEMPERATURE,
    flag("--stream", group="Transcript", help="show the transcript while it is being made"),
    flag("--record", group="Recording", help="record with the microphone"),
    *OUTPUT_OPTIONS,
    PARAM,
    argument="path or variable",
    operand="FILE|VARIABLE",
)
FIX_COMMAND = CommandLine(
    *CHAT_OPTIONS,
    option(
        "-f",
        "--format",
        choices=("markdown", "text", "code"),
        group="Answer",
        help="how to show the answer; code puts the fixed cell below, and does not run it",
    ),
    flag("--hint", group="Answer", help="give a hint, not the solution; again for the next of three"),
    RAW,
    OUT,
    QUIET,
    DRY_RUN,
    PARAM,
    FULL,
    OVER_BUDGET,
    operand="[QUESTION]",
)
RUN_OPTIONS = (
    option(
        "--limit",
        type=parse_positive_int,
        metavar="COUNT",
        group="Rows",
        help="only the first rows, as a pilot, with the price of the whole",
    ),
    option(
        "--sample",
        type=parse_positive_int,
        metavar="COUNT",
        group="Rows",
        help="only so many rows, taken at random",
    ),
    option(
        "--workers",
        type=parse_positive_int,
        default=16,
        metavar="COUNT",
        group="Run",
        help="the most calls at once; fewer while the router says that there are too many; default: 16",
    ),
    option(
        "--executor",
        metavar="NAME",
        completes="variable",
        group="Run",
        help="a concurrent.futures.Executor whose processes make the calls, such as Dask's client.get_executor()",
    ),
    option(
        "--worker-key",
        metavar="NAME",
        completes="variable",
        group="Run",
        help="a function that returns the key where the executor's calls are made; default: their PUQ_API_KEY",
    ),
    option(
        "--journal",
        metavar="PATH",
        completes="path",
        group="Run",
        help="the folder of the journal; default: one in puq_runs beside the notebook",
    ),
    flag("--fresh", group="Run", help="begin anew; the earlier journal is kept under another name"),
)
MAP_COMMAND = CommandLine(
    MODEL,
    RUN_SYSTEM,
    TEMPERATURE,
    MAX_TOKENS,
    SCHEMA,
    *RUN_OPTIONS,
    OUT,
    QUIET,
    DRY_RUN,
    FULL,
    OVER_BUDGET,
    PARAM,
    argument="path or variable",
    operand="FRAME",
    body="PROMPT",
)
MODELS = option(
    "-m",
    "--model",
    action="append",
    group="Arms",
    help="a model, or an alias; may be repeated; default: PuqMagics.chat_model",
    completes="chat model",
)
VARY = option(
    "--vary",
    action="append",
    is_text=True,
    metavar="NAME=A,B",
    group="Arms",
    help="values of {{NAME}} in the prompt, or of a setting such as temperature; may be repeated",
)
COMPARE_COMMAND = CommandLine(
    MODELS,
    VARY,
    flag("--blind", group="Votes", help="shuffle the answers, and hide whose they are until you vote"),
    option("--vote", metavar="ANSWER", group="Votes", help="vote in the last comparison: A, B, … or tie"),
    flag("--votes", group="Votes", help="show the votes of this session"),
    option("--export", metavar="FILE", completes="path", group="Votes", help="save the votes to a file"),
    option(
        "--merge",
        action="append",
        metavar="FILE",
        completes="path",
        group="Votes",
        help="add the votes of a file; may be repeated, and a vote counts once",
    ),
    flag("--force", group="Votes", help="allow --export to replace a file"),
    RUN_SYSTEM,
    TEMPERATURE,
    MAX_TOKENS,
    OUT,
    QUIET,
    DRY_RUN,
    FULL,
    OVER_BUDGET,
    PARAM,
    operand="PROMPT",
)
GRID_COMMAND = CommandLine(
    MODELS,
    VARY,
    option(
        "--over",
        metavar="FRAME",
        completes="path or variable",
        group="Arms",
        help="a table; the prompt is asked for each of its rows",
    ),
    option(
        "--repeat",
        type=parse_positive_int,
        default=1,
        metavar="COUNT",
        group="Arms",
        help="ask each of them so many times",
    ),
    SCHEMA,
    RUN_SYSTEM,
    TEMPERATURE,
    MAX_TOKENS,
    *RUN_OPTIONS,
    OUT,
    QUIET,
    DRY_RUN,
    FULL,
    OVER_BUDGET,
    PARAM,
    body="PROMPT",
)
CHATS_COMMAND = CommandLine(
    option("--fork", metavar="NEW", group="Change", help="copy the conversation to a new one of this name"),
    flag("--reset", group="Change", help="remove all turns; they are kept as a branch"),
    flag("--undo", group="Change", help="remove the last turn; it is kept as a branch"),
    option(
        "--restore",
        metavar="BRANCH",
        completes="branch",
        group="Change",
        help="restore a branch, such as main~1",
    ),
    option("--system", is_text=True, metavar="TEXT", group="Change", help="the system prompt; '' for none"),
    option(
        "--save", metavar="FILE", completes="path", group="File", help="save the conversation to a JSON file"
    ),
    option(
        "--load",
        metavar="FILE",
        completes="path",
        group="File",
        help="load a file written by --save; NAME renames the copy",
    ),
    option(
        "--export",
        metavar="FILE",
        completes="path",
        group="File",
        help="export for reading, to name.md or name.ipynb",
    ),
    flag("--force", group="File", help="allow --save, --export, --load and --fork to replace what exists"),
    OUT,
    QUIET,
    argument="chat",
    operand="[NAME]",
)
MODELS_COMMAND = CommandLine(
    option("--kind", choices=MODEL_KINDS, group="Models", help="only models of this kind"),
    PROVIDER,
    flag("--all", group="Models", help="include disabled models"),
    flag("--refresh", group="Models", help="fetch the list again"),
    OUT,
    QUIET,
    argument="provider",
    repeats=True,
    operand="[WORD ...]",
)
CHOOSE_COMMAND = CommandLine(
    option(
        "--kind",
        choices=tuple(filter(model_setting, MODEL_KINDS)),
        default="chat",
        group="Models",
        help="kind of model to choose; default: chat",
    ),
    PROVIDER,
    argument="provider",
    repeats=True,
    operand="[WORD ...]",
)
BALANCE_COMMAND = CommandLine()
USAGE_COMMAND = CommandLine(
    flag("--all", help="all sessions, from the ledger on this machine"),
    OUT,
    QUIET,
)
AUDIT_COMMAND = CommandLine(
    option(
        "--export",
        metavar="FILE",
        completes="path",
        help="write what was asked and answered to name.md or name.ipynb",
    ),
    flag("--force", help="allow --export to replace a file"),
    OUT,
    QUIET,
    argument="path",
    operand="[NOTEBOOK]",
)
LOGIN_COMMAND = CommandLine(
    flag("--keyring", help="save the key in the system's keyring, for later sessions too")
)
LOGOUT_COMMAND = CommandLine()
STATUS_COMMAND = CommandLine()
POLICY_COMMAND = CommandLine(argument="path", operand="[FILE]")
CASSETTE_COMMAND = CommandLine(
    flag("--errors", group="Record", help="record errors, too"),
    option(
        "--pace",
        type=_parse_speed_or_zero,
        metavar="NUMBER",
        group="Replay",
        help="speed of the replay: 1 as recorded, 2 twice as fast, 0 at once; default: PuqMagics.cassette_pace",
    ),
    argument="cassette action or cassette",
    repeats=True,
    operand="[record|replay|auto|off|status|pack] [NAME]",
)
SANDBOX_COMMAND = CommandLine(
    option("--pace", type=_parse_pace, group="Conditions", help="chunks a second; 0 is as fast as possible"),
    option(
        "--balance",
        type=_parse_credits,
        group="Conditions",
        help="set the balance, in credits, and count what is spent anew",
    ),
    option(
        "--fail",
        metavar="STATUS[:TIMES]",
        completes="fault",
        group="Conditions",
        help="make the next calls fail: 429:2 twice, 500 all of them; 0 for none",
    ),
    option(
        "--drop-after",
        type=_parse_count_or_zero,
        metavar="CHUNKS",
        group="Conditions",
        help="close the connection after this many chunks; 0 for never",
    ),
    option(
        "--models",
        type=_parse_count_or_zero,
        metavar="COUNT",
        group="Models",
        help="list this many models, most of them invented; 0 for the sandbox's own",
    ),
    flag("--local", group="Models", help="answer with small real models as well, on this machine"),
    flag(
        "--fetch",
        group="Models",
        help="with --local: download the chat model's weights without asking, if they are missing or damaged",
    ),
    option(
        "--gguf",
        metavar="PATH",
        completes="path",
        group="Models",
        help="with --local: a GGUF file of a chat model, in place of the default one; 0 for the default",
    ),
    option(
        "--upstream",
        metavar="URL",
        group="Models",
        help="relay the models of an OpenAI-compatible server, such as http://127.0.0.1:11434/v1; 0 for none. "
        "Its key is PUQ_UPSTREAM_KEY, sent to the host of PUQ_UPSTREAM or this machine only; else it is requested",
    ),
    flag("--if-needed", help="start it only if neither a key nor a base URL is set"),
    argument="action",
    operand="[start|stop|status]",
)


def _magic(command: CommandLine, *, has_cell: bool = False) -> Callable[[F], F]:
    """Register a method as a magic with these options; its lines are raw: IPython expands no ``$`` and no ``{}``."""

    def decorate(function: F) -> F:
        register = line_cell_magic if has_cell else line_magic
        documented = command(_with_short_interrupts(function), has_cell=has_cell)
        return no_var_expand(register(documented))  # type: ignore[return-value]

    return decorate


class MagicInterrupted(OneLineInterrupt):
    """The user stopped a magic outside a call."""


def _with_short_interrupts(function: F) -> F:
    @wraps(function)
    def _run(*args: Any) -> Any:
        try:
            return function(*args)
        except KeyboardInterrupt as interrupt:
            if hasattr(interrupt, "_render_traceback_"):
                raise
        if sys.stdout.isatty():
            print()  # noqa: T201 - below the question, or the ^C that the terminal shows
        raise MagicInterrupted(f"%{function.__name__} was interrupted.")

    return _run  # type: ignore[return-value]


@magics_class
class PuqCommands(Magics):
    """The magics of one session."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.shell)
        self.session = session
        self._failures = FailureTracker()
        session.shell.events.register("post_run_cell", self._failures.after_cell)

    def close(self) -> None:
        """Unregister the event handler, when the extension is unloaded."""
        self.session.shell.events.unregister("post_run_cell", self._failures.after_cell)

    def _variables(self) -> Mapping[str, Any]:
        """Return the variables that a prompt can name; ``In`` has the cells as typed, with their magics."""
        from puq_magics.magics.variables import calling_frame, visible_variables

        frame = calling_frame()
        variables = {**self.session.namespace, **frame.f_globals}
        history: Any = self.session.shell.history_manager
        if history is not None and variables.get("In") is history.input_hist_parsed:
            from puq_magics.prompts.input_cells import InputCells

            variables["In"] = InputCells(history.input_hist_raw)
        return visible_variables(frame, variables)

    def _fill(self, text: str, *, plain: bool = False, raw_hint: str = "") -> FilledText:
        """Substitute variables in an option's value."""
        from puq_magics.prompts.template import fill_template

        limit = self.session.settings.max_value_chars
        return fill_template(
            text, self._variables(), limit=limit, images=None, plain=plain, raw_hint=raw_hint
        )

    @_magic(CHAT_COMMAND, has_cell=True)
    def puq_chat(self, line: str, cell: str | None = None) -> ChatResult | None:
        """Ask a model; the answer streams in as Markdown, and is the value of the magic.

        For example:

            %puq_chat Why is the sky blue?

            %%puq_chat -o answer -t 0
            Explain {{topic}} in three sentences, with a formula.

            %%puq_chat -c trip --system "Answer in one line."
            Where should we go in {{month}}?

            %%puq_chat --tools weather
            Do I need an umbrella in Oslo?

        {{name}} is replaced by the value of the variable, in the prompt and in the values of options: -m {{model}},
        --save "answer_{{i}}.md". Options come before the prompt, which is taken literally, quotes and question marks
        included; write -- before a prompt that holds one. In a cell the prompt is the body, and the first word of the
        line may be the model: %%puq_chat openai/gpt-4o.

        -a attaches what the prompt is about: -a paper.pdf:3-5 (pages; scanned ones as paper.pdf:images),
        -a notes.docx, -a src (a folder), -a "src/**/*.py", -a figure (a variable), -a cell:5 (its code, output and
        figures; cell:-1 is the cell before). {{In[3:7]}} fills in the code of cells 3 to 6.

        With -c NAME the cell is a turn of a conversation, and running it again replaces that turn. The result is in
        _puq too: _puq.text, _puq.usage, _puq.save("answer.md"). --continue needs no prompt.

        --tools names functions with annotated parameters; their docstrings tell the model what they do. Before each
        call you are asked: y runs it, n tells the model that you said no, a runs all calls of this function in this
        cell. The calls and their results are in _puq.calls.
        """
        args, prompt = parse_prompt(
            CHAT_COMMAND, "puq_chat", line, cell, fill=self._fill, promptless_option="continue_"
        )
        from puq_magics.magics.chat import ask

        return ask(self.session, args, prompt, self._variables())

    @_magic(MAP_COMMAND, has_cell=True)
    def puq_map(self, line: str, cell: str | None = None) -> MapAnswers | None:
        """Ask one prompt for each row of a table; a new table has the answers.

        For example:

            %%puq_map reviews -o rated
            Is this review positive? {{text}}

            %%puq_map reviews --schema "mood good|bad, score int" -o rated
            Rate this review: {{text}}

            %%puq_map reviews.csv --limit 20 -o pilot
            Summarize in five words: {{text}}

        {{column}} is the row's value; other names are variables. Options are filled in once, from variables alone.
        FRAME is a variable or a file: a table of pandas or polars, a list of dicts, CSV, JSONL or Parquet. With
        --schema each field is a column, else there is one named answer; error says why a row has none.

        Every answer is kept in a journal: running the cell again after an interrupt goes on, and pays for nothing
        twice. The result is in _puq: _puq.failed, _puq.errors(), _puq.retry(), _puq.cost,
        _puq.to_frame(details=True).
        """
        if cell is None:
            raise InputError("%%puq_map is for a cell.", hint="Write the prompt below %%puq_map FRAME.")
        args, frame = MAP_COMMAND.parse_with_argument(line, "Write the prompt below.", self._fill)
        if not cell.strip():
            raise InputError("the prompt is empty.", hint="Write it below %%puq_map.")
        from puq_magics.magics.map import map_frame

        return map_frame(self.session, args, frame, cell.strip("\n"), self._variables())

    @_magic(COMPARE_COMMAND, has_cell=True)
    def puq_compare(self, line: str, cell: str | None = None) -> CompareResult | None:
        """Ask one prompt of two to six arms at once; the answers stream in side by side.

        For example:

            %%puq_compare -m sandbox/chat -m sandbox/short -o answers
            Explain entropy to a child.

            %%puq_compare --vary style=terse,florid --blind
            Describe the sea in a {{style}} style.

            %puq_compare --vote A

        Arms are models (-m, repeated) and values of --vary: of a name in the prompt, or of a setting such as
        temperature. With --blind the names are hidden until you vote; --votes shows all votes of the session, and
        --export and --merge join those of a class. answers[0] or answers["a name"] is the result of one arm.
        """
        parse = COMPARE_COMMAND.parse if cell is not None else COMPARE_COMMAND.parse_prompt_line
        args, prompt = parse(line, self._fill)
        from puq_magics.magics import compare

        if cell is None and (args.votes or args.export is not None or args.merge):
            compare.manage_votes(self.session, args)
            return None
        if cell is None and args.vote is not None:
            compare.vote(self.session, args.vote)
            return None
        if cell is not None and prompt:
            raise InputError(f"unexpected argument {prompt!r}.", hint="Write the prompt below, in the cell.")
        prompt = prompt if cell is None else cell.strip("\n")
        if not prompt.strip():
            raise InputError("the prompt is empty.", hint="Write it below %%puq_compare.")
        return compare.compare(self.session, args, prompt, self._variables())

    @_magic(GRID_COMMAND, has_cell=True)
    def puq_grid(self, line: str, cell: str | None = None) -> GridAnswers | None:
        """Run a study: models, settings and wordings over the rows of a table, with repeats.

        For example:

            %%puq_grid -m sandbox/chat -m sandbox/short --over reviews -o study
            Is this review positive? Answer yes or no. {{text}}

            %%puq_grid --vary style=terse,florid --vary temperature=0,1 --repeat 5
            Describe the sea in a {{style}} style.

            %%puq_grid --over reviews --vary tone=kind,strict --dry-run
            Grade this in a {{tone}} tone: {{text}}

        The result is a long table with one record a call. study.score(function) scores the answers; it calls
        function(answer), or function(answer, row) with the table's row as a dict. study.summary("model") has rates
        with their intervals, study.compare("model") says which is better on the same rows, or that nobody can tell;
        study.judge(model, rubric), study.agreement(), study.show(), study.pivot("model", "style"), study.plot() and
        study.save("study.csv") look at it in other ways.

        Every answer is kept in a journal: running the cell again after an interrupt goes on.
        """
        if cell is None:
            raise InputError("%%puq_grid is for a cell.", hint="Write the prompt below %%puq_grid.")
        args = parse_options_only(GRID_COMMAND, line, self._fill)
        if not cell.strip():
            raise InputError("the prompt is empty.", hint="Write it below %%puq_grid.")
        from puq_magics.magics.grid import run_study

        return run_study(self.session, args, cell.strip("\n"), self._variables())

    @_magic(IMAGE_COMMAND, has_cell=True)
    def puq_image(self, line: str, cell: str | None = None) -> ImageResult | None:
        """Generate images from a prompt; they are shown, and are the value of the magic.

        For example:

            %puq_image A red kite over green hills

            %puq_image --size 1024x1024 -n 2 --save harbour.png A harbour at night

            %%puq_image -o picture
            {{topic}}, drawn with chalk on a blackboard

            %puq_image -a photo.png Make it night

        {{name}} is replaced by the value of the variable, in the prompt and in the values of options: --save
        "kite_{{i}}.png". Options come before the prompt. In a cell the prompt is the body, and the first word of the
        line may be the model. With -a images are edited, where the router offers that. The result's .images has the
        images, each with .data, .width, .height and .to_pil(); picture.save("kite.png") saves them.
        """
        args, prompt = parse_prompt(IMAGE_COMMAND, "puq_image", line, cell, fill=self._fill)
        from puq_magics.magics.image import generate_image

        return generate_image(self.session, args, prompt, self._variables())

    @_magic(SPEAK_COMMAND, has_cell=True)
    def puq_speak(self, line: str, cell: str | None = None) -> SpeechResult | None:
        """Convert text to speech; an audio player is shown, and the audio is the value of the magic.

        For example:

            %puq_speak Hello, and welcome.

            %puq_speak --voice alloy --speed 1.2 --save hello.wav Hello, and welcome.

            %%puq_speak -o speech
            Today we talk about {{topic}}.

        {{name}} is replaced by the value of the variable, in the text and in the values of options (--voice
        {{voice}}): {{_puq.text}} is the last answer. Options come before the text. In a cell the text is the
        body, and the first word of the line may be the model. A text that is too long for the model is split at
        sentences, and the parts are joined. The result's .audio has the bytes.

        In JupyterLab and Notebook 7 the player can be started while the audio arrives, and --autoplay starts it then;
        of a text in several parts, MP3 and AAC play on, and of other formats all but the first part plays once whole.
        """
        args, text = parse_prompt(SPEAK_COMMAND, "puq_speak", line, cell, fill=self._fill)
        from puq_magics.magics.speech import synthesize_speech

        return synthesize_speech(self.session, args, text, self._variables())

    @_magic(TRANSCRIBE_COMMAND)
    def puq_transcribe(self, line: str) -> TranscriptResult | None:
        """Transcribe a recording; the text is shown, and the result is the value of the magic.

        For example:

            %puq_transcribe talk.wav

            %puq_transcribe -o heard --language en speech

            %puq_transcribe --save talk.srt --prompt "Ada Lovelace, Menabrea" talk.wav

        The argument is the path of a file or the name of a variable: bytes, the result of %puq_speak, an IPython
        Audio, (array, rate) or an open file. A file takes precedence over a variable of the same name.

        --record shows a recorder instead; each recording is transcribed into _puq, and into the variable of -o.
        --save talk.srt and --save talk.vtt save subtitles, other names the text. --stream shows the transcript
        while it is being made, for long recordings; a router that does not stream transcripts sends it at the end.
        """
        from puq_magics.magics.transcription import run_transcription

        return run_transcription(self.session, TRANSCRIBE_COMMAND, line, self._variables(), self._fill)

    @_magic(FIX_COMMAND)
    def puq_fix(self, line: str) -> ChatResult | None:
        """Explain the last exception, or answer a question about it, with the code that raised it.

        For example:

            %puq_fix

            %puq_fix why is row None here?

            %puq_fix --hint

            %puq_fix --dry-run

        The request has the error, a short traceback, the cell, and the variables of the lines that failed: their
        types, and the beginning of their values. Passwords and keys are masked. --dry-run shows all of it and sends
        nothing. -f code puts the fixed cell below, and does not run it. A QUESTION is answered in place of the
        explanation; {{name}} in it is replaced by the value of the variable.
        """
        args, question = FIX_COMMAND.parse_prompt_line(line, self._fill)
        from puq_magics.magics.fix import fix

        filled = None if args.raw or "{{" not in question else self._fill(question, raw_hint=RAW_HINT)
        notes = filled.notes if filled is not None else ()
        question = filled.text if filled is not None else question
        return fix(self.session, args, self._failures.last, question, notes)

    @_magic(CHATS_COMMAND)
    def puq_chats(self, line: str) -> ConversationTable | ConversationTranscript | None:
        """List the conversations, with their tokens and estimated costs; with a NAME, show that one.

        For example:

            %puq_chats

            %puq_chats trip

            %puq_chats trip --export trip.md

        Options change or write a conversation; without NAME, that of PuqMagics.chat, or the only one. Conversations
        last as long as the kernel, also after %reload_ext and %unload_ext; --save keeps one for longer.
        """
        hint = "%puq_chats takes the name of one conversation; a name has no spaces: essay-2."
        args, name = CHATS_COMMAND.parse_with_argument(line, hint, self._fill)
        from puq_magics.magics.conversations import manage_conversations

        return manage_conversations(self.session, args, name)

    @_magic(MODELS_COMMAND)
    def puq_models(self, line: str) -> ModelTable | None:
        """List the models, with their kinds and prices; with words, those that match all of them.

        For example:

            %puq_models

            %puq_models sandbox short

            %puq_models --kind image -o image_models

        The list is fetched once a session; the value is a sequence, and .to_frame() returns a DataFrame.
        """
        args, terms = MODELS_COMMAND.parse_intermixed(line, self._fill)
        from puq_magics.magics.models import list_models

        return list_models(self.session, args, terms)

    @_magic(CHOOSE_COMMAND)
    def puq_choose(self, line: str) -> ModelChooser | None:
        """Choose the default model from a searchable table; cells that name no model use it.

        For example:

            %puq_choose

            %puq_choose sandbox short

            %puq_choose --kind image
        """
        args, terms = CHOOSE_COMMAND.parse_intermixed(line, self._fill)
        from puq_magics.magics.models import choose

        return choose(self.session, args, terms)

    @_magic(BALANCE_COMMAND)
    def puq_balance(self, line: str) -> Balance:
        """Show the balance in credits, and its change in this session.

        For example:

            %puq_balance

            balance = %puq_balance
        """
        parse_options_only(BALANCE_COMMAND, line)
        from puq_magics.magics.status import show_balance

        return show_balance(self.session)

    @_magic(USAGE_COMMAND)
    def puq_usage(self, line: str) -> UsageReport | None:
        """Show the calls, tokens, seconds and estimated cost of this session, by model and by cell.

        For example:

            %puq_usage

            %puq_usage --all

            usage = %puq_usage -q

        The value has .by_model, .by_cell, .to_frame() and .plot().
        """
        args = parse_options_only(USAGE_COMMAND, line, self._fill)
        from puq_magics.magics.status import report_usage

        return report_usage(self.session, args)

    @_magic(AUDIT_COMMAND)
    def puq_audit(self, line: str) -> AuditReport | None:
        """List the answers of a saved notebook: the model, what no longer matches its cell, and the cost.

        For example:

            %puq_audit

            %puq_audit lesson.ipynb

            %puq_audit lesson.ipynb --export handed_in.md

        Without NOTEBOOK it is this one, as it was last saved. Each answer's output holds a record: the model that was
        asked and the one that answered, parameters, hashes of the messages and of the cell, time and cost; no key and
        no words of a prompt. An answer whose cell was edited afterwards is listed as such, and so is a cell that asks
        and has no record, as after -q. The value has .edited, .cost and .to_frame().
        """
        hint = "%puq_audit takes one notebook; put a name with spaces in quotes."
        args, name = AUDIT_COMMAND.parse_with_argument(line, hint, self._fill)
        from puq_magics.magics.audit import audit

        return audit(self.session, args, name)

    @_magic(LOGIN_COMMAND)
    def puq_login(self, line: str) -> None:
        """Prompt for the router's API key, without showing it, and keep it for this session.

        For example:

            %puq_login

            %puq_login --keyring

        --keyring saves it in the system's keyring as well, for later sessions. In the sandbox, the key is for the
        router that was set before it, or else the default one; that router is in use from then on.
        """
        args = parse_options_only(LOGIN_COMMAND, line)
        from puq_magics.magics.keys import login

        login(self.session, save_to_keyring=args.keyring)

    @_magic(LOGOUT_COMMAND)
    def puq_logout(self, line: str) -> None:
        """Forget the key that was entered for the router, and delete the one in the keyring."""
        parse_options_only(LOGOUT_COMMAND, line)
        from puq_magics.magics.keys import logout

        logout(self.session)

    @_magic(STATUS_COMMAND)
    def puq(self, line: str) -> None:
        """Show the router, the source of the key, the defaults, the balance and the spending."""
        parse_options_only(STATUS_COMMAND, line)
        from puq_magics.magics.status import show_status

        show_status(self.session)

    @_magic(POLICY_COMMAND)
    def puq_policy(self, line: str) -> None:
        """Put a policy in force, a file with a teacher's limits; without FILE, show the one in force.

        For example:

            %puq_policy lesson.toml

            %puq_policy

        The file is TOML or YAML, with any of these fields: models = ["sandbox/*"], max_tokens, max_images, questions,
        budget, system = "...", media = false, tools = false, solutions = ["..."], message = "..." and a table of
        messages by the names of the fields. What it forbids is refused before anything is sent, in the teacher's
        words; solutions are removed from answers.

        It is a guard rail: who owns the kernel can step over it. Restarting the kernel ends it, unless
        PuqMagics.policy or PUQ_POLICY names the file.
        """
        _, path = POLICY_COMMAND.parse_with_argument(
            line, "%puq_policy takes the path of one file.", self._fill
        )
        from puq_magics.magics.policy import show_policy

        show_policy(self.session, path)

    @_magic(CASSETTE_COMMAND)
    def puq_cassette(self, line: str) -> None:
        """Record answers to a cassette, or replay them from it: without a key, a network, or costs.

        For example:

            %puq_cassette record lesson

            %puq_cassette replay lesson

            %puq_cassette replay --pace 2

            %puq_cassette

        record asks the router and keeps each answer in the folder lesson.cassette, beside the notebook: one JSON
        file for each request, with its images and audio. replay never uses the network: answers stream in at the
        recorded pace, and a request without a recording is an error that says what differs from the nearest one.
        auto replays what is there, and records what is not. off asks the router again; pack makes one file of the
        folder, lesson.cassette.zip, which is read in its place.

        Without NAME the cassette is PuqMagics.cassette, else PUQ_CASSETTE, else that of the notebook's name. Secrets
        are masked; python -m puq_magics.replay check looks for more of them.
        """
        args, words = CASSETTE_COMMAND.parse_intermixed(line, self._fill)
        from puq_magics.magics.cassette import control_cassette

        control_cassette(self.session, args, words)

    @_magic(SANDBOX_COMMAND)
    def puq_sandbox(self, line: str) -> None:
        """Start, stop or inspect the local router, which needs no key.

        For example:

            %puq_sandbox

            %puq_sandbox --fail 429:2 --pace 20

            %puq_sandbox stop

        Its answers are scripted, and it can simulate failures. With --local (pip install "puq_magics[local]") small
        real models chat, speak and transcribe.
        """
        args, action = SANDBOX_COMMAND.parse_with_argument(
            line, "%puq_sandbox takes start, stop or status.", self._fill
        )
        from puq_magics.magics.sandbox import control_sandbox

        control_sandbox(self.session, args, action)
