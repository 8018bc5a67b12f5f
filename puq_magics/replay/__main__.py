"""Command line of cassettes: ``python -m puq_magics.replay list|show|prune|check``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from puq_magics.core.errors import PuqError
from puq_magics.core.text import format_size, pluralize
from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.replay.cassette import SETTINGS_FILE, Cassette, cassette_path, format_recording
from puq_magics.replay.leaks import find_problems, summarize
from puq_magics.replay.notebook_run import used_recordings
from puq_magics.replay.recorded_answer import media_names


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit status: 1 for problems, 2 for what cannot be done."""
    args = _parser().parse_args(arguments)
    try:
        cassette = _open(args.cassette)
        status: int = args.run(cassette, args)
    except PuqError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except BrokenPipeError:
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m puq_magics.replay", description="Look after cassettes.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: object, description: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=description, description=description)
        command.add_argument("cassette", metavar="CASSETTE", help="the folder, the zip file, or their name")
        command.set_defaults(run=run)
        return command

    add("list", _list, "list the recordings")
    show = add("show", _show, "show recordings")
    show.add_argument("names", nargs="+", metavar="NAME", help="a recording, or how its name begins")
    prune = add("prune", _prune, "show the recordings that no notebook asks for any more")
    prune.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK", help="run to see what they ask")
    prune.add_argument("--yes", action="store_true", help="delete them")
    add("check", _check, "look for leaks, missing and cut files, and what belongs to no recording")
    return parser


def _open(text: str) -> Cassette:
    """Return the cassette of a path or a name. Raises ConfigurationError."""
    cassette = Cassette(cassette_path(Path(text).absolute()))
    cassette.check_exists()
    return cassette


def _list(cassette: Cassette, _: argparse.Namespace) -> int:
    rows = []
    for name in cassette.recordings:
        try:
            model, status, text = summarize(cassette, name)
        except PuqError as error:
            model, status, text = "", "?", error.message
        rows.append((name.removesuffix(".json"), status, model, text))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for *columns, text in rows:
        cells = [cell.ljust(width) for cell, width in zip(columns, widths, strict=True)]
        _print("  ".join([*cells, text]))
    size = sum(map(cassette.size, cassette.names))
    _print(f"{pluralize(len(rows), 'recording')}, {format_size(size)} in {cassette.folder.name}")
    return 0


def _show(cassette: Cassette, args: argparse.Namespace) -> int:
    status = 0
    for prefix in args.names:
        found = [name for name in cassette.recordings if name.startswith(prefix)]
        if not found:
            print(f"there is no recording {prefix} in {cassette.folder.name}", file=sys.stderr)  # noqa: T201
            status = 2
        for name in found:
            _print(f"{name}\n{format_recording(cassette.read(name))}")
    return status


def _prune(cassette: Cassette, args: argparse.Namespace) -> int:
    used: set[str] = set()
    for notebook in args.notebooks:
        used |= used_recordings(cassette, notebook.absolute())
    unused = [name for name in cassette.recordings if name not in used]
    kept_media = {media for name in used & cassette.names for media in media_names(cassette.read(name))}
    media = cassette.names - set(cassette.recordings) - kept_media - {SETTINGS_FILE}
    for name in (*unused, *sorted(media)):
        _print(name)
        if args.yes:
            cassette.delete(name)
    if args.yes and cassette.packed.is_file():
        cassette.pack(without=[*unused, *media])  # the zip file would bring them back
    words = "deleted" if args.yes else "no longer asked for; --yes deletes them"
    files = f" and {pluralize(len(media), 'media file')}" if media else ""
    _print(f"{len(unused)} of {pluralize(len(unused) + len(used), 'recording')}{files} {words}")
    return 0


def _check(cassette: Cassette, _: argparse.Namespace) -> int:
    problems = list(find_problems(cassette))
    for problem in problems:
        _print(problem)
    size = sum(map(cassette.size, cassette.names))
    count = pluralize(len(cassette.recordings), "recording")
    _print(
        f"{count}, {format_size(size)}: {pluralize(len(problems), 'problem') if problems else 'no problems'}"
    )
    return 1 if problems else 0


def _print(text: str) -> None:
    print(strip_control_chars(text))  # noqa: T201 - what was asked for


if __name__ == "__main__":
    sys.exit(main())
