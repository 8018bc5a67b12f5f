"""``%puq`` and ``%puq_sandbox``: the state of the session, and the local router."""

from __future__ import annotations

import argparse

from IPython.core.magic import line_magic, magics_class, no_var_expand

from puq_magics.core.errors import InputError
from puq_magics.magics.base import WorkspaceMagics
from puq_magics.magics.options import CommandLine, option, positive, refuse_rest
from puq_magics.session.settings import SANDBOX, SANDBOX_LOCAL, is_sandbox

STATUS_COMMAND = CommandLine()


def _pace(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of chunks a second; 0 is as fast as can be"
        )
    return value


def _credits(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of credits") from None
    return value


def _chunks(text: str) -> int:
    return 0 if text == "0" else positive(text)


def _models(text: str) -> int:
    return 0 if text == "0" else positive(text)


def _faults(text: str) -> str:
    return "" if text == "0" else text


SANDBOX_COMMAND = CommandLine(
    option("--pace", type=_pace, help="chunks a second; 0 is as fast as can be"),
    option("--balance", type=_credits, help="set the balance, in credits"),
    option(
        "--fail",
        type=_faults,
        metavar="STATUS[:TIMES]",
        help="fail the next calls: 429:2, or 500 for all of them; 0 for none",
    ),
    option(
        "--drop-after",
        type=_chunks,
        metavar="CHUNKS",
        help="cut the connection after that many chunks; 0 for never",
    ),
    option(
        "--models",
        type=_models,
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


_LOADING = "Each is loaded when it is first asked, and unloaded when it has been idle for five minutes."


@magics_class
class PuqSessionMagics(WorkspaceMagics):
    """The session."""

    @no_var_expand
    @line_magic
    @STATUS_COMMAND
    def puq(self, line: str) -> None:
        """Say which router is in use, where the key comes from, the defaults, the balance and what was spent."""
        refuse_rest(STATUS_COMMAND, line)
        from puq_magics.magics.status import show_status

        show_status(self.workspace)

    @no_var_expand
    @line_magic
    @SANDBOX_COMMAND
    def puq_sandbox(self, line: str) -> None:
        """Start, stop or inspect the local router: ``%puq_sandbox [options] [start|stop|status]``.

        It answers with scripts, needs no key, and can misbehave on purpose: ``%puq_sandbox --fail 429:2``. With
        ``--local`` (``pip install "puq_magics[local]"``) small models answer, speak and listen for real.
        """
        hint = "%puq_sandbox takes start, stop or status."
        args, action = SANDBOX_COMMAND.read_around(line, hint)
        actions = {"": self._start, "start": self._start, "stop": self._stop, "status": self._say}
        if action not in actions:
            raise InputError(f"{action!r} is no action.", hint=hint)
        actions[action](args)

    def _start(self, args: argparse.Namespace) -> None:
        effective = self.workspace.effective
        if args.if_needed and (effective.is_configured or self.workspace.credentials.was_given):
            print(f"Using {effective.base_url} ({effective.base_url_source}).")  # noqa: T201
            return
        given = {name: getattr(args, name) for name in ("pace", "balance", "fail", "drop_after", "models")}
        moves = {name: value for name, value in given.items() if value is not None}
        for name in ("drop_after", "models"):
            if moves.get(name) == 0:
                moves[name] = None
        from puq_magics.magics.sandbox import backends

        behind = backends(self.workspace, args)
        try:
            self.workspace.start_sandbox(behind, **moves)
        except ValueError as exc:
            raise InputError(f"{exc}.".replace("..", "."), hint="%puq_sandbox? says more.") from None
        self._use(SANDBOX_LOCAL if behind.local else SANDBOX)
        self._say(args)

    def _use(self, name: str) -> None:
        """Have the sandbox be the router; what was before comes back when it stops."""
        settings = self.workspace.settings
        if not is_sandbox(settings.base_url):
            self.workspace.url_before_sandbox = settings.base_url
        settings.base_url = name

    def _stop(self, _: argparse.Namespace) -> None:
        running = self.workspace.stop_sandbox()
        if is_sandbox(self.workspace.settings.base_url):
            self.workspace.settings.base_url = self.workspace.url_before_sandbox
            self.workspace.url_before_sandbox = None
        print("The sandbox has stopped." if running else "The sandbox was not running.")  # noqa: T201

    def _say(self, _: argparse.Namespace) -> None:
        sandbox = self.workspace.sandbox
        if sandbox is None:
            print("The sandbox is not running.")  # noqa: T201
            return
        real = [
            f"{code} ({kind})" for kind, code in sandbox.default_models.items() if code.startswith("local/")
        ]
        upstream = self.workspace.local_router.backends.upstream
        answering = "no key needed" if real or upstream else "scripted, no key needed"
        print(f"A local router answers at {sandbox.base_url}: {answering}.")  # noqa: T201
        if real:
            print(f"Real, on this machine: {', '.join(real)}; the sandbox/… models are scripted.")  # noqa: T201
            print(_LOADING)  # noqa: T201
        if upstream:
            trouble = sandbox.upstream_trouble.rstrip(".")
            how = f"cannot be listed: {trouble}" if trouble else "are listed as upstream/…"
            print(f"The models of {upstream} {how}.")  # noqa: T201
        in_use = self.workspace.local_router.serves(self.workspace.effective.base_url)
        model = (in_use and self.workspace.default_model("chat")) or sandbox.default_chat_model
        model = self.workspace.settings.aliases.get(model, model)
        balance = f"{sandbox.balance:,.6f}".rstrip("0").rstrip(".")
        print(f"Balance {balance} credits; the model is {model}.")  # noqa: T201
        if misbehaving := _misbehaving(sandbox.settings.fail, sandbox.settings.drop_after):
            print(f"On purpose, {misbehaving}.")  # noqa: T201


def _misbehaving(fail: str | None, drop_after: int | None) -> str:
    """What the sandbox does wrong on purpose."""
    faults = f"the next calls fail: {fail}" if fail else ""
    cut = "" if drop_after is None else f"streams are cut after {drop_after} chunks"
    return " and ".join(words for words in (faults, cut) if words)
