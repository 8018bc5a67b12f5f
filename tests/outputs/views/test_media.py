"""The views of media: in a real kernel, in a real terminal, and with a clock that is moved by hand."""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from media_samples import CALL_FIELDS, png, wav

from puq_magics.api.request import Retry
from puq_magics.core.media_types import MP3
from puq_magics.outputs.results import ImageResult, SpeechResult, TranscriptResult
from puq_magics.outputs.views.media import NotebookMediaView, QuietMediaView, TerminalMediaView

ERASE = "\r\x1b[K"
HERE = str(Path(__file__).parents[2] / "support")

#: What a cell of the kernel begins with.
SETUP = f"""
import sys; sys.path.insert(0, {HERE!r})
from media_samples import CALL_FIELDS, png, wav
from puq_magics.core.media_types import MP3
from puq_magics.api.request import Retry
from puq_magics.outputs.views.media import NotebookMediaView
from puq_magics.outputs.views.progress import Ticker
from puq_magics.outputs.results import ImageResult, SpeechResult, TranscriptResult
class Clock:
    now = 0.0
    def __call__(self): return self.now
clock = Clock()
images = ImageResult(images=[png(30, 20)], prompt="a red kite", **CALL_FIELDS)
speech = SpeechResult(audio=wav(1.5), text="Good morning.", **CALL_FIELDS)
"""


class FakeTTY(io.StringIO):
    def isatty(self) -> bool:
        return True


class FakeClock:
    """Stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def image_result(*data: bytes) -> ImageResult:
    return ImageResult(images=data or (png(30, 20),), prompt="a red kite", **CALL_FIELDS)  # type: ignore[arg-type]


def speech_result() -> SpeechResult:
    return SpeechResult(audio=wav(1.5), text="Good morning.", **CALL_FIELDS)


@pytest.fixture
def sample_kernel(fresh_kernel: Any) -> Any:
    """The kernel with samples in it, in its folder, which is empty."""
    assert fresh_kernel.run(SETUP).reply["status"] == "ok"
    fresh_kernel.run(f"%cd -q {fresh_kernel.folder}")
    before = set(fresh_kernel.folder.iterdir())
    yield fresh_kernel
    for path in set(fresh_kernel.folder.iterdir()) - before:
        path.unlink()


def bundles(cell: Any) -> list[dict[str, str]]:
    kinds = ("display_data", "update_display_data")
    return [m["content"]["data"] for m in cell.messages if m["msg_type"] in kinds]


# --- in a notebook


def test_one_display_is_updated_and_never_cleared(sample_kernel: Any) -> None:
    cell = sample_kernel.run(
        "view = NotebookMediaView(activity='drawing with a/b <x>')\n"
        "view.prepare(); view.show_waiting(0.6); view.show_waiting(12.4); view.show_result(images)"
    )
    assert cell.kinds == ["display_data", "update_display_data", "update_display_data"]
    first, second, last = bundles(cell)
    assert first["text/plain"] == "drawing with a/b <x> · 1 s"
    assert first["text/html"] == "<p><em>drawing with a/b &#60;x&#62; · 1 s</em></p>"
    assert second["text/plain"] == "drawing with a/b <x> · 12 s"
    assert 'alt="a red kite"' in last["text/html"]
    assert cell.screen == [last]
    assert all(set(bundle) == {"text/html", "text/plain"} for bundle in (first, second))
    assert set(last) == {"text/html", "image/png", "text/plain"}


def test_the_seconds_tick_beside_a_call_that_blocks(sample_kernel: Any) -> None:
    """From a thread of its own, and into the cell that is running."""
    cell = sample_kernel.run(
        "import threading\n"
        "seen = threading.Event()\n"
        "class Watched(NotebookMediaView):\n"
        "    def show_waiting(self, seconds):\n"
        "        super().show_waiting(seconds); seen.set()\n"
        "view = Watched(activity='drawing')\n"
        "with Ticker(view.show_waiting, setup=view.prepare, delay=0.01):\n"
        "    assert seen.wait(30)\n"
        "view.show_result(images)"
    )
    assert cell.reply["status"] == "ok", cell.reply
    assert re.fullmatch(r"drawing · \d+ s", bundles(cell)[0]["text/plain"])
    assert len(cell.screen) == 1


def test_without_live_there_is_one_display_and_no_update(sample_kernel: Any) -> None:
    cell = sample_kernel.run(
        "view = NotebookMediaView(live=False, autoplay=True, clock=clock)\n"
        "view.show_waiting(1); view.show_retry(Retry('busy', 1.0, 1, 2)); view.show_progress(1, 9, 'sending')\n"
        "clock.now = 9; view.show_progress(2, 9, 'sending'); view.show_result(speech)"
    )
    assert cell.kinds == ["display_data"]
    assert "<script" not in cell.all_content_json
    assert sample_kernel.run("NotebookMediaView(live=False).abandon()").kinds == []


def test_a_retry_is_told_while_it_pauses(sample_kernel: Any) -> None:
    cell = sample_kernel.run(
        "view = NotebookMediaView(activity='drawing', clock=clock)\n"
        "view.show_retry(Retry('too many requests', 5.0, 1, 2)); clock.now = 4; view.show_waiting(4.0)\n"
        "clock.now = 6; view.show_waiting(6.0)"
    )
    assert [bundle["text/plain"] for bundle in bundles(cell)] == [
        "too many requests; trying again in 5.0 s (1 of 2)",
        "drawing · 6 s",
    ]


def test_progress_is_shown_after_a_second_and_once_a_second(sample_kernel: Any) -> None:
    cell = sample_kernel.run(
        "view = NotebookMediaView(activity='transcribing', clock=clock)\n"
        "for tenth in range(35):\n"
        "    clock.now = tenth / 10; view.show_progress(tenth * 100_000, 4_000_000, 'sending talk.mp3')"
    )
    assert [bundle["text/plain"][-19:] for bundle in bundles(cell)] == [
        "1.0 of 4.0 MB · 1 s",
        "2.0 of 4.0 MB · 2 s",
        "3.0 of 4.0 MB · 3 s",
    ]
    assert 'value="75"' in cell.screen[0]["text/html"]
    cell = sample_kernel.run(
        "view.show_waiting(3.6); view.show_progress(4_000_000, 4_000_000, 'sending talk.mp3'); view.show_waiting(4.6)"
    )
    assert "3.4 of 4.0 MB" in bundles(cell)[0]["text/plain"]
    assert bundles(cell)[-1]["text/plain"] == "transcribing · 5 s"


def test_a_short_transfer_is_not_shown(sample_kernel: Any) -> None:
    cell = sample_kernel.run(
        "clock.now = 0; view = NotebookMediaView(clock=clock)\n"
        "for part in range(9): clock.now = part / 10; view.show_progress(part, 9, 'sending')\n"
        "view.show_result(images)"
    )
    assert cell.kinds == ["display_data"]


def test_nothing_is_painted_over_the_result(sample_kernel: Any) -> None:
    late = "view.show_waiting(9); view.show_retry(Retry('busy', 1.0, 1, 2)); clock.now += 9; "
    late += "view.show_progress(1, 9, 'x')"
    cell = sample_kernel.run(
        f"view = NotebookMediaView(clock=clock); view.show_progress(0, 9, 'x'); view.show_result(images); {late}"
    )
    assert cell.kinds == ["display_data"]
    cell = sample_kernel.run(f"view = NotebookMediaView(); view.show_waiting(1); view.abandon(); {late}")
    assert [bundle["text/plain"] for bundle in bundles(cell)] == ["waiting · 1 s", "Nothing came."]


def test_a_call_that_fails_at_once_shows_nothing(sample_kernel: Any) -> None:
    assert sample_kernel.run("NotebookMediaView().abandon()").kinds == []


@pytest.mark.parametrize(
    ("style", "footer"),
    [
        ("full", "\n\n[cut · a/b · 30 × 20 PNG · 3 tokens · 1.2 s]"),
        ("short", "\n\n[cut · a/b]"),
        ("none", "\n\n[cut]"),
    ],
)
def test_the_footer(sample_kernel: Any, style: str, footer: str) -> None:
    cell = sample_kernel.run(
        f"images.notes = ('cut',); NotebookMediaView(footer={style!r}).show_result(images)"
    )
    assert cell.screen[0]["text/plain"] == f"[image 30 × 20 PNG, “a red kite”]{footer}"


def test_speech_plays_by_itself_now_and_not_from_the_notebook(sample_kernel: Any) -> None:
    cell = sample_kernel.run(
        "view = NotebookMediaView(autoplay=True); view.show_waiting(1); view.show_result(speech)"
    )
    _, starter, last = bundles(cell)
    (name,) = re.findall(r'getElementById\("(puq-[0-9a-f]+)"\)', starter["text/html"])
    assert f'<audio id="{name}" controls' in last["text/html"]
    assert "autoplay" not in last["text/html"]
    assert "<script" not in last["text/html"]
    assert cell.screen == [last]
    assert "id=" not in sample_kernel.run("speech").screen[0]["text/html"]
    assert "<script" not in sample_kernel.run("NotebookMediaView().show_result(speech)").all_content_json


class Player:
    """Notes what a player is sent."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.made: list[dict[str, Any]] = []
        self.prepared = self.closed = 0

    def prepare(self) -> None:
        self.prepared += 1

    def __call__(self, **how: Any) -> Any:
        self.made.append(how)
        return self

    def show(self, audio: bytes) -> None:
        self.sizes.append(len(audio))

    def bundle(self) -> dict[str, Any]:
        return {"text/plain": "a live player"}

    def close(self) -> None:
        self.closed += 1


def test_a_player_of_speech_that_arrives(shell: Any, capsys: Any) -> None:
    player, clock = Player(), FakeClock()
    view = NotebookMediaView(live_player=player, autoplay=True, clock=clock)
    view.prepare()
    kilobytes = [5, 12, 14, 20, 40, 200, 500, 760, 780]
    for number in kilobytes:
        view.show_partial_audio(lambda n=number: bytes(1000 * n), 1000 * number, "audio/mpeg", "a\nb")
        view.show_progress(1000 * number, 0, "receiving audio")
    clock.now = 10.0  # seconds in which more may be sent
    view.show_partial_audio(lambda: bytes(900_000), 900_000, "audio/mpeg", "a\nb")
    view.show_waiting(3.0)
    assert player.sizes == [12_000, 20_000, 40_000, 200_000, 500_000, 900_000]
    assert player.made == [{"mime": "audio/mpeg", "label": "Speech: a b", "autoplay": True}]
    view.show_result(speech_result())
    view.show_partial_audio(lambda: bytes(9_000_000), 9_000_000, "audio/mpeg", "late")
    assert (player.prepared, player.closed, len(player.sizes)) == (1, 1, 6)
    assert "receiving" not in capsys.readouterr().out


@pytest.mark.parametrize(("live", "made"), [(True, 1), (False, 0)])
def test_without_live_there_is_no_player(shell: Any, live: bool, made: int) -> None:
    player = Player()
    view = NotebookMediaView(live_player=player, live=live)
    view.show_partial_audio(lambda: bytes(20_000), 20_000, "audio/wav", "a")
    view.abandon()
    assert (len(player.made), player.closed) == (made, made)


def test_large_ones_are_saved_beside_the_notebook_once(sample_kernel: Any) -> None:
    sample_kernel.run(
        "three = [png(3, 2), png(4, 4, 9_000), png(5, 5, 9_000)]\n"
        "many = ImageResult(images=three, prompt='A red kite', **CALL_FIELDS)"
    )
    cell = sample_kernel.run("NotebookMediaView(max_embed_mb=0.005).show_result(many)")
    assert sorted(path.name for path in sample_kernel.folder.glob("*.png")) == [
        "a-red-kite-1.png",
        "a-red-kite-2.png",
    ]
    (bundle,) = cell.screen
    assert 'src="a-red-kite-1.png"' in bundle["text/html"]
    assert bundle["text/html"].count("data:image/png") == 1
    assert "2 of 3: " in bundle["text/html"]
    assert sample_kernel.run("many").screen == [bundle]
    sample_kernel.run("NotebookMediaView(max_embed_mb=0.005).show_result(many)")
    assert len(list(sample_kernel.folder.glob("*.png"))) == 2
    assert sample_kernel.value("[str(image.path) for image in many.images]") == [
        "None",
        str(sample_kernel.folder / "a-red-kite-1.png"),
        str(sample_kernel.folder / "a-red-kite-2.png"),
    ]


def test_what_cannot_be_saved_beside_the_notebook_is_kept(sample_kernel: Any, tmp_path: Path) -> None:
    cell = sample_kernel.run(
        "from pathlib import Path\n"
        f"NotebookMediaView(max_embed_mb=0.001, folder=Path({str(tmp_path / 'gone')!r})).show_result(speech)"
    )
    kept = Path(sample_kernel.value("str(speech.path)"))
    assert kept.read_bytes() == wav(1.5)
    kept.unlink()
    (bundle,) = cell.screen
    assert f"there is no folder {tmp_path / 'gone'}. What came is kept in {kept}" in bundle["text/plain"]
    assert "<audio" not in bundle["text/html"]


def test_a_transcript_that_grows(sample_kernel: Any) -> None:
    cell = sample_kernel.run(
        "view = NotebookMediaView(activity='listening with a/b', clock=clock)\n"
        "view.show_partial_transcript('One <two>', 3.0, 125.0, 1.2)\n"
        "view.show_partial_transcript('One <two> three', 6.0, 125.0, 1.3)\n"  # too soon
        "clock.now = 1.0; view.show_partial_transcript('word ' * 2000 + 'end', 126.0, 125.0, 9.0)\n"
        "view.show_result(TranscriptResult(text='One.', **CALL_FIELDS))\n"
        "clock.now = 2.0; view.show_partial_transcript('late', None, None, 9.0)"
    )
    assert cell.reply["status"] == "ok", cell.reply
    first, long, last = bundles(cell)
    assert first == {
        "text/html": "<p>One &#60;two&#62;</p>\n<p><em>listening with a/b · 3.0 s of 2&#58;05 min · 1 s</em></p>",
        "text/plain": "One <two>\n[listening with a/b · 3.0 s of 2:05 min · 1 s]",
    }
    assert long["text/plain"].startswith("… word word")
    assert long["text/plain"].endswith("word end\n[listening with a/b · 2:06 min · 9 s]")
    assert len(long["text/html"]) < 4000
    assert last["text/plain"].startswith("One.")
    assert len(cell.screen) == 1


def test_a_transcript_that_grows_is_shown_once_without_live(sample_kernel: Any) -> None:
    cell = sample_kernel.run(
        "view = NotebookMediaView(live=False)\n"
        "view.show_partial_transcript('One', 3.0, 125.0, 1.2)\n"
        "view.show_result(TranscriptResult(text='One.', **CALL_FIELDS))"
    )
    assert cell.kinds == ["display_data"]


# --- in a terminal


def test_media_are_saved_and_the_path_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    TerminalMediaView(out=lambda: out).show_result(image_result(png(4, 4), png(5, 5)))
    assert sorted(path.name for path in (tmp_path / "puq_media").iterdir()) == [
        "a-red-kite-1.png",
        "a-red-kite-2.png",
    ]
    assert out.getvalue() == (
        f"saved in puq_media: a-red-kite-1.png ({len(png(4, 4))} bytes), "
        f"a-red-kite-2.png ({len(png(5, 5))} bytes)\n"
        "[a/b · 2 images · 3 tokens · 1.2 s]\n"
    )


def test_what_was_saved_is_not_saved_again(tmp_path: Path) -> None:
    result = speech_result()
    result.save(tmp_path / "mine.wav")
    out = io.StringIO()
    TerminalMediaView(footer="none", folder=tmp_path, out=lambda: out).show_result(result)
    assert out.getvalue() == f"saved {tmp_path}/mine.wav (24 kB)\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.wav"]


def test_speech_of_which_nothing_came_is_no_file(tmp_path: Path) -> None:
    out = io.StringIO()
    result = SpeechResult(audio=b"", text="Good morning.", type=MP3, status="interrupted", **CALL_FIELDS)
    TerminalMediaView(folder=tmp_path, out=lambda: out).show_result(result)
    assert out.getvalue() == "[interrupted · a/b · no audio · 3 tokens · 1.2 s]\n"
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_saved_here_is_kept(tmp_path: Path) -> None:
    out = io.StringIO()
    result = speech_result()
    TerminalMediaView(folder=tmp_path / "gone" / "too", out=lambda: out).show_result(result)
    assert result.path is not None
    assert result.path.read_bytes() == result.audio
    result.path.unlink()
    assert f"saved {result.path} (24 kB)" in out.getvalue()
    assert "there is no folder" in out.getvalue()


def test_a_transcript_is_printed_without_what_steers_a_terminal() -> None:
    out = io.StringIO()
    TerminalMediaView(out=lambda: out).show_result(
        TranscriptResult(text="Good\x1b[2J morning.", source="a\x1b[31m", **CALL_FIELDS)
    )
    assert out.getvalue() == "Good morning.\n[a/b · a · 3 tokens · 1.2 s]\n"


def test_the_status_is_one_line_that_is_rewritten(tmp_path: Path) -> None:
    out, clock = FakeTTY(), FakeClock()
    view = TerminalMediaView(activity="transcribing\x1b[2J", folder=tmp_path, clock=clock, out=lambda: out)
    view.show_waiting(0.6)
    assert out.getvalue() == f"{ERASE}… transcribing · 1 s"
    view.show_retry(Retry("too many requests", 1.5, 1, 2))
    assert out.getvalue().endswith(f"{ERASE}… too many requests; trying again in 1.5 s (1 of 2)")
    clock.now = 2.0
    view.show_progress(0, 4_000_000, "sending talk.mp3")
    clock.now = 4.0
    view.show_progress(2_000_000, 4_000_000, "sending talk.mp3")
    assert out.getvalue().endswith(
        f"{ERASE}… sending talk.mp3 [############------------] 2.0 of 4.0 MB · 2 s"
    )
    view.show_result(TranscriptResult(text="Hello.", **CALL_FIELDS))
    assert out.getvalue().endswith(f"{ERASE}Hello.\n[a/b · 3 tokens · 1.2 s]\n")
    view.show_waiting(5.0)
    assert out.getvalue().endswith(" s]\n")


def test_a_call_that_fails_leaves_no_status() -> None:
    out = FakeTTY()
    view = TerminalMediaView(out=lambda: out)
    view.show_waiting(0.6)
    view.abandon()
    assert out.getvalue().endswith(ERASE)


@pytest.mark.parametrize(("kind", "live"), [(io.StringIO, True), (FakeTTY, False)])
def test_no_status_on_a_pipe_or_without_live(kind: type[io.StringIO], live: bool) -> None:
    out = kind()
    clock = FakeClock()
    view = TerminalMediaView(live=live, clock=clock, out=lambda: out)
    view.prepare()
    view.show_waiting(0.6)
    view.show_retry(Retry("too many requests", 1.5, 1, 2))
    view.show_progress(0, 9, "sending")
    clock.now = 9.0
    view.show_progress(1, 9, "sending")
    view.abandon()
    assert out.getvalue() == ""


def test_in_a_real_terminal(tmp_path: Path) -> None:
    code = (
        f"{SETUP}\n"
        "from puq_magics.outputs.views.media import TerminalMediaView\n"
        "view = TerminalMediaView(activity='drawing')\n"
        "view.show_waiting(1.0)\n"
        "view.show_result(images)\n"
        "images\n"
    )
    terminal, ours = pty.openpty()
    env = os.environ | {"IPYTHONDIR": str(tmp_path / "ipython"), "TERM": "xterm"}
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", code]
    with subprocess.Popen(command, stdin=ours, stdout=ours, stderr=ours, env=env, cwd=tmp_path) as process:
        os.close(ours)
        shown = b""
        while b"saved puq_media/a-red-kite-1.png" not in shown or shown.count(b" s]") < 2:
            shown += os.read(terminal, 4096)
        assert process.wait(30) == 0
    os.close(terminal)
    text = shown.decode()
    saved = f"saved puq_media/a-red-kite-1.png ({len(png(30, 20))} bytes)"
    assert f"{ERASE}… drawing · 1 s{ERASE}{saved}\r\n[a/b · 30 × 20 PNG" in text
    assert "[image 30 × 20 PNG, “a red kite”, puq_media/a-red-kite-1.png]" in text
    assert (tmp_path / "puq_media" / "a-red-kite-1.png").read_bytes() == png(30, 20)
    shutil.rmtree(tmp_path / "ipython", ignore_errors=True)


def test_the_words_of_a_transcript_are_printed_as_they_come(tmp_path: Path) -> None:
    out, clock = FakeTTY(), FakeClock()
    view = TerminalMediaView(activity="listening", folder=tmp_path, clock=clock, out=lambda: out)
    view.show_waiting(1.0)
    view.show_partial_transcript("Hello", 1.0, 4.0, 1.0)
    view.show_partial_transcript("Hello \x1b[3", 2.0, 4.0, 1.5)
    view.show_partial_transcript("Hello \x1b[31mthere", 3.0, None, 2.0)
    view.show_waiting(3.0)
    view.show_result(TranscriptResult(text="Hello \x1b[31mthere.", **CALL_FIELDS))
    words = out.getvalue().split(ERASE)[-1]
    assert words.startswith("Hello there.\n[")
    assert words.count("\n") == 2
    view.show_partial_transcript("more", None, None, 4.0)
    assert out.getvalue().endswith(words)


def test_words_that_became_others_are_printed_anew(tmp_path: Path) -> None:
    out = io.StringIO()
    view = TerminalMediaView(footer="none", folder=tmp_path, out=lambda: out)
    view.show_partial_transcript("Helo", None, None, 1.0)
    view.show_result(TranscriptResult(text="Hello there.", **CALL_FIELDS))
    assert out.getvalue() == "Helo\nHello there.\n"


def test_words_come_at_once_without_live(tmp_path: Path) -> None:
    out = io.StringIO()
    view = TerminalMediaView(footer="none", live=False, folder=tmp_path, out=lambda: out)
    view.show_partial_transcript("Hello", None, None, 1.0)
    assert out.getvalue() == ""
    view.show_result(TranscriptResult(text="Hello there.", **CALL_FIELDS))
    assert out.getvalue() == "Hello there.\n"


def test_quiet_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    view = QuietMediaView()
    view.prepare()
    view.show_waiting(1.0)
    view.show_retry(Retry("busy", 1.0, 1, 2))
    view.show_progress(1, 2, "sending")
    view.show_result(image_result())
    view.abandon()
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []
