"""``%puq_chat`` and ``%%puq_chat``: ask a model, stream the answer."""

from __future__ import annotations

import argparse
from collections import ChainMap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError
from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)

from puq_magics.api.base_url import BaseURL
from puq_magics.core.errors import ConfigurationError, InputError
from puq_magics.core.secret import Secret
from puq_magics.magics import options
from puq_magics.magics.options import (
    CommandLine,
    option,
    parse_options_only,
    parse_positive_int,
    parse_prompt,
)
from puq_magics.session.last_exception import FailureTracker
from puq_magics.session.session import Session
from puq_magics.session.settings import SANDBOX, SANDBOX_LOCAL, is_sandbox

if TYPE_CHECKING:
    from puq_magics.outputs.results import ImageResult, SpeechResult, TranscriptResult
    from puq_magics.outputs.results.chat import ChatResult
    from puq_magics.outputs.tables.conversations import ConversationTable, ConversationTranscript
    from puq_magics.outputs.tables.table import ModelTable
    from puq_magics.outputs.tables.usage_report import UsageReport
    from puq_magics.session.balance import Balance
    from puq_magics.widgets.chooser import ModelChooser


class BaseMagics(Magics):
    """Magics of one session."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.shell)
        self.session = session

    def variables(self, local_ns: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """What a prompt can name: the variables where the magic stands, as they are now.

        IPython's ``In`` has each cell as it was typed, with its magics as magics.
        """
        names = ChainMap(dict(local_ns or {}), dict(self.session.namespace))
        history: Any = self.session.shell.history_manager
        if history is not None and names.get("In") is history.input_hist_parsed:
            return names.new_child({"In": history.input_hist_raw})
        return names

    def close(self) -> None:
        """Take back what these magics have brought beside themselves; called when the extension goes."""


CHATS_COMMAND = CommandLine(
    option("--fork", metavar="NEW", help="a second conversation, of that name, that goes on from here"),
    option("--reset", action="store_true", help="begin again; the turns are kept as a branch"),
    option("--undo", action="store_true", help="take the last turn off; it is kept in a branch"),
    option("--restore", metavar="BRANCH", completes="branch", help="bring a branch back, like main~1"),
    option("--system", metavar="TEXT", help="the system prompt; '' for none"),
    option("--save", metavar="FILE", completes="path", help="write all of it to a JSON file"),
    option(
        "--load", metavar="FILE", completes="path", help="read what --save wrote, under NAME if one is given"
    ),
    option("--export", metavar="FILE", completes="path", help="write it to read: name.md or name.ipynb"),
    option(
        "--force", action="store_true", help="let --save, --export, --load and --fork replace what is there"
    ),
    options.OUT,
    options.QUIET,
)


@magics_class
class PuqChatsMagics(BaseMagics):
    """The conversations."""

    @no_var_expand
    @line_magic
    @CHATS_COMMAND
    def puq_chats(self, line: str) -> ConversationTable | ConversationTranscript | None:
        """List the conversations, with their tokens and estimated costs; ``%puq_chats NAME`` shows one to read.

        With an option it is changed or written; without NAME that is the one that PuqMagics.chat names, or the only
        one there is. They last as long as the kernel, ``%reload_ext`` and ``%unload_ext`` included; ``--save`` keeps
        one for longer.
        """
        args, names = CHATS_COMMAND.parse_intermixed(line)
        if len(names) > 1:
            hint = "%puq_chats takes the name of one conversation; a name has no spaces: essay-2."
            raise InputError(f"{names[1]!r} is one too many.", hint=hint)
        from puq_magics.magics.conversations import manage_conversations

        return manage_conversations(self.session, args, "".join(names))


IMAGE_COMMAND = CommandLine(
    options.IMAGE_MODEL,
    options.SIZE,
    options.COUNT,
    options.PARAM,
    options.OUT,
    options.SAVE,
    options.FORCE,
    options.RAW,
    options.QUIET,
    options.DRY_RUN,
)


@magics_class
class PuqImageMagics(BaseMagics):
    """Have images made."""

    @needs_local_scope
    @no_var_expand
    @line_cell_magic
    @IMAGE_COMMAND
    def puq_image(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> ImageResult | None:
        """Have images made of a prompt; they are shown, and are the value of the magic.

        In a line the prompt follows the options; in a cell it is the body, and the first word of the line may be
        the model. ``{{name}}`` is filled from your variables. Of the result, ``.images`` are the images, each with
        ``.data``, ``.width``, ``.height`` and ``.to_pil()``; ``.save("kite.png")`` keeps them.

        Example: ``%puq_image --size 1024x1024 -o kite A red kite over green hills``
        """
        args, prompt = parse_prompt(IMAGE_COMMAND, "puq_image", line, cell)
        from puq_magics.magics.image import generate_image

        variables = self.variables(local_ns)
        return generate_image(self.session, args, prompt, variables)


SPEAK_COMMAND = CommandLine(
    options.SPEECH_MODEL,
    options.VOICE,
    options.AUDIO_FORMAT,
    options.SPEED,
    options.AUTOPLAY,
    options.OUT,
    options.SAVE,
    options.FORCE,
    options.RAW,
    options.QUIET,
    options.DRY_RUN,
)


@magics_class
class PuqSpeakMagics(BaseMagics):
    """Have a text spoken."""

    @needs_local_scope
    @no_var_expand
    @line_cell_magic
    @SPEAK_COMMAND
    def puq_speak(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> SpeechResult | None:
        """Have a text spoken; a player shows the audio, which is the value of the magic.

        In a line the text follows the options; in a cell it is the body, and the first word of the line may be the
        model. ``{{name}}`` is filled from your variables: ``{{_puq.text}}`` is the last answer. A text that is too
        long for the model is split at sentences, and the parts are joined. Of the result, ``.audio`` are the bytes.

        Example: ``%puq_speak --voice alloy --save hello.mp3 Hello, and welcome.``
        """
        args, text = parse_prompt(SPEAK_COMMAND, "puq_speak", line, cell)
        from puq_magics.magics.speech import synthesize_speech

        variables = self.variables(local_ns)
        return synthesize_speech(self.session, args, text, variables)


TRANSCRIBE_COMMAND = CommandLine(
    options.TRANSCRIBE_MODEL,
    options.LANGUAGE,
    options.RESPONSE_FORMAT,
    options.STREAM,
    options.OUT,
    options.SAVE,
    options.FORCE,
    options.QUIET,
    options.DRY_RUN,
    options.RECORD,
)


@magics_class
class PuqTranscribeMagics(BaseMagics):
    """Have a recording written down."""

    @needs_local_scope
    @no_var_expand
    @line_magic
    @TRANSCRIBE_COMMAND
    def puq_transcribe(self, line: str, local_ns: Mapping[str, Any] | None = None) -> TranscriptResult | None:
        """Have a recording written down; the text is shown, and the result is the value of the magic.

        What to transcribe is the path of a file, or the name of a variable: bytes, the result of %puq_speak, an
        IPython Audio, ``(array, rate)`` or an open file. A file of that name comes before a variable. ``--record``
        shows a recorder instead; what it records comes into ``_puq``, and into the variable of ``-o``.

        ``--stream`` shows the words as they come, which is worth it for a long recording; a router that does not
        stream transcripts answers as a whole.

        Example: ``%puq_transcribe -o talk my talk.mp3``, then ``%puq_chat Sum this up: {{talk.text}}``
        """
        from puq_magics.magics.transcription import run_transcription

        variables = self.variables(local_ns)
        return run_transcription(self.session, TRANSCRIBE_COMMAND, line, variables)


_KINDS = ("chat", "image", "speech", "transcription", "embedding")

MODELS_COMMAND = CommandLine(
    option("--kind", choices=_KINDS, help="only models of this kind"),
    option("--provider", completes="provider", help="only models of this provider"),
    option("--all", action="store_true", help="disabled models, too"),
    option("--refresh", action="store_true", help="ask the router again"),
    options.OUT,
    options.QUIET,
)
CHOOSE_COMMAND = CommandLine(
    option("--kind", choices=_KINDS[:4], default="chat", help="what the model is to be for; else chat"),
    option("--provider", completes="provider", help="only models of this provider"),
)


@magics_class
class PuqModelsMagics(BaseMagics):
    """The models."""

    @no_var_expand
    @line_magic
    @MODELS_COMMAND
    def puq_models(self, line: str) -> ModelTable | None:
        """List the models, with their kinds and prices: ``%puq_models gpt mini`` shows those with both words.

        The list is fetched once for the session; its value is a sequence, and ``.to_frame()`` a DataFrame.
        """
        args, terms = MODELS_COMMAND.parse_intermixed(line)
        from puq_magics.magics.models import list_models

        return list_models(self.session, args, terms)

    @no_var_expand
    @line_magic
    @CHOOSE_COMMAND
    def puq_choose(self, line: str) -> ModelChooser:
        """Choose the model that is used when a cell names none, from a searchable table."""
        args, terms = CHOOSE_COMMAND.parse_intermixed(line)
        from puq_magics.magics.models import choose

        return choose(self.session, args, terms)


BALANCE_COMMAND = CommandLine()
USAGE_COMMAND = CommandLine(
    option("--all", action="store_true", help="of all sessions, from the ledger on this machine"),
    options.OUT,
    options.QUIET,
)


@magics_class
class PuqCostsMagics(BaseMagics):
    """What is left, and what was used."""

    @no_var_expand
    @line_magic
    @BALANCE_COMMAND
    def puq_balance(self, line: str) -> Balance:
        """The balance in credits, and how it has changed since the session began."""
        parse_options_only(BALANCE_COMMAND, line)
        from puq_magics.magics.models import show_balance

        return show_balance(self.session)

    @no_var_expand
    @line_magic
    @USAGE_COMMAND
    def puq_usage(self, line: str) -> UsageReport | None:
        """Calls, tokens, seconds and estimated cost of this session, by model and by cell.

        ``--all`` counts all sessions. The value has ``.to_frame()`` and ``.plot()``.
        """
        args = parse_options_only(USAGE_COMMAND, line)
        from puq_magics.magics.models import report_usage

        return report_usage(self.session, args)


LOGIN_COMMAND = CommandLine(
    option(
        "--keyring", action="store_true", help="keep the key in the system's keyring, for later sessions too"
    ),
)
LOGOUT_COMMAND = CommandLine()


@magics_class
class PuqKeyMagics(BaseMagics):
    """The key."""

    @no_var_expand
    @line_magic
    @LOGIN_COMMAND
    def puq_login(self, line: str) -> None:
        """Ask for the API key of the router, without showing it, and keep it for this session.

        ``--keyring`` keeps it in the system's keyring as well, where later sessions find it.
        """
        args = parse_options_only(LOGIN_COMMAND, line)
        address, credentials = self._router_address(), self.session.credentials
        key = _prompt_for_key(address.host)
        credentials.add(address, key, "%puq_login")
        where = "until this kernel ends"
        if args.keyring:
            try:
                credentials.save_to_keyring(address, key)
            except ConfigurationError as error:
                error.hint = f"The key is kept until this kernel ends. {error.hint}"
                raise
            where = "in the system's keyring"
        print(f"The key for {address.host} is kept {where}.")  # noqa: T201

    @no_var_expand
    @line_magic
    @LOGOUT_COMMAND
    def puq_logout(self, line: str) -> None:
        """Forget the key that was entered for the router, and the one in the keyring."""
        parse_options_only(LOGOUT_COMMAND, line)
        address, credentials = self._router_address(), self.session.credentials
        entered = credentials.forget(address)
        self.session.reset_router()
        try:
            kept = credentials.delete_from_keyring(address)
        except ConfigurationError as error:
            if entered:
                error.hint = f"The key that was entered is forgotten. {error.hint}"
            raise
        if not entered and not kept:
            print(f"No key was entered for {address.host}.")  # noqa: T201
        else:
            also = ", in the keyring too" if kept else ""
            print(f"The key for {address.host} is forgotten{also}.")  # noqa: T201
        if (left := credentials.find(address)) is not None:
            print(f"From now on {left.source} is used (…{left.key.tail}).")  # noqa: T201

    def _router_address(self) -> BaseURL:
        """Where a key is entered for: never the sandbox, which a real key must not reach."""
        if self.session.effective.is_sandbox:
            raise ConfigurationError(
                "the sandbox has a key of its own, and takes no other.",
                hint="For a real router: %config PuqMagics.base_url = 'https://api.puq.ai', then %puq_login.",
            )
        return self.session.address()


def _prompt_for_key(host: str) -> Secret:
    import getpass  # now, and the module: a kernel puts a function of its own into it while a cell runs

    try:
        entered = getpass.getpass(f"API key for {host}: ")
    except (StdinNotImplementedError, EOFError):
        raise ConfigurationError(
            "nobody can be asked for a key here.", hint="Set PUQ_API_KEY before the kernel starts."
        ) from None
    try:
        if not entered.strip():
            raise InputError("no key was entered.", hint="Nothing has changed.")
        return Secret(entered)
    finally:
        del entered  # tracebacks can show locals


FIX_HINT = option("--hint", action="store_true", help="a hint where to look, and not the solution")
FIX_FORMAT = option(
    "-f",
    "--format",
    choices=("markdown", "text", "code"),
    help="how to show the answer; code puts the mended cell below, and does not run it",
)
FIX_COMMAND = CommandLine(
    options.MODEL,
    options.SYSTEM,
    options.TEMPERATURE,
    options.MAX_TOKENS,
    options.NO_STREAM,
    FIX_FORMAT,
    FIX_HINT,
    options.OUT,
    options.PARAM,
    options.QUIET,
    options.DRY_RUN,
)


@magics_class
class PuqFixMagics(BaseMagics):
    """Have exceptions explained."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._failures = FailureTracker()
        session.shell.events.register("post_run_cell", self._failures.after_cell)

    def close(self) -> None:
        """Keep no exception any more."""
        self.session.shell.events.unregister("post_run_cell", self._failures.after_cell)

    @no_var_expand
    @line_magic
    @FIX_COMMAND
    def puq_fix(self, line: str) -> ChatResult | None:
        """Have the last exception explained, with the code that raised it.

        What is sent is the error, a short traceback, the cell, and the variables of the lines that failed: their
        types, and the beginning of what they hold. Passwords and keys are masked. ``--dry-run`` shows all of it and
        sends nothing.

        Example: ``%puq_fix --hint``
        """
        args = parse_options_only(FIX_COMMAND, line)
        from puq_magics.magics.fix import fix

        return fix(self.session, args, self._failures.last)


STATUS_COMMAND = CommandLine()


def _parse_pace(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of chunks a second; 0 is as fast as can be"
        )
    return value


def _parse_credits(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of credits") from None
    return value


def _parse_chunk_count(text: str) -> int:
    return 0 if text == "0" else parse_positive_int(text)


def _parse_model_count(text: str) -> int:
    return 0 if text == "0" else parse_positive_int(text)


def _parse_faults(text: str) -> str:
    return "" if text == "0" else text


SANDBOX_COMMAND = CommandLine(
    option("--pace", type=_parse_pace, help="chunks a second; 0 is as fast as can be"),
    option("--balance", type=_parse_credits, help="set the balance, in credits"),
    option(
        "--fail",
        type=_parse_faults,
        metavar="STATUS[:TIMES]",
        help="fail the next calls: 429:2, or 500 for all of them; 0 for none",
    ),
    option(
        "--drop-after",
        type=_parse_chunk_count,
        metavar="CHUNKS",
        help="cut the connection after that many chunks; 0 for never",
    ),
    option(
        "--models",
        type=_parse_model_count,
        metavar="COUNT",
        help="list so many models, most of them invented; 0 for its own",
    ),
    option("--local", action="store_true", help="have small real models answer as well, on this machine"),
    option(
        "--fetch",
        action="store_true",
        help="with --local: download the chat model's weights if they are missing or damaged, without asking",
    ),
    option(
        "--gguf",
        metavar="PATH",
        completes="path",
        help="with --local: a GGUF file to chat with, in place of the usual model; 0 for that",
    ),
    option(
        "--upstream",
        metavar="URL",
        help="pass on the models of an OpenAI-compatible server, such as http://127.0.0.1:11434/v1; 0 for none. "
        "Its key is PUQ_UPSTREAM_KEY's, for the host of PUQ_UPSTREAM or this machine, or is asked for",
    ),
    option("--if-needed", action="store_true", help="only where neither a key nor a base URL is set"),
)


@magics_class
class PuqSessionMagics(BaseMagics):
    """The session."""

    @no_var_expand
    @line_magic
    @STATUS_COMMAND
    def puq(self, line: str) -> None:
        """Say which router is in use, where the key comes from, the defaults, the balance and what was spent."""
        parse_options_only(STATUS_COMMAND, line)
        from puq_magics.magics.status import show_status

        show_status(self.session)

    @no_var_expand
    @line_magic
    @SANDBOX_COMMAND
    def puq_sandbox(self, line: str) -> None:
        """Start, stop or inspect the local router: ``%puq_sandbox [options] [start|stop|status]``.

        It answers with scripts, needs no key, and can misbehave on purpose: ``%puq_sandbox --fail 429:2``. With
        ``--local`` (``pip install "puq_magics[local]"``) small models answer, speak and listen for real.
        """
        hint = "%puq_sandbox takes start, stop or status."
        args, action = SANDBOX_COMMAND.parse_with_argument(line, hint)
        actions = {"": self._start, "start": self._start, "stop": self._stop, "status": self._print_status}
        if action not in actions:
            raise InputError(f"{action!r} is no action.", hint=hint)
        actions[action](args)

    def _start(self, args: argparse.Namespace) -> None:
        effective = self.session.effective
        if args.if_needed and (effective.is_configured or self.session.credentials.has_entered_key):
            print(f"Using {effective.base_url} ({effective.base_url_source}).")  # noqa: T201
            return
        given = {name: getattr(args, name) for name in ("pace", "balance", "fail", "drop_after", "models")}
        changes = {name: value for name, value in given.items() if value is not None}
        for name in ("drop_after", "models"):
            if changes.get(name) == 0:
                changes[name] = None
        from puq_magics.magics.sandbox import resolve_backends

        requested = resolve_backends(self.session, args)
        try:
            self.session.start_sandbox(requested, **changes)
        except ValueError as exc:
            raise InputError(f"{exc}.".replace("..", "."), hint="%puq_sandbox? says more.") from None
        self._switch_to_sandbox(SANDBOX_LOCAL if requested.local else SANDBOX)
        self._print_status(args)

    def _switch_to_sandbox(self, name: str) -> None:
        """Have the sandbox be the router; what was before comes back when it stops."""
        settings = self.session.settings
        if not is_sandbox(settings.base_url):
            self.session.url_before_sandbox = settings.base_url
        settings.base_url = name

    def _stop(self, _: argparse.Namespace) -> None:
        was_running = self.session.stop_sandbox()
        if is_sandbox(self.session.settings.base_url):
            self.session.settings.base_url = self.session.url_before_sandbox
            self.session.url_before_sandbox = None
        print("The sandbox has stopped." if was_running else "The sandbox was not running.")  # noqa: T201

    def _print_status(self, _: argparse.Namespace) -> None:
        from puq_magics.magics.sandbox import _LOADING_NOTE, _describe_faults

        sandbox = self.session.sandbox
        if sandbox is None:
            print("The sandbox is not running.")  # noqa: T201
            return
        real = [
            f"{code} ({kind})" for kind, code in sandbox.default_models.items() if code.startswith("local/")
        ]
        upstream = self.session.sandbox_manager.backends.upstream
        answering = "no key needed" if real or upstream else "scripted, no key needed"
        print(f"A local router answers at {sandbox.base_url}: {answering}.")  # noqa: T201
        if real:
            print(f"Real, on this machine: {', '.join(real)}; the sandbox/… models are scripted.")  # noqa: T201
            print(_LOADING_NOTE)  # noqa: T201
        if upstream:
            trouble = sandbox.upstream_error.rstrip(".")
            how = f"cannot be listed: {trouble}" if trouble else "are listed as upstream/…"
            print(f"The models of {upstream} {how}.")  # noqa: T201
        in_use = self.session.sandbox_manager.is_serving(self.session.effective.base_url)
        model = (in_use and self.session.default_model("chat")) or sandbox.default_chat_model
        model = self.session.settings.aliases.get(model, model)
        balance = f"{sandbox.balance:,.6f}".rstrip("0").rstrip(".")
        print(f"Balance {balance} credits; the model is {model}.")  # noqa: T201
        if description := _describe_faults(sandbox.settings.fail, sandbox.settings.drop_after):
            print(f"On purpose, {description}.")  # noqa: T201


CHAT_COMMAND = CommandLine(
    options.MODEL,
    options.SYSTEM,
    options.CHAT,
    options.CONTINUE,
    options.ATTACH,
    options.TEMPERATURE,
    options.MAX_TOKENS,
    options.NO_STREAM,
    options.FORMAT,
    options.SCHEMA,
    options.ALL_BLOCKS,
    options.OUT,
    options.SAVE,
    options.FORCE,
    options.RAW,
    options.PARAM,
    options.QUIET,
    options.DRY_RUN,
)


@magics_class
class PuqChatMagics(BaseMagics):
    """Ask a model."""

    @needs_local_scope
    @no_var_expand
    @line_cell_magic
    @CHAT_COMMAND
    def puq_chat(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> ChatResult | None:
        """Ask a model; the answer streams in as Markdown, and is the value of the magic.

        In a line the prompt follows the options; in a cell it is the body, and the first word of the line may be
        the model: ``%%puq_chat openai/gpt-4o``. ``{{name}}`` is filled from your variables. With ``-c NAME`` the
        cell is a turn of a conversation: run again, it takes its own place there. ``--continue`` needs no prompt.
        """
        args, prompt = parse_prompt(CHAT_COMMAND, "puq_chat", line, cell, promptless_option="continue_")
        from puq_magics.magics.chat import ask

        return ask(self.session, args, prompt, self.variables(local_ns))
