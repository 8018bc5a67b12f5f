"""Start, stop and inspect the sandbox: its simulated faults, local models and upstream server."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from puq_magics.api.base_url import BaseURL
from puq_magics.core.errors import ConfigurationError, InputError, OneLineInterrupt
from puq_magics.core.files import expand_path
from puq_magics.core.secret import Secret
from puq_magics.magics.keys import CANNOT_PROMPT, prompt_for_key
from puq_magics.magics.views import is_live
from puq_magics.outputs.plain_text import show_text
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
from puq_magics.session.settings import SANDBOX, SANDBOX_LOCAL, is_sandbox


class DownloadInterrupted(OneLineInterrupt):
    """The user stopped the download."""

    def __init__(self) -> None:
        super().__init__("the download was interrupted. Nothing was kept.")


def control_sandbox(session: Session, args: argparse.Namespace, action: str) -> None:
    """Do what the action says: ``start`` (also when empty), ``stop`` or ``status``. Raises PuqError."""
    if action in ("", "start"):
        _start(session, args)
    elif action == "stop":
        _stop(session)
    elif action == "status":
        _print_status(session)
    else:
        raise InputError(f"unknown action {action!r}.", hint="%puq_sandbox takes start, stop or status.")


def _start(session: Session, args: argparse.Namespace) -> None:
    effective = session.effective
    if session.is_replaying:
        if not args.if_needed:
            session.settings.base_url = SANDBOX_LOCAL if args.local else SANDBOX
        name = session.cassette.cassette.folder.name
        print(f"{name} answers in place of a router; the sandbox is not started.")  # noqa: T201
        return
    if args.if_needed and (effective.is_configured or session.credentials.has_entered_key):
        text = f"Using {effective.base_url} ({effective.base_url_source})."
        show_text(text, in_notebook=session.in_notebook)
        return
    given = {name: getattr(args, name) for name in ("pace", "balance", "fail", "drop_after", "models")}
    changes = {name: value for name, value in given.items() if value is not None}
    for name, off in (("fail", ""), ("drop_after", None), ("models", None)):
        if changes.get(name) in (0, "0"):
            changes[name] = off
    backends = _requested_backends(session, args)
    try:
        session.start_sandbox(backends, **changes)
    except ValueError as exc:
        raise InputError(f"{str(exc).rstrip('.')}.", hint="%puq_sandbox? explains the options.") from None
    settings = session.settings
    if not is_sandbox(settings.base_url):
        session.url_before_sandbox = settings.base_url
    settings.base_url = SANDBOX_LOCAL if backends.local else SANDBOX
    if args.balance is not None:
        session.account().restart_count()
    _print_status(session)


def _stop(session: Session) -> None:
    was_running = session.stop_sandbox()
    if is_sandbox(session.settings.base_url):
        session.settings.base_url = session.url_before_sandbox
        session.url_before_sandbox = None
    print("The sandbox has stopped." if was_running else "The sandbox was not running.")  # noqa: T201


def _print_status(session: Session) -> None:
    sandbox, manager = session.sandbox, session.sandbox_manager
    if sandbox is None:
        print("The sandbox is not running.")  # noqa: T201
        return
    local_models = [
        f"{code} ({kind})" for kind, code in sandbox.default_models.items() if code.startswith("local/")
    ]
    upstream = manager.backends.upstream
    description = "no key needed" if local_models or upstream else "scripted, no key needed"
    lines = [f"A local router answers at {sandbox.base_url}: {description}."]
    if local_models:
        lines.append(f"Real, on this machine: {', '.join(local_models)}; the sandbox/… models are scripted.")
        lines.append("Each loads on first use, and is unloaded after five idle minutes.")
    if upstream:
        problem = sandbox.upstream_error.rstrip(".")
        listing = f"cannot be listed: {problem}" if problem else "are listed as upstream/…"
        lines.append(f"The models of {upstream} {listing}.")
    is_used = manager.is_serving(session.effective.base_url)
    model = is_used and session.default_model("chat")
    if not model and not sandbox.upstream_error:
        model = sandbox.default_chat_model
    chosen = (
        f"the model is {session.settings.aliases.get(model, model)}" if model else "no chat model is chosen"
    )
    balance = f"{sandbox.balance:,.6f}".rstrip("0").rstrip(".")
    lines.append(f"Balance {balance} credits; {chosen}.")
    pace = sandbox.settings.pace
    if pace and not sandbox.settings.has_default_pace:
        lines.append(f"Streams come at {pace:g} chunks a second.")
    faults = []
    if sandbox.settings.fail:
        faults.append(f"the next calls fail: {sandbox.settings.fail}")
    if sandbox.settings.drop_after is not None:
        faults.append(f"streams are cut after {sandbox.settings.drop_after} chunks")
    if faults:
        lines.append(f"Simulated faults: {', and '.join(faults)}.")
    show_text("\n".join(lines), in_notebook=session.in_notebook)


def _requested_backends(session: Session, args: argparse.Namespace) -> SandboxBackends:
    """Return the present backends with the changes of the options. Raises PuqError.

    Missing weights are downloaded with ``--fetch``, or after a confirmation.
    """
    backends = session.sandbox_manager.requested_backends(session.effective.base_url)
    if args.local or args.fetch or args.gguf is not None:
        backends = replace(backends, local=True)
    if args.gguf is not None:
        backends = replace(backends, gguf=None if args.gguf == "0" else expand_path(args.gguf).absolute())
    if args.upstream == "0":
        backends = replace(backends, upstream=None, upstream_key=None)
    elif args.upstream is not None:
        address = BaseURL.parse(args.upstream, allow_http=session.settings.allow_http)
        if backends.upstream != args.upstream:  # else its key was requested before
            backends = replace(backends, upstream=args.upstream, upstream_key=_upstream_key(address))
    if backends.local and backends.gguf is None:
        check_installed()
        download = missing_weights()
        if args.fetch or (download and _confirm_download(session, download)):
            _download_weights(session)
        elif download:
            raise ConfigurationError("the weights of the local chat model are missing.", hint=FETCH_HINT)
    return backends


def _upstream_key(address: BaseURL) -> Secret | None:
    """Return the key of an upstream server; servers on this machine seldom have one, so no prompt for those."""
    key = environment_key(address)
    if key is not None or address.is_loopback:
        return key
    try:
        return prompt_for_key(f"API key for {address.host} (empty if it needs none): ")
    except CANNOT_PROMPT:
        return None


def _confirm_download(session: Session, download: str) -> bool:
    is_interactive = session.in_notebook or (sys.stdin is not None and sys.stdin.isatty())
    try:
        answer = input(f"Download the local chat model ({download})? [y/N] ") if is_interactive else None
    except CANNOT_PROMPT:
        answer = None
    if answer is None:
        raise ConfigurationError(
            f"the weights of the local chat model are missing ({download}), and this environment cannot prompt.",
            hint=FETCH_HINT,
        )
    return answer.strip().casefold() in ("y", "yes")


def _download_weights(session: Session) -> None:
    """Download the weights if they are missing or damaged. Raises ConfigurationError."""
    view = TransferView(in_notebook=session.in_notebook, live=is_live(session))
    try:
        summary = fetch_weights(view.report)
    except KeyboardInterrupt:
        view.end("Interrupted: nothing was kept.")
        raise DownloadInterrupted from None
    except ConfigurationError:
        view.end("The download failed.")
        raise
    view.end(f"{summary}.")
