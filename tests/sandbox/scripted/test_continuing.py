import json

import pytest

from puq_magics.sandbox.chat_request import ChatRequest, read_chat_request
from puq_magics.sandbox.scripted.scripts import CLOSING_SENTENCE, NOTHING_LEFT, NOTICE, SCRIPTS, Content

QUESTION = ("user", "A table and some code on foxes, please")
GO_ON = ("user", "Continue exactly where you stopped.")


def request(*turns: tuple[str, str]) -> ChatRequest:
    messages = [{"role": role, "content": text} for role, text in turns]
    return read_chat_request(json.dumps({"model": "sandbox/any", "messages": messages}).encode())


def said(name: str, *turns: tuple[str, str]) -> str:
    return "".join(
        move.text for move in SCRIPTS[f"sandbox/{name}"](request(*turns)) if isinstance(move, Content)
    )


@pytest.mark.parametrize("name", ["chat", "short", "think", "tour"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("go_on", [(GO_ON,), (("user", "please go on"),), ()])
def test_it_goes_on_where_it_was_cut(name: str, share: float, go_on: tuple[tuple[str, str], ...]) -> None:
    whole = said(name, QUESTION)
    cut = int(len(whole) * share)
    assert said(name, QUESTION, ("assistant", whole[:cut]), *go_on) == whole[cut:]


def test_cut_twice() -> None:
    whole = said("tour", ("user", "Hi"), ("assistant", "Ho"), QUESTION)
    turns = [("user", "Hi"), ("assistant", "Ho"), QUESTION]
    twice = [*turns, ("assistant", whole[:500]), GO_ON, ("assistant", whole[500:900]), GO_ON]
    assert said("tour", *twice) == whole[900:]


def test_the_end_alone_will_do() -> None:
    whole = said("chat", QUESTION)
    assert (
        said("chat", QUESTION, ("assistant", whole[100:250].rstrip()), GO_ON)
        == whole[len(whole[:250].rstrip()) :]
    )


def test_nothing_is_left() -> None:
    assert said("chat", QUESTION, ("assistant", said("chat", QUESTION)), GO_ON) == NOTHING_LEFT


@pytest.mark.parametrize("name", ["stall", "silence", "fail"])
def test_who_stopped_comes_to_an_end(name: str) -> None:
    came = said(name, QUESTION)
    moves = [*SCRIPTS[f"sandbox/{name}"](request(QUESTION, ("assistant", came[:-5]), GO_ON))]
    assert moves == [Content(came[-5:] + CLOSING_SENTENCE)]


@pytest.mark.parametrize(
    "turns",
    [
        (QUESTION, ("assistant", "The words of another model."), GO_ON),
        (QUESTION, ("assistant", "*Scripted"), ("user", "What is a fox?")),
        (GO_ON,),
    ],
)
def test_what_is_no_cut_answer_is_answered_anew(turns: tuple[tuple[str, str], ...]) -> None:
    assert said("chat", *turns).startswith(f"{NOTICE}You asked:\n\n> {turns[-1][1]}")


def test_echo_shows_what_arrived() -> None:
    assert "3 messages came" in said("echo", QUESTION, ("assistant", "x"), GO_ON)
