"""``--save``: where a magic's result goes, looked at before anything is paid for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from puq_magics.core.files import checked_target


def save_target(args: argparse.Namespace, extensions: Sequence[str], number: int = 1) -> Path | None:
    """The path that ``--save`` names; None without it. Raises InputError for one that cannot be written."""
    if args.save is None:
        return None
    return checked_target(args.save, args.force, extensions=extensions, number=number, forcing="--force")
