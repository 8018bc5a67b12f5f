"""The status panel of ``%puq``; imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from puq_magics.core.errors import PuqError
from puq_magics.outputs.results.footer import in_credits
from puq_magics.outputs.tables.table import show_panel
from puq_magics.session.balance import glance_at_balance
from puq_magics.session.budget import Spending
from puq_magics.session.session import Workspace
from puq_magics.session.settings import model_setting

Row = tuple[str, str]
_PATIENCE = 3.0  # seconds for the balance: the panel is there to look at quickly
_KINDS = ("chat", "image", "speech", "transcription")


def show_status(workspace: Workspace) -> None:
    """Show what is in force, where it comes from, and what was spent."""
    show_panel(list(_rows(workspace)), in_notebook=workspace.in_notebook)


def _rows(workspace: Workspace) -> Iterator[Row]:
    works = True
    try:
        yield from _connection(workspace)
    except PuqError as error:
        yield "problem", str(error)
        works = False
    if works or not workspace.effective.is_sandbox:  # a sandbox that cannot start knows no models
        yield from _models(workspace)
    settings = workspace.settings
    for name in ("voice", "image_size", "system", "temperature", "max_tokens"):
        value = getattr(settings, name)
        if value is not None:
            yield name, str(value)
    if settings.aliases:
        yield "aliases", ", ".join(f"{short} = {code}" for short, code in settings.aliases.items())
    if works:
        yield from _money(workspace)
    if problem := workspace.ledger.problem:
        yield "ledger", problem


def _connection(workspace: Workspace) -> Iterator[Row]:
    effective = workspace.effective
    address = workspace.address()
    _ = effective.auth_scheme, effective.timeout  # a wrong one is said here, not at the next call
    yield "router", f"{address.url} ({effective.base_url_source})"
    try:
        credential = workspace.credential(address)
    finally:
        if problem := workspace.credentials.keyring_problem:
            yield "keyring", problem
    key = f"…{credential.key.tail} from {credential.source}" if credential else "none, and none is needed"
    yield "key", key


def _models(workspace: Workspace) -> Iterator[Row]:
    for kind in _KINDS:
        model = workspace.default_model(kind)
        if model:
            label = "model" if kind == "chat" else model_setting(kind).removesuffix("_model")
            yield label, workspace.settings.aliases.get(model, model)
        elif kind == "chat":
            yield "model", "not set: use -m, or %puq_choose"


def _money(workspace: Workspace) -> Iterator[Row]:
    account = workspace.account()
    yield "balance", glance_at_balance(workspace, _PATIENCE)
    yield "spent", _spent(account.spending)
    budget = workspace.settings.budget
    if budget is not None:
        left = max(0.0, budget - account.spending.spent(account.fallen))
        yield "budget", f"{in_credits(budget)}, {in_credits(left)} left"


def _spent(spending: Spending) -> str:
    known = f"about {in_credits(spending.estimated)} by estimate" if spending.estimated else ""
    calls = "1 call" if spending.unknown == 1 else f"{spending.unknown:,} calls"
    unknown = f"{calls} whose cost is not known" if spending.unknown else ""
    return ", and ".join(words for words in (known, unknown) if words) or "nothing"
