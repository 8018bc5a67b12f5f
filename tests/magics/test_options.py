from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.core.errors import InputError
from puq_magics.magics.commands import CHAT_COMMAND, CHATS_COMMAND, MODELS_COMMAND, PuqCommands
from puq_magics.magics.options import CommandLine, Option, UnknownOptionError, option, parse_params
from puq_magics.prompts.template import fill_template

FLAGS = [flag for option in CHAT_COMMAND.options for flag in option.flags]
COMMANDS: dict[str, CommandLine] = {
    name: method.command_line for name, method in vars(PuqCommands).items() if hasattr(method, "command_line")
}
#: Every option that takes a value, of every magic.
VALUES = [
    pytest.param(name, option, id=f"{name}{option.flags[-1]}")
    for name, command in COMMANDS.items()
    for option in command.options
    if option.takes_value
]
PROMPT_MAGICS = [
    name
    for name, command in COMMANDS.items()
    if command.operand in ("PROMPT", "TEXT", "[QUESTION]") and not command.body
]


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
    assert "Did you mean --one?" in caught.value.message
    assert caught.value.hint == "%puq_first? shows the options; -- ends them."
    with pytest.raises(InputError) as caught:
        second.parse("--help")
    assert caught.value.message == "there is no option --help."
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


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        (r"C:\Users\new\x.png", r"C:\Users\new\x.png"),
        (r"C:\Users\new\ ", "C:\\Users\\new\\"),
        (r"'C:\My files\x.png'", r"C:\My files\x.png"),
        (r'"C:\My files\x.png"', r"C:\My files\x.png"),
        (r'"C:\My files\"', "C:\\My files\\"),
        (r"\\server\share\x.png", r"\\server\share\x.png"),
        (r'"\\server\my share\x.png"', r"\\server\my share\x.png"),
        (r"data\new\x.png", r"data\new\x.png"),
        (r"..\tables\.hidden", r"..\tables\.hidden"),
        (r"d:\_\1.png", r"d:\_\1.png"),
        # As in a shell.
        (r"my\ file.png", "my file.png"),
        (r"it\'s.png", "it's.png"),
        (r"a\\b.png", r"a\b.png"),
        ("'my file'.png", "my file.png"),
        (r'"a \"b\" \\ \n"', r'a "b" \ \n'),
        ("C:", "C:"),
    ],
)
@pytest.mark.parametrize("form", ["--save {} prompt", "--save={} prompt", "-q --save {} -- prompt"])
def test_backslashes_of_paths_are_kept(form: str, typed: str, value: str) -> None:
    args, prompt = CHAT_COMMAND.parse(form.format(typed))
    assert (args.save, prompt) == (value, "prompt")


def test_backslashes_of_arguments_are_kept() -> None:
    assert CHATS_COMMAND.parse_intermixed(r"main --load C:\new\a.json")[0].load == r"C:\new\a.json"
    assert MODELS_COMMAND.parse_intermixed(r"C:\new a")[1] == [r"C:\new", "a"]
    assert CHAT_COMMAND.parse(r"-a data\a.png -a C:\b.png x")[0].attach == [r"data\a.png", r"C:\b.png"]


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ("--save x_{{i}}.png", "save", "x_7.png"),
        ("--save x_{{ i }}.png", "save", "x_7.png"),
        ("--save=x_{{i}}.png", "save", "x_7.png"),
        ("--save 'my {{i}}.png'", "save", "my 7.png"),
        ('--save {{d["k"]}}.md', "save", "v w.md"),
        ("--save {{ d.k | upper }}.md", "save", "V W.md"),
        ("-m {{model}}", "model", "a/b"),
        ("-m{{model}}", "model", "a/b"),
        ("-t {{i}}", "temperature", 7.0),
        ("-t={{i}}", "temperature", 7.0),
        ("--max-tokens {{i}}", "max_tokens", 7),
        ("-o r{{i}}", "out", "r7"),
        ("-c chat-{{i}}", "chat", "chat-7"),
        ("-a p{{i}}.png -a {{model}}", "attach", ["p7.png", "a/b"]),
        ("-s 'Be {{d.k}}, {name}, $5.'", "system", "Be v w, {name}, $5."),
        ("--param seed={{i}}", "param", ["seed=7"]),
        ('--param stop=["{a}"]', "param", ["stop=[{a}]"]),
        ("--raw --save x_{{i}}.png", "save", "x_{{i}}.png"),
        ("--save x_{{i}}.png --raw", "save", "x_{{i}}.png"),
    ],
)
def test_variables_are_substituted_in_options(options: str, name: str, value: object) -> None:
    variables = {"i": 7, "d": {"k": "v w"}, "model": "a/b"}
    args, prompt = CHAT_COMMAND.parse(f"{options} {{{{i}}}} $i", partial(fill_template, namespace=variables))
    assert getattr(args, name) == value
    assert prompt == "{{i}} $i"
    assert args.option_notes == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--save x_{{j}}.png", "no variable named 'j'"),
        ("--save x_{i}.png", "the value of --save: {i} is not substituted."),
        ("--save x_$i.png", "the value of --save: $i is not substituted."),
        ("-m ${model}", "the value of -m: ${model} is not substituted."),
        ("--save x_{{1}}.png", "the value of --save: {{1}}: not an expression"),
        ("--save x_{{i.png", "the value of --save: {{i.png: not an expression"),
        ("--save x_{{{i}}}.png", "the value of --save: {{{i}}}: not an expression"),
        ("-t {{word}}", "'text' is not a number"),
        ("-o {{word}}-{{i}}", "is not a name for a variable"),
        ("--max-tokens {{long}}", "the value of --max-tokens: long: cut at"),
        ("--save {{f()}}", "function calls are not allowed"),
    ],
)
def test_what_cannot_be_substituted_in_options_is_an_error(options: str, message: str) -> None:
    variables = {"i": 7, "word": "text", "long": "9" * 30_000, "f": len, "model": "a/b"}
    with pytest.raises(InputError) as caught:
        CHAT_COMMAND.parse(f"{options} hello", partial(fill_template, namespace=variables))
    assert message in caught.value.message


def test_a_file_with_braces_in_its_name_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "{a}.txt").touch()
    assert CHAT_COMMAND.parse("-a {a}.txt x", partial(fill_template, namespace={}))[0].attach == ["{a}.txt"]


def test_notes_on_the_system_prompt_are_kept() -> None:
    args, _ = CHAT_COMMAND.parse("-s '{{1}} {{i}}' x", partial(fill_template, namespace={"i": 1}))
    assert args.system == "{{1}} 1"
    assert args.option_notes == ("{{1}}: not an expression, sent unchanged",)


LOOP = """for i in range(2):
    get_ipython().run_{kind}_magic({arguments})
"""


@pytest.mark.parametrize(
    ("kind", "arguments", "name"),
    [
        ("line", "'puq_image', '-q --save x_{{i}}.png a kite'", "x_{}.png"),
        ("cell", "'puq_image', '-q --save x_{{i}}.png', 'a kite'", "x_{}.png"),
        ("cell", "'puq_chat', '{{m}} -q --save x_{{i}}.md', 'hi'", "x_{}.md"),
        ("line", "'puq_speak', '-q --save x_{{i}}.wav --audio-format wav hi'", "x_{}.wav"),
        ("line", "'puq_chats', 'main --save x_{{i}}.json'", "x_{}.json"),
        ("line", "'puq_chats', '{{chat}} --export x_{{i}}.md'", "x_{}.md"),
        ("line", "'puq_transcribe', '-q --save x_{{i}}.txt talk_{{n}}.wav'", "x_{}.txt"),
    ],
)
def test_a_loop_saves_files_of_several_names(
    media_shell: Any, work_folder: Path, kind: str, arguments: str, name: str
) -> None:
    media_shell.run("%puq_chat -q -c main hi\n%puq_speak -q --audio-format wav --save talk_1.wav hi")
    media_shell.run(f"n, m, chat = 1, 'sandbox/short', 'main'\n{LOOP.format(kind=kind, arguments=arguments)}")
    assert {path.name for path in work_folder.iterdir()} == {"talk_1.wav", name.format(0), name.format(1)}


@pytest.mark.parametrize("magic", ["puq_image", "puq_chat", "puq_speak"])
def test_braces_are_never_written_into_a_file_name(media_shell: Any, work_folder: Path, magic: str) -> None:
    error = media_shell.error(f"i = 1\n%{magic} --raw -q --save x_{{{{i}}}}.png a kite")
    assert "nothing is substituted" in error.message
    assert list(work_folder.iterdir()) == []


def run_line(name: str, line: str) -> str:
    """Return the code that runs a magic, in a cell where it is for cells."""
    return f"%%{name} {line}\nhello" if COMMANDS[name].body else f"%{name} {line}"


@pytest.mark.parametrize(("name", "option"), VALUES)
def test_an_option_whose_variable_is_missing_is_named(shell: Any, name: str, option: Option) -> None:
    shell.run("value = 3")
    for flag in option.flags:
        error = shell.error(run_line(name, f"{flag} {{{{valeu}}}}"))
        assert type(error).__name__ == "MissingVariableError"
        assert error.message == f"the value of {flag}: {{{{valeu}}}}: there is no variable named 'valeu'."
        assert "Did you mean 'value'?" in error.hint
        assert ("--raw" in error.hint) == ("--raw" in COMMANDS[name].by_flag)
        for other in ("$value", "{value}", "${value}"):
            error = shell.error(run_line(name, f"{flag} {other}"))
            assert error.message == f"the value of {flag}: {other} is not substituted."
            assert error.hint == "Write {{value}}."


@pytest.mark.parametrize(("name", "option"), VALUES)
def test_every_option_takes_a_variable(name: str, option: Option) -> None:
    command = COMMANDS[name]
    parse = option.argparse_kwargs.get("type", str)
    for value in (*option.argparse_kwargs.get("choices", ()), "3", "name", "8x8"):
        try:
            parse(value)
        except argparse.ArgumentTypeError:
            continue
        fill = partial(fill_template, namespace={"part": {"k": value}})
        for flag in option.flags:
            args = vars(command.parse(f"{flag} {{{{part.k}}}} --", fill)[0])
            assert args == vars(command.parse(f"{flag} {value} --")[0])
            assert args == vars(command.parse(f'{flag}={{{{ part["k"] | trim }}}} --', fill)[0])
        return
    pytest.fail("no sample has the form of this value")


@pytest.mark.parametrize("name", PROMPT_MAGICS)
def test_options_behind_a_prompt_are_refused(shell: Any, name: str) -> None:
    for flag in COMMANDS[name].by_flag:
        for behind in (flag, f"{flag}=3", f"{flag} 3 more"):
            error = shell.error(f"%{name} a cat {behind}")
            assert (
                error.message == f"{behind.split()[0]} is an option of %{name}, and stands behind the prompt."
            )
            assert "before the prompt" in error.hint
    assert COMMANDS[name].parse_prompt_line("-q -- a cat -q")[1] == "a cat -q"
    assert (
        COMMANDS[name].parse_prompt_line("-q a '-q' cat --unknown -5 x-q")[1] == "a '-q' cat --unknown -5 x-q"
    )


@pytest.mark.parametrize("line", ["a cat -n 2", "a cat -n2", "a cat --size=8x8", "--size 8x8 a -n cat"])
def test_an_image_with_options_behind_its_prompt_is_not_made(media_shell: Any, line: str) -> None:
    error = media_shell.error(f"%puq_image {line}")
    assert "stands behind the prompt" in error.message


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("None", "None cannot be the value of an option"),
        ("['a/b']", "a value of type list cannot"),
        ("{'a': 1}", "a value of type dict cannot"),
        ("str", "a value of type type cannot"),
        ("'a/b\\n'", "holds a line break"),
        ("'a\\0b'", "holds a control character"),
        ("' '", "is empty"),
        ("'x' * 30_000", "cut at 20,000 of 30,000 characters"),
        ("b'a/b'", "bytes cannot be inserted"),
        ("len", "is a function"),
    ],
)
@pytest.mark.parametrize(
    "line", ["%puq_chat -m {{v}} hi", "%%puq_chat {{v}}\nhi", "%puq_chat --save {{v}} hi"]
)
def test_odd_values_are_refused_before_any_request(shell: Any, value: str, said: str, line: str) -> None:
    shell.run(f"v = {value}")
    assert said in shell.error(line).message


def test_a_journal_whose_name_is_too_long_is_refused(shell: Any) -> None:
    shell.run("v = 'x' * 300")
    error = shell.error("%%puq_grid -m a/b --journal {{v}} --dry-run\nhi")
    assert "is too long a name" in error.message


def test_a_system_prompt_that_is_none_is_refused(shell: Any) -> None:
    assert "{{v}} is None" in shell.error("v = None\n%puq_chat -s {{v}} hi").message


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("True", True),
        ("None", None),
        ("0.5", 0.5),
        ("['a', 1]", ["a", 1]),
        ("{'a': None}", {"a": None}),
        ("'--force'", "--force"),
    ],
)
def test_a_value_of_python_becomes_one_of_json(value: object, sent: object) -> None:
    fill = partial(fill_template, namespace={"v": eval(str(value))})  # noqa: S307 - our own samples
    args = CHAT_COMMAND.parse("--param x={{v}} hi", fill)[0]
    assert parse_params(args.param, "chat") == {"x": sent}


def test_a_value_that_looks_like_an_option_is_a_value(media_shell: Any, work_folder: Path) -> None:
    media_shell.run("v = '--force'\n%puq_chat -q --save {{v}}.md -o r hi")
    assert [path.name for path in work_folder.iterdir()] == ["--force.md"]
    assert "exists" in media_shell.error("%puq_chat -q --save {{v}}.md -o r hi").message
