"""The declared magics: their help, and those without arguments."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("magic", ["puq", "puq_login", "puq_logout"])
def test_magics_without_arguments_take_none(shell: Any, magic: str) -> None:
    assert "takes options only" in str(shell.error(f"%{magic} now"))
    error = shell.error(f"%{magic} --now")
    assert "there is no option --now" in str(error)
    assert f"%{magic}? explains" in str(error)


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
    ],
)
def test_the_options_are_documented(shell: Any, magic: str, words: tuple[str, ...]) -> None:
    found = shell.ip.object_inspect_text(f"%{magic}")
    assert "::" in found or "usage" in found
    assert [word for word in words if word not in found] == []
    again = shell.ip.object_inspect_text(f"%{magic}")
    assert again == found
