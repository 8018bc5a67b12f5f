from puq_magics.sandbox.scripted.scripts import (
    Content,
    Failure,
    Reasoning,
    Stall,
    StreamEnd,
    Token,
    iter_steps,
)


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
    assert list(iter_steps([Content("a"), Failure("no"), Content("b")])) == [
        Token("content", "a"),
        Failure("no"),
    ]
