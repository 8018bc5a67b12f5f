from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.api.choices import (
    ChoiceBuilder,
    MessageText,
    TextBuffer,
    count_extras,
    read_choices,
    read_content,
    unknown_fields,
)


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("a", MessageText("a")),
        (None, MessageText()),
        (3, MessageText()),
        (
            [{"type": "text", "text": "a"}, {"type": "image_url"}, "x", {"text": None}, {"text": "b"}],
            MessageText("axb"),
        ),
        (
            [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "no"}],
            MessageText("a", "", "no"),
        ),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"text": "a"}],
            MessageText("a", "hm"),
        ),
        ([{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "a"}], MessageText("a", "hm")),
        ({"type": "text", "text": "a"}, MessageText("a")),
        ([{"type": "text", "text": {"value": "a", "annotations": []}}], MessageText("a")),
        (
            [{"type": "text", "thought": True, "text": "hm"}, {"type": "text", "text": "a"}],
            MessageText("a", "hm"),
        ),
        ([{"type": "reasoning_content", "reasoning_content": "hm"}, {"text": "a"}], MessageText("a", "hm")),
    ],
)
def test_content(value: object, content: MessageText) -> None:
    assert read_content(value) == content


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": "We count"},
        {"reasoning": "We count"},
        {"thinking": "We count"},
        {"thought": "We count"},
        {"thoughts": "We count"},
        {"reasoning_text": "We count"},
        {"thinking_blocks": [{"type": "thinking", "thinking": "We count", "signature": "s"}]},
        {"reasoning": "We count", "reasoning_details": [{"type": "reasoning.text", "text": "We count"}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": "We"}, {"type": "x", "text": " count"}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "We count"}]},
        {"content": [{"type": "thinking", "thinking": "We count"}, {"type": "text", "text": "42"}]},
        {"reasoning": {"content": "We count"}},
    ],
)
@pytest.mark.parametrize("name", ["delta", "message"])
def test_reasoning(fields: dict[str, Any], name: str) -> None:
    (choice,) = read_choices({"choices": [{name: {"content": "42"} | fields}]})
    assert (choice.text, choice.reasoning) == ("42", "We count")


def test_odd_choices() -> None:
    choices = read_choices(
        {
            "choices": [
                {"index": 1, "delta": {"content": None, "reasoning_content": "r"}, "finish_reason": "length"},
                {"delta": {"content": "a", "reasoning": "s"}},
                {"message": {"content": "b"}, "finish_reason": 3},
                {"text": "c", "index": "x"},
                {"delta": "d"},
                None,
            ]
        }
    )
    assert [(p.index, p.text, p.reasoning, p.finish_reason) for p in choices] == [
        (1, "", "r", "length"),
        (1, "a", "s", None),
        (2, "b", "", None),
        (3, "c", "", None),
        (4, "", "", None),
    ]
    assert read_choices({"choices": None}) == []
    assert read_choices({"choices": {"0": {}}}) == []


def build(*deltas: dict[str, Any]) -> dict[str, Any]:
    """Return the message assembled from deltas."""
    builder = ChoiceBuilder(0)
    for delta in deltas:
        for part in read_choices({"choices": [{"index": 0, "delta": delta}]}):
            builder.add(part)
    message = builder.to_json()["message"]
    assert isinstance(message, dict)
    return message


def call(**fields: Any) -> dict[str, Any]:
    return {"tool_calls": [fields]}


WEATHER = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}


@pytest.mark.parametrize(
    "deltas",
    [
        [call(index=0, id="t1", type="function", function=WEATHER)],
        [
            call(index=0, id="t1", type="function", function={"name": "get_weather", "arguments": ""}),
            call(index=0, function={"arguments": '{"city":'}),
            call(index=0, function={"arguments": ' "Oslo"}'}),
        ],
        [
            call(id="t1", type="function", function={"name": "get_weather", "arguments": '{"city":'}),
            call(function={"arguments": ' "Oslo"}'}),
        ],
        [
            call(id="t1", type="function", function={"name": "get_weather", "arguments": '{"city":'}),
            call(id="t1", function={"arguments": ' "Oslo"}'}),
        ],
        [
            call(index=0, id="t1", type="function", function={"name": "get_weather"}),
            call(index=0, id="", type="function", function={"name": "", "arguments": '{"city": "Oslo"}'}),
        ],
    ],
)
def test_a_tool_call_is_assembled(deltas: list[dict[str, Any]]) -> None:
    (assembled,) = build(*deltas)["tool_calls"]
    assert assembled["function"] == WEATHER
    assert assembled["id"] == "t1"


@pytest.mark.parametrize(
    "parts", [("get_", "weather"), ("get_", "get_weather"), ("get_weather", "get_weather")]
)
def test_a_name_in_parts(parts: tuple[str, str]) -> None:
    (assembled,) = build(*(call(index=0, function={"name": part, "arguments": "x"}) for part in parts))[
        "tool_calls"
    ]
    assert assembled["function"] == {"name": "get_weather", "arguments": "xx"}


def test_calls_that_all_have_the_same_index() -> None:
    message = build(
        call(index=0, id="a", function={"name": "f", "arguments": "{}"}),
        call(index=0, id="b", function={"name": "g", "arguments": "["}),
        call(index=0, function={"arguments": "]"}),
    )
    assert [(each["id"], each["function"]["arguments"]) for each in message["tool_calls"]] == [
        ("a", "{}"),
        ("b", "[]"),
    ]


@pytest.mark.parametrize(
    ("message", "extras"),
    [
        ({"tool_calls": {"id": "t"}}, ("1 tool call",)),
        ({"content": [{"type": "tool_use", "name": "f"}]}, ("1 tool call",)),
        ({"image": {"url": "u"}}, ("1 image",)),
        ({"content": {"type": "image_url", "image_url": {"url": "u"}}}, ("1 image",)),
        ({"audio": {"data": "AA"}}, ("1 recording",)),
        ({"citations": ["u", "v"]}, ("2 sources",)),
        ({"content": "a", "images": [], "audio": None, "refusal": None}, ()),
    ],
)
def test_what_a_message_holds_beside_text(message: dict[str, Any], extras: tuple[str, ...]) -> None:
    assert count_extras(message) == extras


def test_fields_of_other_names() -> None:
    message = {"role": "assistant", "content": "", "multi_mod_content": [1], "audio": None, "refusal": "no"}
    assert unknown_fields(message) == ("multi_mod_content",)


def test_what_a_text_part_holds_beside_its_text_is_kept() -> None:
    part = {"type": "text", "text": "a", "annotations": [{"url": "u"}]}
    assert build({"content": [part]})["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "annotations": [{"url": "u"}]},
    ]


def test_parallel_tool_calls() -> None:
    message = build(
        call(index=0, id="a", function={"name": "f", "arguments": "{"}),
        call(index=1, id="b", function={"name": "f", "arguments": "["}),
        call(index=0, function={"arguments": "}"}),
        call(index=1, function={"arguments": "]"}),
    )
    assert [each["function"]["arguments"] for each in message["tool_calls"]] == ["{}", "[]"]
    assert count_extras(message) == ("2 tool calls",)
    without_index = build(
        call(id="a", function={"name": "f", "arguments": "{}"}),
        call(id="b", function={"name": "f", "arguments": "[]"}),
    )
    assert [each["id"] for each in without_index["tool_calls"]] == ["a", "b"]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, "index": 0}


@pytest.mark.parametrize(
    ("deltas", "kept", "extras"),
    [
        ([{"images": [IMAGE]}, {"images": [IMAGE]}], {"images": [IMAGE]}, ("1 image",)),
        ([{"content": [IMAGE]}, {"content": "a"}], {"content": [{"type": "text", "text": "a"}, IMAGE]}, ("1 image",)),
        (
            [{"audio": {"id": "x", "data": "AA"}}, {"audio": {"data": "BB", "transcript": "hi"}}],
            {"audio": {"id": "x", "data": "AABB", "transcript": "hi"}},
            ("1 recording",),
        ),
        ([{"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}}],
         {"function_call": {"name": "f", "arguments": "{}"}}, ("1 tool call",)),
        ([{"annotations": [{"url": "u"}]}, {"annotations": [{"url": "u"}, {"url": "v"}]}],
         {"annotations": [{"url": "u"}, {"url": "v"}]}, ("2 sources",)),
        ([{"refusal": "I can"}, {"refusal": "not"}], {"refusal": "I cannot"}, ()),
    ],
)  # fmt: skip
def test_what_comes_beside_the_text_is_kept(
    deltas: list[dict[str, Any]], kept: dict[str, Any], extras: tuple[str, ...]
) -> None:
    message = build(*deltas)
    assert message | kept == message
    assert count_extras(message) == extras


def added(*parts: str) -> tuple[str, str]:
    buffer = TextBuffer()
    shown = [buffer.add(part, is_last=n == len(parts)) for n, part in enumerate(parts, 1)]
    return buffer.text, "".join(shown)


@pytest.mark.parametrize(
    "parts",
    [
        ["Hello ", "Hello you", "Hello you all"],
        ["", "Hello ", "Hello you", "", "Hello you all", "Hello you all"],
        ["He", "Hell", "Hello you", "Hello you all"],
        ["Hello you", " all", "Hello you all"],
        ["Hello you all"],
        ["H", "e", "llo you all"],
    ],
)
def test_text_that_is_repeated_is_taken_once(parts: list[str]) -> None:
    text, shown = added(*parts)
    assert text == "Hello you all"
    assert shown.endswith(" all")


def test_repetition_from_the_first_character() -> None:
    text, _ = added("我", "我是", "我是通", "我是通义")
    assert text == "我是通义"


@pytest.mark.parametrize(
    "parts",
    [
        ["ha", "ha", "ha"],
        ["no ", "no no ", "yes"],
        ["1", "12", "3"],
        ["1", "10", "100", "1000"],
        ["a", "b", "ab"],
        ["so", " so", " so"],
        ["Bora ", "Bora Bora ", "is ", "Bora "],
        ["Test", "Testing", " is T", "T", "est"],
        ["Knock", "Knock knock!", "Knock"],
        ["    pass\n", "    ", "pass\n"],
        ["Hello", " World!\n", "Hello World!"],
        ["All work ", "and no play\n", "All work and no play\n", "."],
    ],
)
def test_a_model_may_repeat_itself(parts: list[str]) -> None:
    assert added(*parts) == ("".join(parts), "".join(parts))


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["I", " said:", "\n\n", "- a", "\n", "- b"], "I said:\n\n- a\n- b"),
        (["a", "b", "a", "c"], "abac"),
        (["to be", " or not ", "to be", "!"], "to be or not to be!"),
    ],
)
def test_parts_that_come_as_messages(parts: list[str], text: str) -> None:
    builder = ChoiceBuilder(0)
    for part in parts:
        for choice in read_choices({"choices": [{"message": {"content": part}}]}):
            builder.add(choice)
    assert builder.text.text == text


@pytest.mark.parametrize(
    ("deltas", "whole", "text"),
    [
        (["\n\nHi", " you"], "Hi you", "\n\nHi you"),
        (["<think>hm</think>\n\n", "Hi you"], "Hi you", "<think>hm</think>\n\nHi you"),
        (["a\r\nb"], "a\nb", "a\r\nb"),
        (["Hi", " you"], "Hi you!", "Hi you!"),
    ],
)
def test_a_whole_message_behind_the_deltas(deltas: list[str], whole: str, text: str) -> None:
    builder = ChoiceBuilder(0)
    chunks = [{"delta": {"content": delta}} for delta in deltas] + [{"message": {"content": whole}}]
    for chunk in chunks:
        for choice in read_choices({"choices": [chunk]}):
            builder.add(choice)
    assert builder.text.text == text


def test_a_content_part_of_an_odd_type() -> None:
    assert read_content([{"type": ["a"], "text": "x"}]).text == "x"


_KEYS = [
    "choices",
    "delta",
    "message",
    "content",
    "tool_calls",
    "index",
    "type",
    "function",
    "text",
    "audio",
    "reasoning",
]
_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner),
    max_leaves=25,
)


@given(_JSON)
def test_any_choice_is_read_and_assembled(value: Any) -> None:
    builder = ChoiceBuilder(0)
    for _ in range(2):
        for part in read_choices({"choices": [value]}):
            builder.add(part)
    count_extras(builder.to_json()["message"])
