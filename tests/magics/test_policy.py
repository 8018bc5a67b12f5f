"""A teacher's policy: what it forbids is refused before it is sent, and solutions are taken out of answers."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from puq_magics.core.errors import BudgetError, ConfigurationError, PolicyError, PuqError
from puq_magics.outputs.results.footer import format_spent
from puq_magics.session.policy import Policy

EVERYTHING = """
models = ["sandbox/e*"]
max_tokens = 400
max_images = 1
questions = 2
budget = 5
system = "Answer like a tutor."
media = true
tools = false
solutions = ["return  a + b"]
message = "Ask your teacher."

[messages]
models = "We use the small model today."
solutions = "Find that yourself."
"""


MAP = "rows = [{'a': 1}]\nget_ipython().run_cell_magic('puq_map', 'rows', 'Hi {{a}}')"


@pytest.fixture
def classroom(sandbox_shell: Any, work_folder: Path) -> Any:
    """Function that puts a policy into force, in a shell on the sandbox, and returns the shell."""

    def _use(text: str, name: str = "lesson.toml") -> Any:
        (work_folder / name).write_text(text, encoding="utf-8")
        sandbox_shell.run(f"%puq_policy {name}")
        return sandbox_shell

    return _use


def sent(sandbox: Any) -> list[Any]:
    """Return the paid requests that the sandbox received."""
    return [request for request in sandbox.requests if request.method == "POST"]


@pytest.mark.parametrize(
    ("policy", "code", "words"),
    [
        ('models = ["sandbox/ch*"]', "%puq_chat -m sandbox/short Hi", "sandbox/short is not allowed"),
        ('models = ["x/*"]\nmessage = "No."', "%puq_chat Hi", "No."),
        ("max_tokens = 20", "%puq_chat --max-tokens 21 Hi", "at most 20 tokens"),
        ("max_tokens = 20", "%puq_chat --param max_tokens=50 Hi", "at most 20 tokens"),
        ("questions = 0", "%puq_chat Hi", "may have 0 questions"),
        ("questions = 0\nmessage = 'No.'", "%%puq_compare -m sandbox/chat -m sandbox/short\nHi", ""),
        ("questions = 0\nmessage = 'No.'", "%%puq_compare -m sandbox/chat -m sandbox/short --blind\nHi", ""),
        (
            "questions = 0\nmessage = 'No.'",
            MAP,
            "No. By the policy lesson.toml this notebook may have 0 questions",
        ),
        ("max_images = 1", "%puq_image -n 2 A cat", "may have 1 image"),
        ("media = false", "%puq_image A cat", "are off"),
        ("tools = false", "def f() -> int:\n    return 1\n%puq_chat --tools f Hi", "tools are off"),
        ("tools = false", "def f() -> int:\n    return 1\n%puq_chat --tools-auto f Hi", "tools are off"),
        ("media = false", "%puq_speak Hello", "are off"),
        ("media = false", '%puq_chat --param modalities=["audio"] Hi', "field modalities is not allowed"),
        ("tools = false", "%puq_chat --param functions=[1] Hi", "field functions is not allowed"),
        ('models = ["sandbox/*"]', '%puq_chat --param models=["x"] Hi', "field models is not allowed"),
        ('system = "Be kind."', "%puq_chat --param instructions=x Hi", "field instructions is not allowed"),
        (
            'system = "Be kind."',
            MAP.replace("'rows',", "'rows --param system=x',"),
            "field system is not allowed",
        ),
        ("questions = 2", "%puq_chat --param n=3 Hi", "may have 2 questions"),
        ('system = "Be kind."', "%puq_chat -s 'Be rude.' Hi", "system prompt is fixed"),
        ('models = ["x/*"]', MAP, "sandbox/echo is not allowed"),
        ('models = ["x/*"]\nbudget = 0', "%puq_chat Hi", "sandbox/echo is not allowed"),
        (
            'message = "No."\nmax_tokens = 20',
            "%puq_chat --max-tokens 21 Hi",
            "No. By the policy lesson.toml an answer may",
        ),
        ("budget = 0", "%puq_chat Hi", "would exceed the budget of 0 credits"),
        ("budget = 0", "%puq_chat --over-budget Hi", "would exceed the budget of 0 credits"),
        (
            "budget = 0",
            MAP.replace("'rows',", "'rows --over-budget',"),
            "would exceed the budget of 0 credits",
        ),
    ],
)
def test_what_a_policy_forbids_is_refused_before_it_is_sent(
    classroom: Any, media_shell: Any, sandbox: Any, policy: str, code: str, words: str
) -> None:
    shell = classroom(policy)
    ran = shell.attempt(code)
    error = ran.error
    if words:
        assert isinstance(error, PuqError)
        assert words in str(error)
        assert "--over-budget" not in str(error)
    else:  # each arm has the refusal as its error
        refusal = "No. By the policy lesson.toml this notebook may have 0 questions. Nothing was sent."
        assert {answer.error for answer in shell.names["_puq"]} == {refusal}
        assert ran.out.count("No. By the policy lesson.toml") == 2
        assert "Vote:" not in ran.out
    assert sent(sandbox) == []
    assert shell.session.ledger.entries() == ()


def test_limits_are_sent_and_counted(classroom: Any) -> None:
    shell = classroom(EVERYTHING)
    answer = shell.run("%puq_chat -q Hi").value
    assert answer.messages[0] == {"role": "system", "content": "Answer like a tutor."}
    assert '"max_completion_tokens": 400' in shell.run("%puq_chat --dry-run --full Hi").out.replace(
        '\\"', '"'
    )
    shell.run("%puq_chat -q Hi")
    out = shell.run("%puq_policy").out
    assert "2 of 2" in out
    assert "return" not in out  # a solution is not told
    with pytest.raises(PolicyError, match="Ask your teacher"):
        shell.run("%puq_chat Hi")
    shell.run("%reload_ext puq_magics")
    shell.run("%puq_policy lesson.toml")  # as when the first cell is run again
    with pytest.raises(PolicyError, match="Ask your teacher"):
        shell.run("%puq_chat Hi")
    assert "lesson.toml" in shell.run("%puq").out


def test_a_policy_lowers_the_budget(classroom: Any) -> None:
    shell = classroom("budget = 1")
    shell.run("%config PuqMagics.budget = 0.0000001")
    with pytest.raises(BudgetError, match="--over-budget allows one call"):
        shell.run("%puq_chat Hi")
    shell.run("%puq_chat -q --over-budget Hi")  # of the settings, not of the policy
    spent = shell.session.spent
    assert f"{format_spent(spent, 1)}" in shell.run("%puq_policy").out
    assert spent > 0


@pytest.mark.parametrize("options", ["", "--no-stream", "-q", "-f text", "-c lesson"])
def test_solutions_are_taken_out_of_answers(classroom: Any, options: str) -> None:
    shell = classroom(EVERYTHING)
    shown = shell.run(f"%puq_chat {options} Repeat: def add(a, b): RETURN a +\tb").out
    answer = shell.names["_puq"]
    for text in (answer.text, str(answer.raw), shown):
        assert "a +\tb" not in text
        assert "RETURN a" not in text
    assert "removed" in answer.text
    assert "a solution was removed from the answer. Find that yourself" in answer.notes


@pytest.mark.parametrize(
    ("solution", "text", "is_found"),
    [
        ("return a + b", "return a+b", True),
        ("a+b", "so A + B.", True),
        ("the answer is 42", "The answer is **42**!", True),
        ("the answer is 42", "the `answer` is\u00a042", True),
        ("the answer is 42", "the answer is 420", False),
        ("the answer is 42", "theansweris42", False),
        ('print("hi")', "print( 'hi' )", True),
        ('print("hi")', '{"a": "print(\\"hi\\")"}', True),
        ("x ** 2", "x**2", True),
        ("x ** 2", f"x{'*' * 100_000}", False),
        ("+ b", "a+b", True),
    ],
)
def test_a_solution_is_found_in_other_spellings(solution: str, text: str, is_found: bool) -> None:
    assert (Policy(solutions=(solution,)).redact(text) != text) == is_found


def test_solutions_are_taken_out_of_calls(classroom: Any) -> None:
    shell = classroom('solutions = ["forty two"]')
    shell.run("def note(name: str): return len(name)")
    shown = shell.run("%puq_chat -m sandbox/chat --tools-auto note -o r Note the Forty Two?").out
    for text in (
        str(shell.names["r"].calls),
        str(shell.names["r"].rounds[0].raw),
        shown.split("You asked")[0],
    ):
        assert "Forty Two" not in text
    assert "removed" in shell.names["r"].calls[0].arguments["name"]


def test_the_answers_of_runs_have_no_solutions_either(classroom: Any, work_folder: Path) -> None:
    shell = classroom('solutions = ["forty two"]')
    shell.run("rows = [{'a': 'forty  two'}]")
    shell.run("%%puq_map rows -q\nRepeat: {{a}}")
    (row,) = shell.names["_puq"].to_frame()
    assert "removed" in row["answer"]
    journals = [path.read_text() for path in work_folder.rglob("calls.jsonl")]
    assert journals
    assert all('"text"' in text and "forty  two" not in text for text in journals)


def test_a_cassette_that_is_recorded_under_a_policy_has_no_solutions(
    classroom: Any, work_folder: Path
) -> None:
    shell = classroom('solutions = ["forty two"]')
    shell.run("def note(name: str): return len(name)\nrows = [{'a': 'forty  two'}]")
    cells = (
        "%puq_chat -m sandbox/chat Repeat: Forty Two",
        "%puq_chat --no-stream -c MODE Repeat: forty two",
        "%puq_chat -c MODE And again?",
        "%puq_chat -m sandbox/chat --tools-auto note Note the Forty Two?",
        '%puq_chat -m sandbox/chat --schema "answer str" Repeat: forty two',
        "%%puq_map rows\nRepeat: {{a}}",
        "%%puq_compare -m sandbox/chat -m sandbox/short\nRepeat: forty two",
    )

    def run(mode: str) -> list[str]:
        shell.run(f"%puq_cassette {mode} lesson --pace 0")
        texts = []
        for cell in cells:
            shell.run(cell.replace("MODE", mode))
            found = shell.names["_puq"]
            texts.append(
                str(found.to_frame() if "map" in cell else [*found] if "compare" in cell else found.text)
            )
        return texts

    recorded = run("record")
    for path in Path("lesson.cassette").glob("chat-*.json"):
        recording = json.loads(path.read_text(encoding="utf-8"))
        response = json.dumps(recording["response"]).lower()
        answer = "".join(re.findall(r'"(?:content|arguments)": "((?:[^"\\\\]|\\\\.)*)"', response))
        assert not re.search(r"forty\s+two", answer), answer
    assert sum("removed: it would give" in text for text in recorded) >= 5
    assert run("replay") == recorded


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("lesson.toml", "modles = []", "did you mean .models"),
        (
            "lesson.toml",
            "max_tokens = 0",
            "max_tokens of the policy lesson.toml is not a whole number above 0",
        ),
        ("lesson.toml", "models = 'a'", "is not a list of texts"),
        ("lesson.toml", "[messages]\nmodel = 'a'", "is not a table"),
        ("lesson.toml", "models = [", "is not valid"),
        ("lesson.yaml", "models: [", "is not valid"),
        ("lesson.yaml", "- a", "has no fields"),
        ("lesson.yaml", "budget: .nan", "is not a number of credits"),
        ("lesson.json", "{}", "is no policy"),
        ("lesson.yaml", "budget: 0.5\nbudget: 5", "duplicate field .budget."),
        ("lesson.yaml", "solutions: [42]", "is not a list of texts, such as"),
        pytest.param(
            "lesson.toml",
            f"solutions = ['{'x ' * 30_000}']",
            "with at most 50,000 characters",
            id="long list",
        ),
        pytest.param(
            "lesson.toml",
            f"# {'x' * 200_000}",
            r"is larger than 200 kB\. Shorten it\. No calls are made until it can be read\.",
            id="large file",
        ),
        ("lesson.toml", None, "cannot be read"),
    ],
)
@pytest.mark.parametrize("is_magic", [True, False])
def test_an_invalid_policy_stops_every_call(
    media_shell: Any,
    sandbox: Any,
    work_folder: Path,
    monkeypatch: Any,
    name: str,
    text: str | None,
    words: str,
    is_magic: bool,
) -> None:
    if text is not None:
        (work_folder / name).write_text(text, encoding="utf-8")
    if is_magic:
        with pytest.raises(ConfigurationError, match=f"(?i){words}"):
            media_shell.run(f"%puq_policy {name}")
    else:
        monkeypatch.setenv("PUQ_POLICY", name)
    assert re.search(words, " ".join(media_shell.run("%puq").out.split()), re.IGNORECASE)
    for code in ("%puq_chat Hi", "%puq_image A cat", "%puq_speak Hi"):
        with pytest.raises(ConfigurationError, match=f"(?i){words}"):
            media_shell.run(code)
    assert sent(sandbox) == []
    (work_folder / "right.toml").write_text("questions = 1", encoding="utf-8")
    monkeypatch.delenv("PUQ_POLICY", raising=False)
    media_shell.run("%puq_policy right.toml")
    media_shell.run("%puq_chat -q Hi")


def test_a_policy_stays_in_force_when_its_file_cannot_be_read_again(
    classroom: Any, work_folder: Path
) -> None:
    shell = classroom("\ufeffquestions = 1")  # a byte order mark, as Windows writes it
    os.mkfifo(work_folder / "pipe.toml")  # which would be waited for
    for name in ("missing.toml", "pipe.toml"):
        error = shell.error(f"%puq_policy {name}")
        assert "cannot be read" in error.message
        assert "The policy lesson.toml stays in force" in error.hint
    shell.run("%puq_chat -q Hi")
    with pytest.raises(PolicyError, match="1 question"):
        shell.run("%puq_chat -q Hi")


def test_a_policy_in_yaml_or_of_the_settings_and_no_other_beside_it(
    classroom: Any, work_folder: Path
) -> None:
    (work_folder / "rules.yaml").write_text("questions: 0\nmessage: No more.\n", encoding="utf-8")
    shell = classroom("questions = 1")
    with pytest.raises(ConfigurationError, match="restart the kernel"):
        shell.run("%puq_policy rules.yaml")
    shell.ip.meta.clear()
    shell.run("%config PuqMagics.policy = 'rules.yaml'")
    with pytest.raises(PolicyError, match="No more"):
        shell.run("%puq_chat Hi")
