from __future__ import annotations

import logging
import os
import threading
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter, rectify_completions
from IPython.core.error import UsageError

import puq_magics
from puq_magics.magics.completion import matcher as completion
from puq_magics.magics.completion.cursor import (
    CursorPosition,
    PartialLine,
    locate_cursor,
    parse_partial_line,
    quote_word,
    split_quote,
)
from puq_magics.magics.completion.expressions import (
    PartialExpression,
    iter_keys,
    iter_members,
    parse_partial_expression,
    resolve_path,
)
from puq_magics.sandbox.local.speech_engine import VOICES as LOCAL_VOICES
from puq_magics.sandbox.scripted.speech import VOICES

TIMEOUT = 30.0  # seconds
LINES = ("puq_chat", "puq", "puq_sandbox")
CELLS = ("puq_chat",)


def split(marked: str) -> tuple[str, int]:
    """A text without its mark, and where that stood: the cursor."""
    before, after = marked.split("¦")
    return before + after, len(before)


# --- where the cursor stands -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marked", "place"),
    [
        ("%puq_chat -m a¦b", CursorPosition("line", "puq_chat", " -m a", "b")),
        ("%puq_chat ¦", CursorPosition("line", "puq_chat", " ")),
        ("  %puq ¦", CursorPosition("line", "puq", " ")),
        ("r = %puq_chat -m ¦", CursorPosition("line", "puq_chat", " -m ")),
        ("a, b = %puq_chat -m ¦", CursorPosition("line", "puq_chat", " -m ")),
        ("x = 1\nfor y in z:\n    r = %puq_chat -¦ hi\nz", CursorPosition("line", "puq_chat", " -", " hi")),
        ("%time r = %puq_chat -¦", CursorPosition("line", "puq_chat", " -")),
        ("%puq_chat -q \\\n  -m ¦", CursorPosition("line", "puq_chat", " -q     -m ")),
        ("puq_chat -¦", CursorPosition("line", "puq_chat", " -")),
        ("%%puq_chat a¦b -q\nbody", CursorPosition("head", "puq_chat", " a", "b -q")),
        ("\n\n%%puq_chat ¦", CursorPosition("head", "puq_chat", " ")),
        ("%%puq_chat x\none\ntw¦o\n", CursorPosition("body", "puq_chat", "one\ntw", "o\n", " x")),
        ("%%puq_chat\n¦", CursorPosition("body", "puq_chat", "", "", "")),
        ("%%puq_chat\n%puq_chat -¦", CursorPosition("body", "puq_chat", "%puq_chat -", "", "")),
        ("%%time -x\n%%puq_chat ¦", CursorPosition("head", "puq_chat", " ")),
        ("%%time\nx = 1\n%puq_chat -¦", CursorPosition("line", "puq_chat", " -")),
        ("%config PuqMagics.chat_model = 'a¦'", CursorPosition("setting", "chat_model", "'a", "'")),
    ],
)
def test_the_position_of_the_cursor(marked: str, place: CursorPosition) -> None:
    assert locate_cursor(*split(marked), LINES, CELLS) == place


@pytest.mark.parametrize(
    "marked",
    [
        "%puq_chat¦",
        "%puq_cha¦t hi",
        "%%puq_chat¦",
        "%%puq_¦chat x\nbody",
        "¦%%puq_chat x",
        "%%time ¦\n%%puq_chat",
        "x = '%puq_chat -¦",
        "puq = ¦",
        "puq  = ¦",
        "puq.x ¦",
        "x = 1\npuq_chat -¦",
        "%%html\n<b>¦",
        "print(¦)  # %puq_chat -m",
        "%%puq_sandbox ¦",
        "%config Other.x = ¦",
        "¦",
    ],
)
def test_outside_of_our_magics(marked: str) -> None:
    assert locate_cursor(*split(marked), LINES, CELLS) is None


TAKERS = ("-m", "--model", "-s", "--save")


@pytest.mark.parametrize(
    ("before", "prompt", "typed"),
    [
        (" ", True, PartialLine("")),
        (" -", True, PartialLine("-")),
        (" -q --mo", True, PartialLine("--mo", flags=("-q",))),
        (" -m ", True, PartialLine("", "-m", ("-m",))),
        (" -m a", True, PartialLine("a", "-m", ("-m",))),
        (" --model=a", True, PartialLine("a", "--model")),
        (" -ma", True, PartialLine("a", "-m")),
        (" -m a ", True, PartialLine("", "", ("-m",))),
        (" -ma ", True, PartialLine("", "", ("-m",))),
        (" -m a -", True, PartialLine("-", "", ("-m",))),
        (' -s "be short, -m ', True, PartialLine('"be short, -m ', "-s", ("-s",))),
        (' -s "it\'s" -', True, PartialLine("-", "", ("-s",))),
        (r" --save my\ fi", True, PartialLine(r"my\ fi", "--save", ("--save",))),
        (" -s -m ", True, PartialLine("", "", ("-s",))),
        (" hello -m", True, PartialLine("-m", "", (), ("hello",), True)),
        (" -- -m", True, PartialLine("-m", "", (), (), True)),
        (" hello -m", False, PartialLine("-m", "", (), ("hello",))),
        (" hello -m x", False, PartialLine("x", "-m", ("-m",), ("hello",))),
    ],
)
def test_the_word_at_the_cursor(before: str, prompt: bool, typed: PartialLine) -> None:
    assert parse_partial_line(before, TAKERS.__contains__, prompt=prompt) == typed


@pytest.mark.parametrize("text", ["plain", "two words", "it's", 'a "b"', "back\\slash", "a\\ b"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_an_inserted_value_is_one_word_with_the_same_text(text: str, quote: str) -> None:
    written = quote_word(text, quote)
    found = parse_partial_line(f" --save {written} ", TAKERS.__contains__, prompt=True)
    assert found == PartialLine("", "", ("--save",))
    assert split_quote(written.removesuffix(quote)) == (quote, text)


def test_a_quote_closed_after_the_cursor_is_not_closed_again() -> None:
    assert quote_word("a b", "'") == "'a b'"
    assert quote_word("a b", "'", after="' -q") == "'a b"
    assert quote_word("a b/", "'", is_open=True) == "'a b/"


# --- what is typed after {{ ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "expression"),
    [
        ("tell {{", PartialExpression("name", "")),
        ("tell {{ to", PartialExpression("name", "to")),
        ("{{a}} and {{b", PartialExpression("name", "b")),
        ("{{f(a, b", PartialExpression("name", "b")),
        ("{{a + b", PartialExpression("name", "b")),
        ("{{a if b", PartialExpression("name", "b")),
        ("{{row.ti", PartialExpression("attribute", "ti", "row")),
        ("{{row.title.", PartialExpression("attribute", "", "row.title")),
        ('{{d["a.b"].c', PartialExpression("attribute", "c", 'd["a.b"]')),
        ('{{d["a', PartialExpression("key", '"a', "d")),
        ("{{d.x['", PartialExpression("key", "'", "d.x")),
        ("{{d[", PartialExpression("key", "", "d")),
        ("{{Out[1", PartialExpression("key", "1", "Out")),
        ("{{df | he", PartialExpression("filter", "he")),
        ("{{df|", PartialExpression("filter", "")),
        ("{{df | head(3) | m", PartialExpression("filter", "m")),
        ('{{x | default("a', PartialExpression("other", "")),
        ('{{"a".up', PartialExpression("other", "")),
        ("{{f(x).up", PartialExpression("other", "")),
    ],
)
def test_the_end_of_an_expression(before: str, expression: PartialExpression) -> None:
    assert parse_partial_expression(before) == expression


@pytest.mark.parametrize("before", ["", "{a", "{{{a", "{{a}} b", "{{a\nb", 'x {{d["k"]}} y', "{"])
def test_outside_of_an_expression(before: str) -> None:
    assert parse_partial_expression(before) is None


class FailsOnAccess:
    """Everything that could run is a failure."""

    plain = 1

    def __init__(self) -> None:
        self.title = "t"

    @property
    def boom(self) -> Any:
        raise AssertionError("a property ran")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("__getattr__ ran")

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("__getitem__ ran")

    def __dir__(self) -> Any:
        raise AssertionError("__dir__ ran")

    def __repr__(self) -> str:
        raise AssertionError("__repr__ ran")

    def __len__(self) -> int:
        raise AssertionError("__len__ ran")

    def __bool__(self) -> bool:
        raise AssertionError("__bool__ ran")

    def method(self) -> None: ...


class FailsOnAccessDict(dict[str, Any]):
    """A dict that must not be asked either."""

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("__getitem__ ran")

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("__iter__ ran")

    def keys(self) -> Any:
        raise AssertionError("keys ran")

    def get(self, *_: Any) -> Any:
        raise AssertionError("get ran")


class HidesDict:
    """An object whose __dict__ would run."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise AssertionError("__dict__ ran")


class ClaimsOtherClass:
    """An object that says it is something else, and would run to say so."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise AssertionError("__class__ ran")


@dataclass(slots=True)
class WithSlots:
    inner: Any


Pair = namedtuple("Pair", "left right")


def test_values_are_inspected_statically() -> None:
    trap = FailsOnAccess()
    names = {
        "t": trap,
        "d": {"k": {"inner": trap}, "n": [trap, (1, trap)]},
        "td": FailsOnAccessDict(k=trap),
        "s": WithSlots(trap),
        "p": Pair(1, trap),
        "ns": SimpleNamespace(x=trap),
    }
    for path in (
        "t",
        'd["k"].inner',
        "d['k']['inner']",
        "d.n[0]",
        "d.n[1][1]",
        "td.k",
        'td["k"]',
        "s.inner",
        "p.right",
        "ns.x",
    ):
        assert resolve_path(path, names) is trap, path
    for path in ("nothing", "t.boom", "t.other", 't["x"]', "t[0]", "d.n[9]", "td.z", "s.other", "t.plain.x"):
        assert list(iter_members(resolve_path(path, names))) == [], path


def test_members_are_listed_and_not_evaluated() -> None:
    assert [name for name, _ in iter_members(FailsOnAccess())] == [
        "title",
        "plain",
        "boom",
        "method",
    ]
    assert dict(iter_members(FailsOnAccess()))["boom"] == "property"
    assert [name for name, _ in iter_members(Pair(1, 2))][:2] == ["left", "right"]
    assert ("inner", "attribute") in list(iter_members(WithSlots(1)))
    assert {"k", "items"} <= {name for name, _ in iter_members(FailsOnAccessDict(k=1))}
    assert "clear" not in dict(iter_members({}))
    for value in (HidesDict(), ClaimsOtherClass()):
        assert list(iter_members(value)) == []
        assert list(iter_keys(value)) == []


def test_keys_and_columns() -> None:
    assert list(iter_keys({"a": 1, 2: "x", (3,): 0})) == [("a", "int"), ("2", "key")]
    assert list(iter_keys(FailsOnAccessDict(k=1))) == [("k", "int")]
    assert list(iter_keys(pd.DataFrame({"a": [1], "b c": [2]}))) == [("a", "column"), ("b c", "column")]
    assert list(iter_keys([1, 2])) == []


# --- in a shell ------------------------------------------------------------------------------------------------


class TabCompleter:
    """Presses Tab in a shell: what IPython offers, as the kernel would send it."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell

    def completions(self, marked: str) -> list[Any]:
        code, offset = split(marked)
        with provisionalcompleter():
            return list(rectify_completions(code, self.shell.ip.Completer.completions(code, offset)))

    def __call__(self, marked: str) -> list[str]:
        """The texts that are offered."""
        return [found.text for found in self.completions(marked)]

    def types(self, marked: str) -> dict[str, str]:
        return {found.text: found.type for found in self.completions(marked)}

    def inserted(self, marked: str) -> list[str]:
        """The cell as it stands after each choice."""
        code, _ = split(marked)
        return [code[: c.start] + c.text + code[c.end :] for c in self.completions(marked)]


@pytest.fixture
def tab(sandbox_shell: Any, caplog: pytest.LogCaptureFixture) -> Iterator[TabCompleter]:
    """Tab where the sandbox's models are known; a completion that fails is a failure."""
    caplog.set_level(logging.DEBUG, completion.__name__)
    sandbox_shell.session.account().model_list.fetch()
    yield TabCompleter(sandbox_shell)
    assert [record for record in caplog.records if record.name == completion.__name__] == []


def test_options_come_with_their_help(tab: TabCompleter) -> None:
    description = "sampling temperature; 0 is the most deterministic"
    assert tab.types("%puq_chat --te¦") == {"--temperature": description}
    assert tab("%puq_chat --m¦ hello") == ["--model", "--max-tokens"]
    assert tab("%puq_chat ¦")[:2] == ["--model", "--system"]
    assert {"-m", "--model", "-q"} <= set(tab("%puq_chat -¦"))
    assert "-q" not in tab("%puq_chat --¦")
    assert tab("%%puq_chat sandbox/echo --te¦\nbody") == ["--temperature"]
    assert tab("%puq_usage --a¦") == ["--all"]


def test_an_option_that_is_given_is_not_offered_again(tab: TabCompleter) -> None:
    offered = tab("%puq_chat -m x --param a=1 --¦")
    assert "--model" not in offered
    assert "--param" in offered


@pytest.mark.parametrize(
    "marked",
    [
        "%puq_chat -m sandbox/e¦",
        "%puq_chat -m e¦ hello",
        "%puq_chat -q --model=sandbox/e¦",
        "r = %puq_chat -m e¦",
        "if x:\n    r = %puq_chat -q -m e¦\n    y",
        "%%puq_chat sandbox/e¦\nbody",
        "%%puq_chat -q e¦\nbody",
        "%%time\n%%puq_chat e¦",
        "%%time\n%puq_chat -m e¦",
        "puq_chat -m e¦",
    ],
)
def test_models_everywhere(tab: TabCompleter, marked: str) -> None:
    typed = "sandbox/e¦" if "sandbox/e" in marked else "e¦"
    assert marked.replace(typed, "sandbox/echo") in tab.inserted(marked)


def test_models_are_those_of_the_kind(tab: TabCompleter) -> None:
    candidates = _candidates(tab)
    for kind in ("image", "speech", "transcription"):
        found = [offer.text for offer in candidates.items(f"{kind} model", "")]
        assert found
        assert all(tab.shell.session.account().kind(code) == kind for code in found)
    chats = tab("%puq_chat -m ¦")
    assert "sandbox/echo" in chats
    assert not {"sandbox/image", "sandbox/speech"} & set(chats)


def _candidates(tab: TabCompleter) -> Any:
    from puq_magics.magics.completion.candidates import Candidates

    return Candidates(tab.shell.session)


def test_models_have_prices(tab: TabCompleter) -> None:
    model = tab.shell.session.account().model("sandbox/think")
    words = tab.types("%puq_chat -m sandbox/thi¦")["sandbox/think"]
    assert words == f"chat: {model.input_price:g} in, {model.output_price:g} out"


def test_names_with_the_prefix_come_first(tab: TabCompleter) -> None:
    tab.shell.run("%config PuqMagics.aliases = {'shout': 'sandbox/echo', 'other': 'sandbox/think'}")
    assert tab("%puq_chat -m sho¦") == ["shout", "sandbox/short"]
    assert tab("%puq_chat -m hor¦") == ["sandbox/short"]
    assert tab.types("%puq_chat -m sho¦")["shout"] == "chat model: sandbox/echo"
    first = tab("%puq_chat -m ¦")[:3]
    assert first == ["shout", "other", "sandbox/echo"]  # the one that is set comes before the others


def test_disabled_models_are_not_offered(tab: TabCompleter) -> None:
    cached = tab.shell.session.account().model_list.cached
    disabled = {code for code, model in cached.items() if not model.enabled}
    assert not disabled & set(tab("%puq_chat -m ¦"))


def test_a_cells_model_is_offered_once(tab: TabCompleter) -> None:
    assert "sandbox/echo" not in tab("%%puq_chat sandbox/echo ¦")
    assert "sandbox/echo" not in tab("%%puq_chat -m sandbox/echo ¦")
    assert "--system" in tab("%%puq_chat sandbox/echo ¦")


def test_values_of_other_options(tab: TabCompleter) -> None:
    candidates = _candidates(tab)

    def texts(what: str, typed: str = "") -> list[str]:
        return [offer.text for offer in candidates.items(what, typed)]

    assert texts("voice") == sorted(VOICES) == sorted(LOCAL_VOICES)
    tab.shell.run("%config PuqMagics.base_url = 'https://router.example'")
    assert {"alloy", "ash"} < set(texts("voice"))
    tab.shell.run("%config PuqMagics.base_url = 'sandbox'")
    assert texts("voice") == sorted(VOICES)
    tab.shell.run("%config PuqMagics.base_url = None")
    assert texts("size", "auto") == ["auto"]
    assert texts("language", "d") == ["da", "de"]
    tab.shell.run("%config PuqMagics.voice = 'mine'\n%config PuqMagics.image_size = '640x480'")
    assert texts("voice")[0] == "mine"
    assert texts("size")[0] == "640x480"
    assert tab("%puq_sandbox st¦") == ["start", "stop", "status"]
    assert tab("%puq_sandbox --pace 0 sto¦") == ["stop"]
    assert "429:2" in tab("%puq_sandbox --fail ¦")
    assert tab("%puq_sandbox --lo¦") == ["--local"]
    assert tab("%puq_sandbox --local --u¦") == ["--upstream"]
    assert tab("%puq_sandbox --upstream ¦") == []
    assert tab("%puq_models --kind ch¦") == ["chat"]
    assert tab("%puq_models --provider ¦") == ["sandbox"]
    assert texts("nothing of this name") == []


def test_settings(tab: TabCompleter) -> None:
    assert tab("%config PuqMagics.chat_model = 'ech¦'") == ["'sandbox/echo"]
    assert tab("%config PuqMagics.chat_model = 'ech¦") == ["'sandbox/echo'"]
    assert "'sandbox/echo'" in tab("%config PuqMagics.chat_model = ¦")
    assert tab('%config PuqMagics.footer = "s¦"') == ['"short']
    assert tab("%config PuqMagics.live = T¦") == ["True"]
    assert tab("%config PuqMagics.base_url = 'sand¦'") == ["'sandbox", "'sandbox-local"]
    assert tab("%config PuqMagics.foot¦") == ["PuqMagics.footer"]  # IPython's own


def test_variables_for_a_result(tab: TabCompleter) -> None:
    tab.shell.names.update(answer=1, answering=len, answered=os, _answer=2)
    assert tab("%puq_chat -o answ¦") == ["answer"]


def test_what_can_be_attached(tab: TabCompleter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chart.png").touch()
    (tmp_path / "charts").mkdir()
    monkeypatch.chdir(tmp_path)
    tab.shell.run("chart_title = 'kites'")
    tab.shell.run("# the last\n1 + 1")
    last = len(tab.shell.names["In"]) - 1
    assert tab("%puq_chat -a char¦") == ["charts/", "chart.png", "chart_title"]
    assert tab("%puq_chat -a cell:¦")[:2] == [f"cell:{last}", f"cell:{last - 1}"]
    assert _candidates(tab).items("cell", "")[0].description == "# the last 1 + 1"


def test_functions_for_the_model(tab: TabCompleter) -> None:
    tab.shell.run("def weather(city: str): pass\ndef other(): pass\nx = 1")
    assert set(tab("%puq_chat --tools ¦")) == {"weather", "other"}
    assert list(tab("%puq_chat --tools-auto other,¦")) == ["other,weather"]


def test_paths(tab: TabCompleter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my talk.mp3").touch()
    (tmp_path / "my talks").mkdir()
    (tmp_path / ".hidden").touch()
    (tmp_path / "it's").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    candidates = _candidates(tab)

    def texts(typed: str, after: str = "") -> list[str]:
        return [offer.text for offer in candidates.items("path", typed, after)]

    assert texts("") == ["my\\ talks/", "it\\'s", "my\\ talk.mp3"]
    assert texts(r"my\ talk.") == [r"my\ talk.mp3"]
    assert texts('"my ') == ['"my talks/', '"my talk.mp3"']
    assert texts('"my talk.', '"') == ['"my talk.mp3']
    assert texts('"it') == ['"it\'s"']
    assert texts("~/my") == ["~/my\\ talks/", "~/my\\ talk.mp3"]
    assert texts("~") == ["~/"]
    assert texts(f"{tmp_path}/.h") == [f"{tmp_path}/.hidden"]
    assert texts("nowhere/x") == []
    assert texts("~nobody-of-this-name/x") == []
    assert texts("my\0") == []


def test_what_to_transcribe(tab: TabCompleter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my talk.mp3").touch()
    monkeypatch.chdir(tmp_path)
    tab.shell.names.update(mine=b"RIFF", mind=os)
    assert tab("%puq_transcribe mi¦") == tab("%%puq_map mi¦") == tab("%%puq_map -q mi¦\nbody") == ["mine"]
    assert tab("%%puq_map mine mi¦\nbody") == []
    assert tab("%puq_sandbox --local --gguf my¦") == [r"my\ talk.mp3"]
    assert tab("%puq_transcribe -q m¦ --language en") == [r"my\ talk.mp3", "mine"]
    assert tab.inserted("t = %puq_transcribe my ta¦ -q") == [r"t = %puq_transcribe my\ talk.mp3 -q"]
    assert tab("%puq_transcribe 'my t¦'") == ["'my talk.mp3"]
    assert "--language" in tab("%puq_transcribe my talk.mp3 --¦")
    assert tab("%puq_transcribe my talk.mp3 --response-format v¦") == ["verbose_json"]
    assert tab("%puq_transcribe my talk.mp3 --language germ¦") == []
    assert tab("%puq_transcribe --save my¦") == [r"my\ talk.mp3"]


def test_pictures_and_speech(tab: TabCompleter) -> None:
    tab.shell.names["topic"] = "kites"
    assert "1024x1024" in tab("%puq_image --size ¦ A kite")
    assert tab("%puq_speak --voice no¦") == ["nova"]
    assert tab("%puq_speak --audio-format f¦") == ["flac"]
    for cell, kind in (("puq_image", "image"), ("puq_speak", "speech")):
        models = [text for text in tab(f"%%{cell} ¦\nbody") if not text.startswith("--")]
        assert models
        assert {tab.shell.session.account().kind(code) for code in models} == {kind}
        assert tab(f"%%{cell} -q\nabout {{{{to¦") == ["topic"]
        assert tab(f"%%{cell}\nabout pri¦") == []
        assert tab(f"%{cell} about {{{{to¦") == ["topic"]


def test_every_magic_of_ours_completes_its_options(tab: TabCompleter) -> None:
    for kind, sign in (("line", "%"), ("cell", "%%")):
        for name, function in tab.shell.ip.magics_manager.magics[kind].items():
            if name.startswith("puq"):
                flags = [max(option.flags, key=len) for option in function.command_line.options]
                assert tab(f"{sign}{name} --¦") == [flag for flag in flags if flag.startswith("--")], name


def test_expressions_in_prompts(tab: TabCompleter) -> None:
    tab.shell.names.update(
        topic="x", d={"one": {"two": 2}, "with space": 1, 'q"': 0}, df=pd.DataFrame({"a": [1], "b c": [2]})
    )
    assert tab("%%puq_chat\nabout {{to¦}} and so") == ["topic"]
    assert tab.types("%puq_chat -q about {{ to¦") == {"topic": "str"}
    assert tab("%puq_chat -s 'about {{to¦") == ["topic"]
    assert tab('%%puq_chat\n{{d["¦') == ['"one"]', '"with space"]']
    assert tab('%%puq_chat\n{{d["¦"]}}') == ['"one', '"with space']
    assert tab("%%puq_chat\n{{d[¦]}}") == ['"one"', '"with space"']
    assert tab('%%puq_chat\n{{d["one"].t¦') == ["two"]
    assert tab("%%puq_chat\n{{df['b¦") == ["'b c']"]
    assert tab("%%puq_chat\n{{df.¦")[0] == "a"
    assert tab("%%puq_chat\n{{df | hea¦") == ["head"]
    assert tab("%%puq_chat\n{{df | ¦")[:2] == ["full", "head"]
    assert tab("%%puq_map rows -s {{to¦") == tab("%%puq_map rows\n{{to¦") == ["topic"]
    assert tab.types("%%puq_map df\n{{¦")["a"] == "column"
    assert tab("%%puq_grid --repeat 2 --over df\n{{a¦") == ["a"]
    tab.shell.names["reviews"] = [{"text": "good", "topic": "bus"}]
    assert tab("%%puq_map reviews -o rated\nOn {{t¦}}") == ["text", "topic"]
    assert tab.types("%%puq_map reviews\n{{to¦") == {"topic": "column"}
    assert "text" not in tab("%%puq_map reviews --nothing\n{{t¦")
    assert tab("%puq_models --provider {{to¦}}") == ["topic"]
    assert tab("%%puq_chat --raw\n{{to¦") == []
    assert tab("%puq_chat --raw {{to¦") == []


def test_types_in_the_short_form_of_a_schema(tab: TabCompleter) -> None:
    tab.shell.run("class Review: pass")
    form = "'mood good|bad, score"
    assert tab(f"%puq_chat --schema {form} in¦") == [f"{form} int", f"{form} int 1..5"]
    assert tab(f"%puq_chat --schema {form}? ¦")[-1] == f"{form}? Review"
    assert tab('%%puq_map rows --schema "reviews [Re¦') == ['"reviews [Review']
    assert tab("%%puq_grid --schema '[Rev¦") == ["'[Review"]
    assert tab("%%puq_grid --schema 'name, in¦") == []


@pytest.mark.parametrize(
    "marked",
    [
        "%%puq_chat\nPlease pri¦",
        "%%puq_chat\nlen¦",
        "%%puq_chat sandbox/echo\n%puq_ch¦",
        "%puq_chat please pri¦",
        "%puq_chat -t 0.¦",
        "%puq_balance ¦",
    ],
)
def test_prose_is_left_alone(tab: TabCompleter, marked: str) -> None:
    assert tab(marked) == []


def test_latex_symbols_still_work_in_a_prompt(tab: TabCompleter) -> None:
    assert tab("%%puq_chat\nthe angle \\alpha¦") == tab("\\alpha¦")
    assert tab("\\alpha¦")


@pytest.mark.parametrize(
    "marked", ["impo¦", "x = 'puq'\nimpo¦", "%%time\n# puq\nimpo¦", "%puq_c¦", "%%puq_ch¦"]
)
def test_other_completions_are_ipythons(tab: TabCompleter, marked: str) -> None:
    before = tab(marked)
    assert before
    completion.uninstall(tab.shell.ip)
    assert tab(marked) == before


def test_completion_does_not_wait_for_the_list(
    shell: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_answer = threading.Event()

    def answer(connection: Any) -> None:
        assert may_answer.wait(TIMEOUT)
        connection.send_head(kind="application/json")
        connection.send(b'{"data": [{"id": "acme/one"}, {"id": "acme/two"}, {"id": "a\\u001b[1m"}]}')

    server = serve(answer, serves_lists=True)
    monkeypatch.setenv("PUQ_BASE_URL", server.url)
    monkeypatch.setenv("PUQ_API_KEY", "key-of-12-signs")
    monkeypatch.setenv("PUQ_CHAT_MODEL", "acme/one")
    shell.run("%config PuqMagics.aliases = {'fast': 'acme/two'}")
    tab = TabCompleter(shell)
    assert tab("%puq_chat -m ¦") == ["fast", "acme/one"]
    server.wait_for_request()
    assert tab("%puq_chat -m ¦") == ["fast", "acme/one"]  # and no second request
    may_answer.set()
    shell.session.account().model_list.wait()
    assert tab("%puq_chat -m ¦") == ["fast", "acme/one", "acme/two"]
    assert [heard.path for heard in server.requests] == ["/v1/credits/balance", "/v1/models"]


def test_without_a_key_aliases_are_offered(shell: Any) -> None:
    shell.run("%config PuqMagics.aliases = {'fast': 'openai/gpt-4o-mini'}")
    shell.run("%config PuqMagics.chat_model = 'openai/gpt-4o'")
    assert TabCompleter(shell)("%puq_chat -m ¦") == ["fast", "openai/gpt-4o"]


def test_the_sandbox_is_not_started(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUQ_BASE_URL", "sandbox")
    assert TabCompleter(shell)("%puq_chat -m ¦") == []
    assert TabCompleter(shell)("%puq_models --provider ¦") == []
    assert shell.session.sandbox is None
    shell.run("%puq_sandbox")
    # The list may be there already, with others.
    assert "sandbox/chat" in TabCompleter(shell)("%puq_chat -m ¦")


def test_a_failure_is_silent(
    shell: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    caplog.set_level(logging.DEBUG, completion.__name__)
    monkeypatch.setattr(type(shell.session.settings), "aliases", 7)  # no such setting is possible
    assert isinstance(TabCompleter(shell)("%puq_chat -m ¦"), list)
    assert [record.getMessage() for record in caplog.records if record.name == completion.__name__]
    assert capsys.readouterr() == ("", "")


def test_the_parser_raises_what_ipythons_own_matchers_expect(shell: Any) -> None:
    shell.error("%puq_chat -t hot hi")  # the parser is made
    with pytest.raises(UsageError):
        shell.ip.find_line_magic("puq_chat").parser.parse_argstring("-m")


def test_unload_removes_the_matcher(shell: Any) -> None:
    assert TabCompleter(shell)("%puq_chat --te¦") == ["--temperature"]
    shell.run("%unload_ext puq_magics")
    assert "--temperature" not in TabCompleter(shell)("%puq_chat --te¦")
    shell.run("%load_ext puq_magics\n%reload_ext puq_magics")
    assert TabCompleter(shell)("%puq_chat --te¦") == ["--temperature"]
    ours = [m for m in shell.ip.Completer.custom_matchers if m.matcher_identifier == completion.MATCHER_ID]
    assert len(ours) == 1


# --- through a kernel ------------------------------------------------------------------------------------------


def complete(kernel: Any, marked: str) -> dict[str, Any]:
    """A front end's complete_request, and its reply."""
    code, offset = split(marked)
    reply: dict[str, Any] = kernel._client.complete(code, offset, reply=True, timeout=30)["content"]
    assert reply["status"] == "ok"
    return reply


KNOW = "get_ipython().magics_manager.registry['PuqCommands'].session.account().model_list.fetch();"


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        ("%puq_chat -m sandbox/ec¦ hello", "%puq_chat -m sandbox/echo hello"),
        ("x = 1\nr = %puq_chat -m ech¦\ny = 2", "x = 1\nr = %puq_chat -m sandbox/echo\ny = 2"),
        ("%%puq_chat sandbox/ech¦ -q\nπ 🎈", "%%puq_chat sandbox/echo -q\nπ 🎈"),
        ("%%puq_chat\nπ 🎈 {{top¦}} more", "%%puq_chat\nπ 🎈 {{topic}} more"),
        ("%puq_chat --no-s¦ -m x", "%puq_chat --no-stream -m x"),
    ],
)
def test_a_front_end_inserts_at_the_right_place(sandbox_kernel: Any, marked: str, text: str) -> None:
    sandbox_kernel.run(f"{KNOW}\ntopic = 1")
    code, _ = split(marked)
    reply = complete(sandbox_kernel, marked)
    (match,) = reply["matches"]
    assert code[: reply["cursor_start"]] + match + code[reply["cursor_end"] :] == text


@pytest.mark.parametrize(
    ("marked", "words"),
    [
        ("%puq_chat -m ¦", {"chat", "alias"}),
        ("%puq_image -m ¦", {"image"}),
        ("%puq_chat --¦", {"option"}),
        ("%puq_chat -f ¦", {"choice"}),
        ("%puq_chat -c ¦", {"chat"}),
        ("%puq_speak --voice ¦", {"voice"}),
        ("%puq_image --size ¦", {"size"}),
        ("%puq_transcribe --language ¦", {"language"}),
        ("%puq_sandbox st¦", {"action"}),
        ("%puq_sandbox --fail ¦", {"fault"}),
        ("%puq_models san¦", {"provider"}),
        ("%puq_chat {{ topic | ¦", {"filter"}),
    ],
)
def test_a_front_end_gets_one_word_as_the_type(sandbox_kernel: Any, marked: str, words: set[str]) -> None:
    sandbox_kernel.run(
        f"%config PuqMagics.aliases = {{'fast': 'sandbox/echo'}}\n%puq_chat -q -c trip hello\n{KNOW}"
    )
    reply = complete(sandbox_kernel, marked)
    assert {each["type"] for each in reply["metadata"]["_jupyter_types_experimental"]} == words


def test_two_thousand_models(sandbox_kernel: Any) -> None:
    start = "get_ipython().magics_manager.registry['PuqCommands'].session.start_sandbox(models=2000);"
    assert sandbox_kernel.run(f"{start}\n{KNOW}").reply["status"] == "ok"
    matches = complete(sandbox_kernel, "%puq_chat -m ¦")["matches"]
    assert len(matches) > 300
    options = complete(sandbox_kernel, "%%puq_chat ¦")["matches"]
    assert {"sandbox/echo", "--model", "--dry-run"} <= set(options)


def test_a_tab_loads_little_and_asks_no_keyring(make_kernel: Any) -> None:
    kernel = make_kernel(PUQ_CHAT_MODEL="acme/one")
    kernel.run("import sys\n%config Completer.use_jedi = False\n%load_ext puq_magics")  # which takes seconds
    for marked in ("impo¦", "%matplot¦"):
        assert complete(kernel, marked)["matches"]
    modules = ("puq_magics.magics.completion.completer", "requests", "keyring")
    loaded = f"[name for name in {modules} if name in sys.modules]"
    assert kernel.value(loaded) == []
    assert complete(kernel, "%puq_chat -m ¦")["matches"] == ["acme/one"]
    assert "keyring" not in kernel.value(loaded)
    assert complete(kernel, "%%puq_chat\n{{sy¦")["matches"] == ["sys"]


def test_prose_in_a_kernel(sandbox_kernel: Any) -> None:
    assert complete(sandbox_kernel, "%%puq_chat\nPlease pri¦")["matches"] == []
    assert "print" in complete(sandbox_kernel, "pri¦")["matches"]
    assert sandbox_kernel.run("1").kinds == ["execute_result"]


@pytest.mark.parametrize(
    ("marked", "names"),
    [
        ("from puq_magics import Puq¦", ["PuqError"]),
        ("x = 1\nfrom puq_magics import PuqError, Ro¦", ["Router"]),
        ("from puq_magics import (\n    PuqError,\n    Rou¦", ["Router"]),
        ("from puq_magics import __v¦", ["__version__"]),
        ("from puq_magics.api import Delt¦", ["Delta"]),
        ("from puq_magics import to¦", []),
    ],
)
def test_an_import_offers_the_public_names(shell: Any, marked: str, names: list[str]) -> None:
    assert TabCompleter(shell)(marked) == names


def test_an_import_offers_no_module_of_the_package(shell: Any) -> None:
    offered = TabCompleter(shell)("from puq_magics import ¦")
    assert offered == [name for name in puq_magics.__all__ if not name.startswith("_")]
