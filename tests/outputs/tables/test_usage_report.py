from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from puq_magics.outputs.tables.usage_report import UsageReport
from puq_magics.session.ledger import Ledger, LedgerEntry


def chat(model: str = "a/cheap", **fields: Any) -> LedgerEntry:
    tokens = {"prompt_tokens": 10, "completion_tokens": 5, "seconds": 2.0, "cost": 0.001}
    return LedgerEntry(**{"kind": "chat", "model": model, "session": "s", "cell": "1"} | tokens | fields)


ENTRIES = (
    chat(time_to_first_token=0.5),
    chat(time_to_first_token=1.5, cell="2"),
    chat("a/dear", cost=0.5),
    chat("a/new", cost=None, prompt_tokens=None, completion_tokens=None, outcome="402", cell=""),
    chat("a/new", cost=None, outcome="interrupted", cell=""),
)


@pytest.fixture
def report() -> UsageReport:
    return UsageReport(ENTRIES)


def test_by_model_the_dearest_first(report: UsageReport) -> None:
    assert isinstance(report, Sequence)
    assert list(report) == list(report.by_model)
    assert [row.name for row in report] == ["a/dear", "a/cheap", "a/new"]
    cheap, new = report[1], report[2]
    assert (cheap.calls, cheap.prompt_tokens, cheap.completion_tokens, cheap.seconds) == (2, 20, 10, 4.0)
    assert (cheap.time_to_first_token, cheap.estimated_cost) == (1.0, 0.002)
    assert (new.estimated_cost, new.without_cost, new.failures, new.time_to_first_token) == (None, 2, 1, None)


def test_by_cell_in_their_order(report: UsageReport) -> None:
    assert [(row.name, row.calls) for row in report.by_cell] == [("In [1]", 2), ("In [2]", 1), ("no cell", 2)]


def test_all_together(report: UsageReport) -> None:
    assert (report.total.calls, report.total.failures, report.total.without_cost) == (5, 1, 2)
    assert report.total.estimated_cost == pytest.approx(0.502)
    assert repr(report) == "<UsageReport of this session: 5 calls, 60 tokens, about 0.5 credits>"


def test_costs_are_called_estimates(report: UsageReport) -> None:
    bundle = report._repr_mimebundle_()
    wide = "\n".join(table.text(200) for table in report._tables())
    for text in (bundle["text/html"], wide):
        assert "estimated cost" in text
        assert "Costs are estimates" in text
        assert "2 calls have no estimate and are not in the cost." in text
    assert bundle["text/plain"].count("unknown") == 2  # of the model, and of the cell
    assert bundle["text/html"].count("<table>") == 2


def test_cells_of_other_sessions_are_told_apart() -> None:
    report = UsageReport([chat(session="first-session"), chat(session="other-session")], title="all sessions")
    assert [row.name for row in report.by_cell] == [
        "In [1] of session first-se",
        "In [1] of session other-se",
    ]
    assert "In [1]" not in report._repr_mimebundle_()["text/plain"]


def test_media_are_told_only_where_there_are_any(report: UsageReport) -> None:
    assert "Media" not in report._repr_mimebundle_()["text/plain"]
    media = UsageReport(
        [
            LedgerEntry(kind="image", model="a/image", images=3),
            LedgerEntry(kind="speech", model="a/tts", characters=70),
        ]
    )
    text = media._repr_mimebundle_()["text/plain"]
    assert "Media: 3 images, 70 characters spoken." in text


def test_it_fits_a_narrow_terminal_and_the_least_costs_are_not_told_exactly() -> None:
    fields = {
        "images": 2,
        "characters": 70,
        "audio_seconds": 3.0,
        "time_to_first_token": 0.1,
        "cost": 0.00002,
    }
    text = UsageReport([chat("a-provider/with-a-long-name", **fields)])._tables()[0].text(80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(re.match(r"a-provider/with-a-long-name +< 0.0001 +1 ", line) for line in lines)
    assert "failed" not in text


def test_nothing_yet() -> None:
    report = UsageReport([], notes=["the ledger was corrupt"])
    assert report._repr_mimebundle_()["text/plain"].splitlines() == [
        "Usage of this session",
        "(no calls yet)",
        "the ledger was corrupt",
    ]
    assert (len(report), report.total.calls, report.total.estimated_cost) == (0, 0, None)
    assert report.to_frame("call").empty


def test_as_frames(report: UsageReport) -> None:
    assert report.to_frame().set_index("model").calls.to_dict() == {"a/dear": 1, "a/cheap": 2, "a/new": 2}
    assert report.to_frame("cell").cell.tolist() == ["In [1]", "In [2]", "no cell"]
    calls = report.to_frame("call")
    assert calls.outcome.tolist() == ["ok", "ok", "ok", "402", "interrupted"]
    assert str(calls["at"].dtype).endswith("UTC]")
    with pytest.raises(ValueError, match="not 'day'"):
        report.to_frame("day")


def test_of_a_real_ledger(tmp_path: Any) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    for entry in ENTRIES:
        ledger.record(entry)
    ledger.close()
    again = Ledger(tmp_path / "ledger.sqlite")
    assert UsageReport(again.entries(all_sessions=True)).by_model == UsageReport(ENTRIES).by_model
    again.close()


@pytest.fixture
def _no_screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(os.environ, "MPLBACKEND", "agg")
    from matplotlib import pyplot

    before = pyplot.get_backend()
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")
    pyplot.switch_backend(before)


@pytest.mark.usefixtures("_no_screen")
def test_a_plot(report: UsageReport) -> None:
    axes = report.plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a/new", "a/cheap", "a/dear"]
    assert [bar.get_width() for bar in axes.patches] == [0.0, 0.002, 0.5]
    assert "estimated" in axes.get_xlabel()
    tokens = report.plot("tokens")
    assert sum(bar.get_width() for bar in tokens.patches) == 60
    tokens.figure.savefig(os.devnull, format="png")
    with pytest.raises(ValueError, match="not 'days'"):
        report.plot("days")
    assert UsageReport([chat("$a$", cost=None)]).plot().get_xlabel() == "tokens"
