"""Documents, folders and arrays as attachments; the files are made here."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from puq_magics.core.errors import InputError
from puq_magics.prompts import folders
from puq_magics.prompts.attachments import Attachments, attach
from puq_magics.prompts.documents import reading

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_pdf(pages: Sequence[str]) -> bytes:
    """A PDF with a line of text on each page; an empty one is a page without text."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        content = f"BT /F1 12 Tf 20 50 Td ({text}) Tj ET" if text else "0 0 10 10 re f"
        resources = "<< /Font << /F1 3 0 R >> >>"
        box = f"/MediaBox [0 0 300 100] /Resources {resources} /Contents {5 + 2 * number} 0 R"
        objects += [
            f"<< /Type /Page /Parent 2 0 R {box} >>",
            f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        ]
    data, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{each}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    return data + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}".encode()


def make_docx(body: str, **more: str | bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(
            "word/document.xml", f'<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>'
        )
        for name, content in more.items():
            archive.writestr(name, content)
    return file.getvalue()


def paragraph(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def text(name: str, **options: Any) -> str:
    (part,) = attach([name], {}, **options).parts
    return str(part["text"])


def refused(name: str, variables: dict[str, Any] | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        attach([name], variables or {})
    assert caught.value.hint
    return caught.value


# -- PDF


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (
            "paper.pdf",
            "File paper.pdf (3 pages):\n\n```\n--- page 1 ---\nOne\n\n--- page 2 ---\nTwo\n\n"
            "--- page 3 ---\nThree\n```",
        ),
        ("paper.pdf:2", "File paper.pdf (page 2 of 3):\n\n```\n--- page 2 ---\nTwo\n```"),
        (
            "paper.pdf:2-9",
            "File paper.pdf (pages 2 to 3 of 3):\n\n```\n--- page 2 ---\nTwo\n\n--- page 3 ---\nThree\n```",
        ),
        ("paper.pdf:3-", "File paper.pdf (page 3 of 3):\n\n```\n--- page 3 ---\nThree\n```"),
    ],
)
def test_a_pdf_page_by_page(folder: Path, name: str, shown: str) -> None:
    pytest.importorskip("pypdf")
    (folder / "paper.pdf").write_bytes(make_pdf(["One", "Two", "Three"]))
    assert text(name) == shown
    (folder / "download").write_bytes((folder / "paper.pdf").read_bytes())  # by its bytes, whatever its name
    assert text(name.replace("paper.pdf", "download")) == shown.replace("paper.pdf", "download")
    variable = attach(["v"], {"v": (folder / "paper.pdf").read_bytes()})
    assert variable.parts[0]["text"].startswith("Variable v (3 pages):")


def test_500_pages_are_read_as_far_as_the_limit(folder: Path) -> None:
    pytest.importorskip("pypdf")
    (folder / "long.pdf").write_bytes(make_pdf(["words " * 20] * 500))
    attached = attach(["long.pdf"], {}, limit=1_000)
    assert attached.notes == ("long.pdf: pages 1 to 9 of 500, the first 1,000 characters",)
    assert len(attached.parts[0]["text"]) < 1_200


def test_pages_as_images(folder: Path) -> None:
    pytest.importorskip("pypdfium2")
    (folder / "paper.pdf").write_bytes(make_pdf([""] * 30))
    attached = attach(["paper.pdf:2-3:images"], {})
    assert [part["type"] for part in attached.parts] == ["text", "image_url", "image_url"]
    assert attached.parts[0]["text"] == "File paper.pdf (pages 2 to 3 of 30):"
    assert attached.notes == ()
    attached = attach(["paper.pdf:images"], {})
    assert len(attached.parts) == 21
    assert attached.notes == ("paper.pdf: 20 of 30 pages; paper.pdf:21-…:images has the next",)


def test_pdfs_that_cannot_be_sent(folder: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    (folder / "scan.pdf").write_bytes(make_pdf(["", ""]))
    error = refused("scan.pdf")
    assert error.message == "scan.pdf: it has no text: its pages are probably scanned."
    assert "paper.pdf:images" in error.hint
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4\n")
    assert "broken.pdf: it cannot be read (" in refused("broken.pdf").message
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(make_pdf(["One"])))
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(folder / "locked.pdf")
    assert refused("locked.pdf").message == "locked.pdf: it is protected by a password."
    if pytest.importorskip("pypdfium2"):
        assert refused("locked.pdf:images").message == "locked.pdf: it is protected by a password."
    for pages, what in (("7-8", "pages 7 to 8"), ("0", "page 0"), ("7-", "page 7")):
        error = refused(f"scan.pdf:{pages}")
        assert (error.message, error.hint) == (f"scan.pdf: it has no {what}.", "It has pages 1 to 2.")
    (folder / "a.txt").write_text("A")
    assert refused("a.txt:3").message == "a.txt: it has no pages to choose."
    assert "there is no file 'gone.pdf:3'" in refused("gone.pdf:3").message


def test_some_pages_without_text_are_noted(folder: Path) -> None:
    pytest.importorskip("pypdf")
    (folder / "mixed.pdf").write_bytes(make_pdf(["One", "", ""]))
    assert attach(["mixed.pdf"], {}).notes == ("mixed.pdf: 2 of its pages without text",)


# -- Word


def test_a_word_document(folder: Path) -> None:
    cell = "<w:tc>{}</w:tc>".format
    table = "".join(
        f"<w:tr>{''.join(cell(paragraph(word)) for word in row)}</w:tr>" for row in (("a|b", "c"), ("1",))
    )
    body = (
        paragraph("Kites", '<w:pStyle w:val="Heading2"/>')
        + paragraph("first", "<w:numPr/>")
        + "<w:p><w:r><w:t>tab</w:t><w:tab/><w:t>bed</w:t></w:r>"
        + "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>"
        + f"<w:tbl>{table}</w:tbl><w:p><w:r><w:drawing/></w:r></w:p>"
    )
    (folder / "essay.docx").write_bytes(make_docx(body))
    attached = attach(["essay.docx"], {})
    assert attached.parts[0]["text"] == (
        "File essay.docx:\n\n```markdown\n## Kites\n\n- first\n\ntab\tbed\n\n"
        "| a\\|b | c |\n| --- | --- |\n| 1 |  |\n```"
    )
    assert attached.notes == ("essay.docx: 1 image left out",)


def test_hostile_word_documents_cost_no_more_than_the_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_UNPACKED_BYTES", 10_000_000)
    (folder / "long.docx").write_bytes(make_docx(paragraph("kites " * 100) * 10_000))
    (folder / "bomb.docx").write_bytes(make_docx("", **{"word/media/x": bytes(11_000_000)}))
    attach(["long.docx"], {}, limit=100)  # imports
    tracemalloc.start()
    try:
        attached = attach(["long.docx"], {}, limit=1_000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2_000_000
    assert "the first 1,000 characters" in attached.notes[0]
    assert refused("bomb.docx").message == "bomb.docx: it is too large when unpacked."
    archive = make_docx("x").replace(b"word/document.xml", b"word/documenx.xml")
    (folder / "odd.docx").write_bytes(archive)
    assert refused("odd.docx").message == "odd.docx: it is no Word document."


def test_a_word_document_with_entities_is_refused(folder: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", "<!DOCTYPE a [<!ENTITY b 'x'>]><a>&b;</a>")
    (folder / "e.docx").write_bytes(file.getvalue())
    assert "it declares entities" in refused("e.docx").message


def test_other_archives(folder: Path) -> None:
    with zipfile.ZipFile(folder / "some.zip", "w") as archive:
        archive.writestr("a.txt", "A")
    assert refused("some.zip").message == "some.zip: it is a ZIP archive."


# -- notebooks and tables


def test_a_notebook_file(folder: Path) -> None:
    outputs = [
        {"output_type": "stream", "text": ["a\n", "\u001b[31mb\u001b[0m\n"]},
        {"output_type": "execute_result", "data": {"text/plain": ["42"], "text/html": "<b>42</b>"}},
        {"output_type": "display_data", "data": {"image/png": "x" * 5_000, "text/plain": "<Figure>"}},
        {"output_type": "error", "ename": "KeyError", "evalue": "'a'", "traceback": []},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Kites\n", "are red"]},
        {"cell_type": "code", "source": "6 * 7", "outputs": outputs},
        {"cell_type": "code", "source": "", "outputs": "odd"},
    ]
    (folder / "n.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
    attached = attach(["n.ipynb"], {})
    assert attached.parts[0]["text"] == (
        "File n.ipynb (3 cells):\n\n````markdown\n# Kites\nare red\n\n```python\n6 * 7\n```\n\n"
        "Output:\n\n```\na\nb\n```\n\nOutput:\n\n```\n42\n```\n\nOutput:\n\n```\nKeyError: 'a'\n```\n````"
    )
    assert attached.notes == ("n.ipynb: 1 image left out",)
    (folder / "other.json").write_text('{"cells": 3}')
    assert text("other.json") == 'File other.json:\n\n```json\n{"cells": 3}\n```'


def test_tables_in_files(folder: Path) -> None:
    pytest.importorskip("openpyxl")
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"city": ["Oslo"] * 30, "n": range(30)})
    frame.to_parquet(folder / "t.parquet")
    with pd.ExcelWriter(folder / "t.xlsx") as writer:
        frame.to_excel(writer, sheet_name="Trips", index=False)
        pd.DataFrame().to_excel(writer, sheet_name="None", index=False)
    attached = attach(["t.parquet"], {})
    assert attached.notes == ("t.parquet: 20 of 30 rows",)
    shown = attached.parts[0]["text"]
    assert shown.startswith(
        "File t.parquet:\n\n30 rows, 2 columns\n\n| column | type |\n| --- | --- |\n| city |"
    )
    assert shown.endswith("| Oslo | 19 |")
    attached = attach(["t.xlsx"], {})
    assert attached.notes == ("t.xlsx: sheet Trips: the first 20 of 30 rows",)
    shown = attached.parts[0]["text"]
    assert "Sheet 'Trips': 2 columns" in shown
    assert "| Oslo | 19 |" in shown
    assert shown.endswith("Sheet 'None': empty")


# -- folders


def make_tree(folder: Path) -> None:
    for name, content in {
        "src/a.py": b"a = 1\n",
        "src/deep/b.py": b"b = 2\n",
        "src/deep/c.txt": b"c\n",
        "src/.git/config": b"secret",
        "src/.env": b"KEY=secret",
        "src/__pycache__/a.pyc": b"\0",
        "src/env/pyvenv.cfg": b"x",
        "src/data.bin": b"\0\1",
        "src/empty.py": b"",
        "outside.txt": b"outside",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    PIL.Image.new("L", (3, 2), 128).save(folder / "src/kite.png")
    (folder / "src/out.txt").symlink_to(folder / "outside.txt")
    (folder / "src/loop").symlink_to(folder / "src")
    (folder / "src/inside.py").symlink_to(folder / "src/a.py")


def texts(attached: Attachments) -> list[str]:
    return [part["text"].split(":")[0] if "text" in part else "image" for part in attached.parts]


def test_a_folder_is_listed_and_its_files_are_read(folder: Path) -> None:
    make_tree(folder)
    for name in ("src", "src/"):
        attached = attach([name], {})
        names = ["File a.py", "File inside.py", "File deep/b.py", "File deep/c.txt"]
        assert texts(attached) == [f"Folder {name}", *names]
        assert "kite.png  " in attached.parts[0]["text"]
        assert "secret" not in str(attached.parts)
        assert "outside" not in str(attached.parts)
        (note,) = attached.notes
        assert note.startswith(f"{name}: 4 of 7 files; left out: ")
        for what in ("1 hidden folder", "1 hidden file", "2 folders of packages", "2 links", "1 image"):
            assert what in note
        assert "1 binary file" in note
        assert "1 empty file" in note
    assert texts(attach(["p"], {"p": folder / "src"}))[0] == "Folder src"
    assert attach(["src/deep"], {}).notes == ()


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("src/*.py", ["File a.py", "File inside.py"]),
        ("src/**/*.py", ["File a.py", "File inside.py", "File deep/b.py"]),
        ("src/d*/?.txt", ["File deep/c.txt"]),
        ("src/*.png", ["image"]),
        ("out*", ["File outside.txt"]),
        ("src/.e*", ["File .env"]),
    ],
)
def test_a_pattern(folder: Path, pattern: str, names: list[str]) -> None:
    make_tree(folder)
    assert texts(attach([pattern], {})) == [f"Files {pattern}", *names]


def test_files_up_to_the_limit_the_others_are_listed(folder: Path) -> None:
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"{number}" * 100)
    attached = attach(["*.txt"], {}, limit=260)
    assert texts(attached) == [
        "Files *.txt",
        "File 0.txt",
        "File 1.txt",
        "File 2.txt (the first 18 characters of 100 bytes)",
    ]
    assert "4.txt" in attached.parts[0]["text"]
    assert attached.notes == ("*.txt: 3 of 5 files", "2.txt: the first 18 characters of 100 bytes")


def test_huge_trees_are_not_walked_to_their_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MAX_FILES", 3)
    for number in range(5):
        (folder / f"{number}.txt").write_text("x")
    assert attach(["*.txt"], {}).notes == ("*.txt: 3 files (there are more: the listing was cut)",)
    monkeypatch.setattr(folders, "MAX_ENTRIES", 2)
    assert "the listing was cut" in attach(["**/*.txt"], {}).notes[0]


def test_folders_without_files(folder: Path) -> None:
    (folder / "none").mkdir()
    (folder / "none" / ".hidden").touch()
    error = refused("none")
    assert error.message == "the folder 'none' has no files."
    assert error.hint == "Left out: 1 hidden file."
    error = refused("none/*.py")
    assert error.message == "no file matches 'none/*.py'."
    assert error.hint == "Check the path and the working folder."
    assert "cannot be read" in refused("nowhere/*.py").message or "no file" in refused("nowhere/*.py").message


def test_a_pipe_in_a_folder_is_not_waited_for(folder: Path) -> None:
    (folder / "a.txt").write_text("A")
    os.mkfifo(folder / "pipe")
    assert texts(attach([str(folder)], {}))[1:] == ["File a.txt"]


# -- arrays


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (np.zeros((10, 20, 3), "uint8"), "RGB"),
        (np.zeros((10, 20, 4), "uint8"), "RGBA"),
        (np.zeros((10, 20, 1), "uint8"), "L"),
        (np.zeros((10, 20), "uint8"), "L"),
        (np.full((10, 20, 3), 0.5), "RGB"),
        (np.full((10, 20, 3), 2.0), ""),
        (np.full((10, 20, 3), np.nan), ""),
        (np.zeros((10, 20)), ""),
        (np.zeros((3, 3), "uint8"), ""),
        (np.zeros((10, 20, 5), "uint8"), ""),
        (np.zeros((10, 20, 3), "int64"), ""),
    ],
)
def test_arrays_that_are_images(array: Any, mode: str) -> None:
    if not mode:
        assert "of type ndarray" in refused("v", {"v": array}).message
        return
    (part,) = attach(["v"], {"v": array}).parts
    import base64

    image = PIL.Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].split(",")[1])))
    assert (image.mode, image.size) == (mode, (20, 10))
    if mode == "RGB":
        assert image.getpixel((0, 0)) == (128,) * 3 if array.dtype != "uint8" else (0,) * 3
