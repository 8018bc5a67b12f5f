"""Variables that a prompt can name, by the place of the code that calls the magic."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from puq_magics.core.errors import InputError

CALLS = {
    "cell": 'get_ipython().run_cell_magic("puq_chat", "-q", "Say {{q}}")',
    "line": 'get_ipython().run_line_magic("puq_chat", "-q Say {{q}}")',
    "alias": 'get_ipython().run_cell_magic("ask_it", "-q", "Say {{q}}")',
}
#: Runs a cell in which ``CALL`` is the call of a magic; ``q`` is a global variable, too.
Run = Callable[[str], Any]


@pytest.fixture(params=list(CALLS))
def run(request: Any, sandbox_shell: Any) -> Iterator[Run]:
    manager = sandbox_shell.ip.magics_manager
    manager.register_alias("ask_it", "puq_chat", "cell")
    sandbox_shell.run("q = 'GLOBAL'\nr = None")
    yield lambda code: sandbox_shell.attempt(code.replace("CALL", CALLS[request.param]))
    del manager.magics["cell"]["ask_it"]


@pytest.mark.parametrize(
    "code",
    [
        "def ask(q):\n    return CALL\nr = ask('LOCAL')",
        "def ask(q):\n    q += 'AL'\n    return CALL\nr = ask('LOC')",
        "ask = lambda q: CALL\nr = ask('LOCAL')",
        "def ask(*, q='LOCAL', **more):\n    return CALL\nr = ask()",
        "class Asker:\n    def ask(self, q):\n        return CALL\nr = Asker().ask('LOCAL')",
        "class Asker:\n    q = 'LOCAL'\n    r = CALL\nr = Asker.r",
        "class Asker:\n    q = 'CLASS'\n    def ask(self):\n        return CALL\nq = 'LOCAL'\nr = Asker().ask()",
        "def ask(q):\n    class Asker:\n        r = CALL\n    return Asker.r\nr = ask('LOCAL')",
        "def ask():\n    return [CALL for q in ['LOCAL']][0]\nr = ask()",
        "def ask(q):\n    return [CALL for _ in '1'][0]\nr = ask('LOCAL')",
        "def ask(q):\n    return [{_: CALL for _ in '1'} for _ in '1'][0]['1']\nr = ask('LOCAL')",
        "def ask(q):\n    return next(CALL for q in [q])\nr = ask('LOCAL')",
        "r = [CALL for q in ['LOCAL']][0]",
        "def ask(q):\n    yield CALL\nr = next(ask('LOCAL'))",
        "async def ask(q):\n    return CALL\nr = await ask('LOCAL')",
        "def make(q):\n    def ask():\n        q\n        return CALL\n    return ask\nr = make('LOCAL')()",
        "def make(q):\n    return lambda q=q: CALL\nr = make('LOCAL')()",
        "def make():\n    q = 'OTHER'\n    def ask(q):\n        return CALL\n    return ask\nr = make()('LOCAL')",
        "from concurrent.futures import ThreadPoolExecutor\ndef ask(q):\n    return CALL\n"
        "with ThreadPoolExecutor(1) as pool:\n    r = pool.submit(ask, 'LOCAL').result()",
        "exec('def ask(q):\\n    return CALL')\nr = ask('LOCAL')",
        "exec('r = CALL', {**globals(), 'q': 'LOCAL'}, names := {})\nr = names['r']",
        "def ask():\n    global q\n    q = 'LOCAL'\n    return CALL\nr = ask()",
        "def ask():\n    return CALL\nq = 'LOCAL'\nr = ask()",
        "q = 'LOCAL'\ndef make():\n    def ask():\n        return CALL\n    return ask\nr = make()()",
    ],
)
def test_the_variable_of_the_calling_code(run: Run, sandbox_shell: Any, code: str) -> None:
    outcome = run(code)
    assert outcome.error is None, outcome.error
    assert "Say LOCAL" in sandbox_shell.names["r"].text


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def make(q):\n    def ask():\n        return CALL\n    return ask\nmake(1)()", "enclosing function"),
        ("def make(q):\n    return (CALL for _ in '1')\nnext(make(1))", "enclosing function"),
        ("def make(q):\n    return lambda: CALL\nask = make(1)\ndel make\nask()", "enclosing function"),
        ("def make(q):\n    def mid():\n        return lambda: CALL\n    return mid\nmake(1)()()", "enclosing"),
        ("def make(q):\n    class A:\n        ask = lambda self: CALL\n    return A\nmake(1)().ask()", "enclosing"),
        ("def make(q):\n    async def ask():\n        return CALL\n    return ask()\nawait make(1)", "enclosing"),
        ("import functools\n@functools.cache\ndef make(q):\n    return lambda: CALL\nmake(1)()", "enclosing"),
        ("exec('def make(q):\\n    return lambda: CALL')\nmake(1)()", "may be a variable of an enclosing"),
        ("def ask():\n    CALL\n    q = 1\nask()", "no value yet"),
        ("def ask(q):\n    del q\n    CALL\nask(1)", "no value yet"),
        ("def make():\n    def ask():\n        CALL\n        print(q)\n    ask()\n    q = 1\nmake()", "no value yet"),
        ("def ask():\n    try:\n        CALL\n    except OSError as q:\n        pass\nask()", "no value yet"),
    ],
)  # fmt: skip
def test_a_variable_that_cannot_be_read_is_refused(
    run: Run, sandbox_shell: Any, sandbox: Any, code: str, message: str
) -> None:
    before = len(sandbox.requests)
    outcome = run(code)
    assert isinstance(outcome.error, InputError)
    assert message in outcome.error.message
    assert "q" in outcome.error.message
    assert len(sandbox.requests) == before


def test_a_function_of_a_module_fills_in_the_variables_of_its_module(
    sandbox_shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "asker.py").write_text(
        "from IPython import get_ipython\nq = 'MODULE'\n"
        f"def ask():\n    return {CALLS['cell']}\n"
        "def ask_of_notebook():\n    return get_ipython().run_cell_magic('puq_chat', '-q', 'Say {{only_there}}')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    sandbox_shell.run(
        "import asker\nq, only_there = 'GLOBAL', 'NOTEBOOK'\nr, s = asker.ask(), asker.ask_of_notebook()"
    )
    monkeypatch.delitem(sys.modules, "asker")
    assert "Say MODULE" in sandbox_shell.names["r"].text
    assert "Say NOTEBOOK" in sandbox_shell.names["s"].text


@pytest.mark.parametrize("options", ["-a table hello", "-s {{table}} hello", "hello {{table | json}}"])
def test_options_take_the_variables_of_the_function(sandbox_shell: Any, options: str) -> None:
    sandbox_shell.run("table = 'GLOBAL'")
    call = f"%puq_chat -q -m sandbox/echo {options}"
    sandbox_shell.run(f"def ask(table):\n    {call}\nask({{'name': 'LOCAL'}})")
    assert "LOCAL" in sandbox_shell.names["_puq"].text
    assert "GLOBAL" not in sandbox_shell.names["_puq"].text
