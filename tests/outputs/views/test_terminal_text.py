from __future__ import annotations

import re

import pytest

from puq_magics.outputs.views.terminal_text import TerminalText, has_styles

BOLD, ITALIC, CODE, FAINT, HEADING, RESET = (
    "\x1b[1m",
    "\x1b[3m",
    "\x1b[36m",
    "\x1b[2m",
    "\x1b[1;4m",
    "\x1b[0m",
)


def written(text: str, width: int = 80, **options: bool) -> str:
    feed = TerminalText(width, **options)
    return "".join(map(feed.feed, text)) + feed.finish()


def screen(written: str) -> list[str]:
    """The lines that a terminal shows of words of one column each."""
    lines = [""]
    for part in re.findall(r"\x1b\[(\d+)D\x1b\[K|(\n)|(\x1b\[[\d;]*m)|(.)", written):
        back, end, _, char = part
        if back:
            lines[-1] = lines[-1][: -int(back)]
        elif end:
            lines.append("")
        else:
            lines[-1] += char
    return lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# A *head*\nwords", f"{HEADING}A *head*{RESET}\nwords"),
        ("a **bold one** here", f"a {BOLD}bold one{RESET} here"),
        ("**a `b` c**", f"{BOLD}a {RESET}{BOLD}{CODE}b{RESET}{BOLD} c{RESET}"),
        ("run `x ** y` now", f"run {CODE}x ** y{RESET} now"),
        ("``a`b``", f"{CODE}a`b{RESET}"),
        ("2**3 and a ** b, 3 * 4 * 5, snake_case, a*b*c", "2**3 and a ** b, 3 * 4 * 5, snake_case, a*b*c"),
        ("- *so*, **a *b* c**", f"- {ITALIC}so{RESET}, {BOLD}a {RESET}{BOLD}{ITALIC}b{RESET}{BOLD} c{RESET}"),
        ("***both*** **a *b***", f"{BOLD}{ITALIC}both{RESET} {BOLD}a {RESET}{BOLD}{ITALIC}b{RESET}"),
        ("2***3 and *** so", "2***3 and *** so"),
        ("#hash", "#hash"),
        (
            "```python\n# x **y**\n```\nz",
            f"{FAINT}```python{RESET}\n{CODE}# x **y**{RESET}\n{FAINT}```{RESET}\nz",
        ),
        ("**open\n\nnot", f"{BOLD}open\n{RESET}\nnot"),
        ("half **", "half **"),
        ("half `", "half `"),
        ("##", "##"),
    ],
)
def test_marks_become_styles(text: str, shown: str) -> None:
    assert written(text) == shown
    assert written(text, styles=False) == text
    assert written(text, markdown=False) == text


@pytest.mark.parametrize("width", [20, 33, 60])
@pytest.mark.parametrize("styles", [True, False])
def test_no_word_is_cut_at_the_margin(width: int, styles: bool) -> None:
    words = [
        "a",
        "bb",
        "ccc",
        "dddd",
        "eeeee",
        "ffffff",
        "ggggggg",
        "hhhhhhhh",
        "iiiiiiiii",
        "jjjjjjjjjj",
    ] * 3
    lines = screen(written(" ".join(words), width, styles=styles))
    assert max(map(len, lines)) <= width - 2
    assert " ".join(lines).split() == words
    assert len(lines) < 2.2 * len(" ".join(words)) / width + 1


def test_a_list_is_indented_and_a_style_goes_on() -> None:
    shown = written("- some words **that are bold** and more", 21)
    assert [line.rstrip() for line in screen(shown)] == ["- some words that", "  are bold and more"]
    assert shown.count(BOLD) == 2
    assert screen(written("1. first of all things", 15))[1] == "   all things"
    assert screen(written("> - quoted words stay quoted", 15))[1:] == [
        ">   words ",
        ">   stay ",
        ">   quoted",
    ]
    assert screen(written("1.\tfirst of all, internationalization", 30)) == [
        "1.\tfirst of all, ",
        "        internationalization",
    ]


@pytest.mark.parametrize("word", ["café", "a·b", "“quoted”", "größte"])
def test_letters_and_signs_of_other_languages_are_wrapped_as_words(word: str) -> None:
    assert screen(written(f"some more words, {word}", 20)) == ["some more words, ", word]
    assert screen(written("a fine 📈 here, there", 20)) == ["a fine 📈 here, ", "there"]


@pytest.mark.parametrize(
    "text", ["| a row | of a table | that is long |", "```\nsome code that is longer than it\n```"]
)
def test_tables_and_code_are_not_wrapped(text: str) -> None:
    assert written(text, 20, styles=False) == text


@pytest.mark.parametrize(
    ("wraps", "lines"), [(True, ["*some* words ", "more"]), (False, ["*some* words more"])]
)
def test_plain_text_keeps_its_marks_and_may_be_wrapped(wraps: bool, lines: list[str]) -> None:
    assert screen(written("*some* words more", 17, markdown=False, wraps=wraps)) == lines


def test_what_is_longer_than_a_line_and_what_has_no_sure_width() -> None:
    assert screen(written("x" * 50, 22)) == ["x" * 20, "x" * 20, "x" * 10]
    feed = TerminalText(22)
    assert "D" not in feed.feed("some words 模型模型模型模型 more")
    assert not feed.is_column_exact


@pytest.mark.parametrize(
    ("environment", "styled"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_no_color(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], styled: bool) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert has_styles() is styled
