"""``python -m puq_magics.sandbox fetch``: gets the weights of the local chat model, and tells about it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Final

from puq_magics.sandbox.local.weights import CHAT_WEIGHTS, FOLDER_VARIABLE, FetchError, Weights, fetch

COMMAND: Final = "python -m puq_magics.sandbox fetch"
_BETWEEN: Final = 0.5  # seconds between two paintings of the line
_ERASE_LINE: Final = "\r\x1b[K"
_INTERRUPTED: Final = 130  # the exit code that shells know


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch, and say what and where; returns the exit code."""
    words = f"Download {CHAT_WEIGHTS.offer}. Kept in the user's cache, or in the folder that {FOLDER_VARIABLE} names."
    argparse.ArgumentParser(prog=COMMAND, description=words).parse_args(arguments)
    try:
        fetch_aloud()
    except FetchError as error:
        sys.stderr.write(f"Error: {error}.\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted: nothing was kept.\n")
        return _INTERRUPTED
    return 0


def have_weights(weights: Weights = CHAT_WEIGHTS) -> None:
    """Have the weights in their place before a local sandbox starts in a terminal: asks whether to fetch them.

    Raises FetchError where they are missing, and nobody is there or wants them.
    """
    if weights.present:
        return
    if not sys.stdin.isatty():
        raise FetchError(f"the chat model's weights are not here yet; get them with: {COMMAND}")
    if not agrees(input(f"Download {weights.offer}? [y/N] ")):
        raise FetchError(f"the chat model's weights are not here; {COMMAND} gets them")
    fetch_aloud(weights)


def agrees(answer: str) -> bool:
    """Whether somebody who was asked said yes."""
    return answer.strip().casefold() in ("y", "yes")


def fetch_aloud(weights: Weights = CHAT_WEIGHTS) -> None:
    """Fetch, with a line of progress on standard error. Raises FetchError."""
    _say(f"{weights.offer}.")
    line = ProgressLine()
    try:
        path = fetch(weights, line.show)
    finally:
        line.erase()
    _say(f"sha256 {weights.sha256}")
    _say(str(path))


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


class ProgressLine:
    """One line on standard error that is rewritten; in a log, a line whenever something else begins."""

    def __init__(self) -> None:
        self._words = ""
        self._painted = 0.0

    def show(self, words: str, done: int, total: int) -> None:
        """Say how far it is, now and then."""
        is_terminal, begins = sys.stderr.isatty(), words != self._words
        if not begins and (not is_terminal or monotonic() < self._painted + _BETWEEN):
            return
        self._words, self._painted = words, monotonic()
        if is_terminal:
            share = f" · {100 * done // total} %" if total else ""
            sys.stderr.write(f"{_ERASE_LINE}… {words}: {done / 1e6:.1f} of {total / 1e6:.1f} MB{share}")
        else:
            sys.stderr.write(f"{words} …\n")
        sys.stderr.flush()

    def erase(self) -> None:
        """Take the line away."""
        if self._words and sys.stderr.isatty():
            sys.stderr.write(_ERASE_LINE)
            sys.stderr.flush()
