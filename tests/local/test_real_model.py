"""A real model's answer, through a real server that others wrote, into a real kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel
from nbclient import NotebookClient

from puq_magics.api import Router

MODEL = "smollm2-135m-instruct"
QUICKSTART = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PUQ_")}


@pytest.fixture
def client(llama_url: str) -> Iterator[BlockingKernelClient]:
    manager: KernelManager
    env = clean_environment() | {"PUQ_BASE_URL": llama_url, "PUQ_CHAT_MODEL": MODEL}
    manager, client = start_new_kernel(env=env)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client: BlockingKernelClient, code: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    reply = client.execute_interactive(code, output_hook=messages.append, timeout=120)
    assert reply["content"]["status"] == "ok", reply["content"]
    return messages


def test_a_real_answer_streams_into_a_real_kernel(client: BlockingKernelClient) -> None:
    run(client, "%load_ext puq_magics")
    asked = "%%puq_chat -t 0 --max-tokens 200 -o answer\nWhat is gravity?"  # so many last for some frames anywhere
    messages = run(client, asked)
    shown = [
        m["content"]["data"] for m in messages if m["msg_type"] in ("display_data", "update_display_data")
    ]
    assert messages[-1]["msg_type"] == "status"
    assert len(shown) > 3, "it did not stream"
    assert len({m["content"]["transient"]["display_id"] for m in messages if "display" in m["msg_type"]}) == 1
    assert "force" in shown[-1]["text/markdown"]
    assert MODEL in shown[-1]["text/markdown"]
    told = run(
        client, "print(answer.text in _puq.text, answer.usage.completion_tokens, answer.finish_reason)"
    )
    said = "".join(m["content"]["text"] for m in told if m["msg_type"] == "stream")
    same, tokens, reason = said.split()
    assert same == "True"
    assert 0 < int(tokens) <= 200
    assert reason in ("stop", "length")


def test_the_quickstart_runs_on_it_with_two_environment_variables(llama_url: str) -> None:
    notebook = nbformat.read(QUICKSTART, as_version=4)
    first = notebook.cells[1]
    first.source += "\n%config PuqMagics.max_tokens = 60"  # a small model can go on for long
    env = clean_environment() | {"PUQ_BASE_URL": llama_url, "PUQ_CHAT_MODEL": MODEL}
    executed = NotebookClient(notebook, timeout=300).execute(env=env)
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    answers = [
        output["data"]["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})
    ]
    assert len(answers) >= 2
    assert all(MODEL in answer for answer in answers)


def test_our_client_and_a_server_that_others_wrote(llama_url: str) -> None:
    with Router(base_url=llama_url, auth_scheme="Bearer") as router:
        assert MODEL in [model.code for model in router.models()]
        whole = router.chat("What is 2 + 2?", model=MODEL, temperature=0, max_completion_tokens=20)
        with router.stream_chat(
            "What is 2 + 2?", model=MODEL, temperature=0, max_completion_tokens=20
        ) as stream:
            text = "".join(delta.text for delta in stream)
        assert text == whole.text == stream.text
        assert stream.completion.usage == whole.usage
        assert stream.completion.finish_reason == whole.finish_reason
