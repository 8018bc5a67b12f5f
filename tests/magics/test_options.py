from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.core.errors import InputError
from puq_magics.magics.commands import CHAT_COMMAND, MODELS_COMMAND
from puq_magics.magics.options import CommandLine, UnknownOptionError, option, parse_params

FLAGS = [flag for option in CHAT_COMMAND.options for flag in option.flags]


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("", ""),
        ("   ", ""),
        ("hi", "hi"),
        ("  hi  you  ", "hi  you"),
        ("-q hi", "hi"),
        ("-q -q hi -q", "hi -q"),
        ("-m a/b it's", "it's"),
        ("-m 'a/b' \"quoted\" 'prompt'", "\"quoted\" 'prompt'"),
        ("-m a/b -- -q", "-q"),
        ("-m a/b - hi", "- hi"),
        ("-m\ta/b\thi", "hi"),
        ("'-q' hi", "'-q' hi"),
        ("\\-q hi", "\\-q hi"),
    ],
)
def test_options_are_parsed_and_the_rest_is_raw(line: str, prompt: str) -> None:
    assert CHAT_COMMAND.parse(line)[1] == prompt


@pytest.mark.parametrize(
    ("line", "system"),
    [
        ("-s one hi", "one"),
        ("-s 'two words' hi", "two words"),
        ('-s "it\'s" hi', "it's"),
        ("-s 'say \"x\"' hi", 'say "x"'),
        ('-s "a \\"b\\"" hi', 'a "b"'),
        (r"-s a\ b hi", "a b"),
        ("--system='two words' hi", "two words"),
        ("-s'two words' hi", "two words"),
        ("-s '' hi", ""),
        ('-s "" hi', ""),
        ("-s -q hi", "-q"),
        ("-s -5 hi", "-5"),
        ("-s --model hi", "--model"),
        ("-s a=b hi", "a=b"),
        ("-s =x hi", "=x"),
        ("-s one -s two hi", "two"),
        ("-s {x} hi", "{x}"),
        ("-s $HOME hi", "$HOME"),
        ("-s 100% hi", "100%"),
        ("-s Grüße🎈 hi", "Grüße🎈"),
    ],
)
def test_values_as_a_shell_reads_them(line: str, system: str) -> None:
    args, prompt = CHAT_COMMAND.parse(line)
    assert (args.system, prompt) == (system, "hi")


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"])))
def test_any_prompt_after_two_dashes_is_raw(prompt: str) -> None:
    args, rest = CHAT_COMMAND.parse(f"-q -- {prompt}")
    assert args.quiet
    assert rest == prompt.strip()


@given(st.text())
def test_any_line_is_parsed_or_an_error(line: str) -> None:
    try:
        _, rest = CHAT_COMMAND.parse(line)
    except InputError:
        return
    assert rest == "" or line.rstrip().endswith(rest)


@given(
    st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: text != "--")
)
def test_any_value_can_be_quoted(value: str) -> None:
    import shlex

    assert CHAT_COMMAND.parse(f"-s {shlex.quote(value)} hi")[0].system == value


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_are_not_abbreviated(flag: str) -> None:
    for wrong in (f"{flag}x" if flag.startswith("--") else f"-{flag}", flag[:-1] if len(flag) > 4 else "-x"):
        with pytest.raises(InputError):
            CHAT_COMMAND.parse(f"{wrong} hi")


@pytest.mark.parametrize(
    ("line", "word", "quiet", "temperature"),
    [
        ("", "", False, None),
        ("a/b", "a/b", False, None),
        ("-q a/b", "a/b", True, None),
        ("a/b -q", "a/b", True, None),
        ("-t 0 a/b -q", "a/b", True, 0.0),
        ("-t 1 a/b -t 0", "a/b", False, 0.0),
        ("-q", "", True, None),
    ],
)
def test_options_around_an_argument(line: str, word: str, quiet: bool, temperature: float | None) -> None:
    args, found = CHAT_COMMAND.parse_with_argument(line, "hint")
    assert (found, args.quiet, args.temperature) == (word, quiet, temperature)


@pytest.mark.parametrize("line", ["a b", "a -q b", "-q a b", "a b -q", "a -- b"])
def test_a_second_argument_is_an_error(line: str) -> None:
    with pytest.raises(InputError, match="unexpected argument") as caught:
        CHAT_COMMAND.parse_with_argument(line, "the hint")
    assert caught.value.hint == "the hint"


@pytest.mark.parametrize(
    ("line", "name", "suggestions"),
    [
        ("--mdel x hi", "--mdel", ["--model"]),
        ("--all-b hi", "--all-b", ["--all-blocks"]),
        ("-x hi", "-x", []),
    ],
)
def test_an_unknown_option_has_its_name_and_suggestions(line: str, name: str, suggestions: list[str]) -> None:
    with pytest.raises(UnknownOptionError) as caught:
        CHAT_COMMAND.parse(line)
    assert (caught.value.name, caught.value.suggestions) == (name, suggestions)


def test_arguments_and_options_in_any_order() -> None:
    args, arguments = MODELS_COMMAND.parse_intermixed("gpt --all 'mini 4' --kind chat -- --refresh")
    assert (args.all, args.kind, args.refresh) == (True, "chat", False)
    assert arguments == ["gpt", "mini 4", "--refresh"]


def test_hints_name_the_magic() -> None:
    def puq_first(line: str) -> None:
        """First."""

    def puq_second(line: str) -> None:
        """Second."""

    first, second = CommandLine(option("--one", action="store_true", help="one")), CommandLine()
    first(puq_first)
    second(puq_second)
    with pytest.raises(InputError) as caught:
        first.parse("--two")
    assert "--one" in caught.value.hint
    assert "%puq_first? explains" in caught.value.hint
    with pytest.raises(InputError) as caught:
        second.parse("--two")
    assert "%puq_second? explains" in caught.value.hint


@pytest.mark.parametrize(
    "line", ["-m -- hi", "--system=-- hi", "-s-- hi", "--param -- hi", "--param a=1 --param -- hi"]
)
def test_two_dashes_are_not_a_value(line: str) -> None:
    with pytest.raises(InputError, match="-- is not a value"):
        CHAT_COMMAND.parse(line)


def test_params() -> None:
    assert parse_params(None, "chat") == {}
    assert parse_params(["a=1", "b= x ", "c={}", " d =[1]", "a=2"], "chat") == {
        "a": 2,
        "b": " x ",
        "c": {},
        "d": [1],
    }
