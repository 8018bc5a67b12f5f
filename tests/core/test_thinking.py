from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.core.thinking import ThinkingSplitter, split_thinking, strip_thinking

ANSWERS = [
    ("<think>a</think>b", "a", "b"),
    ("\n<think>\na\n</think>\n\nb\n", "a", "b\n"),
    ("<THINK>a</THINK>b", "a", "b"),
    ("<thinking>a < b</thinking>\nb", "a < b", "b"),
    ("<thought>a</thought>b", "a", "b"),
    ("<reasoning>a</reasoning>b", "a", "b"),
    ("<think>a</thinking></think>b", "a</thinking>", "b"),
    ("<think></think>b", "", "b"),
    ('<think time="3">a</think>b', "a", "b"),
    ("<think>İstanbul</think>Hi there", "İstanbul", "Hi there"),
    ("<think>a</think> <think>c</think>\nb", "a\n\nc", "b"),
    ("<think>a</think><thinking>c", "a\n\nc", ""),
    ("<think>a", "a", ""),
    ("<think>a</thi", "a</thi", ""),
    ("[THINK]a\n[1] b[/THINK]\nc", "a\n[1] b", "c"),
    ("[THINK]a[/THIN", "a[/THIN", ""),
    ("[think]a[/think]b", "", "[think]a[/think]b"),
    ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "a", "b"),
    ("<|channel|>analysis<|message|>a <b><|channel|>final<|message|>b<|return|>", "a <b>", "b"),
    ("<|start|>assistant<|channel|>final<|message|>b", "", "b"),
    (
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>"
        "<|start|>assistant<|channel|>final <|constrain|>JSON<|message|>{}",
        "{}",
        "{}",
    ),
    ("<|channel|>analysis<|message|>a", "a", ""),
    ("<|channel|>none<|message|>a", "", "<|channel|>none<|message|>a"),
    ("<|message|>a", "", "<|message|>a"),
    ("b", "", "b"),
    (" b <think>a</think>", "", " b <think>a</think>"),
    ("<think>a</think >b", "a", "b"),
    ("<think>a</THINK\n>b", "a", "b"),
    ("<think/>b", "", "b"),
    ("<think />b", "", "b"),
    ("\ufeff<think>a</think>b", "a", "b"),
    ("◁think▷a ◁b◁/think▷c", "a ◁b", "c"),
    ("<seed:think>a</seed:think>b", "a", "b"),
    ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b", "a", "b"),
    ("<|begin_of_thought|>a<|end_of_thought|>\n\n<|begin_of_solution|>b", "a", "b"),
    ("<|channel>thought\na<channel|>b", "a", "b"),
    ("<|START_RESPONSE|>b", "", "b"),
    ("<think/ b", "", "<think/ b"),
    ("<thin>b", "", "<thin>b"),
    ("<th", "", "<th"),
    ("", "", ""),
    ("Close it with `</think>`.", "", "Close it with `</think>`."),
]


@pytest.mark.parametrize(("answer", "reasoning", "rest"), ANSWERS)
def test_the_reasoning_at_the_beginning(answer: str, reasoning: str, rest: str) -> None:
    assert split_thinking(answer) == (reasoning, rest)


@pytest.mark.parametrize(
    ("answer", "rest"),
    [
        ("Sure.\n<think>a\n</think>\nb", "Sure.\nb"),
        ("<think>a</think>b\n  <thinking>c</thinking>\nd", "b\nd"),
        ("Write <think>a</think>", "Write <think>a</think>"),
        ("b\n<think>a", "b\n<think>a"),
    ],
)
def test_reasoning_between_lines_is_no_data(answer: str, rest: str) -> None:
    assert strip_thinking(answer) == rest


CODE = "Use:\n\n```python\nx = raw.split({})[-1]\n```\nDone."


@pytest.mark.parametrize(
    "answer",
    [
        CODE.format("'</think>'"),
        CODE.format("</think>"),
        '{"tag": "</think>", "n": 1}',
        '{"html": "x",\n"t": "The tag </think> ends it"}',
        "Models end their reasoning with a </think> tag. Split there.",
        "The tag is </think>",
        "```python\nP = '''\n<think>\nplan\n</think>\nGo\n'''\n```",
        "~~~\n<thinking>\nplan\n</thinking>\n~~~\nend",
        "<div>\n<b>q</b>\n</div>",
        "<item><reasoning>q</reasoning>\n</item>",
        "<item><thought>q</thought> 4</item>",
        "x\n" + "<think>\n" * 3,
    ],
)
def test_tags_in_code_and_prose_are_text(answer: str) -> None:
    assert split_thinking(answer) == ("", answer)
    assert strip_thinking(answer) == answer


def test_reasoning_between_the_lines_of_an_answer() -> None:
    answer = "One.\n<think>a\nb</think>\nTwo.\n<think>c</think> Three.\n"
    assert strip_thinking(answer) == "One.\nTwo.\n Three.\n"


@pytest.mark.parametrize(
    "answer", ["a</think>b", "a\n</think>\n\nb", "a</thinking> b", "a</thought>b", "a</reasoning >b"]
)
def test_a_lone_closing_tag(answer: str) -> None:
    assert split_thinking(answer) == ("a", "b")


@pytest.mark.parametrize(
    "answer",
    [
        "<think>a</thinking>b",
        "<thinking>a</think>b",
        "<thought>a</reasoning >b",
        "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>",
        "<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>b<|end_of_solution|>",
    ],
)
def test_reasoning_that_a_tag_of_another_name_ends(answer: str) -> None:
    assert split_thinking(answer) == ("a", "b")


@pytest.mark.parametrize(
    ("answer", "reasoning", "rest"),
    [each for each in ANSWERS if not each[0].endswith(("<th", "thi", "THIN", "<|return|>"))],
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_in_parts(answer: str, reasoning: str, rest: str, size: int) -> None:
    splitter = ThinkingSplitter()
    parts = [splitter.feed(answer[n : n + size]) for n in range(0, len(answer), size)]
    assert "".join(text for text, _ in parts) == rest
    assert "".join(thought for _, thought in parts).strip() == reasoning.replace("\n\n", "")


@given(st.lists(st.text(alphabet="<think>/ a\n", max_size=9)))
def test_no_character_of_the_rest_is_lost(parts: list[str]) -> None:
    splitter = ThinkingSplitter()
    text = "".join(splitter.feed(part)[0] for part in parts)
    whole = "".join(parts)
    assert whole.endswith(text) or whole.startswith(text)
