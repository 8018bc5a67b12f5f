"""``%puq``, ``%puq_login``, ``%puq_logout`` and ``%puq_sandbox``: what one shell holds."""

from __future__ import annotations

import argparse

from IPython.core.error import StdinNotImplementedError
from IPython.core.magic import line_magic, magics_class, no_var_expand

from puq_magics.api.address import Address
from puq_magics.api.errors import ConfigurationError, InputError, PuqError
from puq_magics.api.secret import Secret
from puq_magics.magics.base import WorkspaceMagics
from puq_magics.magics.options import CommandLine, option, positive
from puq_magics.session.settings import SANDBOX
from puq_magics.session.workspace import Workspace

STATUS_COMMAND, LOGIN_COMMAND, LOGOUT_COMMAND = CommandLine(), CommandLine(), CommandLine()


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
    option("--if-needed", action="store_true", help="only where neither a key nor a base URL is set"),
)


@magics_class
class PuqSessionMagics(WorkspaceMagics):
    """The session."""

    @no_var_expand
    @line_magic
    @STATUS_COMMAND
    def puq(self, line: str) -> None:
        """Say which router is in use, where the key comes from, and the defaults."""
        _refuse_rest(STATUS_COMMAND, line)
        print("\n".join(_status(self.workspace)))  # noqa: T201 - what was asked for

    @no_var_expand
    @line_magic
    @LOGIN_COMMAND
    def puq_login(self, line: str) -> None:
        """Ask for the API key of the router, without showing it, and keep it for this session."""
        _refuse_rest(LOGIN_COMMAND, line)
        address = self._keyed_address()
        self.workspace.credentials.keep(address, _ask_for_key(address.host), "%puq_login")
        print(f"The key for {address.host} is kept until this kernel ends.")  # noqa: T201

    @no_var_expand
    @line_magic
    @LOGOUT_COMMAND
    def puq_logout(self, line: str) -> None:
        """Forget the key that was entered for the router."""
        _refuse_rest(LOGOUT_COMMAND, line)
        address = self._keyed_address()
        forgotten = self.workspace.credentials.forget(address)
        print(  # noqa: T201
            f"The key for {address.host} is forgotten."
            if forgotten
            else f"No key was entered for {address.host}."
        )

    @no_var_expand
    @line_magic
    @SANDBOX_COMMAND
    def puq_sandbox(self, line: str) -> None:
        """Start, stop or inspect the local router: ``%puq_sandbox [options] [start|stop|status]``.

        It answers with scripts, needs no key, and can misbehave on purpose: ``%puq_sandbox --fail 429:2``.
        """
        hint = "%puq_sandbox takes start, stop or status."
        args, action = SANDBOX_COMMAND.read_around(line, hint)
        actions = {"": self._start, "start": self._start, "stop": self._stop, "status": self._say}
        if action not in actions:
            raise InputError(f"{action!r} is no action.", hint=hint)
        actions[action](args)

    def _keyed_address(self) -> Address:
        """Where a key is entered for: never the sandbox, which a real key must not reach."""
        if self.workspace.effective.base_url == SANDBOX:
            raise ConfigurationError(
                "the sandbox has a key of its own, and takes no other.",
                hint="For a real router: %config PuqMagics.base_url = 'https://api.puq.ai', then %puq_login.",
            )
        return self.workspace.address()

    def _start(self, args: argparse.Namespace) -> None:
        effective = self.workspace.effective
        if args.if_needed and (effective.is_configured or self.workspace.credentials.was_given):
            print(f"Using {effective.base_url} ({effective.base_url_source}).")  # noqa: T201
            return
        given = {name: getattr(args, name) for name in ("pace", "balance", "fail", "drop_after")}
        moves = {name: value for name, value in given.items() if value is not None}
        if args.drop_after == 0:
            moves["drop_after"] = None
        try:
            self.workspace.start_sandbox(**moves)
        except ValueError as exc:
            raise InputError(f"{exc}.".replace("..", "."), hint="%puq_sandbox? says more.") from None
        settings = self.workspace.settings
        if settings.base_url != SANDBOX:
            self.workspace.url_before_sandbox, settings.base_url = settings.base_url, SANDBOX
        self._say(args)

    def _stop(self, _: argparse.Namespace) -> None:
        running = self.workspace.stop_sandbox()
        if self.workspace.settings.base_url == SANDBOX:
            self.workspace.settings.base_url = self.workspace.url_before_sandbox
            self.workspace.url_before_sandbox = None
        print("The sandbox has stopped." if running else "The sandbox was not running.")  # noqa: T201

    def _say(self, _: argparse.Namespace) -> None:
        sandbox = self.workspace.sandbox
        if sandbox is None:
            print("The sandbox is not running.")  # noqa: T201
            return
        print(f"A local router answers at {sandbox.base_url}: scripted, no key needed.")  # noqa: T201
        model = self.workspace.default_chat_model or sandbox.default_chat_model
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


def _ask_for_key(host: str) -> Secret:
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


def _refuse_rest(command: CommandLine, line: str) -> None:
    _, rest = command.read(line)
    if rest:
        raise InputError(f"{rest!r} is one too many.", hint="This magic takes no arguments.")


def _status(workspace: Workspace) -> list[str]:
    from puq_magics.outputs.markdown_controls import plain

    effective = workspace.effective
    lines = []
    try:
        address = workspace.address()
        _ = effective.auth_scheme, effective.timeout  # a wrong one is said here, not at the next call
        lines.append(f"router  {address.url} ({effective.base_url_source})")
        credential = workspace.credential(address)
        key = f"…{credential.key.tail} from {credential.source}" if credential else "none, and none is needed"
        lines.append(f"key     {key}")
    except PuqError as error:
        lines.append(f"problem {error}")
    settings = workspace.settings
    model = workspace.default_chat_model or "not set: use -m"
    lines.append(f"model   {settings.aliases.get(model, model)}")
    for name in ("system", "temperature", "max_tokens"):
        value = getattr(settings, name)
        if value is not None:
            lines.append(f"{name:<7} {value}")
    return [plain(entry).replace("\n", " ") for entry in lines]
