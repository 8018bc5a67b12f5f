"""Argument parser of a magic, and its help page."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from IPython.core.magic_arguments import MagicArgumentParser

_WIDTH = 70  # characters, of a notebook of 700 pixels


def create_parser(
    name: str, description: str, groups: Mapping[str, Iterable[tuple[tuple[str, ...], Mapping[str, Any]]]]
) -> argparse.ArgumentParser:
    """Create the parser of a magic; ``groups`` has, by title, the arguments of ``add_argument`` for each option.

    ``format_help()`` returns the description with the options below it, as plain text.
    """
    parser: argparse.ArgumentParser = MagicArgumentParser(
        name, usage=argparse.SUPPRESS, description=description, formatter_class=_HelpFormatter
    )
    parser.allow_abbrev = False  # a mistyped flag is an error, not another flag
    for title, options in groups.items():
        group = parser.add_argument_group(title)
        for flags, arguments in options:
            group.add_argument(*flags, **arguments)
    return parser


class _HelpFormatter(argparse.HelpFormatter):
    """Formatter that leaves indented blocks, such as examples, as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=24, width=_WIDTH)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        wrapper = textwrap.TextWrapper(
            width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
        paragraphs = text.split("\n\n")
        return "\n\n".join(part if part.startswith(" ") else wrapper.fill(part) for part in paragraphs)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """Format ``-m, --model MODEL``, with the value once."""
        flags = ", ".join(action.option_strings)
        if action.nargs == 0:
            return flags
        return f"{flags} {self._format_args(action, action.dest.upper())}"
