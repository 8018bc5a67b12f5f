"""Functions that a model calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from raw_server import DONE, delta, event

from puq_magics.core.errors import BudgetError, InputError


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUQ_CHAT_MODEL", "a/b")


def completion(text: object, *calls: tuple[str, str], finish: str = "stop") -> dict[str, Any]:
    """Return an answer with calls, each a name and its arguments as text."""
    listed = [
        {"id": f"t{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(calls)
    ]
    message = {"content": text} | ({"tool_calls": listed} if listed else {})
    finish = "tool_calls" if listed and finish == "stop" else finish
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}


OSLO = ("weather", '{"city": "Oslo"}')


def test_calls_are_kept_shown_and_sent_in_the_next_turn(use_responses: Any, shell: Any) -> None:
    server = use_responses(completion("Let me look.", OSLO, ("f", "x")), completion("Fine."))
    ran = shell.run("%puq_chat --no-stream -c trip -o r hi")
    result = shell.names["r"]
    assert [(call.name, call.arguments, call.id) for call in result.calls] == [
        ("weather", {"city": "Oslo"}, "t0"),
        ("f", "x", "t1"),
    ]
    assert result.raw["choices"][0]["message"]["tool_calls"][1]["function"]["arguments"] == "x"
    assert 'weather(city="Oslo") not run\nf(x) not run' in ran.out
    assert "2 tool calls in .calls" in ran.out
    assert (
        "<code>weather&#40;city&#61;&#34;Oslo&#34;&#41;</code> not run"
        in result._repr_mimebundle_()["text/markdown"]
    )
    shell.run("%puq_chat --no-stream -c trip and now?")
    _, called, one, two, answer, question = server.requests[-1].json["messages"]
    assert [each["function"]["arguments"] for each in called["tool_calls"]] == ['{"city": "Oslo"}', "{}"]
    assert [one["tool_call_id"], two["tool_call_id"]] == ["t0", "t1"]
    assert (answer["content"], question["content"]) == ("Let me look.", "and now?")


def test_streamed_calls(use_responses: Any, shell: Any) -> None:
    parts = [
        {"tool_calls": [{"index": 0, "id": "t0", "function": {"name": "weather", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
        {"content": "", "tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]},
    ]
    chunks = [*(delta(**part) for part in parts), delta("", "tool_calls")]
    use_responses(b"".join(event(chunk) for chunk in chunks) + DONE, kind="text/event-stream")
    ran = shell.run("%puq_chat -o r hi")
    assert 'weather(city="Oslo") not run' in ran.out
    assert [str(call) for call in shell.names["r"].calls] == ['weather(city="Oslo")']


WEATHER = '''
ran = []
def weather(city: str, days: list[int] | None = None) -> dict:
    """Return the weather of a city.

    Args:
        city: Name of the city.
    """
    ran.append(city)
    if days:
        days.append(99)
    if city == "Atlantis":
        raise ValueError("no such city")
    return {"city": city, "celsius": 12}
'''
BERGEN, ATLANTIS = ("weather", '{"city": "Bergen"}'), ("weather", '{"city": "Atlantis"}')


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Queue of the user's answers; each is replaced by its question. An exception is raised."""
    queue: list[Any] = []
    asked: list[str] = []

    def _input(prompt: str) -> str:
        answer = queue.pop(0) if queue else EOFError()
        asked.append(prompt)
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)

    monkeypatch.setattr("builtins.input", _input)
    return queue


def tool_messages(server: Any, number: int = -1) -> list[str]:
    """Return what the model was told of its calls."""
    messages = chats(server)[number]["messages"]
    return [message["content"] for message in messages if message["role"] == "tool"]


def chats(server: Any) -> list[Any]:
    return [request.json for request in server.requests if request.path.endswith("/chat/completions")]


def test_a_function_is_described_run_and_answered(use_responses: Any, shell: Any, answers: list[Any]) -> None:
    server = use_responses(completion("", OSLO), completion("It is 12 °C."))
    answers[:] = ["y"]
    shell.run(WEATHER)
    ran = shell.run("%puq_chat --no-stream --tools weather -o r hi")
    result, (first, second) = shell.names["r"], chats(server)
    (tool,) = first["tools"]
    assert tool["function"]["name"] == "weather"
    assert tool["function"]["description"] == "Return the weather of a city."
    assert tool["function"]["parameters"]["properties"]["city"]["description"] == "Name of the city."
    assert tool["function"]["parameters"]["required"] == ["city"]
    assert second["tools"] == first["tools"]
    asked, told = second["messages"][1:]
    assert asked["content"] is None
    assert told == {"role": "tool", "tool_call_id": "t0", "content": '{"city": "Oslo", "celsius": 12}'}
    assert result.text == "It is 12 °C."
    (call,) = result.calls
    assert (call.status, call.result) == ("done", told["content"])
    assert (result.usage.total_tokens, len(result.rounds)) == (30, 1)
    assert '→ {"city": "Oslo", "celsius": 12}\n\nIt is 12 °C.' in ran.out
    assert ran.out.count("tokens") == 1
    assert "<summary><code>weather" in result._repr_mimebundle_()["text/markdown"]


@pytest.mark.parametrize(
    ("said", "ran", "told"),
    [
        (["y", "y"], ["Oslo", "Bergen"], ["12}", "12}"]),
        (["a"], ["Oslo", "Bergen"], ["12}", "12}"]),
        (["n", "yes"], ["Bergen"], ["The user declined this call.", "12}"]),
        (["", "?", "what", "n"], [], ["The user declined this call.", "The user declined this call."]),
        ([EOFError()], [], ["nobody can be asked.", "nobody can be asked."]),
    ],
)
def test_asking(
    use_responses: Any, shell: Any, answers: list[Any], said: list[Any], ran: list[str], told: list[str]
) -> None:
    server = use_responses(completion("", OSLO, BERGEN), completion("Fine."))
    answers[:] = said
    shell.run(WEATHER)
    out = shell.run("%puq_chat --no-stream --tools weather hi").out
    assert shell.names["ran"] == ran
    assert [words.endswith(end) for words, end in zip(tool_messages(server), told, strict=True)] == [
        True,
        True,
    ]
    assert ("nobody can be asked here: --tools-auto weather allows it" in out) == ("nobody" in told[0])


@pytest.mark.parametrize("live", ["0", "1"])
def test_functions_that_need_no_consent(
    use_responses: Any, shell: Any, answers: list[Any], monkeypatch: pytest.MonkeyPatch, live: str
) -> None:
    monkeypatch.setenv("PUQ_LIVE", live)
    server = use_responses(completion("", OSLO, ("other", '{"n": 1}')), completion("Fine."))
    answers[:] = ["y"]
    shell.run(f"{WEATHER}\ndef other(n: int): return n")
    shell.run("%puq_chat --no-stream --tools other --tools-auto weather hi")
    other = (
        "1" if live == "1" else "This call was refused: it needs the user's consent, and nobody can be asked."
    )
    assert tool_messages(server) == ['{"city": "Oslo", "celsius": 12}', other]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (ATLANTIS, "ValueError: no such city"),
        (("wether", "{}"), "There is no function 'wether'. There are: weather. Did you mean 'weather'?"),
        (("weather", "{'city'"), "The arguments are not a JSON object: {'city'"),
        (("weather", '{"city": 3}'), "The arguments do not fit: city: 3 is not of type 'string'"),
        (("weather", '{"city": "Oslo", "days": [1]}'), '{"city": "Oslo", "celsius": 12}'),
    ],
)
def test_what_the_model_is_told(use_responses: Any, shell: Any, call: tuple[str, str], told: str) -> None:
    server = use_responses(completion("", call), completion("Fine."))
    shell.run(WEATHER)
    ran = shell.run("%puq_chat --no-stream --tools-auto weather -o r hi")
    (message,) = tool_messages(server)
    assert message.startswith(told)
    assert "Traceback" not in message
    (kept,) = shell.names["r"].calls
    assert "99" not in str(kept)
    assert kept.status == ("done" if message.startswith('{"city"') else "failed")
    assert (message.split(":")[0] in ran.out) or kept.status == "done"


def test_rounds_end(use_responses: Any, shell: Any) -> None:
    server = use_responses(completion("Again.", OSLO))
    shell.run(WEATHER)
    ran = shell.run("%puq_chat --no-stream --tools-auto weather --rounds 2 -c trip -o r hi")
    assert len(chats(server)) == 3
    assert "the model still calls functions in round 3, and was stopped (--rounds 4 allows more)" in ran.out
    assert [call.status for call in shell.names["r"].calls] == ["done", "done", "not run"]
    assert shell.names["r"].usage.total_tokens == 45
    shell.run("%puq_chat --no-stream -c trip and now?")
    assert len(tool_messages(server)) == 3
    assert tool_messages(server)[-1] == "This call was not run."


def test_the_key_is_in_no_description_question_or_result(
    use_responses: Any, shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-THE-REAL-KEY-0123456789-wxyz"
    monkeypatch.setenv("PUQ_API_KEY", key)
    shell.run("%puq")  # it is read before, as it is when the extension is loaded
    questions: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or "y")
    call = ("fetch", json.dumps({"page": key}))
    server = use_responses(completion("", call), completion(f"It is {key}."))
    shell.run(
        f"def fetch(page: str, token: str = '{key}') -> str:\n    'Ask with {key}.'\n    return page + token"
    )
    out = shell.run("%puq_chat --no-stream --tools fetch -c talk hi").out
    out += shell.run("%puq_chat --dry-run --full --tools fetch -c talk more\n%puq_chats talk").out
    assert questions == ['Run fetch(page="…")? [y]es, [n]o, [a]ll of fetch: ']
    assert key not in out
    sent = chats(server)
    assert key not in json.dumps([sent[0], sent[1]["tools"]])
    assert tool_messages(server) == ["……"]


@pytest.mark.parametrize("asked", [True, False])
def test_an_interrupt_keeps_what_there_is(
    use_responses: Any, shell: Any, answers: list[Any], asked: bool
) -> None:
    server = use_responses(completion("Let me look.", OSLO, BERGEN), completion("Fine."))
    shell.run(
        "def weather(city: str) -> str:\n"
        "    if city == 'Bergen':\n        raise KeyboardInterrupt\n    return 'rain'"
    )
    answers[:] = ["y", KeyboardInterrupt() if asked else "y"]
    ran = shell.attempt("%puq_chat --no-stream --tools weather -c trip -o r hi")
    assert isinstance(ran.error, KeyboardInterrupt)
    assert "interrupted" in ran.out
    result = shell.names["r"]
    assert [(call.status, call.result) for call in result.calls] == [
        ("done", "rain"),
        ("not run" if asked else "failed", "The user stopped this call."),
    ]
    assert result.interrupted
    assert len(chats(server)) == 1
    shell.run("%puq_chat --no-stream -c trip and now?")
    assert tool_messages(server) == ["rain", "The user stopped this call."]


def test_the_budget_is_checked_in_each_round(use_responses: Any, shell: Any) -> None:
    usage = {"usage": {"prompt_tokens": 1000, "completion_tokens": 1000, "cost": 5.0}}
    server = use_responses(completion("Hello.") | usage, completion("", OSLO) | usage, completion("Fine."))
    shell.run(f"{WEATHER}\n%puq_chat --no-stream hi")  # so that there is an estimate
    shell.run("%config PuqMagics.budget = 10.1")
    error = shell.error("%puq_chat --no-stream --max-tokens 1 --tools-auto weather hi")
    shell.run("%config PuqMagics.budget = None")
    assert isinstance(error, BudgetError)
    assert "The calls so far are in _puq.calls." in error.hint
    assert [call.status for call in shell.names["_puq"].calls] == ["done"]
    assert len(chats(server)) == 2


@pytest.mark.parametrize(
    ("definition", "message", "hint"),
    [
        ("", "there is no function f.", "Define it"),
        ("class f: pass", "f is a class.", "Give a function"),
        ("f = 3", "f is not a function but int.", "Give a function"),
        ("def f(*args): pass", "f takes *args", "def f_tool("),
        ("def f(x: int, **more): pass", "f takes **more", "def f_tool("),
        ("f = lambda x: x", "the parameter x of f has no annotation.", "def f(x: str)"),
        ("f = dict.fromkeys", "iterable of f has no annotation.", "def f(iterable: str)"),
        ("f = getattr", "f has no signature", "def f_tool("),
        ("def f(x: 'Nothing'): pass", "the annotations of f cannot be read", "in the notebook"),
        ("def f(x: slice): pass", "f.x: JSON Schema does not support the type slice.", "Use str"),
    ],
)
def test_what_is_no_tool(use_responses: Any, shell: Any, definition: str, message: str, hint: str) -> None:
    server = use_responses(completion("Fine."))
    shell.run(definition)
    error = shell.error("%puq_chat --no-stream --tools f hi")
    assert isinstance(error, InputError)
    assert message in error.message
    assert hint in error.hint
    assert not chats(server)


@pytest.mark.parametrize(
    "options",
    [
        "--tools a.b",
        "--tools ''",
        "--tools-auto ,",
        "--continue --tools print",
        "--rounds 0",
        "--param tools=[] --tools f",
    ],
)
def test_options_that_do_not_fit(use_responses: Any, shell: Any, options: str) -> None:
    server = use_responses(completion("Fine."))
    shell.run("def f(x: int): return x")
    assert isinstance(shell.error(f"%puq_chat {options} hi"), InputError)
    assert not chats(server)


def test_a_later_round_need_not_call(use_responses: Any, shell: Any) -> None:
    server = use_responses(completion("", OSLO), completion("Fine."))
    shell.run(WEATHER)
    shell.run("%puq_chat --no-stream --tools-auto weather --param tool_choice=required hi")
    assert [chat.get("tool_choice") for chat in chats(server)] == ["required", None]


def test_json_after_calls_is_repaired_and_kept_with_them(use_responses: Any, shell: Any) -> None:
    server = use_responses(
        completion("", OSLO), completion("no"), completion("", BERGEN), completion('{"celsius": 12}')
    )
    shell.run(WEATHER)
    shell.run("%puq_chat --no-stream --tools-auto weather --schema 'celsius int,' -c trip -o r hi")
    result = shell.names["r"]
    assert result.data == {"celsius": 12}
    assert [call.arguments["city"] for call in result.calls] == ["Oslo", "Bergen"]
    assert len(chats(server)) == 4
    shell.run("%puq_chat --no-stream -c trip and now?")
    assert len(tool_messages(server)) == 2


@pytest.mark.parametrize("answer", ["y", None])
def test_a_notebook_shows_each_call_once(sandbox_kernel: Any, answer: str | None) -> None:
    sandbox_kernel.run(WEATHER)
    cell = sandbox_kernel.run("%puq_chat -m sandbox/chat --tools weather Is it dry in Oslo?", answer=answer)
    assert cell.reply["status"] == "ok"
    call, text = [shown["text/markdown"] for shown in cell.screen if "text/markdown" in shown]
    code = "<code>weather&#40;city&#61;&#34;Oslo&#34;&#41;</code>"
    if answer is None:
        assert call == f"{code} refused"
        assert "nobody can be asked here" in text
    else:
        assert call.startswith(f"<details><summary>{code}</summary>")
        assert '"celsius": 12' in call
        assert [each["prompt"] for each in cell.questions] == [
            'Run weather(city="Oslo")? [y]es, [n]o, [a]ll of weather: '
        ]
    assert text.startswith("*Scripted by the sandbox")
    assert "<sub>" not in call


def test_data_after_calls_in_a_notebook(sandbox_kernel: Any) -> None:
    sandbox_kernel.run(WEATHER)
    ask = "%puq_chat -m sandbox/chat --tools-auto weather --schema 'celsius int,' -o r Is it dry in Oslo?"
    cell = sandbox_kernel.run(ask)
    call, data = [shown["text/markdown"] for shown in cell.screen]
    assert call.startswith("<details><summary><code>weather")
    assert data.startswith("```json")
    assert "celsius" in sandbox_kernel.run("print(r.data, len(r.calls))").out


def test_a_dry_run_of_a_conversation_with_calls(use_responses: Any, shell: Any) -> None:
    use_responses(completion("", OSLO))
    shell.run("%puq_chat --no-stream -c trip hi")
    out = shell.run("%puq_chat -c trip --dry-run and now?").out
    assert 'assistant: weather({"city": "Oslo"})' in out
    assert "tool: This call was not run." in out


@pytest.mark.parametrize("options", ["", "--no-stream"])
def test_the_sandbox_calls_functions(sandbox_shell: Any, options: str) -> None:
    sandbox_shell.run(WEATHER)
    ask = f"%puq_chat -m sandbox/chat {options} --tools-auto weather -o r"
    ran = sandbox_shell.run(f"{ask} Is it dry in Oslo and Bergen?")
    result = sandbox_shell.names["r"]
    assert sandbox_shell.names["ran"] == ["Oslo", "Bergen"]
    assert result.text.startswith("*Scripted by the sandbox")
    assert '- `weather(city="Oslo")`: city **Oslo**, celsius **12**' in result.text
    assert "2 tool calls in .calls" in ran.out
    sandbox_shell.run(f"{ask} --rounds 2 Look at Oslo forever")
    assert [call.status for call in sandbox_shell.names["r"].calls] == ["done", "done", "not run"]
    sandbox_shell.run(f"{ask} Is it dry in Oslo? malformed")
    assert "The arguments are not a JSON object" in sandbox_shell.names["r"].text


def test_a_run_makes_no_calls(sandbox_shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tools = '[{"type": "function", "function": {"name": "weather"}}]'
    sandbox_shell.run("rows = [{'city': 'Oslo'}]")
    sandbox_shell.run(
        f"%%puq_map rows -q -m sandbox/chat -o r --param 'tools={tools}'\nIs it dry in {{{{city}}}}?"
    )
    (row,) = sandbox_shell.names["r"]
    assert row["error"] == "the answer calls functions, which a run does not do: weather."


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_function_that_hangs_can_be_interrupted(sandbox_kernel: Any, kind: str) -> None:
    wait = "await asyncio.sleep(600)" if kind == "async def" else "time.sleep(600)"
    sandbox_kernel.run(
        f"import asyncio, time\n{kind} hang(n: int) -> int:\n    print('hangs now')\n    {wait}"
    )
    cell = sandbox_kernel.run(
        "%puq_chat -m sandbox/chat --tools-auto hang -o r Does it hang?",
        watch=sandbox_kernel.interrupt_at("hangs now"),
    )
    assert cell.error["ename"] == "Interrupted"
    assert "<sub>**⚠ interrupted**" in cell.screen[-1]["text/markdown"].lower()
    assert "failed The user stopped" in sandbox_kernel.run("print(r.calls[0].status, r.calls[0].result)").out
