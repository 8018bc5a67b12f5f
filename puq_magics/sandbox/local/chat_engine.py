"""Chat engine process: ``python -m puq_magics.sandbox.local.chat_engine MODEL.gguf`` runs llama.cpp's own server.

One request at a time on one thread: on a busy machine with two cores, two threads take ten times as long, because
they wait for each other.
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

#: Tokens of a conversation, unless the command line says otherwise.
_CONTEXT: Final = 2048
#: Options for sampling, and llama.cpp's names for them.
_SAMPLING: Final = {"temperature": "temp", "top_p": "top_p", "repeat_penalty": "penalty_repeat"}
#: llama.cpp's log level for errors and warnings.
_WARNINGS: Final = 2
#: llama.cpp's log message when a model does not load; its exception has no reason.
_LOAD_ERROR: Final = re.compile(rb"error loading model: ([^\n]+)")


def main(parent: Parent) -> None:
    """Load the model, serve, and wait for the parent's end."""
    options = _parser().parse_args()
    path: Path = options.model
    try:
        trained_context = read_gguf(path).context_length or options.context
    except GgufError as error:
        raise EngineStartError(str(error)) from None
    params = _params(path, min(options.context, trained_context), parent.key)
    for name, parameter in _SAMPLING.items():
        if (value := getattr(options, name)) is not None:
            setattr(params.sampling, parameter, value)
    server = _load(params)
    parent.announce(server.listening_address)
    parent.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Serve a GGUF model by llama.cpp's own HTTP server.")
    parser.add_argument("model", type=Path, metavar="MODEL.gguf")
    parser.add_argument(
        "--context", type=int, default=_CONTEXT, help="largest context in tokens; at most the model's own"
    )
    for name in _SAMPLING:
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, help="default for requests")
    return parser


def _params(path: Path, context: int, key: str) -> CommonParams:
    from xllamacpp import CommonParams

    params = CommonParams()
    params.model.path = str(path)
    params.model_alias = {path.stem}
    params.n_ctx = context
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_idle_slots = False
    params.cache_ram_mib = 0  # or it keeps the prompts of earlier conversations, up to gigabytes
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.cors_origins = ""  # no access from web pages
    params.ui = False
    params.endpoint_slots = False  # they show other clients' prompts
    params.verbosity = _WARNINGS
    return params


def _load(params: CommonParams) -> Server:
    """Start the server; raises EngineStartError with llama.cpp's error message."""
    from xllamacpp import Server

    with _captured_stderr() as log:
        try:
            return Server(params)
        except RuntimeError:
            log.seek(0)
            reasons = _LOAD_ERROR.findall(log.read())
    reason = reasons[-1].decode(errors="replace").strip() if reasons else "llama.cpp does not say why"
    raise EngineStartError(f"{Path(params.model.path).name} cannot be loaded: {reason}")


@contextmanager
def _captured_stderr() -> Iterator[IO[bytes]]:
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
