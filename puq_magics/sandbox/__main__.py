"""``python -m puq_magics.sandbox``: a sandbox in a terminal, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from threading import Event

from puq_magics.sandbox.server import Sandbox


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        sandbox = Sandbox(**vars(options))
    except ValueError as error:
        parser.error(str(error))
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        sandbox.start()
    except OSError as error:
        parser.exit(1, f"The sandbox cannot listen on port {options.port}: {error}\n")
    with sandbox:
        sys.stdout.write(_greeting(sandbox))
        sys.stdout.flush()
        while not ended.wait(1):  # in steps: on Windows a wait without an end hears no Ctrl-C
            pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m puq_magics.sandbox",
        description="A router on this machine that speaks the API with scripted answers, until Ctrl-C.",
    )
    parser.add_argument("--port", type=int, default=0, help="the port on 127.0.0.1 (any free one)")
    parser.add_argument("--pace", type=float, help="chunks per second; 0: as fast as possible (100)")
    parser.add_argument("--balance", type=float, default=100.0, help="credits to start with (100)")
    parser.add_argument("--fail", metavar="STATUS[:TIMES],…", help="fail on purpose, e.g. 429:2 (never)")
    parser.add_argument(
        "--drop-after", type=int, metavar="CHUNKS", help="cut streams after so many chunks (never)"
    )
    parser.add_argument("--models", type=int, metavar="NUMBER", help="list so many models, invented ones too")
    return parser


def _greeting(sandbox: Sandbox) -> str:
    return (
        f"# The sandbox listens on {sandbox.base_url} until Ctrl-C. Its answers are scripted.\n"
        f"export PUQ_BASE_URL={sandbox.base_url}\n"
        f"export PUQ_API_KEY={sandbox.token}\n"
        f"export PUQ_CHAT_MODEL={sandbox.default_models['chat']}\n"
        f"export PUQ_IMAGE_MODEL={sandbox.default_models['image']}\n"
        f"export PUQ_SPEECH_MODEL={sandbox.default_models['speech']}\n"
        f"export PUQ_TRANSCRIBE_MODEL={sandbox.default_models['transcription']}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
