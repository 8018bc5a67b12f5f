import base64
import json
import re
from typing import Any

import pytest
from markdown_it import MarkdownIt

from puq_magics.sandbox.chat_request import ChatRequest, read_chat_request
from puq_magics.sandbox.scripted.drawing import write_png
from puq_magics.sandbox.scripted.scripts import NOTICE, SCRIPTS, Content, Failure, Reasoning, Stall


def request(*messages: tuple[str, Any], **fields: Any) -> ChatRequest:
    turns = [{"role": role, "content": content} for role, content in messages or [("user", "Hello there")]]
    return read_chat_request(json.dumps({"model": "sandbox/any", "messages": turns, **fields}).encode())


def said(name: str, asked: ChatRequest) -> str:
    return "".join(move.text for move in SCRIPTS[f"sandbox/{name}"](asked) if isinstance(move, Content))


@pytest.mark.parametrize("code", SCRIPTS)
def test_every_answer_says_first_that_it_is_scripted(code: str) -> None:
    assert said(code.removeprefix("sandbox/"), request()).startswith(NOTICE)


def test_short_quotes_counts_and_names() -> None:
    text = said("short", request(("system", "Be kind"), ("user", "One two three")))
    assert "3 words" in text
    assert "> One two three\n" in text
    assert "2 messages" in text
    assert "system prompt, 2 words long" in text


def test_short_quotes_a_long_question_on_one_line() -> None:
    quoted = re.search("^> (.*)$", said("short", request(("user", "word\n" * 500))), flags=re.M)
    assert quoted is not None
    assert len(quoted[1]) < 170
    assert quoted[1].endswith("word …")


def test_echo_gives_the_request_back() -> None:
    asked = request(("system", "Be kind"), ("user", "A ``` fence\n```\nin it"), temperature=0.5, seed=7)
    text = said("echo", asked)
    blocks = [token for token in MarkdownIt().parse(text) if token.type == "fence"]
    assert [json.loads(block.content) for block in blocks] == [asked.body]
    assert "Further parameters: `seed`, `temperature`." in text


def test_echo_leaves_the_bytes_of_images_out() -> None:
    url = "data:image/png;base64," + "A" * 5000
    text = said("echo", request(("user", [{"type": "image_url", "image_url": {"url": url}}])))
    assert len(text) < 1000
    assert "(5,022 characters)" in text


@pytest.mark.parametrize("name", ["chat", "short", "clumsy"])
def test_images_are_counted_and_described(name: str) -> None:
    png = base64.b64encode(write_png(64, 48, [bytes(3 * 64)] * 48, {})).decode()
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}},
    ]
    assert "1 image (64x48 PNG)" in said(name, request(("user", parts)))
    far = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
    text = said(name, request(("user", [*parts, far])))
    assert "2 images (64x48 PNG; at example.org, not fetched)" in text


@pytest.mark.parametrize(
    "asked", ["Plot `prices` in code", ("system", "Answer with one fenced block of code.")]
)
def test_code_is_asked_for_in_the_question_or_before(asked: Any) -> None:
    before = [asked] if isinstance(asked, tuple) else []
    text = said("chat", request(*before, ("user", "Something on `prices`" if before else asked)))
    (block,) = [token for token in MarkdownIt().parse(text) if token.type == "fence"]
    assert (block.info, "def describe(prices):" in block.content) == ("python", True)
    assert "fence" not in [token.type for token in MarkdownIt().parse(said("chat", request(("user", "Hi"))))]


def test_the_tour_has_everything() -> None:
    text = said("tour", request())
    assert 4000 < len(text.encode()) < 6000
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    kinds = {token.type for token in tokens}
    assert kinds >= {
        "heading_open",
        "table_open",
        "fence",
        "blockquote_open",
        "bullet_list_open",
        "ordered_list_open",
    }
    assert {token.info for token in tokens if token.type == "fence"} >= {
        "python",
        "sql",
        "bash",
        "json",
        "diff",
    }
    for sign in ("$A = ", "$$\n", "\\(", "\\[", "$3.50", "🎉"):
        assert sign in text


def test_what_the_others_do() -> None:
    first, last = {}, {}
    for code, script in SCRIPTS.items():
        moves = list(script(request()))
        first[code], last[code] = moves[0], moves[-1]
    assert isinstance(first["sandbox/think"], Reasoning)
    assert isinstance(last["sandbox/think"], Content)
    assert last["sandbox/stall"] == Stall(keep_alive=True)
    assert last["sandbox/silence"] == Stall(keep_alive=False)
    assert isinstance(last["sandbox/fail"], Failure)
