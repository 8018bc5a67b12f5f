from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from puq_magics.api.types import Usage
from puq_magics.core.errors import InputError
from puq_magics.prompts.conversation.conversation import Conversation
from puq_magics.prompts.conversation.export import to_markdown, to_notebook

AT = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
PNG = base64.b64encode(b"\x89PNG" * 500).decode()


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def of(question: Any, answer: str, **facts: Any) -> Conversation:
    chat = Conversation("main")
    chat.commit(question, answer, at=AT, **facts)
    return chat


def test_tool_calls_and_their_results() -> None:
    call = {"id": "t", "function": {"name": "weather", "arguments": '{"city": "*Oslo*"}'}}
    called = (
        {"role": "assistant", "content": "Let me *look*.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t", "content": "12\n<b>°C</b>"},
    )
    text = to_markdown(of("Weather?", "It is 12 °C.", tool_messages=called))
    assert "> Let me *look*." in text
    assert '> > weather({"city": "\\*Oslo\\*"})' in text
    assert "> ```text\n> 12\n> <b>°C</b>\n> ```" in text
    assert text.index("weather(") < text.index("12\n") < text.index("It is 12")


def test_sources_below_the_answer() -> None:
    sources = [("*Oslo*", "https://example.org/a?b=c"), ("", "javascript:alert(1)"), ("Book](x)", "")]
    chat = of("Where?", "In Norway [1].", sources=sources)
    cell = to_notebook(chat)["cells"][-1]["source"]
    text = to_markdown(chat)
    for shown in (cell, text):
        links = [token.attrs.get("href") for token in inline_tokens(shown) if token.type == "link_open"]
        assert links == ["https://example.org/a?b=c"]
        assert shown.index("Norway") < shown.index("*Sources:*")
    assert "> 1. [" in text
    assert "javascript" in text  # as words


def inline_tokens(text: str) -> list[Any]:
    return [child for token in MarkdownIt().parse(text) for child in token.children or []]


def test_a_document() -> None:
    chat = Conversation("main", "Be brief.")
    chat.commit(
        "What is a *monad*?", "A **monoid** …\n\n- of\n- endofunctors", "m/1", Usage(9, 40, 49), at=AT
    )
    chat.commit("Why:\n```\nx\n```", "One, two,", interrupted=True, at=AT)
    assert (
        to_markdown(chat)
        == """\
# Conversation `main`

## System prompt

> Be brief.

## Question 1

> What is a \\*monad\\*?

## Answer 1

> `m/1` · 2026-01-31 12:30 UTC · 9 + 40 tokens
>
> A **monoid** …
>
> - of
> - endofunctors

## Question 2

````text
Why:
```
x
```
````

## Answer 2

> 2026-01-31 12:30 UTC · **interrupted: the answer is incomplete**
>
> One, two,
"""
    )


def test_the_system_prompt_stands_where_it_changes() -> None:
    chat = Conversation("main", "Be brief.")
    for number, system in enumerate([None, None, "Be a *pirate*.", "", None], 1):
        chat.commit(f"{number}?", "!", system=system)
    chat.system = "Be kind."
    assert headings(to_markdown(chat)) == [
        "Conversation `main`",
        *("System prompt", "Question 1", "Answer 1", "Question 2", "Answer 2"),
        *("System prompt, from question 3 on", "Question 3", "Answer 3"),
        *("System prompt, from question 4 on", "Question 4", "Answer 4"),
        *("System prompt, from question 5 on", "Question 5", "Answer 5"),
        "System prompt, from question 6 on",
    ]
    assert "from question 3 on\n\n> Be a \\*pirate\\*.\n" in to_markdown(chat)
    assert "from question 4 on\n\n*None.*\n" in to_markdown(chat)
    assert "from question 5 on\n\n> Be brief.\n" in to_markdown(chat)
    notebook = nbformat.from_dict(to_notebook(chat))
    nbformat.validate(notebook)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


def test_a_conversation_that_has_no_turns_yet_shows_its_system_prompt() -> None:
    assert to_markdown(Conversation("main", "Be brief.")).endswith("## System prompt\n\n> Be brief.\n")


def test_an_answer_that_was_cut_says_so() -> None:
    assert "**cut off at the token limit: the answer is incomplete**" in to_markdown(
        of("?", "One, two,", truncated=True)
    )


HOSTILE = [
    "```python\nprint(1)",
    "~~~~\n```\n",
    "# A heading\n\nAnother\n===\n\n---",
    "<script>alert(1)</script>",
    "<!-- swallowed",
    "text <b\nonclick=x> more",
    "<details><summary>x</summary>",
    "<?php",
    "<![CDATA[",
    "a `code` <textarea> `b",
    "``a ` b`` <style> `c`",
    "\\<script> \\\\<script> \\` <script>`",
    "- item\n\n      <pre>\n",
    "> ```\n> open\n<div>",
    "1. ```\n   x\n   ```\n   <div>",
    "- ```\nopen\n<div>",
    "> - ~~~\n> <div>\n\n<div>",
    "| a | b |\n|---|---|\n| <br> | `<i>` |",
    "\r\r<iframe src=x>\x1b[2J\x07",
    "$$\n<div>\n",
    "\\(<script>\\) \\[\n<div>\n\\] \\( <b> $ \\)",
    "[x]: http://example.com\n\n[x] ![y](http://example.com/z.png)",
]


def headings(markdown: str) -> list[str]:
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    return [
        following.content
        for token, following in pairwise(tokens)
        if token.type == "heading_open" and token.level == 0
    ]


def kinds(markdown: str) -> set[str]:
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    return {each.type for token in tokens for each in (token, *(token.children or ()))}


def foreign_html(markdown: str) -> str:
    """Return the HTML in a text that the sanitiser did not write: its own are bare tags around entities."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    every = (each for token in tokens for each in (token, *(token.children or ())))
    found = "".join(each.content for each in every if each.type in ("html_block", "html_inline"))
    bare = re.sub(r"</?(?:br|code|pre|span|sub)>", "", found)
    return "<" if "<" in bare else ""


@pytest.mark.parametrize("words", HOSTILE)
def test_the_shape_survives_whatever_is_said(words: str) -> None:
    chat = Conversation("main", words)
    chat.commit(words, words, words, at=AT)
    chat.commit("?", "the end", at=AT)
    document = to_markdown(chat)
    assert headings(document) == [
        "Conversation `main`",
        "System prompt",
        "Question 1",
        "Answer 1",
        "Question 2",
        "Answer 2",
    ]
    assert foreign_html(document) == ""
    for cell in to_notebook(chat)["cells"]:
        assert foreign_html(cell["source"]) == ""


PIECES = [
    *(
        "`",
        "``",
        "```",
        "~~~",
        "<b>",
        "</div>",
        "<div>",
        "<!-- ",
        "\n",
        "\n\n",
        "> ",
        "- ",
        "    ",
        "\\",
        "x",
    ),
    *("1. ", "# ", "| ", " ", "\\(", "\\)", "\\[", "\\]", "$"),
]


@settings(derandomize=True, deadline=None, database=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_tag_gets_through(words: str) -> None:
    assert foreign_html(to_markdown(of("?", f"{words}."))) == ""


@settings(derandomize=True, deadline=None, database=None)
@given(st.text(alphabet=st.sampled_from("`~<>/!?-# \n\\ab1.*|=[]:\t"), min_size=1, max_size=80))
def test_the_shape_survives_anything(words: str) -> None:
    chat = of(f"?{words}", words)
    assert headings(to_markdown(chat)) == ["Conversation `main`", "Question 1", "Answer 1"]


@settings(derandomize=True, deadline=None, database=None)
@given(st.text(alphabet=st.sampled_from('*_`<>&#[]()!|\\~$+-.1a{} ="'), min_size=1, max_size=40))
def test_a_question_of_one_line_is_shown_to_the_letter(words: str) -> None:
    question = f"x {words}".strip()
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(to_markdown(of(question, "!")))
    start = next(n for n, token in enumerate(tokens) if token.type == "blockquote_open")
    children = tokens[start + 2].children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    assert "".join(child.content for child in children).split() == question.split()


@pytest.mark.parametrize(
    "mark", ["1.", "23)", "-", "+", "*", "#", ">", "---", "- [x]", "=", "~~~", "|", "&amp;"]
)
def test_a_question_that_begins_like_a_block_is_shown_to_the_letter(mark: str) -> None:
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(to_markdown(of(f"{mark} a", "!")))
    start = next(n for n, token in enumerate(tokens) if token.type == "blockquote_open")
    assert [token.type for token in tokens[start + 1 : start + 3]] == ["paragraph_open", "inline"]
    assert "".join(child.content for child in tokens[start + 2].children or []) == f"{mark} a"


def test_plain_sentences_are_exported_as_they_are() -> None:
    question = "Is my_wren (9 g) lighter - by {{x}}, and how much: 1.5 or 2?!"
    assert f"> {question}\n" in to_markdown(of(question, "!"))


def test_a_question_of_several_lines_is_shown_to_the_letter() -> None:
    question = "def f(x):\n    return `x`\n\n````\n</pre>\n"
    tokens = MarkdownIt("commonmark").parse(to_markdown(of(question, "!")))
    assert [token.content for token in tokens if token.type == "fence"] == [f"{question}\n"]


@pytest.mark.parametrize(
    "words",
    [
        "![x](http://example.com/a.png)",
        "![x][y]\n\n[y]: http://example.com/a.png",
        "![y]\n\n[y]: http://example.com/a.png",
        "[![x](http://example.com/a.png)](http://example.com)",
        "<img src=http://example.com/a.png>",
        "> - ![x](<http://example.com/a.png>)",
        "| a |\n|---|\n| ![x](//example.com/a.png) |",
        "![x](data:image/svg+xml;base64,AAAA)",
        "![x](attachment:image-1.png)",
    ],
)
def test_no_image_of_a_model_is_loaded(words: str) -> None:
    chat = of("?", f"Here: {words}\n\n{words}")
    for text in (to_markdown(chat), *(cell["source"] for cell in to_notebook(chat)["cells"])):
        assert foreign_html(text) == ""
        assert "image" not in kinds(text)


def test_links_of_a_model_run_no_code() -> None:
    tokens = MarkdownIt("commonmark").parse(to_markdown(of("?", "[x](javascript:alert(1)) [y](https://a.b)")))
    links = [
        child.attrs["href"] for token in tokens for child in token.children or [] if child.type == "link_open"
    ]
    assert links == ["https://a.b"]


def test_attachments_are_told_of() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        image(f"data:image/png;base64,{PNG}"),
        image("https://example.com/`a`.png"),
        image("data:image/svg+xml,<svg>"),
        {"type": "input_audio", "input_audio": {}},
        {"type": "text", "text": "notes.md\n# Notes"},
    ]
    document = to_markdown(of(parts, "!"))
    assert PNG not in document
    assert (
        document.split("## Answer 1")[0].split("## Question 1\n\n")[1]
        == """\
> What is this?

*Attached: an image (PNG, 2 kB)*

*Attached: an image at `https://example.com/a.png`*

*Attached: an image*

*Attached: a part of type `input_audio`*

```text
notes.md
# Notes
```

"""
    )


def test_a_notebook(tmp_path: Path) -> None:
    chat = Conversation("main", "Be brief.")
    parts = [{"type": "text", "text": "What is this?"}, image(f"data:image/png;base64,{PNG}")]
    chat.commit(parts, "A **cat**.\n\n```\nopen", "m/1", at=AT)
    chat.commit("Sure?", "Yes.", at=AT)
    target = chat.export(tmp_path / "main.ipynb")
    notebook = nbformat.read(target, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells] == [
        "title",
        "system",
        "question-1",
        "answer-1",
        "question-2",
        "answer-2",
    ]
    question, answer = notebook.cells[2:4]
    assert question.source == (
        "## Question 1\n\n> What is this?\n\n![Attached image](attachment:image-1.png)"
    )
    assert question.attachments == {"image-1.png": {"image/png": PNG}}
    assert answer.source == ("## Answer 1\n\n`m/1` · 2026-01-31 12:30 UTC\n\nA **cat**.\n\n```\nopen\n```")


def test_the_ending_decides(tmp_path: Path) -> None:
    chat = of("?", "!")
    assert chat.export(tmp_path / "a.MD").read_text(encoding="utf-8") == to_markdown(chat)
    assert json.loads(chat.export(tmp_path / "a.ipynb").read_text(encoding="utf-8")) == to_notebook(chat)
    for name in ("a.pdf", "a", "a.md.gz"):
        with pytest.raises(InputError, match=r"does not end in \.md or \.ipynb"):
            chat.export(tmp_path / name)
    with pytest.raises(InputError, match="is not the name of a file"):
        chat.export("")
    with pytest.raises(InputError, match="exists"):
        chat.export(tmp_path / "a.ipynb")
    chat.export(tmp_path / "a.ipynb", force=True)


def test_half_a_character_does_not_stop_it(tmp_path: Path) -> None:
    chat = Conversation("x", "\udc00")
    chat.commit("\ud800?", "\udfff", "m\ud800", at=AT)
    assert "\N{REPLACEMENT CHARACTER}?" in chat.export(tmp_path / "x.md").read_text(encoding="utf-8")
    chat.export(tmp_path / "x.ipynb")


def test_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no turns"):
        Conversation("x").export(tmp_path / "x.md")
    assert list(tmp_path.iterdir()) == []


def test_the_words_at_which_an_answer_went_on() -> None:
    chat = of("Count.", "One,", interrupted=True)
    chat.extend_answer("One, two.", continue_prompts=["*More*, please."])
    assert to_markdown(chat).endswith("> *Continued after:*\n>\n> > \\*More\\*, please.\n>\n> One, two.\n")
