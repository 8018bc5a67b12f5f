from collections import Counter
from itertools import islice

from puq_magics.sandbox.models import (
    DEFAULT_MODELS,
    MAX_MODELS,
    MODELS,
    list_response,
    local_models,
    upstream_model,
    with_invented_models,
)
from puq_magics.sandbox.scripted.scripts import SCRIPTS


def test_whoever_chats_and_may_be_asked_has_a_script() -> None:
    chatting = {
        code for code, model in MODELS.items() if model.kind == "chat" and model.enabled and model.granted
    }
    assert chatting == set(SCRIPTS)


def test_prices_are_per_million_tokens() -> None:
    assert MODELS["sandbox/tour"].price(prompt=1_000_000, completion=100_000) == 3.5
    assert MODELS["sandbox/whisper"].price(prompt=1_000_000, completion=1_000_000) == 10


def test_there_is_a_model_of_each_kind_to_ask_by_default() -> None:
    for kind, code in DEFAULT_MODELS.items():
        model = MODELS[code]
        assert (model.kind, model.enabled, model.granted) == (kind, True, True)
    assert set(DEFAULT_MODELS) == {model.kind for model in MODELS.values()}


def test_a_line_of_the_list_has_the_shape_of_the_api() -> None:
    lines = list_response(MODELS.values())["models"]
    assert isinstance(lines, list)
    assert [line["id"] for line in lines] == list(range(1, len(MODELS) + 1))
    assert set(lines[0]) == {
        "id",
        "name",
        "description",
        "code",
        "status",
        "input_price",
        "output_price",
        "provider",
    }
    assert set(lines[0]["provider"]) == {"id", "name", "description", "code", "status"}


def test_models_of_this_machine() -> None:
    models = local_models()
    assert {model.kind for model in models} == {"chat", "speech", "transcription"}
    assert {model.backend_kind for model in models} == {"local"}
    assert all(model.code.startswith("local/") for model in models)
    assert not {model.code for model in models} & set(MODELS)
    assert models[0].price(prompt=1_000_000, completion=1_000_000) == 0.75


def test_ones_own_model_takes_the_place_of_the_usual_one() -> None:
    (chat, *others) = local_models("My Model.Q4_K", (1.0, 2.0))
    assert (chat.code, chat.name, chat.input_price, chat.output_price) == (
        "local/My-Model.Q4_K",
        "My Model.Q4_K",
        1.0,
        2.0,
    )
    assert others == list(local_models()[1:])


def test_a_model_of_the_upstream_is_named_there_as_it_is_there() -> None:
    model = upstream_model("org/large:7b", (1.0, 2.0))
    assert (model.code, model.backend_name, model.backend_kind) == (
        "upstream/org/large:7b",
        "org/large:7b",
        "upstream",
    )


def test_the_own_models_come_first() -> None:
    assert list(islice(with_invented_models(100).values(), len(MODELS))) == list(MODELS.values())
    assert with_invented_models(3) == MODELS


def test_any_length_and_always_the_same() -> None:
    models = with_invented_models(2000)
    assert len(models) == 2000
    assert list(with_invented_models(500).items()) == list(islice(models.items(), 500))
    assert len(with_invented_models(MAX_MODELS)) == MAX_MODELS


def test_they_are_as_various_as_real_ones() -> None:
    models = list(with_invented_models(2000).values())[len(MODELS) :]
    kinds = Counter(model.kind for model in models)
    assert set(kinds) == {"chat", "image", "speech", "transcription"}
    assert min(kinds.values()) > 30
    assert len({model.provider.code for model in models}) == 12
    assert len({model.provider.number for model in models} | {1}) == 13
    assert all(model.code.startswith(f"{model.provider.code}/") for model in models)
    prices = [model.input_price for model in models]
    assert 100 < prices.count(None) < 300
    assert all(price is None or 0.05 <= price <= 13 for price in prices)
    assert 50 < sum(not model.enabled for model in models) < 150
    word = {"image": "image", "speech": "tts", "transcription": "whisper"}
    assert all(word.get(model.kind, "") in model.code for model in models)
