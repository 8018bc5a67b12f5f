"""``%puq_login`` and ``%puq_logout``: the key, which nothing shows and no notebook holds."""

from __future__ import annotations

from IPython.core.error import StdinNotImplementedError
from IPython.core.magic import line_magic, magics_class, no_var_expand

from puq_magics.api.base_url import Address
from puq_magics.core.errors import ConfigurationError, InputError
from puq_magics.core.secret import Secret
from puq_magics.magics.base import WorkspaceMagics
from puq_magics.magics.options import CommandLine, option, refuse_rest

LOGIN_COMMAND = CommandLine(
    option(
        "--keyring", action="store_true", help="keep the key in the system's keyring, for later sessions too"
    ),
)
LOGOUT_COMMAND = CommandLine()


@magics_class
class PuqKeyMagics(WorkspaceMagics):
    """The key."""

    @no_var_expand
    @line_magic
    @LOGIN_COMMAND
    def puq_login(self, line: str) -> None:
        """Ask for the API key of the router, without showing it, and keep it for this session.

        ``--keyring`` keeps it in the system's keyring as well, where later sessions find it.
        """
        args = refuse_rest(LOGIN_COMMAND, line)
        address, credentials = self._keyed_address(), self.workspace.credentials
        key = _ask_for_key(address.host)
        credentials.keep(address, key, "%puq_login")
        where = "until this kernel ends"
        if args.keyring:
            try:
                credentials.keep_in_keyring(address, key)
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
        refuse_rest(LOGOUT_COMMAND, line)
        address, credentials = self._keyed_address(), self.workspace.credentials
        entered = credentials.forget(address)
        self.workspace.forget_router()
        try:
            kept = credentials.forget_in_keyring(address)
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

    def _keyed_address(self) -> Address:
        """Where a key is entered for: never the sandbox, which a real key must not reach."""
        if self.workspace.effective.is_sandbox:
            raise ConfigurationError(
                "the sandbox has a key of its own, and takes no other.",
                hint="For a real router: %config PuqMagics.base_url = 'https://api.puq.ai', then %puq_login.",
            )
        return self.workspace.address()


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
