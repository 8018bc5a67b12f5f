"""What is measured: how each subject is loaded, asked and read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_BARE_SETUP = """
import json, requests
session = requests.Session()
url = {base!r} + "/v1/chat/completions"
question = {{"model": "bench/model", "stream": True, "messages": [{{"role": "user", "content": "Go on."}}]}}
"""
# The least that a client can do: read lines, decode each event, show and keep nothing.
_BARE_CELL = """
with session.post(url, json=question, stream=True) as response:
    for line in response.iter_lines():
        if line.startswith(b"data: {"):
            json.loads(line[6:])
"""
# What one would write first: the whole text again for every chunk.
_NAIVE_CELL = """
from IPython.display import display
shown, handle = "", display({"text/plain": ""}, raw=True, display_id=True)
with session.post(url, json=question, stream=True) as response:
    for line in response.iter_lines():
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:])["choices"]:
                shown += choice["delta"].get("content") or ""
                handle.update({"text/markdown": shown, "text/plain": shown}, raw=True)
"""
# The browser's yardstick: the growing text shown by a few updates at even intervals, and no network.
_PLAIN_UPDATES = """
import time
from IPython.display import display
handle = display({{"text/plain": ""}}, raw=True, display_id=True)
start = time.monotonic()
for number in range(1, {updates} + 1):
    time.sleep(max(0.0, start + number * {seconds} / {updates} - time.monotonic()))
    shown = text[: len(text) * number // {updates}]
    handle.update({{"text/markdown": shown, "text/plain": shown}}, raw=True)
"""


def _no_setup(base: str) -> str:
    return ""


def _nothing(base: str) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Subject:
    """One way to ask a model from a notebook."""

    name: str
    load: str  # one statement: what makes it usable in a fresh kernel
    cell: str = ""  # the measured cell
    setup: Callable[[str], str] = _no_setup  # run once in a kernel, given the base URL
    prepare: str = ""  # run before each measured cell, outside the measurement
    environment: Callable[[str], Mapping[str, str]] = _nothing
    mime: str = "text/plain"  # the form in which its text stands as it is
    shows: bool = True
    python: str = sys.executable
    slow: bool = False  # takes minutes where others take seconds: once round is enough

    def __str__(self) -> str:
        return self.name


def _load_ext(name: str) -> str:
    return f"get_ipython().run_line_magic('load_ext', {name!r})"


NULL = Subject("stub extension", load=_load_ext("bench_null"), shows=False)
BARE = Subject(
    "bare loop",
    load="import json, requests",
    cell=_BARE_CELL,
    setup=lambda base: _BARE_SETUP.format(base=base),
    shows=False,
)
NAIVE = Subject(
    "update per chunk",
    load=BARE.load,
    cell=_NAIVE_CELL,
    setup=BARE.setup,
    slow=True,
)
PUQ_MAGICS = Subject(
    "puq_magics",
    load=_load_ext("puq_magics"),
    cell="%%puq_chat bench/model\nGo on.",
    environment=lambda base: {"PUQ_BASE_URL": base, "PUQ_API_KEY": "bench"},
)


def plain_updates(text: str, updates: int, seconds: float) -> Subject:
    """Shows a text in even steps over a time; nothing is asked of anybody."""
    return Subject(
        f"{updates} plain updates",
        load="",
        cell=_PLAIN_UPDATES.format(updates=updates, seconds=seconds),
        setup=lambda base: f"text = {text!r}",  # noqa: ARG005
    )


def chatlab(python: str) -> Subject:
    """chatlab, with a new chat each time, so that no history grows."""
    return Subject(
        "chatlab",
        load="import chatlab",
        cell="await chat('Go on.')",
        setup=lambda base: f"base = {base!r}",
        prepare="chat = chatlab.Chat(base_url=base + '/v1', api_key='bench', model='bench/model')",
        mime="text/markdown",
        python=python,
        slow=True,
    )


def cellmage(python: str) -> Subject:
    """cellmage, told to keep no history."""
    return Subject(
        "cellmage",
        load=_load_ext("cellmage"),
        cell="%%llm -m bench/model --no-history\nGo on.",
        environment=lambda base: {"CELLMAGE_API_BASE": base + "/v1", "CELLMAGE_API_KEY": "bench"},
        mime="text/markdown",
        python=python,
        slow=True,
    )
