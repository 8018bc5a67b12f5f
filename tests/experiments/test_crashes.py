"""A run that is killed at any moment goes on where it was: every row once, no finished call sent again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from puq_magics.experiments.journal import read_outcomes

ROWS = 300
_PROGRAM = """
import sys
from puq_magics import Router
from puq_magics.experiments import map_rows
rows = [{"text": f"row {n}"} for n in range(int(sys.argv[3]))]
with Router(None, sys.argv[1]) as router:
    result = map_rows(rows, "{{text}}", router=router, model="a/b", journal=sys.argv[2], workers=8)
assert not result.failed, result.errors()
print(len({row["answer"] for row in result.to_frame()}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_kill_at_random_moments(replies: Any, tmp_path: Path, seed: int) -> None:
    """Ten kills a seed, each after a random number of requests."""
    chooser, folder = random.Random(seed), tmp_path / "run"
    received: Counter[str] = Counter()
    lock, reached, limit = threading.Lock(), threading.Event(), 0

    def reply(text: str) -> str:
        with lock:
            received[text] += 1
            if received.total() >= limit:
                reached.set()
        return text.upper()

    server = replies(reply)
    command = [sys.executable, "-c", _PROGRAM, server.url, str(folder), str(ROWS)]
    for _ in range(10):
        finished = {outcome.text for outcome in read_outcomes(folder).values()}
        before = Counter(received)
        reached.clear()
        limit = received.total() + chooser.randrange(1, 40)
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            reached.wait(120)
            os.kill(process.pid, signal.SIGKILL)
        with lock:  # what had arrived by then is still answered
            again = [text for text in received if received[text] > before[text] and text.upper() in finished]
        assert again == []
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == str(ROWS)
    lines = [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
    assert len(lines) == len({line["key"] for line in lines}) == ROWS
