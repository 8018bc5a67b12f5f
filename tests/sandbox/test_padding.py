from collections import Counter
from itertools import islice

from puq_magics.sandbox.models import MAX_MODELS, MODELS, with_invented_models


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
