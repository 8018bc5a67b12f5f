"""Login and logout: the API key of a router."""

from __future__ import annotations

from IPython.core.error import StdinNotImplementedError

from puq_magics.api.base_url import BaseURL
from puq_magics.core.errors import ConfigurationError, InputError
from puq_magics.core.secret import Secret
from puq_magics.outputs.plain_text import show_text
from puq_magics.session.session import Session

#: Raised by ``input`` and ``getpass`` where no user can answer.
CANNOT_PROMPT = (StdinNotImplementedError, EOFError)


def login(session: Session, *, save_to_keyring: bool) -> None:
    """Prompt for the router's key and keep it; leave the sandbox, if that is in use.

    Raises ConfigurationError, and InputError for an empty key.
    """
    address, credentials = _router_address(session), session.credentials
    try:
        key = prompt_for_key(f"API key for {address.host}: ")
    except CANNOT_PROMPT:
        raise ConfigurationError(
            "this environment cannot prompt for a key.", hint="Set PUQ_API_KEY before the kernel starts."
        ) from None
    if key is None:
        raise InputError("no key was entered.", hint="Nothing has changed.")
    credentials.add(address, key, "%puq_login")
    where, left = "until this kernel ends", ""
    if session.effective.is_sandbox:
        session.leave_sandbox()
        left = f" {address.host} is in use from now on; %puq_sandbox returns to the sandbox."
    if save_to_keyring:
        try:
            credentials.save_to_keyring(address, key)
        except ConfigurationError as error:
            error.hint = f"The key is kept until this kernel ends.{left} {error.hint}"
            raise
        where = "in the system's keyring"
    show_text(f"The key for {address.host} is kept {where}.{left}", in_notebook=session.in_notebook)


def logout(session: Session) -> None:
    """Forget the router's key, in the keyring too. Raises ConfigurationError."""
    address, credentials = _router_address(session), session.credentials
    was_entered = credentials.forget(address)
    session.reset_router()
    try:
        was_saved = credentials.delete_from_keyring(address)
    except ConfigurationError as error:
        if was_entered:
            error.hint = f"The key that was entered is forgotten. {error.hint}"
        raise
    if was_entered or was_saved:
        suffix = ", in the keyring too" if was_saved else ""
        print(f"The key for {address.host} is forgotten{suffix}.")  # noqa: T201
    else:
        print(f"No key was entered for {address.host}.")  # noqa: T201
    if (remaining := credentials.find(address)) is not None:
        print(f"From now on {remaining.source} is used (…{remaining.key.tail}).")  # noqa: T201


def prompt_for_key(prompt: str) -> Secret | None:
    """Prompt for a key, which is not shown; None if nothing is entered.

    Raises ConfigurationError for what cannot be one, and ``CANNOT_PROMPT``.
    """
    import getpass  # the module, and only now: a kernel replaces its function while a cell runs

    entered = getpass.getpass(prompt)
    try:
        return Secret(entered) if entered.strip() else None
    finally:
        del entered  # tracebacks can show locals


def _router_address(session: Session) -> BaseURL:
    """Return the address that a key is for: never the sandbox's, which a real key must not reach."""
    url = session.url_outside_sandbox or session.effective.environment_url
    return BaseURL.parse(url, allow_http=session.settings.allow_http)
