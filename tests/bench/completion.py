"""What a Tab costs with 2,000 models: from IPython's completer as the kernel calls it, and through a real kernel.

Run it by hand: ``python tests/bench/completion.py``. The target is 50 ms. The first Tab of a session, which also
imports what it needs, is shown apart.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

MODELS = 2_000
TARGET = 50.0  # ms
ROUNDS = 30
CASES = {
    "all models": "%puq_chat -m ",
    "all models and options": "%%puq_chat ",
    "models that begin so": "%puq_chat -m sandbox/e",
    "models with it inside": "%puq_chat -m 4",
    "no such model": "%puq_chat -m zzzz",
    "an option": "%puq_chat --te",
    "a variable": "%%puq_chat\nTell me of {{na",
    "a filter": "%%puq_chat\n{{names | ",
    "prose": "%%puq_chat\nTell me pri",
}
_SETUP = f"""
%load_ext puq_magics
%puq_sandbox --pace 0
session = get_ipython().magics_manager.registry["PuqCommands"].session
session.start_sandbox(models={MODELS})
names = ["a"]
"""
_KNOW = f"assert len(session.account().model_list.fetch()) >= {MODELS}"
# The kernel's own way, without the wire.
_INSIDE = """
import time
from IPython.core.completer import provisionalcompleter, rectify_completions
def tab(code):
    start = time.perf_counter()
    with provisionalcompleter():
        list(rectify_completions(code, get_ipython().Completer.completions(code, len(code))))
    return (time.perf_counter() - start) * 1e3
"""


class CompletionKernel:
    """A kernel that is asked for completions."""

    def __init__(self, folder: Path) -> None:
        self._manager = KernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        self._manager.start_kernel(cwd=str(folder))
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def run(self, code: str) -> None:
        """Run a cell that must not fail."""
        reply: dict[str, Any] = self._client.execute_interactive(code, output_hook=lambda _: None)
        assert reply["content"]["status"] == "ok", reply["content"]

    def value(self, expression: str) -> Any:
        """The value of an expression."""
        reply = self._client.execute("", user_expressions={"it": expression}, reply=True, timeout=60)
        return eval(reply["content"]["user_expressions"]["it"]["data"]["text/plain"])  # noqa: S307 - of our own kernel

    def tab(self, code: str) -> tuple[float, int]:
        """Milliseconds until the front end has the answer, and how many completions it holds."""
        start = time.perf_counter()
        reply = self._client.complete(code, len(code), reply=True, timeout=60)
        return (time.perf_counter() - start) * 1e3, len(reply["content"]["matches"])

    def close(self) -> None:
        """End it."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


def measure(rounds: int = ROUNDS) -> dict[str, tuple[list[float], list[float], int]]:
    """For each case the milliseconds inside of the kernel and from outside, and how many completions came."""
    with tempfile.TemporaryDirectory(prefix="bench-completion-") as folder:
        kernel = CompletionKernel(Path(folder))
        try:
            kernel.run(_SETUP + _INSIDE)
            first, _ = kernel.tab(CASES["all models"])
            kernel.run(_KNOW)
            figures = {"the first of a session": ([first], [first], 0)}
            for name, code in CASES.items():
                count = kernel.tab(code)[1]  # a first time, in which jinja2 is imported for a filter
                inside = [float(kernel.value(f"tab({code!r})")) for _ in range(rounds)]
                figures[name] = (inside, [kernel.tab(code)[0] for _ in range(rounds)], count)
            return figures
        finally:
            kernel.close()


def main() -> None:
    """Print the table."""
    print(f"{MODELS:,} models; ms in the kernel (median, worst), and until the reply is there")
    for name, (inside, outside, count) in measure().items():
        median, worst = statistics.median(inside), max(inside)
        verdict = "" if name.startswith("the first") else ("met" if median <= TARGET else "MISSED")
        print(
            f"{name:>24}: {median:7.1f} {worst:7.1f}  {statistics.median(outside):7.1f}  {count:4} found  {verdict}"
        )


if __name__ == "__main__":
    main()
