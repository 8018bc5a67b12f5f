"""What ``%magic?`` says."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("magic", "words"),
    [
        ("puq_chat", ("--temperature", "how freely", "{{name}}")),
        ("puq_image", ("--size", "how many images")),
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
