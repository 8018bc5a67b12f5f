"""Pictures of a terminal: IPython in a pseudo-terminal, its screen kept by pyte and written as HTML."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import pexpect
import pyte

COLUMNS = (80, 120)
ROWS = 70
_TIMEOUT = 30.0  # seconds
_SETTLE = 0.2  # seconds without output
_SETUP = ("%load_ext puq_magics", "%puq_sandbox --pace 0", "topic, answers = 'a kite', [3, 4, 5]")
#: Makes the default router one that takes calls and says nothing.
SILENT_ROUTER = (
    "import socket; quiet = socket.create_server(('127.0.0.1', 0)); port = quiet.getsockname()[1]; "
    "get_ipython().run_line_magic('config', f'PuqMagics.base_url = \"http://127.0.0.1:{port}\"')"
)
#: Writes a notebook with answers, of which one no longer matches its cell.
AUDITED = (
    "import json; from puq_magics.outputs.results.provenance import hash_cell; "
    "answer = lambda of, **more: {'kind': 'chat', 'asked': 'openai/gpt-4o', 'at': '2026-11-29T16:20:00Z', "
    "'cost': 0.0021, 'messages': '0' * 64, 'cell': hash_cell(of), **more}; "
    "cell = lambda n, source, *records: {'cell_type': 'code', 'execution_count': n, 'source': source, "
    "'outputs': [{'metadata': {'puq': records}, 'data': {}}]}; "
    "cells = [cell(2, '%puq_chat a', answer('%puq_chat a', answered='gpt-4o-2024', params={'temperature': 0})), "
    "cell(3, '%puq_chat b!', answer('%puq_chat b', params={'max_tokens': 50})), cell(4, '%puq_chat -q c'), "
    "cell(5, '%puq_image d', answer('%puq_image d', kind='image', params={'size': '512x512', 'n': 2}, cost=None))]; "
    "_ = open('audited.ipynb', 'w').write(json.dumps({'cells': cells}))"
)
_RICH = "Explain what a notebook cell is, with a table, some code and a formula."


@dataclass(frozen=True)
class TerminalSurface:
    """Inputs that are shown together; with ``until`` the last is pictured while it runs, then interrupted."""

    inputs: tuple[str, ...]
    until: str = ""
    #: Keys after the last input, instead of Enter.
    keys: str = ""


def typed(*inputs: str) -> TerminalSurface:
    return TerminalSurface(inputs)


def _cell(magic: str, line: str, body: str) -> str:
    """Return a call of a cell magic on one line, as typing a cell needs other keys in each version."""
    return f"get_ipython().run_cell_magic({magic!r}, {line!r}, {body!r});"


TERMINAL_SURFACES: dict[str, TerminalSurface] = {
    "terminal-answer": typed(f"%puq_chat {_RICH}"),
    "terminal-tour": typed("%puq_chat -m sandbox/tour A tour."),
    "terminal-reasoning": typed("%puq_chat -m sandbox/think Why is the sky blue?"),
    "terminal-tools": typed(
        r"exec('def weather(city: str) -> dict:\n    if city == \'Atlantis\': raise LookupError(\'no such city\')\n"
        r"    return {\'city\': city, \'celsius\': 12}')",
        "%puq_chat --tools-auto weather Is it dry in Oslo and Atlantis?",
        "%puq_chat --tools-auto weather --rounds 1 Look at Oslo forever",
        "_puq",
    ),
    "terminal-tools-asking": TerminalSurface(
        ("%puq_chat --tools weather Is it dry in Oslo and Bergen?",), until="Run weather"
    ),
    "terminal-map": typed(
        "reviews = [{'text': 'A fine film.', 'stars': 5}, {'text': 'Too long.', 'stars': 2}, {'text': None}]",
        _cell("puq_map", "reviews -o rated", "Rate this review: {{text}}"),
        _cell("puq_map", "reviews --limit 1", "Summarize: {{text}} {{stars}}"),
        _cell("puq_map", "reviews --dry-run", "Summarize: {{text}}"),
    ),
    "terminal-compare": typed(
        _cell("puq_compare", "-m sandbox/short -m sandbox/clever --blind", "What is 17 + 25?"),
        "%puq_compare --vote A",
        "%puq_compare --votes",
    ),
    "terminal-grid": typed(
        "sums = [{'a': a, 'b': b} for a in (3, 17) for b in (4, 25)]",
        _cell(
            "puq_grid",
            "-m sandbox/clever -m sandbox/guesser --vary tone=kind,strict --over sums -o g",
            "In a {{tone}} tone: {{a}} + {{b}}?",
        ),
        "g.score(lambda answer, row: f\"**{row['a'] + row['b']}**\" in answer)",
        "g.compare()",
        "g.show(1)",
    ),
    "terminal-media": typed(
        "%puq_image -n 2 A red kite over green hills",
        "%puq_speak -o hello Hello, and welcome to the sandbox.",
        "%puq_transcribe hello",
    ),
    "terminal-conversation": typed(
        "%puq_chat -c trip -m sandbox/short Plan two days in Rome", "%puq_chats", "%puq_chats trip"
    ),
    "terminal-schema": typed('%puq_chat --schema "name, age int" Invent a person'),
    "terminal-dry-run": typed(f"%puq_chat --dry-run -s 'Be brief.' {_RICH}"),
    "terminal-models": typed("%puq_models", "%puq_models nothing"),
    "terminal-choose": TerminalSurface(("%puq_choose",), until="Number,"),
    "terminal-usage": typed("%puq_usage"),
    "terminal-audit": typed(AUDITED, "%puq_audit audited.ipynb"),
    "terminal-status": typed("%puq", "%puq_balance", "%puq_sandbox status"),
    "terminal-errors": typed(
        "%puq_chat --modle sandbox/chat hello",
        "%puq_chat -m sandbox/shrt hello",
        "%puq_chat Tell me of {{topci}}",
        "%puq_chat -m sandbox/fail hello",
        "%puq_transcribe talk.mp3",
    ),
    "terminal-fix": typed("1 / (len(answers) - 3)", "%puq_fix"),
    "terminal-completion-models": TerminalSurface(("%puq_chat -m ",), keys="\t"),
    "terminal-completion-options": TerminalSurface(("%puq_chat --",), keys="\t"),
    "terminal-stream": TerminalSurface(
        ("%puq_sandbox --pace 12", "%puq_chat -m sandbox/tour A tour."), until="Lists"
    ),
    "terminal-stall": TerminalSurface(
        ("%puq_sandbox --pace 0", "%puq_chat -m sandbox/stall hello"), until="without a word"
    ),
    "terminal-waiting": TerminalSurface((SILENT_ROUTER, "%puq_chat -m some/model hello"), until="waiting"),
    "terminal-help": typed("%puq_sandbox", "%puq_chat?"),
}


class Terminal:
    """IPython in a terminal of so many columns."""

    def __init__(self, folder: Path, columns: int) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PUQ_", "IPYTHON", "JUPYTER"))
        }
        places = {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython"), "TERM": "xterm-256color"}
        self._child = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", "--no-banner", "--no-confirm-exit"],
            env=environment | places | {"PAGER": "cat"},  # type: ignore[arg-type]
            cwd=str(folder),
            dimensions=(ROWS, columns),
            timeout=_TIMEOUT,
        )
        self.screen = pyte.Screen(columns, ROWS)
        self.screen.write_process_input = self._child.send  # where is the cursor? prompt_toolkit asks
        self._stream = pyte.ByteStream(self.screen)
        self._input = 1
        self.wait_prompt()

    def send(self, keys: str) -> None:
        self._child.send(keys)

    def close(self) -> None:
        self._child.close(force=True)

    def read(self, seconds: float) -> bool:
        """Show what comes within so many seconds; False if nothing does."""
        try:
            self._stream.feed(self._child.read_nonblocking(65_536, timeout=seconds))
        except pexpect.TIMEOUT:
            return False
        return True

    def wait_text(self, text: str) -> None:
        """Wait until the text is on the screen; more may come."""
        self._wait(lambda: any(text in line for line in self.screen.display[1:]), quiet=False)

    def wait_prompt(self) -> None:
        """Wait for the next prompt."""
        prompt = f"In [{self._input}]:"
        self._wait(lambda: any(line.startswith(prompt) for line in self.screen.display))

    def run(self, text: str) -> None:
        """Run an input to its end."""
        self.type(text)
        self.send("\r")
        self._input += 1
        self.wait_prompt()

    def start(self, text: str) -> None:
        """Run an input, and do not wait for it."""
        self.type(text)
        self.send("\r")
        self._input += 1

    def type(self, text: str) -> None:
        self.send(text)
        while self.read(_SETTLE):
            pass

    def clear(self) -> None:
        self.type("\x0c")

    def _wait(self, condition: Any, *, quiet: bool = True) -> None:
        end = monotonic() + _TIMEOUT
        while monotonic() < end:
            read = self.read(_SETTLE)
            if condition() and not (quiet and read):
                return
        raise TimeoutError("\n".join(self.screen.display).rstrip())


@contextmanager
def terminal(columns: int) -> Iterator[Terminal]:
    with TemporaryDirectory() as folder:
        opened = Terminal(Path(folder), columns)
        try:
            yield opened
        finally:
            opened.close()


def picture_terminal(names: Sequence[str], folder: Path) -> None:
    """Write the screen after each surface's inputs as HTML, below ``folder``."""
    for columns in COLUMNS:
        with terminal(columns) as shell:
            for line in _SETUP:
                shell.run(line)
            for name in names:
                _picture_surface(shell, folder / name, TERMINAL_SURFACES[name], columns)


def _picture_surface(shell: Terminal, folder: Path, surface: TerminalSurface, columns: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shell.clear()
    *before, last = surface.inputs
    for line in before:
        shell.run(line)
    if surface.keys:
        shell.type(last + surface.keys)
    elif surface.until:
        shell.start(last)
        shell.wait_text(surface.until)
    else:
        shell.run(last)
    (folder / f"{columns:03}-columns-1.html").write_text(screen_html(shell.screen), encoding="utf-8")
    if surface.until:
        shell.read(_SETTLE)  # an interrupt between a question and the wait for its answer waits for a key
        shell.send("\x03")
        shell.wait_prompt()
        (folder / f"{columns:03}-interrupted-1.html").write_text(screen_html(shell.screen), encoding="utf-8")
    elif surface.keys:
        shell.type("\x03")  # ends the completion
        shell.type("\x03")
        shell.wait_prompt()


def screen_html(screen: pyte.Screen) -> str:
    """The lines of a screen up to the last that has something in it; a margin shows its width."""
    rows = [[screen.buffer[y][x] for x in range(screen.columns)] for y in range(screen.lines)]
    while rows and not "".join(char.data for char in rows[-1]).strip():
        rows.pop()
    return "\n".join(f"{_row_html(row)}<span style='border-right: 1px solid #555'></span>" for row in rows)


def _row_html(row: Iterable[Any]) -> str:
    runs = groupby(row, key=lambda char: char._replace(data=""))
    return "".join(
        f"<span style='{_style(char)}'>{escape(''.join(c.data for c in run))}</span>" for char, run in runs
    )


def _style(char: Any) -> str:
    front, back = (char.bg, char.fg) if char.reverse else (char.fg, char.bg)
    styles = [
        f"color: {_color(front, '#1a1a1a' if char.reverse else '#ddd')}",
        f"background: {_color(back, '#ddd')}" if back != "default" or char.reverse else "",
        "font-weight: bold" if char.bold else "",
        "font-style: italic" if char.italics else "",
        "text-decoration: underline" if char.underscore else "",
    ]
    return "; ".join(filter(None, styles))


_NAMES = {"brown": "#b58900", "red": "#e05252", "green": "#3fa33f", "blue": "#6c8cff", "magenta": "#c678dd"}


def _color(name: str, default: str) -> str:
    if name == "default":
        return default
    if len(name) == 6 and all(c in "0123456789abcdef" for c in name.lower()):
        return f"#{name}"
    return _NAMES.get(name.removeprefix("bright"), name.removeprefix("bright"))
