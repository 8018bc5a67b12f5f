from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.api.types import (
    Delta,
    Model,
    Usage,
    join_surrogates,
    model_kind,
    read_balance,
    read_models,
    read_usage,
)
from puq_magics.core.errors import InvalidResponseError, PuqError

VENDOR = {
    "id": 1,
    "name": "GPT-4o",
    "description": "A model.",
    "code": "openai/gpt-4o",
    "status": 1,
    "input_price": 0.00005,
    "output_price": None,
    "provider": {"id": 1, "name": "OpenAI", "description": "…", "code": "openai", "status": 1},
}
OPENAI = {"id": "llama3.2:1b", "object": "model", "created": 0, "owned_by": "library"}


def test_both_shapes_of_the_model_list() -> None:
    assert read_models({"models": [VENDOR]}) == (
        Model("openai/gpt-4o", "GPT-4o", "OpenAI", "A model.", True, 0.00005, None),
    )
    assert read_models({"object": "list", "data": [OPENAI]}) == (
        Model("llama3.2:1b", "llama3.2:1b", "library"),
    )
    assert read_models([OPENAI]) == read_models({"data": [OPENAI]})


def test_a_server_that_answers_both_shapes_means_the_second() -> None:
    answer = {"models": [{"name": "file.gguf", "model": "file.gguf"}], "object": "list", "data": [OPENAI]}
    assert [model.code for model in read_models(answer)] == ["llama3.2:1b"]


@pytest.mark.parametrize(
    "answer",
    [{"models": []}, {"data": []}, [], {"object": "list", "data": None}, {"models": [], "message": "none"}],
)
def test_no_models_are_no_error(answer: Any) -> None:
    assert read_models(answer) == ()


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"message": "your key is blocked"}},
        {"detail": "your key is blocked"},
        {"code": 401, "msg": "your key is blocked"},
        {"message": "your key is blocked"},
        {"models": None, "success": False, "message": "your key is blocked"},
        [{"error": {"message": "your key is blocked"}}],
        {"data": [{"error": {"message": "your key is blocked"}}]},
        ["your key is blocked"],
    ],
)
def test_an_error_in_place_of_the_model_list_is_quoted(answer: Any) -> None:
    with pytest.raises(InvalidResponseError, match=": your key is blocked"):
        read_models(answer)


@pytest.mark.parametrize("answer", [None, {}, "x", 3, {"models": {}}, {"models": None}, {"data": "x"}])
def test_what_is_no_model_list(answer: Any) -> None:
    with pytest.raises(InvalidResponseError, match="not a list of models"):
        read_models(answer)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"status": 0}, {"enabled": False}),
        ({"status": "0"}, {"enabled": False}),
        ({"status": False}, {"enabled": False}),
        ({"status": None}, {"enabled": True}),
        ({"status": []}, {"enabled": True}),
        ({"input_price": "0.5"}, {"input_price": 0.5}),
        ({"input_price": "free"}, {"input_price": None}),
        ({"input_price": True}, {"input_price": None}),
        ({"input_price": "nan"}, {"input_price": None}),
        ({"input_price": float("inf")}, {"input_price": None}),
        ({"input_price": 10**400}, {"input_price": None}),
        ({"provider": "OpenAI"}, {"provider": "OpenAI"}),
        ({"provider": {"code": "openai"}}, {"provider": "openai"}),
        ({"provider": 3}, {"provider": ""}),
        ({"provider": None, "owned_by": "me"}, {"provider": "me"}),
        ({"name": 3}, {"name": "openai/gpt-4o"}),
        ({"code": None, "id": "a/b"}, {"code": "a/b"}),
    ],
)
def test_odd_fields_of_a_model(changed: dict[str, Any], expected: dict[str, Any]) -> None:
    (model,) = read_models({"models": [VENDOR | changed]})
    assert {name: getattr(model, name) for name in expected} == expected


def test_nameless_and_repeated_models_are_left_out() -> None:
    assert [m.code for m in read_models([VENDOR, {"id": 1}, {}, "x", None, VENDOR, OPENAI])] == [
        "openai/gpt-4o",
        "llama3.2:1b",
    ]


@pytest.mark.parametrize(("value", "balance"), [(1234.56, 1234.56), (0, 0.0), (-3, -3.0), ("12.5", 12.5)])
def test_the_balance(value: Any, balance: float) -> None:
    assert read_balance({"success": True, "balance": value}) == balance


@pytest.mark.parametrize("answer", [None, [], {}, {"balance": None}, {"balance": "much"}, {"balance": True}])
def test_no_balance(answer: Any) -> None:
    with pytest.raises(InvalidResponseError, match="no balance"):
        read_balance(answer)


@pytest.mark.parametrize(
    ("value", "usage"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}, Usage(1, 2, 3)),
        ({"prompt_tokens": 1, "completion_tokens": 2}, Usage(1, 2, 3)),
        ({"prompt_tokens": 1, "completion_tokens": None, "total_tokens": "3"}, Usage(1, 0, 3)),
        ({"total_tokens": 9, "prompt_tokens_details": {}}, Usage(0, 0, 9)),
        ({"input_tokens": 1, "output_tokens": 2, "total_tokens": 4}, Usage(1, 2, 4)),
        ({"prompt_tokens": 5, "input_tokens": 1}, Usage(5, 0, 5)),
        ({"prompt_tokens": True}, None),
        ({"prompt_tokens": "5", "completion_tokens": 2.0}, Usage(5, 2, 7)),
        ({"prompt_tokens": 5, "completion_tokens": 2, "cost": "0.25"}, Usage(5, 2, 7, 0.25)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
        ({"prompt_tokens": 5, "completion_tokens": 2, "cost": -1}, Usage(5, 2, 7)),
        ({"prompt_tokens": 5, "completion_tokens": 2, "cost": float("inf")}, Usage(5, 2, 7)),
        ({"prompt_tokens": 5, "completion_tokens": 2, "cost": {"total_cost": 0.5}}, Usage(5, 2, 7, 0.5)),
        ({"prompt_tokens": 5, "completion_tokens": 2, "estimated_cost": 0.5}, Usage(5, 2, 7, 0.5)),
        ({"promptTokens": 5, "completionTokens": 2, "totalTokens": 8}, Usage(5, 2, 8)),
        ({"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 8}, Usage(5, 2, 8)),
        ({"prompt_tokens": -1, "completion_tokens": "many"}, None),
        ({"prompt_tokens": "1,000", "completion_tokens": "12,345,678"}, Usage(1_000, 12_345_678, 12_346_678)),
        ({"prompt_tokens": "1,0", "completion_tokens": 2}, Usage(0, 2, 2)),
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 5}, Usage(5, 2, 7)),
        *(
            ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": total} | reasoning, usage)
            for reasoning in (
                {"completion_tokens_details": {"reasoning_tokens": 500}},
                {"output_tokens_details": {"reasoningTokens": 500}},
                {"thoughtsTokenCount": 500},
            )
            for total, usage in ((507, Usage(5, 502, 507)), (7, Usage(5, 2, 7)), (9, Usage(5, 4, 9)))
        ),
        ({}, None),
        (None, None),
        ([1], None),
    ],
)
def test_usage(value: object, usage: Usage | None) -> None:
    assert read_usage(value) == usage


def test_a_delta_is_false_when_nothing_came() -> None:
    assert not Delta()
    assert Delta("a")
    assert Delta(reasoning="r")


@given(st.lists(st.text(alphabet=["a", "é", "😀", "\ud83d", "\ude00", "\udc00", "\ud800"], max_size=4)))
def test_surrogates_are_joined_or_replaced(texts: list[str]) -> None:
    joined = join_surrogates(texts)
    joined.encode("utf-8")
    halves = re.sub("[\ud800-\udbff][\udc00-\udfff]", "😀", "".join(texts))
    assert len(joined) == len(halves)
    assert re.sub("[\ud800-\udfff]", "\ufffd", halves).count("\ufffd") == joined.count("\ufffd")


_KEYS = st.sampled_from(
    ["models", "data", "id", "code", "name", "provider", "status", "balance", "choices", "delta"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner),
    max_leaves=20,
)


@given(_JSON)
def test_any_json_is_read_or_refused_with_an_error_of_ours(value: Any) -> None:
    for read in (read_models, read_balance):
        try:
            read(value)
        except PuqError as error:
            assert isinstance(error, InvalidResponseError)  # noqa: PT017 - either outcome is right
    read_usage(value)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("openai/gpt-4o", "chat"),
        ("openai/gpt-4o-mini", "chat"),
        ("openai/tts-1", "speech"),
        ("openai/gpt-4o-mini-tts", "speech"),
        ("openai/whisper-1", "transcription"),
        ("openai/gpt-4o-transcribe", "transcription"),
        ("openai/gpt-image-1.5", "image"),
        ("openai/dall-e-3", "image"),
        ("black-forest-labs/FLUX.1-dev", "image"),
        ("google/imagen-4", "image"),
        ("openai/text-embedding-3-small", "embedding"),
        ("openai/omni-moderation-latest", "embedding"),
        ("deepseek/deepseek-chat", "chat"),
        ("anthropic/claude-sonnet-4", "chat"),
        ("meta/llama-3.2-90b-vision-instruct", "chat"),
        ("google/gemini-2.5-flash", "chat"),
        ("google/gemini-2.5-flash-image", "image"),
        ("mistral/voxtral-mini", "chat"),
        ("fast/stutter", "chat"),
        ("acme/invoice-reader", "chat"),
        ("voice-labs/chat-1", "chat"),
        ("acme/my-voice", "speech"),
        ("local/hibari", "speech"),
        ("local/whisper-tiny.en", "transcription"),
        ("local/smollm2-135m-instruct", "chat"),
        ("", "chat"),
    ],
)
def test_what_names_tell(code: str, kind: str) -> None:
    assert model_kind(code) == kind
