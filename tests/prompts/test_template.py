import re
import subprocess
import sys
import tracemalloc
import unicodedata
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from puq_magics.core.errors import APIStatusError, InputError, MissingVariableError, PuqError
from puq_magics.magics.options import RAW_HINT
from puq_magics.outputs.results import ChatResult
from puq_magics.prompts.template import MAX_BRACKET_DEPTH, MAX_EXPRESSION_CHARS, FilledText, fill_template

ROW = SimpleNamespace(title="Felidae", year=1817, _secret="s")
NAMESPACE = {
    "topic": "cats",
    "row": ROW,
    "d": {"k": "v", "}}": "braces", "items": "things", "deep": [{"k": ["é"]}]},
    "x": SimpleNamespace(y=[{"k": "found"}]),
    "In": ["", "a = 1", "topic = 'cats'"],
    "Out": {1: "one", 3: "three"},
    "numbers": [3, 1, 2],
    "empty": [],
    "nothing": None,
    "_": "last",
    "_hidden": 1,
    "result": "R",
    "loop": "L",
    "café": "coffee",
}


def test_brackets_as_deep_as_is_allowed() -> None:
    depth = MAX_BRACKET_DEPTH
    assert (
        fill_template("{{topic | default" + "(" * depth + "1" + ")" * depth + "}}", NAMESPACE).text == "cats"
    )


def test_text_beside_a_table_keeps_no_blanks() -> None:
    table = pd.DataFrame({"a": [1]})
    text = fill_template("See \t{{df}} \tand", {"df": table}).text
    assert text.startswith("See\n\n|")
    assert text.endswith("|\n\nand")


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{topic}}", "cats"),
        ("{{ topic }}", "cats"),
        ("{{\n  topic\n}}", "cats"),
        ("On {{topic}}, {{topic}} and {{ row.title }}.", "On cats, cats and Felidae."),
        ("{{row.title}} ({{row.year}})", "Felidae (1817)"),
        ("{{d[\"k\"]}} {{d.k}} {{d['k']}}", "v v v"),
        ('{{d["}}"]}}', "braces"),
        ('{{d["items"]}}', "things"),
        ("{{d.deep[0].k[0]}}", "é"),
        ('{{x.y[0]["k"]}}', "found"),
        ("{{In[2]}} {{Out[3]}} {{_}}", "topic = 'cats' three last"),
        ("{{result}}{{loop}}{{café}}", "RLcoffee"),
        ("{{numbers | sort | first}} {{numbers[1:] | length}}", "1 2"),
        ("{{topic | upper}} {{topic|title}} {{numbers | join(', ')}} {{2.5}}", "CATS Cats 3, 1, 2 {{2.5}}"),
        ("{{ numbers[0] + 1 }} {{ topic if numbers else 'none' }}", "4 cats"),
        ('{{missing | default("none")}} {{row.no | default("-")}} {{missing is defined}}', "none - False"),
        ('{{d[{"a": {"b": "k"}}["a"]["b"]]}}', "v"),
        (
            '{"a": {{d | json}}}',
            '{"a": {"k": "v", "}}": "braces", "items": "things", "deep": [{"k": ["é"]}]}}',
        ),
        ("{{topic}}}", "cats}"),
        ('{{d["{{topic}}"] | default("no")}}', "no"),
        ("{{topic}}{{topic}}", "catscats"),
        ("{{nothing}}", "None"),
    ],
)
def test_fills_in(text: str, filled: str) -> None:
    assert fill_template(text, NAMESPACE).text == filled


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{topic} $topic %(topic)s ${topic}",
        r"\frac{a}{b} and \textbf{{{topic}}}",
        "{{}} {{ }} {{\n}}",
        '{{"json": 1}} {{1}} {{"topic"}} {{ {"a": 1}["a"] }} {{[topic]}} {{(topic)}} {{-topic}}',
        "{{{topic}}} {{{{topic}}}} {{{{topic}}",
        "{{#if topic}} {{/if}} {{!topic}} {{> topic}} {{^topic}} {{&topic}} {{.Values.topic}}",
        "{{else}} {{in}} {{class}} {{true}} {{none}} {{False}}",
        "{{topic: 1}} {{color: 'red'}} {{topic, row}} {{topic row}} {{topic;}} {{topic = 1}} {{topic |}}",
        "{{topic -}} {{- topic -}} {{topic's}} {{topic(}} {{topic[0)}} {{topic § 1}}",
        "{{topic} {{topic",
        "int m[2][2] = {{topic, row}, {row, topic}};",
        "{% for a in topic %}{# topic #}{% endfor %}",
        "{{topic(a=1, a=2)}}",
        "{{topic + " + "9" * 5000 + "}}",
        "{{topic" + " " * MAX_EXPRESSION_CHARS + "}}",
        "{{" + "topic[" * (MAX_BRACKET_DEPTH + 1) + "]" * (MAX_BRACKET_DEPTH + 1) + "}}",
        "{{topic" + "~ 'a'" * 150 + "|" + "}}",
    ],
)
def test_leaves_alone(text: str) -> None:
    filled = fill_template(text, NAMESPACE)
    assert (filled.text, filled.names) == (text, ())


def test_what_is_no_expression_does_not_hide_one_that_follows() -> None:
    assert (
        fill_template("{{topic's {{topic}} it's {{ topic", NAMESPACE).text == "{{topic's cats it's {{ topic"
    )


def test_one_pass() -> None:
    namespace = {"a": "{{b}}", "b": "no", "c": ["{{b}}"]}
    assert fill_template("{{a}} {{c}} {{a | upper}}", namespace).text == '{{b}} ["{{b}}"] {{B}}'


def test_names_are_the_roots_in_order_once() -> None:
    filled = fill_template("{{row.title}} {{topic}} {{row.year}} {{numbers[Out[1] | length - 3]}}", NAMESPACE)
    assert filled.names == ("row", "topic", "numbers", "Out")


def test_names_hold_only_what_there_is() -> None:
    assert fill_template("{{missing | default(topic)}}", NAMESPACE) == FilledText("cats", ("topic",), ())


def test_notes_say_what_looked_like_an_expression() -> None:
    assert fill_template("{{topic: 1}} {{a b}} {{a b}}", NAMESPACE).notes == (
        "{{topic: 1}} and 1 more: not an expression, sent unchanged",
    )
    assert fill_template("{{" + "ab " * 50 + "}}", NAMESPACE).notes[0].startswith("{{ab ab ")
    assert (
        fill_template("{{" + "ab " * 50 + "}}", NAMESPACE)
        .notes[0]
        .endswith("…: not an expression, sent unchanged")
    )


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("{{1+1}}", "{{1+1}}"),
        ("{{ }} {{}}", "{{ }} and 1 more"),
        ("{{{topic}}}", "{{{topic}}}"),
        ("{{#if topic}}{{topic}}{{/if}}", "{{#if topic}} and 1 more"),
        ("{{topic}} {{else}} {{topic}}", "{{else}}"),
        ('{{"topic" | upper}}', '{{"topic" | upper}}'),
        ("m = {{1, 2}, {3, 4}};", "{{1, 2}, {3, 4}}"),
        ("{{topic's\nname}} {{topic", "{{topic's name}} and 1 more"),
        ("say {{ topic to\nme", "{{ topic to"),
        ("{{-topic}} {{-topic}}", "{{-topic}}"),
    ],
)
def test_a_note_quotes_double_braces_that_are_sent_unchanged(text: str, quoted: str) -> None:
    assert fill_template(text, NAMESPACE).notes == (f"{quoted}: not an expression, sent unchanged",)


@pytest.mark.parametrize(
    "text", ["", "{topic} }}", "{{topic}}}", "{{topic}} {{d['}}']}}", "{ {topic} }", "{{braces}}"]
)
def test_other_braces_need_no_note(text: str) -> None:
    assert fill_template(text, NAMESPACE | {"braces": "{{1}}"}).notes == ()


@pytest.mark.parametrize(
    "expression",
    [
        "f()", "f(1)", "row.title.upper()", "f() | md", "missing()", "topic ~ f()", "f", "m.method", "f | md",
        "f | json", "f | head", "f | schema", "f | upper", "f | string", "f | length", "f | join", "f | default('x')",
        "m.method | json", "topic.upper | title", "f if topic", "d.keys",
    ],
)  # fmt: skip
def test_functions_have_one_hint(expression: str) -> None:
    class Model:
        def method(self) -> str:
            raise AssertionError

    def function() -> str:
        raise AssertionError

    with pytest.raises(InputError, match="function") as caught:
        fill_template(f"{{{{{expression}}}}}", {**NAMESPACE, "f": function, "m": Model()})
    assert caught.value.hint.startswith("Call it in a cell, and insert the result: x = …, then {{x}}.")
    assert caught.value.message.startswith("{{" + expression)


def test_what_a_function_returned_is_inserted() -> None:
    assert fill_template("{{x}}", {"x": len("abc")}).text == "3"
    assert fill_template("{{f is callable}}", {"f": len}).text == "True"


def test_notes_say_what_was_cut_and_whose_it_was() -> None:
    filled = fill_template("{{log}} {{log}} {{log | upper}}", {"log": "a" * 3_000}, limit=10)
    assert filled.notes == (
        "log: cut at 10 of 3,000 characters",
        "log | upper: cut at 10 of 3,000 characters",
    )
    assert filled.text.startswith("a" * 10 + "… (cut at 10 of 3,000 characters) ")


def test_the_limit_is_for_each_value() -> None:
    assert fill_template("{{a}}{{a}}", {"a": "x" * 9}, limit=10).text == "x" * 18


def test_names_are_normalized_as_python_does() -> None:
    assert fill_template("{{ﬁle}}", {unicodedata.normalize("NFKC", "ﬁle"): "f"}).text == "f"


def test_jinjas_own_globals_do_not_hide_the_users() -> None:
    namespace = {"range": "r", "dict": "d", "cycler": "c", "namespace": "n", "lipsum": "l", "joiner": "j"}
    assert (
        fill_template("{{range}}{{dict}}{{cycler}}{{namespace}}{{lipsum}}{{joiner}}", namespace).text
        == "rdcnlj"
    )
    with pytest.raises(MissingVariableError, match="'range'"):
        fill_template("{{range}}", {})


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{{topik}}", "{{topik}}: there is no variable named 'topik'.", "Did you mean 'topic'?"),
        ("{{ TOPIC | upper }}", "{{TOPIC | upper}}: there is no variable named 'TOPIC'.", "'topic'"),
        ("{{numbrs[0].a}}", "{{numbrs[0].a}}: there is no variable named 'numbrs'.", "'numbers'"),
        ("{{topic ~ missing}}", "no variable named 'missing'", "--raw"),
        ("{{missing | head}}", "no variable named 'missing'", "--raw"),
        ("{{missing | md}}", "no variable named 'missing'", "--raw"),
        (
            r"\frac{{a}}{{b}}",
            "{{a}}: there is no variable named 'a'.",
            RAW_HINT,
        ),
        ("{{row.titel}}", "{{row.titel}}: a value of type SimpleNamespace has no 'titel'", "'title'"),
        ("{{row.titel.upper}}", "has no 'titel'", "Did you mean 'title'?"),
        ('{{d.deep[0]["K"]}}', """{{d.deep[0]["K"]}}: a value of type dict has no 'K'""", "'k'"),
        ("{{Out[4]}}", "{{Out[4]}}: cell 4 has no output value.", "The nearest is 3."),
        ("{{In[30]}}", "{{In[30]}}: a value of type list has no 30", "It has 3 items, counted from 0."),
        ("{{frame.colour}} ", "type DataFrame has no 'colour'", "Did you mean 'color'?"),
        ("{{frame.color['rowe']}} ", "type Series has no 'rowe'", "Did you mean 'row'?"),
        ("{{d[1]}}", "type dict has no 1", "--raw"),
        ("{{topic.lenght}}", "type str has no 'lenght'", "--raw"),
    ],
)
def test_what_is_missing_is_named_with_the_nearest(text: str, message: str, hint: str) -> None:
    frame = pd.DataFrame({"color": [1]}, index=["row"])
    with pytest.raises(MissingVariableError) as caught:
        fill_template(text, {**NAMESPACE, "frame": frame}, raw_hint=RAW_HINT)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_hidden_names_are_not_suggested() -> None:
    with pytest.raises(MissingVariableError) as caught:
        fill_template("{{hidden}}", NAMESPACE)
    assert "Did you mean" not in caught.value.hint


class RaisesEverywhere:
    @property
    def broken(self) -> str:
        raise ValueError("no\n  luck.")

    @property
    def confused(self) -> str:
        raise AttributeError("something else")

    @property
    def leaving(self) -> str:
        raise SystemExit("bye")

    def __repr__(self) -> str:
        raise RuntimeError("cannot be shown")


class HopelessError(Exception):
    def __str__(self) -> str:
        raise ValueError


class Worse:
    def __str__(self) -> str:
        raise HopelessError

    def __getitem__(self, key: object) -> object:
        raise KeyError(key)

    def __dir__(self) -> list[str]:
        raise ValueError


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{{t.broken}}", "{{t.broken}} raised ValueError: no luck", "cell of its own"),
        ("{{t.confused}}", "{{t.confused}} raised AttributeError inside 'confused'", "cell of its own"),
        ("{{t}}", "{{t}} raised RuntimeError: cannot be shown", "cell of its own"),
        ("{{[t]}}{{t | string}}", "{{t | string}} raised RuntimeError: cannot be shown", "cell of its own"),
        ("{{w}}", "{{w}} raised HopelessError", "cell of its own"),
        ("{{w[t]}}", "{{w[t]}}: a value of type Worse has no (an object whose repr fails)", "--raw"),
        ("{{one / zero}}", "{{one / zero}} raised ZeroDivisionError: division by zero", "cell of its own"),
        ("{{one | join}}", "{{one | join}} raised TypeError", "cell of its own"),
        ("{{t.leaving}}", "{{t.leaving}} raised SystemExit: bye", "cell of its own"),
        ("{{one | uper}}", "{{one | uper}}: there is no filter named 'uper'.", "Did you mean 'upper'?"),
        ("{{one | qqq}}", "there is no filter named 'qqq'.", "There are abs, capitalize"),
        ("{{one | image}}", "{{one | image}}: a value of type int is not an image.", "Pillow"),
        ("{{one is defned}}", "there is no test named 'defned'.", "Did you mean 'defined'?"),
        ("{{one + (one if zero)}}", "the inline if-expression", "else"),
        ("{{one if zero}}", "the inline if-expression", "else"),
        ("{{empty | first}}", "{{empty | first}}: No first item", "default"),
        ("{{empty | map('qqq') | list}}{{words | map('qqq') | join}}", "No filter named 'qqq'", "cell"),
        ("{{self}}", "{{self}}: a variable named 'self' cannot be used.", "another name"),
        (
            "{{t._x}}",
            "{{t._x}}: '_x' of a value of type Private is not allowed in a prompt.",
            "begin with _",
        ),
        ("{{t.__class__.__mro__}}", "'__class__'", "begin with _"),
        ("{{t['__class__']}}", "'__class__'", "begin with _"),
        ("{{words | map(attribute='__class__') | list}}", "'__class__'", "begin with _"),
        ("{{words | map(attribute='x') | json}}", "type str has no 'x'", "--raw"),
        ("{{words | map(attribute='x') | md}}", "type str has no 'x'", "--raw"),
        ("{{words.append}}", "'append' of a value of type list is not allowed", "change a value"),
        ("{{" + "a" * 200 + " ~ one.x}}", " … ", "--raw"),
    ],
)
def test_what_goes_wrong_is_told(text: str, message: str, hint: str) -> None:
    class Private(RaisesEverywhere):
        _x = 1

    troubled = Private() if "_x" in text else RaisesEverywhere()
    words = ["a"]
    namespace = {"t": troubled, "w": Worse(), "one": 1, "zero": 0, "empty": [], "words": words}
    namespace["self"] = 1
    with pytest.raises(InputError) as caught:
        fill_template(text, namespace, raw_hint=RAW_HINT)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert words == ["a"]
    assert "\n" not in caught.value.message


class Node:
    """What belongs to itself, and says so without end."""

    def __init__(self) -> None:
        self.parent = self
        self.children = [self]

    def __repr__(self) -> str:
        return f"Node({self.parent!r})"


def test_what_holds_itself_ends() -> None:
    node, data = Node(), {"name": "root"}
    data["self"] = data  # type: ignore[assignment]
    row = SimpleNamespace(data=data, node=node)
    assert fill_template("{{row.data}}", {"row": row}).text == "{'name': 'root', 'self': …}"
    assert fill_template("{{row.data | schema}}", {"row": row}).text.count("root") == 0
    for text in ("{{row.node.parent.parent}}", "{{row.node.children}}", "{{row.node | string}}"):
        with pytest.raises(InputError, match="raised RecursionError") as caught:
            fill_template(text, {"row": row})
        assert len(caught.value.message) < 200
        assert "cell of its own" in caught.value.hint
    with pytest.raises(InputError, match="holds itself"):
        fill_template("{{row.data | json}}", {"row": row})


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{df}}", "TABLE"),
        ("The mean of {{df}}?", "The mean of\n\nTABLE\n\n?"),
        ("See:\n  {{df | head(2)}} \nand go on", "See:\n  TABLE \nand go on"),
        ("See {{df | md}}\nand go on", "See\n\nTABLE\nand go on"),
        ("```\n{{df}}\n```", "```\nTABLE\n```"),
        ("Is {{n}} in it?\n{{df}} Say so.", "Is 3 in it?\nTABLE\n\nSay so."),
    ],
)
def test_a_table_gets_lines_of_its_own(text: str, filled: str) -> None:
    table = "| a |\n| --- |\n| 1 |"
    found = fill_template(text, {"df": pd.DataFrame({"a": [1]}), "n": 3}).text
    assert found == filled.replace("TABLE", table)


def test_a_shape_gets_lines_of_its_own() -> None:
    found = fill_template("Of {{df | schema}}?", {"df": pd.DataFrame({"a": [1]})}).text
    assert found.startswith("Of\n\n1 row, 1 column\n\n| column | type |\n")
    assert found.endswith(" |\n\n?")


def test_200_megabytes_cost_what_is_shown() -> None:
    frame = pd.DataFrame(np.zeros((5_000_000, 5)), columns=list("abcde"), copy=False)
    assert frame.memory_usage().sum() >= 200_000_000
    text = "{{df}} {{df | head(3)}} {{df | schema}} {{df | json}} {{df.a}} {{df[['a', 'b']] | head(2)}}"
    fill_template(text, {"df": frame.head()})  # imports
    tracemalloc.start()
    try:
        found = fill_template(text, {"df": frame})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2_000_000
    assert len(found.text) < 10_000
    assert found.notes[0] == "df: 20 of 5,000,000 rows"


def test_what_cells_said_and_gave(make_shell: Callable[..., Any]) -> None:
    """``In`` and ``Out`` as a shell has them, with a result of this package among what cells gave."""
    ip = make_shell().ip
    for cell in ("topic = 'cats'", "topic.upper()", "6 * 7"):
        ip.run_cell(cell, store_history=True)
    ip.user_ns["Out"][4] = ChatResult(model="m", text="an answer")
    found = fill_template(
        "{{In[2]}} {{Out[2]}} {{Out[3]}} {{Out[4]}} {{Out[4].text | upper}} {{_}}", ip.user_ns
    )
    assert found.text == "topic.upper() CATS 42 an answer AN ANSWER 42"
    with pytest.raises(MissingVariableError, match="cell 9 has no output value"):
        fill_template("{{Out[9]}}", ip.user_ns)


@pytest.mark.parametrize(
    "expression",
    [
        "call()",
        "row.call(1)",
        "row.names.pop()",
        "row.title.upper()",
        "row.title ~ (row.call)(1)",
        "row.names | join(call())",
        "row.title if row.call() else 1",
        "row[{'a': call()}['a']]",
        "row.names[call()]",
        "spy.format(row)",
        "missing()",
        "missing | default(call())",
    ],
)
def test_a_prompt_calls_nothing(expression: str) -> None:
    calls: list[object] = []
    row = SimpleNamespace(call=calls.append, names=["a"], title="kite")
    namespace = {"call": lambda: calls.append(1), "row": row, "spy": "{0.__class__}"}
    with pytest.raises(InputError) as caught:
        fill_template(f"{{{{ {expression} }}}}", namespace, raw_hint=RAW_HINT)
    assert caught.value.message == f"{{{{{expression}}}}}: function calls are not allowed in {{{{ }}}}."
    assert "Call it in a cell" in caught.value.hint
    assert caught.value.hint.endswith(RAW_HINT)
    assert calls == []
    assert row.names == ["a"]


def test_errors_of_properties_that_a_prompt_reads_stay_what_they_are() -> None:
    class LimitedError(APIStatusError):
        def __init__(self) -> None:
            PuqError.__init__(self, "no more", hint="wait")

    class Asking:
        @property
        def answer(self) -> str:
            raise LimitedError

    with pytest.raises(LimitedError) as caught:
        fill_template("{{asking.answer}}", {"asking": Asking()})
    assert caught.value.message == "no more"


def test_an_interrupt_is_an_interrupt() -> None:
    class Waiting:
        @property
        def end(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_template("{{waiting.end}}", {"waiting": Waiting()})


def test_compiling_computes_nothing() -> None:
    """Constants in what turns out to be no expression could otherwise keep the machine busy for hours."""
    assert fill_template(
        "{{9 ** 9 ** 9 ** 9}} {{topic if true else 9 ** 9 ** 9 ** 9}}", NAMESPACE
    ).text.endswith(" cats")


def test_jinja_is_imported_only_for_a_prompt_that_needs_it() -> None:
    code = (
        "import sys\n"
        "from puq_magics.prompts.template import fill_template as fill\n"
        "fill('{a} {{#if}} {{}} {{{a}}}', {})\n"
        "assert 'jinja2' not in sys.modules\n"
        "assert fill('{{a}}', {'a': 1}).text == '1'\n"
        "assert 'jinja2' in sys.modules\n"
        "assert not {'numpy', 'pandas', 'IPython', 'requests'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


PATIENT = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
_BITS = """{{ }} { } topic row .title ._x [0] ['k'] | upper ( ) ' " - # % d numbers ~ if else \\ é 1 , : default"""
FRAGMENTS = st.sampled_from([*_BITS.split(" "), " ", "\n", "\0", "\ud800"])


@PATIENT
@given(st.text())
@example("}}{ {")
def test_text_without_double_braces_is_unchanged(text: str) -> None:
    text = re.sub(r"\{{2,}", "{", text)
    assert fill_template(text, NAMESPACE) == FilledText(text)


@PATIENT
@given(st.lists(FRAGMENTS, max_size=25).map("".join))
def test_any_text_is_filled_or_refused_as_ours(text: str) -> None:
    try:
        filled = fill_template(text, NAMESPACE)
    except PuqError as error:
        assert error.message  # noqa: PT017
    else:
        if not filled.names and not filled.notes:
            assert filled.text == text or "default" in text


@PATIENT
@given(st.text(alphabet="{}ab \n'\"", max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_a_text_stands_where_its_name_stood(value: str, before: str, after: str) -> None:
    before, after = before.replace("{", ""), after.replace("{", "")
    assert fill_template(f"{before}{{{{a}}}}{after}", {"a": value, "b": "!"}).text == before + value + after
