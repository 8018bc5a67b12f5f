import io
import os
import sys
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.display import Markdown
from matplotlib.figure import Figure

from puq_magics.core.errors import InputError
from puq_magics.core.fences import format_code_block
from puq_magics.outputs.results import ChatResult, ImageResult, SpeechResult, TranscriptResult
from puq_magics.prompts.attachments import Attachments, attach
from puq_magics.prompts.image_resize import ImageLimits
from puq_magics.prompts.images import image_part


def png(width: int = 3, height: int = 2) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("L", (width, height), 128).save(file, "PNG")
    return file.getvalue()


PNG = png()
WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(24)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def text(name: str, variables: Mapping[str, Any] | None = None, **options: Any) -> str:
    """The one text that a name becomes, without a note."""
    attached = attach([name], {} if variables is None else variables, **options)
    assert attached.notes == ()
    (part,) = attached.parts
    assert part["type"] == "text"
    words: str = part["text"]
    return words


def refused(name: str, variables: Mapping[str, Any] | None = None, **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        attach([name], {} if variables is None else variables, **options)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300
    return caught.value


# -- files


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("notes.md", "# Notes\n", "File notes.md:\n\n```markdown\n# Notes\n```"),
        ("data.csv", "a,b\r\n1,2", "File data.csv:\n\n```csv\na,b\n1,2\n```"),
        ("x.py", "a = `1`", "File x.py:\n\n```python\na = `1`\n```"),
        ("README", "é", "File README:\n\n```\né\n```"),
        ("a.weird ext", "x", "File a.weird ext:\n\n```\nx\n```"),
        ("b.md", "```\nx\n```", "File b.md:\n\n````markdown\n```\nx\n```\n````"),
        ("bom.txt", "\ufeffx", "File bom.txt:\n\n```\nx\n```"),
        ("drawing.svg", "<svg/>", "File drawing.svg:\n\n```svg\n<svg/>\n```"),
    ],
)
def test_text_files(folder: Path, name: str, content: str, expected: str) -> None:
    (folder / name).write_bytes(content.encode())
    assert text(name) == expected
    assert text(str(folder / name)) == expected  # of a path, only the name is sent


def test_images_and_several_at_once(folder: Path) -> None:
    (folder / "chart.dat").write_bytes(PNG)  # by its first bytes, whatever its name
    (folder / "a.txt").write_text("A")
    attached = attach(["chart.dat", " a.txt", "a.txt", "note"], {"note": "N"})
    assert [part["type"] for part in attached.parts] == ["image_url", "text", "text"]
    assert attached.parts[0] == image_part(PNG, "image/png")
    assert attached.notes == ()
    assert attach([], {}) == Attachments()


def test_home_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    (folder / "a.txt").write_text("A")
    assert text("~/a.txt").startswith("File a.txt:")
    assert "unknown user" in refused("~nobody-of-this-name/a.txt").message


def test_an_existing_file_wins_and_the_note_says_so(folder: Path) -> None:
    (folder / "chart").write_text("of the file")
    attached = attach(["chart"], {"chart": "of the variable"})
    assert "of the file" in attached.parts[0]["text"]
    assert attached.notes == ("the file chart was taken, not the variable",)


def test_a_folder_does_not_hide_a_variable(folder: Path) -> None:
    (folder / "data").mkdir()
    assert "of the variable" in text("data", {"data": "of the variable"})
    assert refused("data").message == "the folder 'data' has no files."
    assert "the folder 'data' has no files" in refused("p", {"p": folder / "data"}).message


def test_a_long_file_is_cut_and_read_no_further(folder: Path) -> None:
    with (folder / "long.txt").open("wb") as file:
        file.write("é".encode() * 10_000)
        file.truncate(5_000_000_000)  # sparse: it takes no room
    tracemalloc.start()
    try:
        attached = attach(["long.txt"], {}, limit=100)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    said = "the first 100 characters of 5,000.0 MB"
    assert attached.parts[0]["text"] == f"File long.txt ({said}):\n\n```\n{'é' * 100}\n```"
    assert attached.notes == (f"long.txt: {said}",)
    assert most < 1_000_000


def test_an_image_file_of_any_size_is_not_read_at_all(folder: Path) -> None:
    with (folder / "a.png").open("wb") as file:
        file.write(PNG)
        file.truncate(5_000_000_000)
    assert refused("a.png").message == "a.png: an image of 5,000.0 MB is too large."


def test_the_limit_itself_is_not_cut(folder: Path) -> None:
    (folder / "a.txt").write_text("😀" * 50, encoding="utf-8")
    assert "😀" * 50 in text("a.txt", limit=50)
    assert attach(["a.txt"], {}, limit=49).notes == ("a.txt: the first 49 characters of 200 bytes",)


def test_a_large_image_is_scaled_down(folder: Path) -> None:
    (folder / "big.png").write_bytes(png(200, 100))
    attached = attach(["big.png", "v"], {"v": png(100, 100)}, image_limits=ImageLimits(max_side=50))
    assert attached.notes == (
        "big.png: scaled down from 200 × 100 to 50 × 25 pixels",
        "v: scaled down from 100 × 100 to 50 × 50 pixels",
    )


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b"", "'f.x' is empty.", "completely"),
        (b" \n", "f.x is empty.", "has content"),
        (b"\x00\x01\x02", "f.x cannot be sent: it is neither UTF-8 text nor an image", "UTF-8"),
        ("naïve".encode("latin-1"), "neither UTF-8 text", "Save text as UTF-8"),
        ("text".encode("utf-16"), "it is text in UTF-16", "UTF-8"),
        (b"PK\x03\x04\x00", "f.x: it cannot be read (BadZipFile: File is not a zip file).", "save it anew"),
        (b"PK\x05\x06" + bytes(18), "neither UTF-8 text nor an image", "UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "it is an old Office document", ".docx or .xlsx"),
        (WAV, "it is audio (wav)", "%puq_transcribe"),
        (PNG[:-12], "f.x: the image is cut off", "again"),
        (b"BM\x00\x00", "neither UTF-8 text nor an image", "PNG, JPEG, WebP or GIF"),
        (b"a" * 5_000 + b"\xff", "neither UTF-8 text", "UTF-8"),
    ],
)
def test_files_that_cannot_be_sent(folder: Path, content: bytes, message: str, hint: str) -> None:
    (folder / "f.x").write_bytes(content)
    error = refused("f.x")
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("", "-a needs a file or a variable name", "Give the path of"),
        ("chrt.png", "there is no file 'chrt.png'.", "Did you mean 'chart.png'?"),
        ("zzz.qq", "there is no file 'zzz.qq'.", "The working folder is "),
        ("nowhere/a.png", "there is no folder 'nowhere'.", "The working folder is "),
        ("figg", "there is neither a file nor a variable named 'figg'.", "Did you mean 'fig'?"),
        ("qqqqq", "neither a file nor a variable named 'qqqqq'", "Give the path of"),
        ("fig.axes[0]", "there is no file 'fig.axes[0]'.", "x = fig.axes[0], then -a x"),
        ("https://example.org/a.png", "is a URL.", "Download it"),
        ("a\0b", "not the name of a file", "in full"),
        ("x" * 5_000, "there is neither a file nor a variable named 'xxx", "Give the path of"),
        ("x/" * 3_000, "there is no folder", "working folder"),
        ("two\nlines.txt", r"there is no file 'two\nlines.txt'", "working folder"),
    ],
)
def test_names_of_nothing(folder: Path, name: str, message: str, hint: str) -> None:
    (folder / "chart.png").write_bytes(PNG)
    error = refused(name, {"fig": 1})
    assert message in error.message
    assert hint in error.hint


class VanishingNamespace(dict[str, Any]):
    """Variables that remove a file when they are asked for a name: between the check and the reading."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def __contains__(self, key: object) -> bool:
        self._path.unlink()
        return super().__contains__(key)


def test_a_file_that_disappears(folder: Path) -> None:
    (folder / "gone").write_text("x")
    assert refused("gone", VanishingNamespace(folder / "gone")).message == "there is no file 'gone'."


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert refused("pipe").message == "'pipe' is not a file."


@pytest.mark.parametrize("name", ["/proc/self/mem"])
def test_an_unreadable_file(name: str) -> None:
    """Even the administrator cannot read this one from its beginning."""
    assert "cannot be read (input/output error)" in refused(name).message


# -- variables


def result(kind: type[Any], **data: Any) -> Any:
    return kind(model="m", **data)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("words", "words"),
        (b"words", "words"),
        (bytearray("é".encode()), "é"),
        (memoryview(b"words"), "words"),
        (io.BytesIO(b"words"), "words"),
        (io.StringIO("words"), "words"),
        (Markdown("*m*"), "*m*"),
        ({"a": [1, None]}, '{"a": [1, null]}'),
        ([1, "b"], '[1, "b"]'),
        (result(ChatResult, text="answer"), "answer"),
        (result(SpeechResult, text="said", audio=WAV), "said"),
        (result(TranscriptResult, text="heard"), "heard"),
    ],
)
def test_variables_with_text(value: Any, expected: str) -> None:
    assert text("v", {"v": value}) == f"Variable v:\n\n```\n{expected}\n```"


def test_variables_that_are_images(folder: Path) -> None:
    (folder / "a.png").write_bytes(PNG)
    fig = Figure(figsize=(1, 1))
    axes = fig.subplots()
    values = [
        fig,
        axes,
        PNG,
        PIL.Image.new("RGB", (2, 2)),
        result(ImageResult, images=[PNG], prompt="p"),
        Path("a.png"),
    ]
    for value in values:
        (part,) = attach(["v"], {"v": value}).parts
        assert part["type"] == "image_url"
    assert len(attach(["v"], {"v": result(ImageResult, images=[PNG, PNG], prompt="p")}).parts) == 2


def test_a_frame_is_a_table_as_far_as_the_limit() -> None:
    frame = pd.DataFrame({"city": ["Rīga", "```"], "n": [1, 2]})
    assert text("df", {"df": frame}) == (
        "Variable df:\n\n| city | n |\n| --- | --- |\n| Rīga | 1 |\n| ``` | 2 |"
    )
    attached = attach(["df"], {"df": pd.DataFrame({"n": range(10_000)})}, limit=300)
    assert attached.notes[0].startswith("df: ")
    assert attached.notes[0].endswith(" of 10,000 rows")
    assert len(attached.parts[0]["text"]) < 400
    assert "| 999 |" in text("df", {"df": pd.DataFrame({"n": range(1_000)})})
    assert text("s", {"s": pd.Series([1.5], name="v")}).endswith("| v |\n| --- |\n| 1.5 |")


def test_200_megabytes_cost_what_is_sent() -> None:
    frame = pd.DataFrame(np.zeros((5_000_000, 5)), copy=False)
    assert frame.memory_usage().sum() >= 200_000_000
    attach(["a"], {"a": pd.DataFrame({"a": [1]})})  # imports
    tracemalloc.start()
    try:
        attached = attach(["df"], {"df": frame})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20_000_000
    assert len(attached.parts[0]["text"]) < 100_200
    assert attached.notes[0].endswith(" of 5,000,000 rows")


def test_a_long_text_is_cut() -> None:
    attached = attach(["v"], {"v": "a" * 3_000}, limit=10)
    assert attached.notes == ("v: the first 10 of 3,000 characters",)
    assert "\n" + "a" * 10 + "\n" in attached.parts[0]["text"]
    assert attach(["v"], {"v": [1] * 3_000}, limit=10).notes == (
        "v: cut at 10 characters; 3,000 items in all",
    )
    assert attach(["v"], {"v": b"a" * 3_000}, limit=10).notes == (
        "v: the first 10 characters of 3,000 bytes",
    )


def test_a_text_that_names_a_file_is_text_and_the_note_says_so(folder: Path) -> None:
    (folder / "a.txt").write_text("A")
    attached = attach(["v"], {"v": "a.txt"})
    assert attached.parts[0]["text"] == "Variable v:\n\n```\na.txt\n```"
    assert attached.notes == (
        "v: its text was attached, not the file of that name (use Path(v) for the file)",
    )


class Raises:
    @property
    def images(self) -> Any:
        raise RuntimeError("no\nluck")


class RaisesText:
    def _puq_text_(self) -> str:
        raise RuntimeError("no\nluck")


def endless() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (None, "the variable v cannot be attached: it is of type NoneType.", "Give the path of"),
        (3, "of type int", "Give the path of"),
        (sys, "of type module", "Give the path of"),
        (len, "of type builtin_function_or_method", "Give the path of"),
        (Figure, "of type type", "Give the path of"),
        (SimpleNamespace(), "of type SimpleNamespace", "Give the path of"),
        (threading.Lock(), "of type lock", "Give the path of"),
        (np.zeros((2, 2)), "of type ndarray", "PIL.Image.fromarray(v)"),
        (np.zeros(2), "of type ndarray", "Give the path of"),
        ("", "v is empty", "has content"),
        (" \n", "v is empty", "has content"),
        (b"", "the variable v is empty", "Give the path of"),
        (b"\0\1", "v cannot be sent: it is neither", "UTF-8"),
        (PNG[:-12], "the variable v: the image is cut off", "again"),
        (Raises(), "the variable v: drawing it raised RuntimeError: no luck.", "cell of its own"),
        (RaisesText(), "the variable v cannot be read: RuntimeError: no luck.", "cell of its own"),
        (Path("gone.png"), "the variable v: there is no file 'gone.png'.", "working folder"),
        (result(ImageResult, images=[], prompt="p"), "the variable v: it contains no image.", "Give"),
    ],
)
def test_variables_that_cannot_be_sent(folder: Path, value: Any, message: str, hint: str) -> None:
    error = refused("v", {"v": value})
    assert message in error.message
    assert hint in error.hint


def test_what_holds_itself_ends() -> None:
    assert text("v", {"v": endless()}) == "Variable v:\n\n```\n[…]\n```"


def test_an_error_names_its_attachment_before_anything_is_made_of_the_others(folder: Path) -> None:
    (folder / "a.txt").write_text("A")
    with pytest.raises(InputError, match=r"'b\.txt'"):
        attach(["a.txt", "b.txt"], {})


class Namespace(Mapping[str, Any]):
    """Any mapping will do."""

    def __getitem__(self, key: str) -> Any:
        return {"v": "words"}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["v"])

    def __len__(self) -> int:
        return 1


def test_any_mapping() -> None:
    assert "words" in text("v", Namespace())


@given(st.text(alphabet="`~\na b", max_size=60))
def test_no_text_closes_its_fence(inside: str) -> None:
    first, *lines, last = format_code_block(inside, "md").split("\n")
    assert first == last + "md"
    assert not any(line.strip().startswith(last) for line in lines)
    assert "\n".join(lines) == inside.removesuffix("\n")
