import base64
import json
import re
from typing import Any

import pytest
from markdown_it import MarkdownIt

from puq_magics.sandbox.chat_request import ChatRequest, read_chat_request
from puq_magics.sandbox.scripted.drawing import write_png
from puq_magics.sandbox.scripted.scripts import (
    CLOSING_SENTENCE,
    NOTHING_LEFT,
    NOTICE,
    SCRIPTS,
    Content,
    Reasoning,
    Stall,
    StreamEnd,
    StreamFailure,
    Token,
    iter_steps,
)


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


@pytest.mark.parametrize(
    ("step", "said_words"),
    [("first", "Look at line 7"), ("second", "raised `TypeError`"), ("last", "Print each value")],
)
def test_a_hint_is_one_and_holds_no_code(step: str, said_words: str) -> None:
    failed = "A cell failed.\n\nTraceback\n--> 7 | len(5)\nTypeError: object of type 'int' has no len()\n"
    turns = [("user", failed), ("assistant", "Look."), ("user", f"Give me a {step} hint, in one sentence.")]
    answer = said("chat", request(*turns))
    assert said_words in answer
    assert "```" not in answer


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
    assert isinstance(last["sandbox/fail"], StreamFailure)


@pytest.mark.parametrize("name", ["chat", "short"])
def test_a_conversation_refers_to_the_turns_before(name: str) -> None:
    asked = request(("user", "I like wrens"), ("assistant", "So do I"), ("user", "Which bird was it?"))
    text = said(name, asked)
    assert "turn 2 of a conversation" in text
    assert "> I like wrens\n" in text
    assert "conversation" not in said(name, request(("user", "Which bird?")))


@pytest.mark.parametrize("name", ["chat", "short", "think"])
def test_html_where_html_is_required(name: str) -> None:
    required = ("system", "Answer with one piece of HTML and nothing else.")
    text = said(name, request(required, ("user", "List ['<b>', 'wren'], please")))
    assert text.startswith("<p><em>Scripted by the sandbox")
    assert "<li>&lt;b&gt;</li>\n<li>wren</li>" in text
    assert "<td>1</td><td>wren</td>" in said(name, request(required, ("user", "A table of ['wren']")))
    assert said(name, request(("user", "What is HTML?"))).startswith(NOTICE)


QUESTION = ("user", "A table and some code on foxes, please")
GO_ON = ("user", "Continue exactly where you stopped.")


def continuing_request(*turns: tuple[str, str]) -> ChatRequest:
    messages = [{"role": role, "content": text} for role, text in turns]
    return read_chat_request(json.dumps({"model": "sandbox/any", "messages": messages}).encode())


def continuing_said(name: str, *turns: tuple[str, str]) -> str:
    return "".join(
        move.text
        for move in SCRIPTS[f"sandbox/{name}"](continuing_request(*turns))
        if isinstance(move, Content)
    )


@pytest.mark.parametrize("name", ["chat", "short", "think", "tour"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("go_on", [(GO_ON,), (("user", "please go on"),), ()])
def test_it_goes_on_where_it_was_cut(name: str, share: float, go_on: tuple[tuple[str, str], ...]) -> None:
    whole = continuing_said(name, QUESTION)
    cut = int(len(whole) * share)
    assert continuing_said(name, QUESTION, ("assistant", whole[:cut]), *go_on) == whole[cut:]


def test_cut_twice() -> None:
    whole = continuing_said("tour", ("user", "Hi"), ("assistant", "Ho"), QUESTION)
    turns = [("user", "Hi"), ("assistant", "Ho"), QUESTION]
    twice = [*turns, ("assistant", whole[:500]), GO_ON, ("assistant", whole[500:900]), GO_ON]
    assert continuing_said("tour", *twice) == whole[900:]


def test_the_end_alone_will_do() -> None:
    whole = continuing_said("chat", QUESTION)
    assert (
        continuing_said("chat", QUESTION, ("assistant", whole[100:250].rstrip()), GO_ON)
        == whole[len(whole[:250].rstrip()) :]
    )


def test_nothing_is_left() -> None:
    assert (
        continuing_said("chat", QUESTION, ("assistant", continuing_said("chat", QUESTION)), GO_ON)
        == NOTHING_LEFT
    )


@pytest.mark.parametrize("name", ["stall", "silence", "fail"])
def test_who_stopped_comes_to_an_end(name: str) -> None:
    came = continuing_said(name, QUESTION)
    moves = [*SCRIPTS[f"sandbox/{name}"](continuing_request(QUESTION, ("assistant", came[:-5]), GO_ON))]
    assert moves == [Content(came[-5:] + CLOSING_SENTENCE)]


@pytest.mark.parametrize(
    "turns",
    [
        (QUESTION, ("assistant", "The words of another model."), GO_ON),
        (QUESTION, ("assistant", "*Scripted"), ("user", "What is a fox?")),
        (GO_ON,),
    ],
)
def test_what_is_no_cut_answer_is_answered_anew(turns: tuple[tuple[str, str], ...]) -> None:
    assert continuing_said("chat", *turns).startswith(f"{NOTICE}You asked:\n\n> {turns[-1][1]}")


def test_echo_shows_what_arrived() -> None:
    assert "3 messages came" in continuing_said("echo", QUESTION, ("assistant", "x"), GO_ON)


def test_words_become_tokens_and_an_end() -> None:
    assert list(iter_steps([Reasoning("Hm"), Content("So be it")])) == [
        Token("reasoning_content", "Hm"),
        Token("content", "So"),
        Token("content", " be"),
        Token("content", " it"),
        StreamEnd("stop"),
    ]


def test_where_a_script_pauses_makes_no_difference() -> None:
    assert list(iter_steps([Content("So "), Content("be"), Content("fit")])) == list(
        iter_steps([Content("So befit")])
    )


def test_a_limit_cuts() -> None:
    assert list(iter_steps([Reasoning("Hm"), Content("So be it")], 2))[-2:] == [
        Token("content", "So"),
        StreamEnd("length"),
    ]


def test_an_answer_that_just_fits_is_not_cut() -> None:
    assert list(iter_steps([Content("So be it")], 3))[-1] == StreamEnd("stop")


def test_nothing_comes_after_a_stall_or_a_break() -> None:
    assert list(iter_steps([Content("a"), Stall(keep_alive=True), Content("b")])) == [
        Token("content", "a"),
        Stall(keep_alive=True),
    ]
    assert list(iter_steps([Content("a"), StreamFailure("no"), Content("b")])) == [
        Token("content", "a"),
        StreamFailure("no"),
    ]
