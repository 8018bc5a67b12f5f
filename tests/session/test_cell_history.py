"""Cells with their outputs in a prompt, in a shell and in a kernel."""

from __future__ import annotations

import io
from typing import Any

import IPython
import PIL.Image
import pytest
from IPython.display import HTML, Markdown, display

from puq_magics.session import cell_history

KEEPS_OUTPUTS = IPython.version_info >= (9,)
needs_kept_outputs = pytest.mark.skipif(not KEEPS_OUTPUTS, reason="this IPython keeps no outputs")


def png(width: int = 3) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("L", (width, 2), 128).save(file, "PNG")
    return file.getvalue()


def attached(shell: Any, name: str) -> list[Any]:
    """The parts behind the prompt that a name becomes."""
    content = shell.echoed_request(f"%puq_chat -a {name} Explain it")["messages"][0]["content"]
    assert content[0] == {"type": "text", "text": "Explain it"}
    return list(content[1:])


def text_of(shell: Any, name: str) -> str:
    (part,) = attached(shell, name)
    return str(part["text"])


def number(shell: Any) -> int:
    """The number of the cell that was run last."""
    return len(shell.names["In"]) - 1


@needs_kept_outputs
@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("x = 6\nprint('x is', end=' ')\nprint(x)\nx * 7", "x is 6\n42"),
        ("%precision 3\n1 / 3", "0.333"),
        ("import sys\nprint('a', file=sys.stderr)", "a"),
        ("print('10%\\r90%\\r100%')\nprint('\\x1b[31mred\\x1b[0m')", "100%\nred"),
        ("display(Markdown('*kite*'))\nprint('below')", "*kite*\nbelow"),
        ("print('above')\ndisplay(Markdown('*kite*'))\nprint('below')\n1", "above\n*kite*\nbelow\n1"),
        (
            "handle = display(Markdown('old'), display_id=True)\nprint('x')\nhandle.update(Markdown('new'))",
            "new\nx",
        ),
        ("x = 1", None),
    ],
)
def test_a_cell_is_sent_with_its_outputs_in_order(sandbox_shell: Any, code: str, output: str | None) -> None:
    sandbox_shell.names.update(display=display, Markdown=Markdown)
    sandbox_shell.run(code)
    n = number(sandbox_shell)
    expected = f"Cell In[{n}]:\n\n```python\n{code}\n```"
    expected += f"\n\nOutput:\n\n```\n{output}\n```" if output else ""
    sandbox_shell.run("y = 2")
    assert text_of(sandbox_shell, f"cell:{n}") == expected


def test_what_an_ipython_does_not_keep_is_said(sandbox_shell: Any) -> None:
    sandbox_shell.run("print('six')\n7")
    sent = text_of(sandbox_shell, "cell:-1")
    assert sent.endswith("six\n7\n```" if KEEPS_OUTPUTS else "Output:\n\n```\n7\n```")
    note = "what it printed is not known: that needs IPython 9"
    assert any(note in each for each in sandbox_shell.names["_puq"].notes) is not KEEPS_OUTPUTS


@needs_kept_outputs
def test_the_traceback_of_a_cell_that_failed(sandbox_shell: Any) -> None:
    sandbox_shell.attempt("print('so far')\n1 / 0")
    sent = text_of(sandbox_shell, "cell:-1")
    assert "Output:\n\n```\nso far\n---" in sent
    assert sent.endswith("ZeroDivisionError: division by zero\n```")
    assert "\x1b" not in sent


@needs_kept_outputs
def test_images_are_images_in_their_place(sandbox_shell: Any) -> None:
    sandbox_shell.names.update(display=display, image=PIL.Image.new("L", (3, 2), 128))
    sandbox_shell.run("print('before')\ndisplay(image)\nprint('after')\nimage")
    before, first, after, second = attached(sandbox_shell, "cell:-1")
    assert before["text"].endswith("Output:\n\n```\nbefore\n```")
    assert after["text"] == "Output:\n\n```\nafter\n```"
    for part in (first, second):
        assert part["image_url"]["url"].startswith("data:image/png;base64,")


@needs_kept_outputs
def test_several_cells_and_the_answer_of_one(sandbox_shell: Any) -> None:
    sandbox_shell.run("a = 1")
    sandbox_shell.run("%puq_chat -m sandbox/short Hello")
    n = number(sandbox_shell)
    first, second = attached(sandbox_shell, f"cell:{n - 1}-{n}")
    assert first["text"] == f"Cell In[{n - 1}]:\n\n```python\na = 1\n```"
    assert "%puq_chat -m sandbox/short Hello" in second["text"]  # as typed
    assert sandbox_shell.names["Out"][n].text.split("\n")[0] in second["text"]


@needs_kept_outputs
def test_what_is_left_out_is_said(sandbox_shell: Any) -> None:
    sandbox_shell.names.update(display=display, HTML=HTML)
    sandbox_shell.run(
        "display(HTML('<b>x</b>'))\nprint('a' * 200)\n%config PuqMagics.max_attachment_chars = 100"
    )
    n = number(sandbox_shell)
    assert "a" * 101 not in text_of(sandbox_shell, "cell:-1")
    assert sandbox_shell.names["_puq"].notes == (
        f"cell:{n}: an output of type text/html was left out",
        f"cell:{n}: the first 100 of 201 characters of its output",
    )


def test_only_the_latest_displays_are_kept(sandbox_shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_history, "MAX_DISPLAY_BYTES", 1_000)
    sandbox_shell.names.update(display=display, Markdown=Markdown)
    sandbox_shell.run("display(Markdown('a' * 400))")
    sandbox_shell.run("handle = display(Markdown('b' * 400), display_id=True)")
    sandbox_shell.run(
        "for n in range(900):\n    handle.update(Markdown('c' * 400))\ndisplay(Markdown('d' * 400))"
    )
    sent = text_of(sandbox_shell, "cell:-3")
    assert "a" * 400 not in sent
    assert "some of what it displayed is no longer kept" in str(sandbox_shell.names["_puq"].notes)
    assert "c" * 400 in text_of(sandbox_shell, "cell:-3")
    assert "d" * 400 in text_of(sandbox_shell, "cell:-3")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cell:99999", "there is no cell 99999 before this one"),
        ("cell:0", "there is no cell 0 before this one"),
        ("cell:-99999", "before this one"),
        ("cell:x", "'cell:x' names no cell"),
        ("cell:3-2", "a range begins with its lower number"),
        ("cell:1-99", "cell:1-99 has more than 50 cells"),
    ],
)
def test_cells_that_are_not_there(sandbox_shell: Any, name: str, message: str) -> None:
    sandbox_shell.run("a = 1")
    error = sandbox_shell.error(f"%puq_chat -a {name} Explain it")
    assert message in str(error)
    assert error.hint


def test_the_running_cell_is_not_one_of_them(sandbox_shell: Any) -> None:
    n = number(sandbox_shell) + 1
    assert f"no cell {n} before" in str(sandbox_shell.error(f"%puq_chat -a cell:{n} Explain it"))


def test_the_publisher_is_as_it_was_without_the_extension(make_shell: Any) -> None:
    shell = make_shell()
    shell.run("%load_ext puq_magics")
    assert "publish" in vars(shell.ip.display_pub)
    shell.run("%reload_ext puq_magics")
    shell.run("%unload_ext puq_magics")
    assert "publish" not in vars(shell.ip.display_pub)


def test_cells_in_a_prompt(sandbox_shell: Any) -> None:
    sandbox_shell.run("a = 1")
    sandbox_shell.run("%time b = 2")
    n = number(sandbox_shell)
    shown = f"Cell In[{n - 1}]:\n\n```python\na = 1\n```\n\nCell In[{n}]:\n\n```python\n%time b = 2\n```"
    sent = sandbox_shell.echoed_request(f"%puq_chat Explain {{{{In[{n - 1}:{n + 1}]}}}} please")
    assert sent["messages"][0]["content"] == f"Explain\n\n{shown}\n\nplease"
    sent = sandbox_shell.echoed_request(f"%puq_chat Explain {{{{In[{n}]}}}} {{{{In[-5:][0] | length > 0}}}}")
    assert sent["messages"][0]["content"] == "Explain %time b = 2 True"
    error = sandbox_shell.error("%puq_chat {{In[99999]}}")
    assert "there is no cell 999" in str(error)
    error = sandbox_shell.error("%puq_chat {{Out[3:7]}}")
    assert "has no ranges" in str(error)
    assert "-a cell:3-7" in error.hint


def test_a_figure_of_matplotlib_in_a_kernel(sandbox_kernel: Any) -> None:
    sandbox_kernel.run("%matplotlib inline\nimport matplotlib.pyplot as plt")
    ran = sandbox_kernel.run("print('a figure')\nplt.plot([1, 3, 2]);")
    (shown,) = ran.screen
    sandbox_kernel.run("%puq_chat -q -m sandbox/echo -a cell:-1 What is this?")
    sent = sandbox_kernel.value("[part.get('image_url') for part in _puq.messages[0]['content']]")
    assert str(sent).split("base64,")[1].startswith(shown["image/png"].strip()[:60])
