import pytest

from puq_magics.core.suggestions import MAX_NAME_LENGTH, closest_match, closest_matches, did_you_mean


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("topik", ["row", "topic", "tonic"], "topic"),
        ("DF", ["df", "row"], "df"),
        ("colour", ["Color"], "Color"),
        ("hidden", ["_hidden"], None),
        ("same", ["same"], None),
        ("xyz", ["row", ""], None),
        ("a" * (MAX_NAME_LENGTH + 1), ["a" * MAX_NAME_LENGTH], None),
        ("name", [], None),
        ("naem", [*(f"_i{n}" for n in range(5_000)), "name"], "name"),
    ],
)
def test_nearest(name: str, known: list[str], found: str | None) -> None:
    assert closest_match(name, known) == found


def test_several_of_the_nearest() -> None:
    known = ["gpt-4o-mini", "claude", "GPT-4o", "gpt-4"]
    assert closest_matches("gpt-4o", known, 2) == ["GPT-4o", "gpt-4"]
    assert closest_matches("gpt-4o", known, 3, cutoff=0.99) == ["GPT-4o"]


def test_did_you_mean() -> None:
    assert did_you_mean("topik", {"topic": 1}) == "Did you mean 'topic'?"
    assert did_you_mean("topik", {}) == ""


def test_looks_at_the_beginning_of_endless_names() -> None:
    assert closest_match("name", (f"{n}" for n in iter(int, 1))) is None
