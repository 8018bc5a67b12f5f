"""A magic's prompt: behind the options of a line, or the body of a cell."""

from __future__ import annotations

import argparse

from puq_magics.core.errors import InputError
from puq_magics.magics.options import CommandLine

_BELOW = "The prompt goes below, into the cell."


def read_prompt(
    command: CommandLine, name: str, line: str, cell: str | None, *, without: str = ""
) -> tuple[argparse.Namespace, str]:
    """The options, and the prompt as it was typed. Raises InputError, for an empty prompt too.

    ``without`` names the option that does without a prompt.
    """
    if cell is None:
        args, prompt = command.read(line)
    else:
        args, prompt = _read_cell_line(command, line), cell.strip("\n")
    if not prompt.strip() and not getattr(args, without, False):
        hint = f"Write it below %%{name}, or after the options of %{name}."
        raise InputError("the prompt is empty.", hint=hint)
    return args, prompt


def _read_cell_line(command: CommandLine, line: str) -> argparse.Namespace:
    """The line of a cell: options, and the model as a word of its own, before or after them."""
    args, word = command.read_around(line, _BELOW)
    if word and args.model is not None:
        raise InputError(f"{word!r} is one too many: -m names the model.", hint=_BELOW)
    args.model = word or args.model
    return args
