"""``-a``: files and variables that go along with a prompt."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from puq_magics.core.errors import InputError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an image, notes and a table."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "chart.png")
    (tmp_path / "notes.md").write_text("Some notes.\n")
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    (tmp_path / "blob.bin").write_bytes(bytes(range(256)))
    return tmp_path


def parts(request: dict[str, Any]) -> list[dict[str, Any]]:
    content = request["messages"][-1]["content"]
    assert isinstance(content, list)
    return content


def test_an_image_goes_along(asking: Any, folder: Path) -> None:
    words, image = parts(asking.sent("%puq_chat -a chart.png What is this"))
    assert words == {"type": "text", "text": "What is this"}
    assert image["type"] == "image_url"
    assert image["image_url"]["url"].startswith("data:image/png;base64,")


def test_several_at_once(asking: Any, folder: Path) -> None:
    asking.run("from PIL import Image\nimg = Image.new('RGB', (9, 9))")
    found = parts(asking.sent("%puq_chat -a notes.md -a data.csv --attach img Compare"))
    assert [part["type"] for part in found] == ["text", "text", "text", "image_url"]
    assert "Some notes." in found[1]["text"]
    assert "1,2" in found[2]["text"]


def test_a_figure_and_a_result(asking: Any, folder: Path) -> None:
    asking.run("from matplotlib.figure import Figure\nfig = Figure()\nfig.subplots().plot([1, 2])")
    assert parts(asking.sent("%puq_chat -a fig What is this"))[1]["type"] == "image_url"
    asking.run("r = %puq_chat -q -m sandbox/short hi")
    assert asking.names["r"].text in parts(asking.sent("%puq_chat -a r Sum up"))[1]["text"]


def test_an_image_in_the_prompt_comes_before_those_attached(asking: Any, folder: Path) -> None:
    asking.run("from PIL import Image\nimg = Image.new('RGB', (9, 9))")
    found = parts(asking.sent("%puq_chat -a notes.md See {{img | image}}"))
    assert [part["type"] for part in found] == ["text", "image_url", "text"]


@pytest.mark.parametrize("name", ["blob.bin", "nowhere.png", "nobody", "number", "."])
def test_what_cannot_be_sent_is_told_before_sending(
    asking: Any, folder: Path, sandbox: Any, name: str
) -> None:
    asking.run("number = 5")
    assert isinstance(asking.error(f"%puq_chat -a {name} hi"), InputError)
    assert sandbox.requests == ()


def test_a_file_wins_over_a_variable_and_the_footer_says_so(asking: Any, folder: Path) -> None:
    (folder / "notes").write_text("From the file.")
    asking.run("notes = 'From the variable.'")
    assert "From the file." in parts(asking.sent("%puq_chat -a notes hi"))[1]["text"]
    assert "the file notes was taken" in asking.names["_puq"].notes[0]


def test_attachments_stay_in_the_conversation(asking: Any, folder: Path) -> None:
    asking.sent("%puq_chat -c main -a chart.png What is this")
    (folder / "chart.png").unlink()
    first = asking.sent("%puq_chat -c main And now")["messages"][0]["content"]
    assert [part["type"] for part in first] == ["text", "image_url"]
    assert "Attached: an image (PNG" in asking.run("%puq_chats main").out


def test_a_dry_run_says_what_goes_along_and_what_was_cut(asking: Any, folder: Path) -> None:
    asking.run("words = 'wren ' * 10_000")
    out = asking.run("%puq_chat --dry-run -a chart.png See {{words}}").out
    assert "\n\nwith it: an image (PNG, 1 kB)\n\nwords: cut at 20,000 of 50,000 characters\n\n" in out


def test_a_dry_run_leaves_out_the_data_of_images(asking: Any, folder: Path) -> None:
    Image.effect_noise((200, 200), 50).save(folder / "noise.png")
    ran = asking.run("%puq_chat --dry-run -a noise.png -a notes.md hi")
    assert "more characters)" in ran.out
    assert len(ran.out) < 3_000
    assert re.search(r"user: hi\n\nwith it: an image \(PNG, \d\d kB\)\n\nFile notes.md", ran.out)
    words = shlex.split(ran.out.partition("\n\nuser: ")[0])
    request = json.loads(words[words.index("--data-raw") + 1])
    assert [part["type"] for part in request["messages"][0]["content"]] == ["text", "image_url", "text"]


def test_an_image_counts_as_some_tokens_not_as_its_bytes(asking: Any, folder: Path) -> None:
    Image.effect_noise((400, 400), 50).save(folder / "noise.png")
    asking.run("%config PuqMagics.budget = 1")
    asking.run("%puq_chat -q -a noise.png hi")
    assert "about 1,001 tokens of prompt" in asking.run("%puq_chat --dry-run -a noise.png hi").out
