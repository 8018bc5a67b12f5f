"""Grids: the plan, the long table, scores, comparisons, a judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from puq_magics import InputError, MissingVariableError, Router
from puq_magics.experiments import Grid, GridResult
from puq_magics.experiments.arms import parse_vary

ROWS = [{"q": f"{n}+{n}", "right": str(2 * n)} for n in range(12)]


@pytest.fixture
def router(serve: Any) -> Any:
    """A router whose model a/good computes, whose model a/bad says 4, and whose judge prefers the longer answer."""

    def answer(connection: Any) -> None:
        request = connection.request.json
        prompt = request["messages"][-1]["content"]
        if request["model"] == "a/judge":
            task = json.loads(prompt)
            first, second = len(task["answer A"]), len(task["answer B"])
            text = json.dumps({"winner": "A" if first > second else "B" if second > first else "tie"})
        elif request["model"] == "a/first":
            text = '{"winner": "A"}'
        else:
            words = prompt.split()
            number = sum(map(int, words[-1].split("+")))
            text = str(number) if request["model"] == "a/good" else "4"
            text = f"It is {text}" if words[0] == "wordy" else text
        connection.send_head(kind="application/json")
        message = {"role": "assistant", "content": text}
        connection.send(
            json.dumps(
                {
                    "choices": [{"message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 5, "completion_tokens": 1},
                }
            ).encode()
        )

    server = serve(answer)
    with Router("pk_test_key_123", server.url) as client:
        client.server = server  # type: ignore[attr-defined]
        yield client


def run(router: Any, tmp_path: Path, **more: Any) -> GridResult:
    options = {
        "models": ["a/good", "a/bad"],
        "template": "{{style}} {{q}}",
        "vary": {"style": ["plain", "wordy"]},
        "over": ROWS,
    }
    return Grid(**(options | more)).run(router, journal=tmp_path / "run")


def is_right(answer: str, row: dict[str, Any]) -> bool:
    return answer.split()[-1] == row["right"]


def test_the_long_table_has_one_record_a_call(router: Any, tmp_path: Path) -> None:
    result = run(router, tmp_path, repeat=2)
    assert len(result.records) == 2 * 2 * 12 * 2
    record = next(each for each in result.records if (each["row"], each["repeat"]) == (3, 1))
    assert (record["model"], record["style"], record["answer"]) == ("a/good", "plain", "6")
    assert record["error"] is None
    assert result.factors == ["model", "style"]
    assert len(router.server.requests) == 96  # a repeat is a call of its own
    assert len(run(router, tmp_path, repeat=2).records) == 96
    assert len(router.server.requests) == 96


def test_scores_summaries_and_paired_comparisons(router: Any, tmp_path: Path) -> None:
    result = run(router, tmp_path).score(is_right)
    good, bad = result.summary("model")
    assert (good["model"], good["score"], bad["score"]) == ("a/good", 1.0, pytest.approx(1 / 12))
    assert good["low"] < 1.0
    assert good["seconds_p50"] > 0
    assert good["rows"] == 12
    assert str(result.compare("model")).startswith("a/good is better than a/bad by ")
    assert "cannot tell style=plain and style=wordy apart" in str(result.compare("style"))
    assert result.pivot("model", "style")["a/good"] == {"plain": 1.0, "wordy": 1.0}
    assert all(each.agreeing == each.rows for each in run(router, tmp_path, repeat=2).agreement())


def test_an_arm_that_fails_throughout_hides_no_comparison(router: Any, tmp_path: Path) -> None:
    result = run(router, tmp_path, models=["a/good", "a/bad", "a/other"], vary={}, template="plain {{q}}")
    for record in result.records:
        if record["model"] == "a/other":
            record["error"] = "no such model"
    compared = str(result.score(is_right).compare("model"))
    assert compared.startswith("a/good is better than a/bad")
    assert "a/good and a/other have no row in common" in compared


def test_scores_that_are_no_rates_are_not_told_in_percent(router: Any, tmp_path: Path) -> None:
    result = run(router, tmp_path).score(lambda answer: 0.9 if answer.endswith("4") else 0.4)
    assert [row["is_rate"] for row in result.summary("model")] == [False, False]
    assert "by 0." in str(result.compare("model"))
    assert [row["is_rate"] for row in result.score(lambda _: 1).summary("model")] == [True, True]


def test_a_function_of_a_score_takes_the_row_if_it_asks_for_it(router: Any, tmp_path: Path) -> None:
    result = run(router, tmp_path, models=["a/good"], over=ROWS[:1], vary={}, template="plain {{q}}")
    for function, score in (
        (lambda _, row: len(row), 2),
        (lambda _, row=None: len(row), 2),
        (lambda _, strict=True: strict is True, True),
        (lambda *answers: len(answers), 1),
        (lambda _: float("nan"), None),
    ):
        assert result.score(function).records[0]["score"] == score


def test_a_pilot_takes_some_rows_and_knows_the_whole(router: Any, tmp_path: Path) -> None:
    pilot = run(router, tmp_path, limit=2)
    assert ({record["row"] for record in pilot.records}, pilot.total) == ({0, 1}, 48)
    assert len({record["row"] for record in run(router, tmp_path, sample=3).records}) == 3
    assert len(run(router, tmp_path).records) == 48
    assert len(router.server.requests) == 48


def test_a_value_that_was_cut_is_noted_once_a_row(router: Any, tmp_path: Path) -> None:
    rows = [{"q": "1+1", "text": "x" * 30}, {"q": "2+2", "text": "y" * 25}, {"q": "3+3", "text": ""}]
    options = {"template": "{{style}} {{x: 1}} {{text}} {{row.q}}", "max_value_chars": 20}
    result = run(router, tmp_path, over=rows, repeat=2, **options)
    assert result.notes == (
        "{{x: 1}}: not an expression, sent unchanged",
        "text: cut at 20 of 30 characters (and 1 more)",
    )
    assert result.errors() == {}  # a row without a text has a question, still


def test_settings_vary_too(router: Any, tmp_path: Path) -> None:
    vary = {"temperature": [0, 1.5], "max_tokens": [5]}
    result = run(router, tmp_path, template="plain {{q}}", vary=vary, models=["a/good"], over=ROWS[:1])
    sent = [request.json for request in router.server.requests]
    assert sorted(body["temperature"] for body in sent) == [0, 1.5]
    assert {body["max_completion_tokens"] for body in sent} == {5}
    assert result.factors == ["temperature"]


def test_a_judge_sees_both_orders(router: Any, tmp_path: Path) -> None:
    result = run(router, tmp_path, models=["a/good"])
    fair = result.judge("a/judge", "Longer is better.", "style")
    assert "a/judge prefers wordy to plain: 12 wins, 0 ties, 0 losses" in str(fair)
    assert fair.flip_rate.value == 0
    assert fair.agreement({0: "wordy", 1: "plain"}).value == 0.5
    biased = result.judge("a/first", "Longer is better.", "style")
    assert biased.flip_rate.value == 1
    assert "cannot tell" in str(biased)
    asked = len(router.server.requests)
    result.judge("a/judge", "Longer is better.", "style")
    assert len(router.server.requests) == asked


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_saving(router: Any, tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    result = run(router, tmp_path)
    path = result.save(tmp_path / name)
    assert path.stat().st_size > 1000
    with pytest.raises(InputError, match="exists"):
        result.save(path)
    assert result.save(path, force=True) == path


def test_a_plot(router: Any, tmp_path: Path) -> None:
    axes = run(router, tmp_path).score(is_right).plot("model")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a/good", "a/bad"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"vary": {"styl": ["a"]}}, InputError, "Did you mean 'style'?"),
        ({"vary": {"style": []}}, InputError, "style has no values"),
        ({"vary": {"style": ["a"], "q": ["b"]}}, InputError, "'q' is a column of the table, too"),
        ({"template": "{{nothing}}", "vary": {}}, MissingVariableError, "named 'nothing'"),
        ({"models": []}, InputError, "no model is named"),
        ({"repeat": 0}, InputError, "below 1"),
        ({"models": ["a/good", "a/good"]}, InputError, "model 'a/good' is listed twice"),
        ({"vary": {"style": ["a", "a"]}}, InputError, "style 'a' is listed twice"),
        (
            {"vary": {"style": ["a"], "temperature": [1, 1.0]}},
            InputError,
            "temperature '1.0' is listed twice",
        ),
        ({"vary": {"answer": [1]}, "template": "{{answer}} {{q}}"}, InputError, "of its own"),
        ({"template": "{{style}}"}, InputError, "names no column"),
        ({"template": "{{style}}", "over": [{"a b": 1}]}, InputError, "Write {{row['a b']}}, or leave out"),
        ({"template": "{{row}}", "vary": {}, "over": None}, MissingVariableError, "named 'row'"),
        ({"over": []}, InputError, "has no rows"),
        ({"over": None, "template": "{{style}}", "limit": 2}, InputError, "there is none"),
        ({"repeat": 10**6}, InputError, "more than 1,000,000 calls"),
    ],
)
def test_bad_grids(
    router: Any, tmp_path: Path, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as caught:
        run(router, tmp_path, **options)
    assert said in str(caught.value)
    assert router.server.requests == []


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("compare", []),
        ("compare", ["model", "answer"]),
        ("compare", ["modle"]),
        ("pivot", ["model", "style", "answer"]),
        ("pivot", ["model", "nothing"]),
        ("pivot", ["model", "style", "scor"]),
        ("agreement", []),
        ("levels", ["nothing"]),
        ("judge", ["a/judge", " "]),
        ("score", ["words"]),
        ("score", [str]),
        ("score", [len, "answer"]),
        ("summary", ["styl"]),
        ("plot", ["styl"]),
    ],
)
def test_what_a_table_lacks_is_said(router: Any, tmp_path: Path, method: str, arguments: list[Any]) -> None:
    result = run(router, tmp_path)
    with pytest.raises(InputError) as caught:
        getattr(result, method)(*arguments)
    assert caught.value.hint


def test_values_of_vary() -> None:
    assert parse_vary(["t=0,1.5,true,x y", "style=a"]) == {"t": [0, 1.5, True, "x y"], "style": ["a"]}
    assert parse_vary(['t="a, b",c,7', 's=["x, y", "7", 7]', "n=NaN,Infinity,007"]) == {
        "t": ["a, b", "c", 7],
        "s": ["x, y", "7", 7],
        "n": ["NaN", "Infinity", "007"],
    }
    for bad in (["novalue"], ["a b=1"], ["x=1", "x=2"], ["model=a"], ['x="a,b'], ["x=[1"], ["x=[null]"]):
        with pytest.raises(InputError):
            parse_vary(bad)
