"""``python -m puq_magics.sandbox``: a sandbox in a terminal, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Final

from puq_magics.sandbox.models import DEFAULT_PRICE, Price
from puq_magics.sandbox.server import Sandbox

#: Where the key for the upstream is taken from: on a command line, others could read it.
KEY_VARIABLE: Final = "PUQ_UPSTREAM_KEY"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM, or fetch weights; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == "fetch":
        from puq_magics.sandbox.local.weights import main as fetch

        return fetch(arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.local and options.gguf is None:
        _ensure_weights(parser)
    try:
        sandbox = Sandbox(**vars(options), upstream_key=os.environ.get(KEY_VARIABLE))
    except ValueError as error:
        parser.error(str(error))
    except (ImportError, OSError) as error:
        parser.exit(1, f"The local models cannot start: {error}\n")
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        sandbox.start()
    except OSError as error:
        parser.exit(1, f"The sandbox cannot listen on port {options.port}: {error}\n")
    with sandbox:
        sys.stdout.write(_greeting(sandbox, options))
        sys.stdout.flush()
        while not ended.wait(1):  # in steps: on Windows a wait without an end hears no Ctrl-C
            pass
    return 0


def _ensure_weights(parser: argparse.ArgumentParser) -> None:
    from puq_magics.sandbox.local import check_installed
    from puq_magics.sandbox.local.weights import FetchError, ensure_weights

    try:
        check_installed()
        ensure_weights()
    except (ImportError, FetchError) as error:
        parser.exit(1, f"The local models cannot start: {error}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m puq_magics.sandbox",
        description="A router on this machine that speaks the API, until Ctrl-C. Its answers are scripted, but for "
        "those of real models that are put beside. `fetch` as the only argument downloads what --local needs.",
    )
    parser.add_argument("--port", type=int, default=0, help="the port on 127.0.0.1 (any free one)")
    parser.add_argument("--pace", type=float, help="chunks per second; 0: as fast as possible (100)")
    parser.add_argument("--balance", type=float, default=100.0, help="credits to start with (100)")
    parser.add_argument(
        "--keys", type=int, default=1, metavar="NUMBER", help="so many, each with this balance (1)"
    )
    parser.add_argument("--fail", metavar="STATUS[:TIMES],…", help="fail on purpose, e.g. 429:2 (never)")
    parser.add_argument(
        "--drop-after", type=int, metavar="CHUNKS", help="cut streams after so many chunks (never)"
    )
    parser.add_argument("--models", type=int, metavar="NUMBER", help="list so many models, invented ones too")
    _add_real(parser.add_argument_group("models that answer for real"))
    return parser


def _add_real(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--local", action="store_true", help="small ones on this machine (needs the extra puq_magics[local])"
    )
    group.add_argument(
        "--gguf", type=Path, metavar="PATH", help="a GGUF file to chat with instead of the usual one"
    )
    group.add_argument(
        "--upstream",
        metavar="URL",
        help="those of an OpenAI-compatible server, such as http://127.0.0.1:11434/v1; "
        f"its key, if it wants one, is taken from {KEY_VARIABLE}",
    )
    group.add_argument(
        "--price",
        type=_price,
        default=DEFAULT_PRICE,
        metavar="PROMPT:COMPLETION",
        help="of chats with them, in credits per million tokens ({:g}:{:g})".format(*DEFAULT_PRICE),
    )


def _price(text: str) -> Price:
    prompt, colon, completion = text.partition(":")
    try:
        return float(prompt), float(completion if colon else prompt)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no price: write PROMPT:COMPLETION, such as 0.15:0.6"
        ) from None


def _greeting(sandbox: Sandbox, options: argparse.Namespace) -> str:
    models = sandbox.default_models
    real = [code for code in models.values() if code.startswith("local/")]
    if options.upstream:
        real.append(f"upstream/… ({options.upstream})")
    whose = f"Real are the answers of {', '.join(real)}; all others" if real else "Its answers"
    lines = [f"# The sandbox listens on {sandbox.base_url} until Ctrl-C. {whose} are scripted."]
    if sandbox.upstream_error:
        lines.append(f"# The upstream's models are not listed at the moment: {sandbox.upstream_error}.")
    lines += [
        f"export PUQ_BASE_URL={sandbox.base_url}",
        f"export PUQ_API_KEY={sandbox.token}",
        *([] if sandbox.upstream_error else [f"export PUQ_CHAT_MODEL={models['chat']}"]),
        f"export PUQ_IMAGE_MODEL={models['image']}",
        f"export PUQ_SPEECH_MODEL={models['speech']}",
        f"export PUQ_TRANSCRIBE_MODEL={models['transcription']}",
    ]
    if others := sandbox.tokens[1:]:
        lines.append("# Further keys, each with a balance of its own:")
        lines += [f"# {token}" for token in others]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
