"""``python -m puq_magics.sandbox.local.chat_engine MODEL.gguf``: llama.cpp's own server; see `watching`.

One request at a time on one thread: on a busy machine of two cores, two threads take ten times as long, waiting for
each other.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Final

from puq_magics.sandbox.local.child_main import EngineStartError, Parent, run
from puq_magics.sandbox.local.gguf import GgufError, read_gguf

if TYPE_CHECKING:
    from xllamacpp import CommonParams, Server  # type: ignore[import-untyped, import-not-found, unused-ignore]

#: How long a conversation may be when nobody says otherwise, in tokens.
_CONTEXT: Final = 2048
#: What may be said of how it chooses words, and llama.cpp's names for it.
_SAMPLING: Final = {"temperature": "temp", "top_p": "top_p", "repeat_penalty": "penalty_repeat"}
#: llama.cpp's measure of how much it logs: errors and warnings.
_WARNINGS: Final = 2
#: What it logs when a model does not load.
_REASON: Final = re.compile(rb"error loading model: ([^\n]+)")


def main(parent: Parent) -> None:
    """Load, serve, and wait for the parent's end."""
    options = _parser().parse_args()
    path: Path = options.model
    try:
        longest = read_gguf(path).context_length or options.context
    except GgufError as error:
        raise EngineStartError(str(error)) from None
    params = _params(path, min(options.context, longest), options.threads, parent.key)
    for name in _SAMPLING.keys() & {name for name, value in vars(options).items() if value is not None}:
        setattr(params.sampling, _SAMPLING[name], getattr(options, name))
    server = _load(params)
    parent.announce(server.listening_address)
    parent.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Serve a GGUF model by llama.cpp's own HTTP server.")
    parser.add_argument("model", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--context",
        type=int,
        default=_CONTEXT,
        help="tokens that it reads at most, or fewer: the model's own",
    )
    for name in _SAMPLING:
        parser.add_argument("--" + name.replace("_", "-"), type=float, help="where a request does not say")
    return parser


def _params(path: Path, context: int, threads: int, key: str) -> CommonParams:
    from xllamacpp import CommonParams

    params = CommonParams()
    params.model.path = str(path)
    params.model_alias = {path.stem}
    params.n_ctx = context
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_idle_slots = False
    params.cache_ram_mib = 0  # or it keeps the prompts of earlier conversations, up to gigabytes
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.cors_origins = ""  # no web page is to ask
    params.ui = False
    params.endpoint_slots = False  # they tell what others are asking
    params.verbosity = _WARNINGS
    return params


def _load(params: CommonParams) -> Server:
    """Start the server; raises EngineStartError with llama.cpp's error message."""
    from xllamacpp import Server

    with _stderr_kept() as log:
        try:
            return Server(params)
        except RuntimeError:
            log.seek(0)
            reasons = _REASON.findall(log.read())
    reason = reasons[-1].decode(errors="replace").strip() if reasons else "llama.cpp does not say why"
    raise EngineStartError(f"{Path(params.model.path).name} cannot be loaded: {reason}")


@contextmanager
def _stderr_kept() -> Iterator[IO[bytes]]:
    """Capture stderr, including that of libraries, and write it to stderr afterwards."""
    stderr = os.dup(2)
    with TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield log
        finally:
            os.dup2(stderr, 2)
            log.seek(0)
            os.write(stderr, log.read())
            os.close(stderr)


if __name__ == "__main__":
    run(main)
