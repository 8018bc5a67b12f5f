"""Record and replay: choose the mode and the cassette, show what is kept, pack it."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence

from puq_magics.core.errors import InputError, PuqError
from puq_magics.core.text import format_size, pluralize
from puq_magics.outputs.paths import relative_to_notebook
from puq_magics.outputs.tables.table import show_fields
from puq_magics.session.cassette import list_cassettes
from puq_magics.session.session import Session

_MODES = ("record", "replay", "auto", "off")
_ACTIONS = (*_MODES, "status", "pack")
_DESCRIPTIONS = {
    "off": "off: the router answers",
    "record": "record: the router answers, and its answers are kept",
    "replay": "replay: the cassette answers; nothing is sent",
    "auto": "auto: the cassette answers; what it lacks is asked and kept",
    "none": "none: no request is allowed",
}
#: Kinds of recordings whose names are no nouns that people use.
_NOUNS = {"models": "model list", "tool": "function call"}


def control_cassette(session: Session, args: argparse.Namespace, words: Sequence[str]) -> None:
    """Do what the first word says, with the cassette that the second one names. Raises PuqError."""
    action, *names = words or ("status",)
    if action not in _ACTIONS:
        known = f"Write %puq_cassette {'|'.join(_MODES)} NAME."
        raise InputError(f"unknown action {action!r}.", hint=known)
    if len(names) > 1:
        raise InputError(f"unexpected argument {names[1]!r}.", hint="Put a name with spaces in quotes.")
    _change(session, args, action, names[0] if names else None)
    if action == "pack":
        path = session.cassette.cassette.pack()
        print(f"Packed as {path.name} ({format_size(path.stat().st_size)}).")  # noqa: T201 - what was asked for
        return
    show_fields(list(_rows(session)), in_notebook=session.in_notebook)


def _change(session: Session, args: argparse.Namespace, action: str, name: str | None) -> None:
    """Change the settings; they stay as they were if the cassette cannot be used."""
    settings = session.settings
    before = settings.cassette, settings.cassette_mode, settings.cassette_pace, session.cassette.errors
    try:
        if name is not None:
            settings.cassette = name
        if args.pace is not None:
            settings.cassette_pace = args.pace
        if action in _MODES:
            settings.cassette_mode = action
            session.cassette.errors = bool(args.errors)
            session.cassette.check()
        elif args.errors:
            raise InputError("--errors is for record and auto.", hint="Write %puq_cassette record --errors.")
    except PuqError:
        settings.cassette, settings.cassette_mode, settings.cassette_pace, session.cassette.errors = before
        raise


def _rows(session: Session) -> Iterator[tuple[str, str]]:
    """Return the mode, the cassette and what it holds."""
    recorder, effective = session.cassette, session.effective
    cassette = recorder.cassette
    yield "mode", _DESCRIPTIONS[recorder.mode]
    if recorder.mode == "off" and not cassette.exists:
        others = list_cassettes()
        yield "cassettes", ", ".join(others) if others else "none beside the notebook"
        return
    is_packed = cassette.packed.is_file() and not cassette.folder.is_dir()
    path = cassette.packed if is_packed else cassette.folder
    yield "cassette", str(relative_to_notebook(path) or path)
    kinds = Counter(name.partition("-")[0] for name in cassette.recordings)
    counts = [pluralize(count, _NOUNS.get(kind, kind)) for kind, count in sorted(kinds.items())]
    total = pluralize(kinds.total(), "recording")
    yield "holds", f"{total}: {', '.join(counts)}" if counts else "nothing yet"
    if recorder.mode in ("replay", "auto"):
        pace = effective.cassette_pace
        yield "pace", "at once" if not pace else "as recorded" if pace == 1 else f"{pace:g} times as fast"
    if recorder.errors:
        yield "errors", "are recorded, too"
