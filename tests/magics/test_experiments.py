"""``%%puq_map``, ``%%puq_compare`` and ``%%puq_grid`` in a shell on the sandbox."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from puq_magics.experiments.runner import RunProgress
from puq_magics.magics.compare import ArmView, _ArmRun
from puq_magics.magics.runs import format_progress, run_footer
from puq_magics.outputs.results.compare import Answer
from puq_magics.session.chat_call import ChatCall, ChatSpec


@pytest.fixture
def run_shell(sandbox_shell: Any, work_folder: Path) -> Any:
    """Shell on the sandbox, in a folder of its own, with a table."""
    sandbox_shell.names["reviews"] = pd.DataFrame(
        {"text": ["good", "bad", None], "stars": [5, 1, 3]}, index=["x", "y", "z"]
    )
    assert work_folder.is_dir()
    return sandbox_shell


def test_a_map_makes_a_new_table_and_goes_on_by_itself(run_shell: Any, work_folder: Path) -> None:
    first = run_shell.run("%%puq_map reviews -o rated\nIs it good? {{text}}")
    assert "2 of 3 rows answered, 1 without an answer" in first.out
    rated = run_shell.names["rated"]
    assert list(rated.index) == ["x", "y", "z"]
    assert list(rated.columns) == ["text", "stars", "answer", "error"]
    assert "good" in rated["answer"]["x"]
    second = run_shell.run("%%puq_map reviews -o rated\nIs it good? {{text}}")
    assert "0 calls" in second.out
    assert "2 of 2 were there" in second.out
    assert "credits" not in second.out  # of this run's calls
    assert run_shell.run("_puq.cost > 0").value is True
    assert [path.name[:-8] for path in work_folder.joinpath("puq_runs").iterdir()] == ["is-it-good-text-"]


def test_a_pilot_says_what_the_whole_would_cost(run_shell: Any) -> None:
    shown = run_shell.run("%%puq_map reviews --limit 1\nRate {{text}}").out
    assert "1 of 1 rows answered (of 3 in the table)" in shown
    assert "All 3 rows would cost about" in shown
    assert "the balance is" in shown


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%%puq_map\nRate {{text}}", "no table is named"),
        ("%%puq_map reviws\nRate {{text}}", "Did you mean 'reviews'?"),
        ("%%puq_map missing.csv\nRate {{text}}", "there is no file"),
        ("%%puq_map reviews\nRate {{txt}}", "Did you mean 'text'?"),
        ("%%puq_map reviews\nRate {{text | uper}}", "Did you mean 'upper'?"),
        ("%%puq_map reviews\nRate {{str(text)}}", "function calls are not allowed"),
        ("%%puq_grid --over reviews\nRate {{row.txt}}", "Did you mean 'text'?"),
        ("%%puq_compare -m sandbox/chat -m sandbox/echo\nRate {{reviws}}", "Did you mean 'reviews'?"),
        ("%%puq_map reviews --executor reviews\nRate {{text}}", "not an executor"),
        ("%%puq_map reviews --workers 0\nRate {{text}}", "--workers"),
        ("%%puq_map reviews --nothing\nRate {{text}}", "there is no option --nothing"),
        (
            "%%puq_map reviews --vary a=1\nHello",
            "no option --vary. It is an option of %puq_compare, %%puq_grid.",
        ),
        ("%%puq_compare --schema Review\nHello", "It is an option of %puq_chat, %%puq_map, %%puq_grid."),
        ("%puq_map reviews", "is for a cell"),
        ("%%puq_compare -m sandbox/chat\nHello", "2 to 6 arms, not 1"),
        ("%%puq_compare --vary nothing=1,2\nHello", "'nothing' is neither in the prompt nor a setting"),
        ("%%puq_compare -m sandbox/chat -m sandbox/chat\nHello", "the arm 'sandbox/chat' is listed twice"),
        ("%puq_compare --votes", "there are no votes yet"),
        ("%puq_compare --export votes.jsonl", "there are no votes yet"),
        ("%puq_compare --vote A", "no comparison to vote in"),
        ("%%puq_grid --over reviews --repeat 0\nRate {{text}}", "--repeat"),
        ("%%puq_grid sandbox/chat\nRate {{text}}", "unexpected argument"),
        ("%%puq_map reviews --limit 1 --sample 1\nRate {{text}}", "both the first rows and a sample"),
    ],
)
def test_bad_input_is_said_before_anything_is_paid(
    run_shell: Any, sandbox: Any, cell: str, said: str
) -> None:
    before = sandbox.balance
    message = str(run_shell.error(cell))
    assert said in message
    assert "--raw" not in message  # which these magics do not have
    assert sandbox.balance == before


def test_an_answer_that_was_cut_off_is_said(run_shell: Any) -> None:
    shown = run_shell.run("%%puq_map reviews --max-tokens 3\nRate {{text}}").out
    assert "2 × cut off" in shown
    assert "rows 0, 1" in shown


def test_dry_runs_send_nothing(run_shell: Any, sandbox: Any) -> None:
    before = sandbox.balance
    assert (
        "2 different calls; 0 are in the journal"
        in run_shell.run("%%puq_map reviews --dry-run\n{{text}}").out
    )
    grid = run_shell.run("%%puq_grid --over reviews --repeat 2 --dry-run\n{{text}} {{x: 1}}").out
    assert "{{x: 1}}: not an expression, sent unchanged" in grid
    assert "6 calls; 0 are in the journal" in grid
    assert "curl" in grid
    compared = run_shell.run("%%puq_compare -m sandbox/chat -m sandbox/echo --dry-run\nHello").out
    assert "sandbox/chat: about" in compared
    assert sandbox.balance == before


def test_a_budget_stops_a_run_and_says_how_to_go_on(run_shell: Any) -> None:
    run_shell.run("%config PuqMagics.budget = 0.0000001")
    error = run_shell.attempt("%%puq_map reviews\nRate {{text}}").error
    assert "budget" in str(error)
    assert "run the cell again to go on" in str(error)


def test_usage_counts_every_call(run_shell: Any) -> None:
    run_shell.run("%%puq_map reviews -m sandbox/chat\nRate {{text}}")
    assert "2 calls" in repr(run_shell.run("%puq_usage").value)


def test_a_comparison_shows_all_arms_and_keeps_them(run_shell: Any) -> None:
    shown = run_shell.run("%%puq_compare -m sandbox/chat -m sandbox/fail -m sandbox/echo -o both\nHello").out
    assert shown.count("--- sandbox/") == 3
    both = run_shell.names["both"]
    assert "Hello" in both["sandbox/chat"].text
    assert both.answers[1].error
    assert both[2].cost is not None


def test_an_arm_that_ends_after_an_interrupt_changes_nothing_that_is_shown(run_shell: Any) -> None:
    shown = Answer("sandbox/chat")
    call = ChatCall(ChatSpec("sandbox/chat", [{"role": "user", "content": "Hello"}]))
    arm = _ArmRun(shown, call, ArmView(threading.Event()))
    arm.give_up()
    arm.run(run_shell.session, over_budget=False)
    assert arm.answer.result is not None
    assert shown == Answer("sandbox/chat", error="interrupted before anything came")


def test_values_with_commas_are_quoted(run_shell: Any) -> None:
    shown = run_shell.run("""%%puq_compare -m sandbox/echo --vary 'style="a, b",c'\n{{style}}""").out
    assert "--- style=a, b\n" in shown


def test_blind_votes_are_counted_saved_and_merged(run_shell: Any, work_folder: Path) -> None:
    for _ in range(3):
        shown = run_shell.run(
            "%%puq_compare -m sandbox/chat --vary tone=kind,strict,odd --blind\nIn a {{tone}} tone"
        ).out
        assert "--- A" in shown
        assert "tone=" not in shown
        assert "credits" not in shown
        assert "Voted for tone=" in run_shell.run("%puq_compare --vote b").out
        assert "has its vote already" in str(run_shell.error("%puq_compare --vote tone=odd"))
    votes = run_shell.run("%puq_compare --votes").out
    assert "against an average arm" in votes
    assert "3 votes saved" in run_shell.run("%puq_compare --export mine.jsonl").out
    records = [json.loads(line) for line in (work_folder / "mine.jsonl").read_text().splitlines()]
    assert len(records) == 3
    others = [record | {"id": f"other{n}"} for n, record in enumerate(records)]
    Path("others.jsonl").write_text("\n".join(map(json.dumps, others)))
    merged = run_shell.run("%puq_compare --merge others.jsonl --merge mine.jsonl --merge others.jsonl").out
    assert merged.rstrip().endswith("6")
    for content in ("[]", ""):
        Path("bad.jsonl").write_text(content)
        assert "holds no votes" in str(run_shell.error("%puq_compare --merge bad.jsonl"))


def test_a_grid_shows_its_summary_and_answers(run_shell: Any) -> None:
    options = "-m sandbox/echo -m sandbox/chat --vary tone=kind,strict --repeat 2 --over reviews -o study"
    shown = run_shell.run(f"%%puq_grid {options}\n{{{{tone}}}} {{{{stars}}}} **a|b**").out
    assert "24 of 24 calls answered" in shown
    assert "seconds (median, 95th)" in shown
    assert "failures" not in shown
    compared = run_shell.run("study.score(lambda answer: 'Scripted' in answer).compare('model')").out
    assert "cannot tell" in compared or "is better" in compared
    matrix = run_shell.run("study.show()")
    assert "row 0: 5\n- sandbox/echo" in matrix.out
    assert "Of 2 repeats the first is shown" in matrix.out
    assert "You asked: kind 5" in matrix.out  # without the mark of the quotation
    assert "kind 5 **a&#124;b**" in matrix.value._repr_mimebundle_()["text/markdown"]
    assert "not a column of numbers" in str(run_shell.error("study.pivot('model', 'tone', 'answer')"))
    summary = run_shell.run("study.summary('model')")
    assert "sandbox/echo" in summary.out
    assert " of\u00a0" in summary.value._repr_mimebundle_()["text/markdown"]
    assert "strict" in run_shell.run("study.pivot('model', 'tone')").out


def test_a_grid_says_what_failed_and_counts_what_was_sent(run_shell: Any) -> None:
    options = "-m sandbox/chat -m sandbox/forbidden --workers 1 --over reviews --limit 2"
    shown = run_shell.run(f"%%puq_grid {options}\nRate {{{{stars}}}}").out
    assert "2 of 4 calls answered (of 6 in the grid)" in shown
    assert "2 × " in shown
    assert "All 6 calls would cost about" in shown
    assert "3 calls · " in shown
    assert "failures" in shown


def test_in_a_function_other_variables_need_no_value_yet(run_shell: Any) -> None:
    run_shell.run(
        "def ask(topic):\n"
        "    both = get_ipython().run_line_magic('puq_compare', '-m sandbox/echo -m sandbox/chat On {{topic}}')\n"
        "    study = get_ipython().run_cell_magic('puq_grid', '-m sandbox/echo', 'On {{topic}}')\n"
        "    return both, study"
    )
    assert "On kites" in run_shell.run("ask('kites')[1].records[0]['answer']").out
    assert "no value yet" in str(
        run_shell.error(
            "def ask():\n    both = get_ipython().run_line_magic('puq_compare', '-m a -m b On {{both}}')\nask()"
        )
    )


def test_failed_rows_can_be_asked_for_again(run_shell: Any) -> None:
    run_shell.run("%puq_sandbox --fail 500:1")
    assert "_puq.retry() asks again" in run_shell.run("%%puq_map reviews --workers 1\nRate {{text}}").out
    shown = run_shell.run("_puq.retry()").out
    assert "retry" not in shown
    assert "journal: puq_runs/rate-text-" in shown


def test_a_stopped_run_says_what_is_still_under_way() -> None:
    progress = RunProgress(300, done=82, seconds=5.0, limit=16, ending=16)
    assert format_progress(progress) == "82 of 300 · stopped, waiting for up to 16 calls under way"
    footer = run_footer(progress, Path("run"), ["a note"]).to_text()
    assert footer.startswith(
        "a note · up to 16 calls still under way: their answers go to the journal, too; the next run waits for them"
    )
