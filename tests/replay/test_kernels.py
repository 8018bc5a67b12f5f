"""Kernels that record into one cassette at the same time."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fake_router import Connection
from jupyter_kernel import Kernel
from media_samples import png

from puq_magics.replay.cassette import Cassette
from puq_magics.replay.leaks import find_problems

pytestmark = pytest.mark.slow

#: A notebook of one cell, from a fresh start: what it asks has the same numbers each time.
NOTEBOOK = """
%unload_ext puq_magics
%load_ext puq_magics
%puq_cassette MODE shared --pace 0
same, others, pictures = [], [], []
for number in range(6):
    %puq_chat -q The same question
    same.append(_puq.text)
    %puq_chat -q Question {{number}} of {{who}}
    others.append(_puq.text)
    %puq_image -q a cat
    pictures.append(_puq.images[0].width)
"""
KILL = """
import os, signal
from puq_magics.core import files
move, left = files._move_into_place, LEFT

def kill(partial, target, force):
    global left
    left -= target.suffix == ".json" and target.name.startswith("image-")
    os.kill(os.getpid(), signal.SIGKILL) if left < 0 else move(partial, target, force)

files._move_into_place = kill
"""


@pytest.fixture
def start(serve: Any, make_kernel: Any) -> Callable[..., Kernel]:
    """Function that starts a kernel; its router numbers its answers, and has pictures that come again.

    Those of one kernel are none of the other's: a recording that is there already would not be written.
    """
    numbers = count(1)

    def answer(connection: Connection) -> None:
        number = next(numbers)
        if connection.request.path.endswith("/generations"):
            key = connection.request.headers["authorization"]
            own = next(10 * place for place, who in enumerate(("one", "two", "six")) if who in key)
            picture = base64.b64encode(png(40 + own + number % 3)).decode()
            body = json.dumps({"data": [{"b64_json": picture}]}).encode()
            connection.send_head(kind="application/json", Content_Length=str(len(body)))
            connection.send(body)
        else:
            connection.send_head()
            connection.send_event(f"Answer {number} to {connection.request.json['messages'][-1]['content']}")
            connection.send_done()

    environment = {"PUQ_BASE_URL": serve(answer).url, "PUQ_LEDGER": "0"}
    environment |= {"PUQ_CHAT_MODEL": "a/chat", "PUQ_IMAGE_MODEL": "a/image"}

    def _start(who: str) -> Kernel:
        kernel = make_kernel(**environment, PUQ_API_KEY="sk-" + who * 7)
        kernel.run(f"%load_ext puq_magics\nwho = {who!r}")
        return kernel

    return _start


def send(kernel: Kernel, mode: str = "record") -> str:
    return kernel.send(NOTEBOOK.replace("MODE", mode))


def run(kernel: Kernel, mode: str = "record", sent: str = "") -> list[Any]:
    """Run the notebook, or wait for one that was sent, and return what it got."""
    (cell,) = kernel.collect([sent or send(kernel, mode)])
    assert cell.reply["status"] == "ok", cell.reply
    assert [content for content in cell.contents("stream") if content["name"] == "stderr"] == []
    return list(kernel.value("[same, others, pictures]"))


def check(folder: Path) -> None:
    """Check that nothing is damaged, and nothing left over."""
    cassette = Cassette(folder)
    assert list(find_problems(cassette)) == []
    assert {path.name for path in folder.iterdir()} == cassette.names


def test_kernels_record_and_replay_at_once(start: Any, tmp_path: Path) -> None:
    folder = tmp_path / "shared.cassette"
    kernels = [start("one"), start("two"), start("one")]
    run(kernels[0])
    sent = [send(kernel, mode) for kernel, mode in zip(kernels, ("record", "record", "replay"), strict=True)]
    recorded = [run(kernel, sent=each) for kernel, each in zip(kernels, sent, strict=True)][:2]
    check(folder)
    for kernel, (_, others_before, _) in zip(kernels, recorded, strict=False):
        same, others, pictures = run(kernel, "replay")
        assert others == others_before
        for number in range(6):  # the n-th of one of them
            assert same[number] in [texts[number] for texts, _, _ in recorded]
            assert pictures[number] in [widths[number] for _, _, widths in recorded]


@pytest.mark.parametrize("left", [0, 3])
def test_a_kernel_that_is_killed_as_it_writes_damages_nothing(start: Any, tmp_path: Path, left: int) -> None:
    folder = tmp_path / "shared.cassette"
    one, two = start("one"), start("two")
    two.run(KILL.replace("LEFT", str(left)))
    send(two)
    sent = send(one)
    two.wait_for_death()
    run(one, sent=sent)
    # The next pictures are none of the last run's, so that its recordings are written anew.
    one.run(f"import os; os.environ['PUQ_API_KEY'] = {'sk-' + 'six' * 7!r}")
    recorded = run(one)
    assert min(recorded[2]) >= 60
    check(folder)
    assert run(one, "replay") == recorded
