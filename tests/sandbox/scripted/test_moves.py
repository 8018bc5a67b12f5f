from puq_magics.sandbox.scripted.scripts import Break, End, Say, Stall, Think, Token, play


def test_words_become_tokens_and_an_end() -> None:
    assert list(play([Think("Hm"), Say("So be it")])) == [
        Token("reasoning_content", "Hm"),
        Token("content", "So"),
        Token("content", " be"),
        Token("content", " it"),
        End("stop"),
    ]


def test_where_a_script_pauses_makes_no_difference() -> None:
    assert list(play([Say("So "), Say("be"), Say("fit")])) == list(play([Say("So befit")]))


def test_a_limit_cuts() -> None:
    assert list(play([Think("Hm"), Say("So be it")], 2))[-2:] == [Token("content", "So"), End("length")]


def test_an_answer_that_just_fits_is_not_cut() -> None:
    assert list(play([Say("So be it")], 3))[-1] == End("stop")


def test_nothing_comes_after_a_stall_or_a_break() -> None:
    assert list(play([Say("a"), Stall(keep_alive=True), Say("b")])) == [
        Token("content", "a"),
        Stall(keep_alive=True),
    ]
    assert list(play([Say("a"), Break("no"), Say("b")])) == [Token("content", "a"), Break("no")]
