"""What ``%puq_sandbox`` has answer for real: weights that are fetched, a file, another server and its key."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from IPython.core.error import StdinNotImplementedError

from puq_magics.api.base_url import BaseURL
from puq_magics.core.errors import ConfigurationError
from puq_magics.core.secret import Secret
from puq_magics.outputs.views.progress import TransferView
from puq_magics.session.sandbox import (
    FETCHING,
    Backends,
    check_installed,
    environment_key,
    fetch_weights,
    missing_weights,
)
from puq_magics.session.session import Workspace

_LOADING = "Each is loaded when it is first asked, and unloaded when it has been idle for five minutes."


def _misbehaving(fail: str | None, drop_after: int | None) -> str:
    """What the sandbox does wrong on purpose."""
    faults = f"the next calls fail: {fail}" if fail else ""
    cut = "" if drop_after is None else f"streams are cut after {drop_after} chunks"
    return " and ".join(words for words in (faults, cut) if words)


class Interrupted(KeyboardInterrupt):
    """The user stopped the download; IPython renders it as the one line that ``_render_traceback_`` gives."""

    def _render_traceback_(self) -> list[str]:
        return ["KeyboardInterrupt: the download was interrupted. Nothing was kept."]


def backends(workspace: Workspace, args: argparse.Namespace) -> Backends:
    """What is to answer behind the sandbox: what does, and what the options add. Raises PuqError.

    Weights that are missing are fetched, if the user says so: by ``--fetch``, or when asked.
    """
    wanted = workspace.local_router.wanted(workspace.effective.base_url)
    if args.local or args.fetch or args.gguf is not None:
        wanted = replace(wanted, local=True)
    if args.gguf is not None:
        wanted = replace(wanted, gguf=Path(args.gguf).expanduser().absolute() if args.gguf != "0" else None)
    if args.upstream is not None:
        wanted = _with_upstream(workspace, wanted, args.upstream)
    if wanted.local and wanted.gguf is None:
        check_installed()
        offer = missing_weights()
        if args.fetch or (offer and _agrees(workspace, offer)):
            _fetch(workspace)
        elif offer:
            raise ConfigurationError("the weights of the local chat model are not here.", hint=FETCHING)
    return wanted


def _fetch(workspace: Workspace) -> None:
    """Have the weights in their place; those that are there are checked, and fetched again if they are not right."""
    view = TransferView(in_notebook=workspace.in_notebook, live=workspace.effective.live)
    try:
        kept = fetch_weights(view.report)
    except KeyboardInterrupt:
        view.end("Interrupted: nothing was kept.")
        raise Interrupted from None
    except ConfigurationError:
        view.end("The download failed.")
        raise
    view.end(f"{kept}.")


def _agrees(workspace: Workspace, offer: str) -> bool:
    can_be_asked = workspace.in_notebook or (sys.stdin is not None and sys.stdin.isatty())
    try:
        answer = input(f"Download the local chat model ({offer})? [y/N] ") if can_be_asked else None
    except (StdinNotImplementedError, EOFError):
        answer = None
    if answer is None:
        raise ConfigurationError(
            f"the weights of the local chat model are not here yet ({offer}), and nobody can be asked.",
            hint=FETCHING,
        )
    return answer.strip().casefold() in ("y", "yes")


def _with_upstream(workspace: Workspace, wanted: Backends, url: str) -> Backends:
    """Behind the sandbox, and another server too; ``0`` takes it away again."""
    if url == "0":
        return replace(wanted, upstream=None, upstream_key=None)
    address = BaseURL.parse(url, allow_http=workspace.settings.allow_http)
    if wanted.upstream == url:
        return wanted  # its key was asked for when it was new
    return replace(wanted, upstream=url, upstream_key=_upstream_key(address))


def _upstream_key(address: BaseURL) -> Secret | None:
    """The key for another server; on this machine, few have one: there it comes from the environment alone."""
    key = environment_key(address)
    if key is not None or address.is_loopback:
        return key
    import getpass  # now, and the module: a kernel puts a function of its own into it while a cell runs

    try:
        entered = getpass.getpass(f"API key for {address.host}, or nothing where it takes none: ")
    except (StdinNotImplementedError, EOFError):
        return None
    try:
        return Secret(entered) if entered.strip() else None
    finally:
        del entered  # tracebacks can show locals
