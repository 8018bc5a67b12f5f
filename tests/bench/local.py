"""What the router adds to a model on this machine: `python tests/bench/local.py`. It reports, and judges nothing.

One bare client asks the engine's own server and, in turns, the router in front of it, the same question each time;
engine, weights (SmolLM2) and machine are the same for both, in one run. The prompt is read anew each time.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import sys
from dataclasses import dataclass, field
from operator import attrgetter
from time import perf_counter
from urllib.parse import urlsplit

from report import JUDGED, Table, UpperLimit

from puq_magics.sandbox import Sandbox
from puq_magics.sandbox.local import Engine, RunningEngine

QUESTION = "What is gravity? Explain it to a child, with an example from a kitchen."


@dataclass
class RequestRoute:
    """A way to ask, and what it took each time, in seconds."""

    name: str
    url: str
    authorization: str
    model: str
    to_first: list[float] = field(default_factory=list)
    per_token: list[float] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)

    def forget(self) -> None:
        """Forget what was measured so far."""
        self.to_first.clear()
        self.per_token.clear()

    def ask(self, tokens: int) -> None:
        """Read one stream to its end."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": QUESTION}],
            "stream": True,
            "temperature": 0,
            "max_tokens": tokens,
            "cache_prompt": False,
        }
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=120)
        began = perf_counter()
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"Authorization": self.authorization}
        )
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(response.read().decode())
        times, text = [], []
        while line := response.readline():
            choices = json.loads(line[6:])["choices"] if line.startswith(b"data: {") else []
            content = choices[0]["delta"].get("content") if choices else None
            if content:
                times.append(perf_counter())
                text.append(content)
        connection.close()
        self.to_first.append(times[0] - began)
        self.per_token.append((times[-1] - times[0]) / (len(times) - 1))
        self.texts.add("".join(text))


async def address(engine: Engine) -> RunningEngine:
    """Where the engine's own server is, loaded."""
    async with engine.acquire(asyncio.get_running_loop().create_future()) as running:
        return running


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=60, help="of each answer")
    options = parser.parse_args()
    sandbox = Sandbox(local=True, balance=1e9)
    engine = sandbox._state.engines["chat"]  # the same process for both
    running = asyncio.run(address(engine))
    with sandbox:
        model = sandbox.default_chat_model
        bare = RequestRoute("engine alone", running.url, f"Bearer {running.key}", model)
        routed = RequestRoute(JUDGED, sandbox.base_url, f"Token {sandbox.token}", model)
        for number in range(-1, options.rounds):
            for way in (bare, routed) if number % 2 else (routed, bare):
                way.ask(options.tokens)
            if number < 0:  # both are warm now
                bare.forget(), routed.forget()
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores (load {load:.1f} after), {options.rounds} rounds in turns\n")
    print(table(bare, routed))
    if len(bare.texts | routed.texts) != 1:
        print("\nThey did not say the same: the figures are not comparable.")
        return 1
    return 0


def table(bare: RequestRoute, routed: RequestRoute) -> Table:
    """Milliseconds, and by how much the router multiplies them, round by round."""
    made = Table("A real model through the router")
    for label, of_way, limit in (
        ("first token", attrgetter("to_first"), 1.5),
        ("per token", attrgetter("per_token"), 1.05),
    ):
        for way in (bare, routed):
            for seconds in of_way(way):
                made.row(f"{label}, ms").add(way.name, seconds * 1e3)
        for before, after in zip(of_way(bare), of_way(routed), strict=True):
            made.row(f"{label}, times", UpperLimit(limit)).add(JUDGED, after / before)
    return made


if __name__ == "__main__":
    sys.exit(main())
