"""The declared magics: their help, and those without arguments."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("magic", "verb"), [("puq", "explains"), ("puq_login", "shows"), ("puq_logout", "explains")]
)
def test_magics_without_arguments_take_none(shell: Any, magic: str, verb: str) -> None:
    assert "takes options only" in str(shell.error(f"%{magic} now"))
    error = shell.error(f"%{magic} --now")
    assert "there is no option --now" in str(error)
    assert f"%{magic}? {verb}" in str(error)


@pytest.mark.parametrize(
    ("magic", "words"),
    [
        ("puq_chat", ("--temperature", "sampling temperature", "{{name}}")),
        ("puq_image", ("--size", "number of images")),
        ("puq_speak", ("--voice", "--autoplay")),
        ("puq_transcribe", ("--record", "--language")),
        ("puq_models", ("--kind", "--provider")),
        ("puq_login", ("--keyring",)),
        ("puq_sandbox", ("--fail", "--models")),
        ("puq_map", ("the system prompt of every call",)),
        ("puq_compare", ("the system prompt of every call",)),
        ("puq_grid", ("the system prompt of every call", "function(answer, row)")),
    ],
)
def test_the_options_are_documented(shell: Any, magic: str, words: tuple[str, ...]) -> None:
    found = shell.ip.object_inspect_text(f"%{magic}")
    assert "Usage:" in found
    assert [word for word in words if word not in found] == []
    again = shell.ip.object_inspect_text(f"%{magic}")
    assert again == found


def help_page(shell: Any, magic: str) -> str:
    return str(shell.ip.find_line_magic(magic).getdoc())


def magic_names(shell: Any) -> list[str]:
    return sorted(shell.ip.magics_manager.registry["PuqCommands"].magics["line"])


def test_a_help_page_is_plain_text_of_80_columns(shell: Any) -> None:
    pages = {name: help_page(shell, name) for name in magic_names(shell)}
    assert pages["puq_chat"].startswith(
        "Usage:\n\n  %puq_chat [options] PROMPT\n\n  %%puq_chat [MODEL] [options]\n  PROMPT\n\n"
    )
    assert "\nConversation:\n  -c, --chat NAME" in pages["puq_chat"]
    assert "[options] FILE|VARIABLE\n" in pages["puq_transcribe"]
    assert "%puq_balance\n" in pages["puq_balance"]
    for name, page in pages.items():
        assert "``" not in page, name
        assert ":class:" not in page, name
        assert max(map(len, page.splitlines())) < 80, name


# The statements of each magic's examples that take more than a shell with media models.
_SETUP = {
    "puq_chat": "def weather(city: str) -> str:\n    return 'rain'",
    "puq_chats": "%puq_chat -q -c trip Hello",
    "puq_fix": "1 / 0",
    "puq_image": "%puq_image -q --size 64x64 --save photo.png A kite",
    "puq_transcribe": "%puq_speak -q -o speech --save talk.wav Hello there.",
}


@pytest.mark.filterwarnings("ignore:Deprecated in traitlets")  # by ipywidgets' oldest version
@pytest.mark.usefixtures("work_folder")
@pytest.mark.parametrize(
    ("magic", "count"),
    [
        ("puq_chat", 4),
        ("puq_image", 4),
        ("puq_speak", 3),
        ("puq_transcribe", 3),
        ("puq_map", 3),
        ("puq_compare", 3),
        ("puq_grid", 3),
        ("puq_fix", 4),
        ("puq_chats", 3),
        ("puq_models", 3),
        ("puq_choose", 3),
        ("puq_usage", 3),
        ("puq_sandbox", 3),
        ("puq_balance", 2),
        ("puq_login", 2),
    ],
)
def test_the_examples_of_a_help_page_run(
    media_shell: Any, getpass_answers: list[str], monkeypatch: pytest.MonkeyPatch, magic: str, count: int
) -> None:
    getpass_answers += ["a-key-of-20-characters"] * count
    reviews = [{"text": "A fine film."}, {"text": "Too long."}]
    media_shell.names.update(topic="entropy", month="May", reviews=reviews)
    Path("reviews.csv").write_text("text\nA fine film.\nToo long.\n")
    monkeypatch.setattr(type(media_shell.session), "in_notebook", True)  # for the chooser
    media_shell.attempt(_SETUP.get(magic, ""))
    page = help_page(media_shell, magic)
    examples = re.findall(r"^    \S.*(?:\n    \S.*)*", page.split("For example:")[1], re.MULTILINE)
    assert len(examples) == count
    for example in examples:
        media_shell.run(dedent(example))
