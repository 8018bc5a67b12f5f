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
    FETCH_HINT,
    SandboxBackends,
    check_installed,
    environment_key,
    fetch_weights,
    missing_weights,
)
from puq_magics.session.session import Session

_LOADING_NOTE = "Each is loaded when it is first asked, and unloaded when it has been idle for five minutes."


def _describe_faults(fail: str | None, drop_after: int | None) -> str:
    """What the sandbox does wrong on purpose."""
    faults = f"the next calls fail: {fail}" if fail else ""
    cut = "" if drop_after is None else f"streams are cut after {drop_after} chunks"
    return " and ".join(words for words in (faults, cut) if words)


class DownloadInterrupted(KeyboardInterrupt):
    """The user stopped the download; IPython renders it as the one line that ``_render_traceback_`` gives."""

    def _render_traceback_(self) -> list[str]:
        return ["KeyboardInterrupt: the download was interrupted. Nothing was kept."]


def resolve_backends(session: Session, args: argparse.Namespace) -> SandboxBackends:
    """What is to answer behind the sandbox: what does, and what the options add. Raises PuqError.

    Weights that are missing are fetched, if the user says so: by ``--fetch``, or when asked.
    """
    requested_backends = session.sandbox_manager.requested_backends(session.effective.base_url)
    if args.local or args.fetch or args.gguf is not None:
        requested_backends = replace(requested_backends, local=True)
    if args.gguf is not None:
        requested_backends = replace(
            requested_backends, gguf=Path(args.gguf).expanduser().absolute() if args.gguf != "0" else None
        )
    if args.upstream is not None:
        requested_backends = _with_upstream(session, requested_backends, args.upstream)
    if requested_backends.local and requested_backends.gguf is None:
        check_installed()
        download = missing_weights()
        if args.fetch or (download and _confirm_download(session, download)):
            _download_weights(session)
        elif download:
            raise ConfigurationError("the weights of the local chat model are not here.", hint=FETCH_HINT)
    return requested_backends


def _download_weights(session: Session) -> None:
    """Have the weights in their place; those that are there are checked, and fetched again if they are not right."""
    view = TransferView(in_notebook=session.in_notebook, live=session.effective.live)
    try:
        kept = fetch_weights(view.report)
    except KeyboardInterrupt:
        view.end("DownloadInterrupted: nothing was kept.")
        raise DownloadInterrupted from None
    except ConfigurationError:
        view.end("The download failed.")
        raise
    view.end(f"{kept}.")


def _confirm_download(session: Session, download: str) -> bool:
    is_interactive = session.in_notebook or (sys.stdin is not None and sys.stdin.isatty())
    try:
        answer = input(f"Download the local chat model ({download})? [y/N] ") if is_interactive else None
    except (StdinNotImplementedError, EOFError):
        answer = None
    if answer is None:
        raise ConfigurationError(
            f"the weights of the local chat model are not here yet ({download}), and nobody can be asked.",
            hint=FETCH_HINT,
        )
    return answer.strip().casefold() in ("y", "yes")


def _with_upstream(session: Session, requested_backends: SandboxBackends, url: str) -> SandboxBackends:
    """Behind the sandbox, and another server too; ``0`` takes it away again."""
    if url == "0":
        return replace(requested_backends, upstream=None, upstream_key=None)
    address = BaseURL.parse(url, allow_http=session.settings.allow_http)
    if requested_backends.upstream == url:
        return requested_backends  # its key was asked for when it was new
    return replace(requested_backends, upstream=url, upstream_key=_upstream_key(address))


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
