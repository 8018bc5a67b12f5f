"""One prompt for each row of a table, by the Python API, against a fake router."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from puq_magics import AuthenticationError, InputError, MissingVariableError, PaymentRequiredError, PuqError
from puq_magics.experiments import RunProgress

ROWS = [{"text": "one"}, {"text": "two"}, {"text": "three"}]


def upper(text: str) -> str:
    return text.upper()


def prompts(server: Any) -> list[str]:
    return [request.json["messages"][-1]["content"] for request in server.requests]


def test_answers_are_a_new_column_in_the_order_of_the_rows(replies: Any, ask_rows: Any) -> None:
    result = ask_rows(replies(upper), ROWS)
    assert result.to_frame() == [
        {"text": "one", "answer": "ONE", "error": None},
        {"text": "two", "answer": "TWO", "error": None},
        {"text": "three", "answer": "THREE", "error": None},
    ]
    details = result.to_frame(details=True)[0]
    assert (details["attempts"], details["model"], details["finish_reason"]) == (1, "a/b-2026", "stop")
    assert (details["prompt_tokens"], details["completion_tokens"]) == (7, 2)
    assert ROWS[0] == {"text": "one"}


def test_the_fields_of_a_schema_are_columns(replies: Any, ask_rows: Any) -> None:
    server = replies(lambda text: json.dumps({"length": len(text), "word": text}))
    result = ask_rows(server, ROWS, schema="length int, word str")
    assert [(row["length"], row["word"]) for row in result.to_frame()] == [
        (3, "one"),
        (3, "two"),
        (5, "three"),
    ]
    assert server.requests[0].json["response_format"]["type"] == "json_schema"


def test_an_answer_that_does_not_fit_is_asked_for_once_more(replies: Any, ask_rows: Any) -> None:
    def reply(text: str) -> str:
        if text == "one" or "two" in text:
            return "not JSON"
        return '{"n": 1}'

    result = ask_rows(replies(reply), ROWS, schema="n int")
    assert result.failed == []
    assert [row["attempts"] for row in result.to_frame(details=True)] == [2, 2, 1]


def test_a_router_that_takes_no_response_format_is_told_in_words(serve: Any, ask_rows: Any) -> None:
    def answer(connection: Any) -> None:
        if "response_format" in connection.request.json:
            connection.send_head("400 Bad Request", "application/json")
            connection.send(b'{"error": {"message": "response_format is not supported"}}')
            return
        assert "JSON Schema" in connection.request.json["messages"][0]["content"]
        connection.send_head(kind="application/json")
        body = {"choices": [{"message": {"content": '{"n": 5}'}, "finish_reason": "stop"}]}
        connection.send(json.dumps(body).encode())

    server = serve(answer)
    assert [row["n"] for row in ask_rows(server, ROWS, schema="n int", workers=1).to_frame()] == [5, 5, 5]
    assert len(server.requests) == 4


def test_a_failing_row_has_its_error_and_can_be_tried_again(replies: Any, ask_rows: Any) -> None:
    broken = True

    def reply(text: str) -> str | tuple[int, str]:
        return (422, "this text is not allowed") if broken and text == "two" else upper(text)

    server = replies(reply)
    result = ask_rows(server, ROWS)
    frame = result.to_frame()
    assert [row["answer"] for row in frame] == ["ONE", None, "THREE"]
    assert "this text is not allowed" in frame[1]["error"]
    assert result.failed == [1]
    assert list(result.errors().values()) == [1]
    broken = False
    again = result.retry()
    assert [row["answer"] for row in again.to_frame()] == ["ONE", "TWO", "THREE"]
    assert prompts(server).count("one") == 1
    assert prompts(server).count("two") == 2


def test_equal_rows_share_one_call(replies: Any, ask_rows: Any) -> None:
    server = replies(upper)
    result = ask_rows(server, [*ROWS, *ROWS, {"text": "one"}])
    assert sorted(prompts(server)) == ["one", "three", "two"]
    assert [row["answer"] for row in result.to_frame()] == ["ONE", "TWO", "THREE"] * 2 + ["ONE"]


def test_rows_without_a_value_are_not_asked_for(replies: Any, ask_rows: Any) -> None:
    server = replies(upper)
    result = ask_rows(server, [{"text": None}, {"text": " "}, {"text": float("nan")}, {"text": "x"}])
    assert prompts(server) == ["x"]
    assert result.failed == [0, 1, 2]
    assert result.errors() == {"no value in the columns of the prompt": 3}
    rows = [{"text": None, "more": "y", "note": float("nan")}, {"text": "long " * 5, "more": "", "note": 1}]
    result = ask_rows(server, rows, "{{text}}{{row.more}}{{row.note}}", fresh=True)
    assert sorted(prompts(server)) == [f"{'long ' * 5}1", "x", "y"]


def test_other_names_come_from_the_variables_and_a_clash_is_said(replies: Any, ask_rows: Any) -> None:
    server = replies(upper)
    rows = [{"text": "one", "odd name": "q"}]
    result = ask_rows(
        server, rows, "{{text}} {{tone}} {{row['odd name']}}", variables={"tone": "kind", "text": "unused"}
    )
    assert prompts(server) == ["one kind q"]
    assert result.notes == ["{{text}} is the column, not the variable of that name"]


@pytest.mark.parametrize(
    ("rows", "template", "error", "said"),
    [
        ([], "{{text}}", InputError, "has no rows"),
        ([{}], "Is it good?", InputError, "has no columns"),
        (5, "{{text}}", InputError, "a value of type int is not a table"),
        (ROWS, "{{txt}}", MissingVariableError, "Did you mean 'text'?"),
        (ROWS, "Is it good?", InputError, "names no column"),
        ([{"a b": 1}], "Is it good?", InputError, "Write {{row['a b']}}."),
        ([{"answer": 1}], "{{answer}}", InputError, "has a column 'answer' already"),
        ([{"text": 1, "error": 2}], "{{text}}", InputError, "has a column 'error' already"),
        ("missing.csv", "{{text}}", InputError, "there is no file"),
        ("notes.txt", "{{text}}", InputError, "there is no file"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(
    replies: Any, ask_rows: Any, tmp_path: Path, rows: Any, template: str, error: type[Exception], said: str
) -> None:
    server = replies(upper)
    with pytest.raises(error) as caught:
        ask_rows(server, rows, template)
    assert said in str(caught.value)
    assert server.requests == []
    assert not (tmp_path / "run").exists()


def test_a_finished_call_is_never_sent_again(replies: Any, ask_rows: Any) -> None:
    server = replies(upper)
    ask_rows(server, ROWS[:2])
    events: list[RunProgress] = []
    result = ask_rows(server, ROWS, on_event=events.append)
    assert sorted(prompts(server)) == ["one", "three", "two"]
    assert result.progress.from_journal == 2
    assert [outcome.text for event in events for outcome in event.finished] == ["THREE"]
    assert ask_rows(server, ROWS, fresh=True).progress.from_journal == 0
    assert len(server.requests) == 6


def test_other_models_parameters_and_system_prompts_are_other_calls(replies: Any, ask_rows: Any) -> None:
    server = replies(upper)
    for options in ({}, {"model": "a/c"}, {"params": {"temperature": 0}}, {"system": "Be brief."}, {}):
        assert ask_rows(server, ROWS[:1], **options).failed == []
    assert len(server.requests) == 4


def test_failures_that_may_pass_are_tried_again_by_the_next_run(replies: Any, ask_rows: Any) -> None:
    down = True
    server = replies(lambda text: (500, "down") if down and text == "two" else upper(text))
    assert ask_rows(server, ROWS).failed == [1]
    down = False
    assert ask_rows(server, ROWS).failed == []
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("status", "asked", "error"),
    [(401, 1, AuthenticationError), (402, 1, PaymentRequiredError), (500, 20, PuqError)],
    ids=["key", "balance", "failures"],
)
def test_a_run_that_can_only_fail_stops(
    replies: Any, ask_rows: Any, status: int, asked: int, error: type[PuqError]
) -> None:
    server = replies(lambda _: (status, "no"))
    with pytest.raises(error) as caught:
        ask_rows(server, [{"text": f"row {n}"} for n in range(50)], workers=1)
    assert caught.value.hint
    assert len(server.requests) == asked


@pytest.mark.parametrize("status", [403, 404])
def test_a_model_that_cannot_be_used_is_asked_once(replies: Any, ask_rows: Any, status: int) -> None:
    server = replies(lambda _: (status, "no"))
    result = ask_rows(server, [{"text": f"row {n}"} for n in range(50)], workers=1)
    assert len(result.failed) == 50
    assert len(server.requests) == 1


def test_a_rate_limit_slows_the_run_and_loses_nothing(replies: Any, ask_rows: Any) -> None:
    lock, refused = threading.Lock(), 3

    def reply(text: str) -> str | tuple[int, str]:
        nonlocal refused
        with lock:
            refused -= 1
            return (429, "slow down") if refused >= 0 else upper(text)

    events: list[RunProgress] = []
    result = ask_rows(replies(reply), ROWS, on_event=events.append)
    assert result.failed == []
    assert sum(row["attempts"] for row in result.to_frame(details=True)) == 6
    assert events[-1].limit < 16


def test_limit_and_sample_take_some_rows_and_go_on_from_there(replies: Any, ask_rows: Any) -> None:
    server = replies(upper)
    rows = [{"text": f"row {n}"} for n in range(30)]
    assert [row["text"] for row in ask_rows(server, rows, limit=2).to_frame()] == ["row 0", "row 1"]
    sampled = ask_rows(server, rows, sample=10).to_frame()
    assert len({row["text"] for row in sampled}) == 10
    assert sampled == ask_rows(server, rows, sample=10).to_frame()
    assert ask_rows(server, rows).failed == []
    assert sorted(prompts(server)) == sorted(row["text"] for row in rows)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_executor_makes_the_calls(replies: Any, ask_rows: Any, kind: str) -> None:
    server = replies(upper)
    rows = [{"text": f"row {n}"} for n in range(40)]
    spawn = get_context("spawn")
    pool = ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(2, mp_context=spawn)
    with pool:
        result = ask_rows(server, rows, executor=pool)
    assert [row["answer"] for row in result.to_frame()] == [row["text"].upper() for row in rows]
    assert len(server.requests) == 40
    assert not any("pk_secret" in str(request.headers) for request in server.requests)


class CancellingExecutor(Executor):
    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.cancel()
        return future


def shut_down_pool() -> Executor:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    return pool


@pytest.mark.parametrize(
    ("executor", "reason"),
    [(shut_down_pool, "RuntimeError: cannot schedule"), (CancellingExecutor, "it cancelled the calls")],
)
def test_an_executor_that_runs_nothing_is_said_and_holds_no_lock(
    replies: Any, ask_rows: Any, executor: Callable[[], Executor], reason: str
) -> None:
    server = replies(upper)
    for _ in range(2):
        with pytest.raises(PuqError, match=f"the executor does not run the calls .{reason}"):
            ask_rows(server, ROWS, executor=executor())
    assert ask_rows(server, ROWS).failed == []


def test_a_pool_that_is_shut_down_during_a_run_ends_it(replies: Any, ask_rows: Any) -> None:
    pool = ThreadPoolExecutor(1)

    def reply(text: str) -> str:
        pool.shutdown(wait=False, cancel_futures=True)
        return text.upper()

    server = replies(reply)
    rows = [{"text": f"row {n}"} for n in range(100)]
    with pytest.raises(PuqError, match="RuntimeError: cannot schedule"):
        ask_rows(server, rows, executor=pool)
    assert ask_rows(server, rows).failed == []
    assert len(server.requests) == 100


def test_no_key_is_in_the_journal(replies: Any, ask_rows: Any, tmp_path: Path) -> None:
    ask_rows(replies(upper), ROWS)
    files = [path for path in (tmp_path / "run").iterdir() if path.is_file()]
    assert files
    assert not any(b"pk_secret" in path.read_bytes() for path in files)
