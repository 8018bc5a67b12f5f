"""The streaming view, as a front end gets it from a real kernel."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any

import pytest
from clients import KEY

from puq_magics.outputs.views.notebook import defer_interrupts

HOSTILE = (
    "<script>alert(1)</script> ![x](http://collector.example/p.png) <img src=x onerror=alert(1)>\n\n"
    "[click](javascript:alert(1))\n\n```mermaid\ngraph TD; A[<img src=http://collector.example>]\n```\n\nThe end."
)


def point_kernel_at(kernel: Any, server: Any, *more: str) -> None:
    lines = [f"%config PuqMagics.base_url = '{server.url}'", "%config PuqMagics.chat_model = 'a/b'", *more]
    assert kernel.run("\n".join(lines)).reply["status"] == "ok"


def respond_with_texts(*texts: str, finish: str = "stop", **more: Any) -> Any:
    """An answer of these words, one event each."""

    def _answer(connection: Any) -> None:
        connection.send_head()
        for text in texts:
            connection.send_event(text, **more)
        connection.send_done(finish)

    return _answer


def display_ids(cell: Any) -> list[str]:
    kinds = ("display_data", "update_display_data")
    return [m["content"]["transient"]["display_id"] for m in cell.messages if m["msg_type"] in kinds]


def bundles(cell: Any) -> list[dict[str, str]]:
    kinds = ("display_data", "update_display_data")
    return [m["content"]["data"] for m in cell.messages if m["msg_type"] in kinds]


def test_one_display_is_updated_and_never_cleared(fresh_kernel: Any, serve: Any) -> None:
    texts = ["The first", " and the second", " and the last."]
    shown_parts = [threading.Event() for _ in texts]

    def _answer(connection: Any) -> None:
        connection.send_head()
        for text, is_shown in zip(texts, shown_parts, strict=True):
            connection.send_event(text)
            is_shown.wait(60)
        connection.send_done()

    def _watch(message: dict[str, Any]) -> None:
        plain = message["content"].get("data", {}).get("text/plain", "")
        for text, is_shown in zip(texts, shown_parts, strict=True):
            if plain.endswith(text):
                is_shown.set()

    point_kernel_at(fresh_kernel, serve(_answer))
    cell = fresh_kernel.run("%puq_chat hi", _watch)
    assert cell.kinds[0] == "display_data"
    assert set(cell.kinds[1:]) == {"update_display_data"}
    assert len(set(display_ids(cell))) == 1
    assert all(set(bundle) == {"text/markdown", "text/plain"} for bundle in bundles(cell))
    text = fresh_kernel.value("_puq.text")
    (last,) = cell.screen
    assert last["text/plain"].startswith(f"{text}\n\n[a/b · ")
    assert last["text/plain"].count("The first") == 1
    shown = [bundle["text/plain"] for bundle in bundles(cell)]
    late = "Waiting … "  # before the answer begins, on a slow machine
    assert [words for words in shown[:-1] if not text.startswith(words) and not words.startswith(late)] == []
    assert all(is_shown.is_set() for is_shown in shown_parts)


def test_messages_belong_to_their_cell(fresh_kernel: Any) -> None:
    fresh_kernel.run("%puq_sandbox --pace 500 --fail 429:1")
    first, second = fresh_kernel.run_all(["%puq_chat -m sandbox/short one", "%puq_chat -m sandbox/short two"])
    assert any("trying again" in bundle["text/plain"] for bundle in bundles(first))
    assert "> one" in first.screen[0]["text/plain"]
    assert "> two" in second.screen[0]["text/plain"]
    assert not set(display_ids(first)) & set(display_ids(second))


@pytest.mark.parametrize("way", ["environment", "setting"])
def test_without_live_there_is_one_display_and_no_update(fresh_kernel: Any, way: str) -> None:
    switch = (
        "import os; os.environ['PUQ_LIVE'] = '0'"
        if way == "environment"
        else "%config PuqMagics.live = False"
    )
    fresh_kernel.run(f"%puq_sandbox --pace 0 --fail 429:1\n{switch}")
    cells = [fresh_kernel.run(f"%puq_chat -m sandbox/{model} hi") for model in ("tour", "short")]
    cells.append(fresh_kernel.run("%puq_chat --no-stream -m sandbox/short hi"))
    fresh_kernel.run("import os; os.environ.pop('PUQ_LIVE', None)")
    assert [cell.kinds for cell in cells] == [["display_data"]] * 3


def test_reasoning_is_folded_above_the_answer(fresh_kernel: Any) -> None:
    fresh_kernel.run("%puq_sandbox --pace 0")
    cell = fresh_kernel.run("%puq_chat -m sandbox/think hi")
    reasoning, answer = cell.screen
    assert reasoning["text/markdown"].startswith("<details><summary>Reasoning</summary>\n\n")
    assert "The user writes: hi" in reasoning["text/plain"]
    text, kept = fresh_kernel.value("[_puq.text, _puq.reasoning]")
    assert answer["text/plain"].startswith(text)
    assert "The user writes" not in text
    assert kept.startswith("The user writes: hi")


ESCAPED_KEY = "".join(f"\\u{ord(sign):04x}" for sign in KEY)


def test_the_key_is_shown_in_no_update(fresh_kernel: Any, serve: Any) -> None:
    texts = [
        "It is ",
        KEY[:9],
        KEY[9:],
        f": `{KEY[:15]}",
        f"{KEY[15:]}`, ",
        ESCAPED_KEY[:21],
        ESCAPED_KEY[21:],
    ]
    go_on = threading.Event()

    def answer(connection: Any) -> None:
        connection.send_head()
        for number, text in enumerate(texts):
            connection.send_event(text)
            if number == 3:
                go_on.wait(30)
        connection.send_done()

    server = serve(answer)
    point_kernel_at(fresh_kernel, server)
    fresh_kernel.run(
        f"import os; os.environ['PUQ_API_KEY'] = '{KEY}'; os.environ['PUQ_BASE_URL'] = '{server.url}'"
    )
    fresh_kernel.run("%reload_ext puq_magics")

    def go_on_when_shown(message: dict[str, Any]) -> None:
        data = message["content"].get("data", {})
        if KEY[:15] in data.get("text/plain", ""):  # in the pause
            go_on.set()

    cell = fresh_kernel.run("%puq_chat hi", watch=go_on_when_shown)
    assert go_on.is_set()
    shown = [text for bundle in bundles(cell) for text in bundle.values()]
    assert [text for text in shown if KEY in text] == []
    (last,) = cell.screen
    assert last["text/plain"].startswith("It is …: `…`, …\n")
    assert "\\u00" not in last["text/markdown"]
    assert fresh_kernel.value("_puq.text") == "".join(texts)
    (again,) = fresh_kernel.run("_puq").screen
    assert again["text/plain"].startswith("It is …: `…`, …\n")
    fresh_kernel.run("for name in ('PUQ_API_KEY', 'PUQ_BASE_URL'): os.environ.pop(name)")


@pytest.mark.parametrize(
    ("style", "footer"),
    [("full", "[a/b · 3 tokens · "), ("short", "[a/b]"), ("none", "")],
)
def test_the_footer(fresh_kernel: Any, serve: Any, style: str, footer: str) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    point_kernel_at(
        fresh_kernel,
        serve(respond_with_texts("Words.", usage=usage)),
        f"%config PuqMagics.footer = '{style}'",
    )
    (bundle,) = fresh_kernel.run("%puq_chat hi").screen
    assert bundle["text/plain"].startswith(f"Words.\n\n{footer}" if footer else "Words.")
    assert ("<sub>" in bundle["text/markdown"]) is bool(footer)
    if style == "full":
        assert bundle["text/plain"].endswith(" s]")
    elif style == "none":
        assert bundle == {"text/markdown": "Words.", "text/plain": "Words."}


@pytest.mark.parametrize(
    ("finish", "words"),
    [("length", "cut off at the token limit"), ("content_filter", "cut off by the content filter")],
)
def test_a_cut_answer_says_so_whatever_the_footer(
    fresh_kernel: Any, serve: Any, finish: str, words: str
) -> None:
    point_kernel_at(
        fresh_kernel, serve(respond_with_texts("Words", finish=finish)), "%config PuqMagics.footer = 'none'"
    )
    (bundle,) = fresh_kernel.run("%puq_chat hi").screen
    assert bundle["text/plain"] == f"Words\n\n[{words}]"
    assert f"**⚠ {words}**" in bundle["text/markdown"]
    assert fresh_kernel.value("_puq.finish_reason") == finish


def test_a_token_limit_of_the_sandbox(fresh_kernel: Any) -> None:
    fresh_kernel.run("%puq_sandbox --pace 0")
    (bundle,) = fresh_kernel.run("%puq_chat --max-tokens 5 -m sandbox/short hi").screen
    assert "[cut off at the token limit · sandbox/short" in bundle["text/plain"]


def test_notes_of_the_filling_are_told(fresh_kernel: Any, serve: Any) -> None:
    point_kernel_at(fresh_kernel, serve(respond_with_texts("Words.")))
    fresh_kernel.run("long = 'x' * 50_000")
    (bundle,) = fresh_kernel.run("%puq_chat sum up {{long}}").screen
    assert "long" in bundle["text/plain"].split("[")[-1]


def test_a_long_answer_goes_on_in_new_outputs(fresh_kernel: Any, serve: Any) -> None:
    blocks = [f"## Part {n}\n\n{'word ' * 300}\n\n```python\nx = {n}\n```\n\n" for n in range(30)]
    point_kernel_at(fresh_kernel, serve(respond_with_texts(*blocks)))
    cell = fresh_kernel.run("%puq_chat hi")
    assert len(cell.screen) > 3
    assert "clear_output" not in cell.kinds
    text = fresh_kernel.value("_puq.text")
    assert text == "".join(blocks)
    shown = "\n\n".join(bundle["text/plain"] for bundle in cell.screen)
    assert [n for n in range(30) if shown.count(f"## Part {n}\n") != 1] == []
    assert max(len(json.dumps(bundle)) for bundle in cell.screen) < 60_000
    for bundle in cell.screen:
        assert bundle["text/markdown"].count("```") % 2 == 0
    assert "[a/b" not in "".join(bundle["text/plain"] for bundle in cell.screen[:-1])
    saved = fresh_kernel.run("_puq").screen
    assert len(saved) == 1


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_hostile_words_are_never_raw(fresh_kernel: Any, serve: Any, size: int) -> None:
    parts = [HOSTILE[start : start + size] for start in range(0, len(HOSTILE), size)]
    point_kernel_at(fresh_kernel, serve(respond_with_texts(*parts)))
    cell = fresh_kernel.run("%puq_chat -o kept hi")
    again = fresh_kernel.run("kept")
    published = [*bundles(cell), *bundles(again)]
    assert len(published) >= 2
    for bundle in published:
        markdown = bundle["text/markdown"]
        for raw in ("<script", "<img src=x", "![x](", "](javascript:", "```mermaid"):
            assert raw not in markdown
    assert fresh_kernel.value("kept.text") == HOSTILE


def test_hostile_reasoning_model_and_notes_are_never_raw(fresh_kernel: Any, serve: Any) -> None:
    def _answer(connection: Any) -> None:
        connection.send_head()
        connection.send_event(
            delta={"reasoning": "</details><script>alert(1)</script>![x](http://c.example)"}
        )
        connection.send_event("Words.", model="<script>alert(2)</script>![y](http://c.example)")
        connection.send_done()

    point_kernel_at(fresh_kernel, serve(_answer))
    cell = fresh_kernel.run("%puq_chat hi")
    assert len(cell.screen) == 2
    for bundle in bundles(cell):
        markdown = bundle["text/markdown"]
        assert "<script" not in markdown
        assert "![" not in markdown
        assert markdown.count("</details>") == markdown.count("<details>")


def test_escape_sequences_are_in_no_output(fresh_kernel: Any, serve: Any) -> None:
    point_kernel_at(
        fresh_kernel,
        serve(respond_with_texts("red \x1b[31", "m words\x1b[0m \x07\x08\u202e end", "\ud83d", "\ude00")),
    )
    cell = fresh_kernel.run("%puq_chat hi")
    for bundle in bundles(cell):
        for words in bundle.values():
            assert not {"\x1b", "\x07", "\x08", "\u202e"} & set(words)
    assert "😀" in cell.screen[0]["text/plain"]
    assert fresh_kernel.value("_puq.text") == "red \x1b[31m words\x1b[0m \x07\x08\u202e end😀"


def test_silence_shows_that_something_is_going_on(fresh_kernel: Any, serve: Any) -> None:
    """The server says nothing until the wait is on the screen."""
    shown = threading.Event()

    def _answer(connection: Any) -> None:
        shown.wait(30)
        connection.send_head()
        connection.send_event("The first words and the last.")
        connection.send_done()

    def _watch(message: dict[str, Any]) -> None:
        if "*Waiting … " in message["content"].get("data", {}).get("text/markdown", ""):
            shown.set()

    point_kernel_at(fresh_kernel, serve(_answer))
    cell = fresh_kernel.run("%puq_chat hi", _watch)
    assert shown.is_set()
    (bundle,) = cell.screen
    assert bundle["text/plain"].startswith("The first words and the last.\n\n[a/b")
    assert "Waiting" not in str(bundle)


@pytest.mark.slow
def test_silence_is_told_after_the_head_and_in_mid_answer(fresh_kernel: Any, serve: Any) -> None:
    steps = ["*Waiting … ", "*Waiting … ", "s without a word*"]
    seen: list[str] = []
    go: Queue[None] = Queue()

    def _answer(connection: Any) -> None:
        go.get(timeout=30)
        connection.send_head()
        go.get(timeout=30)
        connection.send_event("The first words")
        go.get(timeout=30)
        connection.send_event(" and the last.")
        connection.send_done()

    def _watch(message: dict[str, Any]) -> None:
        words = message["content"].get("data", {}).get("text/markdown", "")
        if len(seen) < len(steps) and steps[len(seen)] in words and words not in seen:
            seen.append(words)
            go.put(None)

    point_kernel_at(fresh_kernel, serve(_answer))
    cell = fresh_kernel.run("%puq_chat hi", _watch)
    assert len(seen) == len(steps)
    assert "The first words" in seen[2]
    assert cell.screen[0]["text/plain"].startswith("The first words and the last.\n\n[a/b")


def test_a_failed_call_leaves_no_wait_behind(fresh_kernel: Any) -> None:
    fresh_kernel.run("%puq_sandbox --pace 100 --fail 429\n%config PuqMagics.max_retries = 1")
    cell = fresh_kernel.run("%puq_chat hi")
    assert cell.error["ename"] == "RateLimitError"
    assert [bundle["text/plain"] for bundle in cell.screen] == ["No answer."]


def test_quiet_publishes_nothing(sandbox_kernel: Any) -> None:
    assert sandbox_kernel.run("%puq_chat -q hi").kinds == []
    assert sandbox_kernel.run("r = %puq_chat -q hi").kinds == []
    assert sandbox_kernel.run("r").kinds == ["display_data"]


def test_an_empty_answer(fresh_kernel: Any, serve: Any) -> None:
    point_kernel_at(fresh_kernel, serve(respond_with_texts()))
    (bundle,) = fresh_kernel.run("%puq_chat hi").screen
    assert bundle["text/plain"].startswith("[no text came · a/b")
    assert fresh_kernel.value("_puq.text") == ""


def test_it_nests_in_time_and_capture(sandbox_kernel: Any) -> None:
    timed = sandbox_kernel.run("%%time\n%puq_chat -m sandbox/short hi")
    assert len(timed.screen) == 1
    assert "Wall time" in timed.out
    assert sandbox_kernel.run("%%capture caught\n%puq_chat -m sandbox/short hi").kinds == []
    assert "You asked" in sandbox_kernel.run("caught.show()").screen[0]["text/plain"]


def test_an_interrupt_comes_behind_the_step() -> None:
    done = []

    def step() -> None:
        with defer_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("the step")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert done == ["the step"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_one_nothing_is_changed() -> None:
    before = signal.getsignal(signal.SIGINT)
    with defer_interrupts():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_passes_and_the_handler_is_back() -> None:
    with pytest.raises(ValueError, match="of the step"), defer_interrupts():
        raise ValueError("of the step")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread_there_is_nothing_to_do() -> None:
    def step() -> bool:
        with defer_interrupts():
            return threading.current_thread() is threading.main_thread()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(step).result() is False
