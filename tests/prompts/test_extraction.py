import json
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.core.errors import NotJSONError
from puq_magics.prompts.extraction import (
    CodeBlock,
    JSONDocument,
    extract_code,
    extract_code_blocks,
    extract_json,
    remove_code_blocks,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("no code", []),
        ("```python\nx = 1\n```", [("python", "x = 1")]),
        ("a\n\n```Py title='x'\nx\n\ny\n```\nb\n~~~\nplain\n~~~", [("py", "x\n\ny"), ("", "plain")]),
        ("````md\n```python\nx\n```\n````", [("md", "```python\nx\n```")]),
        (
            "```markdown\n# A\n```python\nx\n```\nend\n```\nafter",
            [("markdown", "# A\n```python\nx\n```\nend")],
        ),
        ("~~~ {.python}\n```\n~~~", [("python", "```")]),
        ("```{python}\nx\n`````", [("python", "x")]),
        ("```py\r\nx\r\ny\r\n```\r\n", [("py", "x\ny")]),
        ("1. do\n\n   ```sh\n   ls\n     -l\n   ```\n", [("sh", "ls\n  -l")]),
        ("- ```py\n  x\n  ```", [("py", "x")]),
        ("> ```py\n> x\n>   y\n> ```\nnot", [("py", "x\n  y")]),
        ("``` not `a` fence\nx", []),
        ("```py\n```", [("py", "")]),
    ],
)
def test_blocks(text: str, blocks: list[tuple[str, str]]) -> None:
    assert extract_code_blocks(text) == tuple(CodeBlock(*block) for block in blocks)


def test_the_last_block_may_be_open() -> None:
    assert extract_code_blocks("```\na\n```\n```py\nx = 1\ny") == (
        CodeBlock("", "a"),
        CodeBlock("py", "x = 1\ny", closed=False),
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "python", "sql"]), st.text("ab`~ >\n#-", max_size=40)), max_size=4
    )
)
def test_any_code_comes_out_of_a_long_fence_as_it_went_in(blocks: list[tuple[str, str]]) -> None:
    fence = "`" * 50
    text = "\n\nwords\n\n".join(f"{fence}{language}\n{code}\n{fence}" for language, code in blocks)
    assert extract_code_blocks(text) == tuple(CodeBlock(*block) for block in blocks)


def test_the_code_that_was_asked_for() -> None:
    text = "```sh\nls\n```\n```python\n\na = 1\n```\n```\nb = 2\n```"
    assert extract_code(text) == ("a = 1", (CodeBlock("sh", "ls"), CodeBlock("", "b = 2")))
    assert extract_code(text, all_blocks=True) == ("a = 1\n\nb = 2", (CodeBlock("sh", "ls"),))
    assert extract_code("```sql\nselect 1\n```\n```sh\nls\n```") == ("select 1", (CodeBlock("sh", "ls"),))


def test_two_blocks_that_are_alike_are_two() -> None:
    code, left = extract_code("```\nx\n```\n```\nx\n```")
    assert (code, left) == ("x", (CodeBlock("", "x"),))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = 1\nprint(x)\n", "x = 1\nprint(x)"),
        ("Sorry", ""),
        ("I cannot do that.", ""),
        ("", ""),
        ("\0", ""),
    ],
)
def test_code_without_a_fence(text: str, code: str) -> None:
    assert extract_code(text)[0] == code


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, 2]}',
        '\ufeff {"a": [1, 2]}\n',
        'Sure!\n```json\n{"a": [1, 2]}\n```\nAnything else?',
        '```\n{"a": [1, 2]}\n```',
        '```python\nprint({})\n```\n```JSON\n{"a": [1, 2]}\n```',
        'As [1] says, it is {"a": [1, 2]}, and not {}.',
        'The [first, of "all] has {"a": [1, 2]}',
        '```json\n{"a": [1, 2]}',
    ],
)
def test_json_bare_fenced_or_among_words(text: str) -> None:
    assert extract_json(text).data == {"a": [1, 2]}


@pytest.mark.parametrize("text", ["Here: [1, 2]", "Here:\n[1, 2]\n"])
def test_a_list_among_words(text: str) -> None:
    assert extract_json(text).data == [1, 2]


@given(JSON)
def test_any_json_comes_back(value: object) -> None:
    assert extract_json(json.dumps(value)) == JSONDocument(value)
    fenced = f"```json\n{json.dumps(value, indent=2)}\n```"
    assert extract_json(fenced) == JSONDocument(value, ("code fence",))


@pytest.mark.parametrize(
    ("text", "data", "repairs"),
    [
        ('{"a": [1, 2,], }', {"a": [1, 2]}, "trailing comma"),
        ("{'a': 'it\\'s \"x\"', \"b\": \"it's\"}", {"a": 'it\'s "x"', "b": "it's"}, "single quotes"),
        ("{a: 1, $b-c: 2, 3: 4}", {"a": 1, "$b-c": 2, "3": 4}, "unquoted keys"),
        (
            '{"a": True, "b": None, "c": "True"}',
            {"a": True, "b": None, "c": "True"},
            "Python's True, False or None",
        ),
        ('{"a": [NaN, -Infinity]}', {"a": [None, None]}, "NaN or infinity made null"),
        ('{"a": [1e999, -1.5e400, 1e-999]}', {"a": [None, None, 0.0]}, "NaN or infinity made null"),
        ('{"a": 1, // one\n # two\n /* three } */ "b": "// four"}', {"a": 1, "b": "// four"}, "comments"),
        ('{"a": "one\ntwo\t3"}', {"a": "one\ntwo\t3"}, "line breaks in a text"),
        ('{"a": "it\\\'s"}', {"a": "it's"}, "escaped apostrophes"),
        ('```json\n{"a": 1}\n```', {"a": 1}, "code fence"),
        ('Here:\n```json\n{"a": 1,}\n```', {"a": 1}, "trailing comma, code fence, words around it"),
        (
            "As [1] says, it is {'a': {\"b\": 1}}, and not {}.",
            {"a": {"b": 1}},
            "single quotes, words around it",
        ),
        ('Sure: {"a": 1}', {"a": 1}, "words around it"),
        ("[{'a': None,},]", [{"a": None}], "single quotes, Python's True, False or None, trailing comma"),
        ("{}", {}, ""),
    ],
)
def test_slips_are_repaired_and_named(text: str, data: object, repairs: str) -> None:
    document = extract_json(text)
    assert (document.data, ", ".join(document.repairs)) == (data, repairs)


@given(JSON)
def test_a_value_of_python_is_read_as_it_is(value: object) -> None:
    text = repr([value])
    if not re.search(r"\\[xuUN\x00-\x1f]|[\x00-\x1f\x7f-\x9f]", text):  # escapes that JSON does not have
        assert extract_json(text).data == [value]


@given(st.text("{}[]\":,' aT1/*#\n\\", max_size=60))
def test_any_text_is_json_or_an_error(text: str) -> None:
    try:
        document = extract_json(text)
    except NotJSONError:
        return
    json.dumps(document.data, allow_nan=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("Just words.", "is not JSON."),
        ("As [1] says.", "is not JSON."),
        ('[{"a": 1}, {"b": 2}', "line 1, column 20"),
        ('{"a": 1,', "(line 1, column "),
        ('```json\n{"a": [1, 2\n```', "line 1"),
        ('{"a": NaN', "NaN"),
        ('{"a": "x" "b": 2}', "line 1, column 11"),
        ("{'it's': 1}", "line 1, column 2"),
        ('{"a": [1, 2}', "line 1, column 12"),
        ('{"/*' * 20_000, "line 1"),
        ("[" * 100_000, "nested too deep"),
        ('{"a": ' * 100_000, "nested too deep"),
        ('{"' * 100_000, "delimiter"),
        ('{"a": ' + "9" * 5_000 + "}", "digits"),
    ],
)
def test_what_is_no_json_is_not_mended(text: str, said: str) -> None:
    with pytest.raises(NotJSONError) as caught:
        extract_json(text)
    error = caught.value
    assert said in str(error)
    assert error.partial == text
    assert "JSON document alone" in error.repair_prompt
    assert len(str(error)) < 250
    assert pickle.loads(pickle.dumps(error)).repair_prompt == error.repair_prompt  # noqa: S301


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Look.\n\n```python\nx = 1\n```\nThink.", "Look.\n\n…\nThink."),
        ("Look.\n\n    x = 1\n    y = 2\n\nThink.", "Look.\n\n…\n\nThink."),
        ("\tx = 1\nThink.", "…\nThink."),
        ("Look: <PRE class=a><code>x = 1\n</code></pre> Think.", "Look: … Think."),
        ("Look.\n<pre>x = 1", "Look.\n…"),
        ("Look at\n    this line.", "Look at\n    this line."),
        ("Try:\ndef f(x):\n    if x:\n        return 1\n    return 0\nThink.", "Try:\n…\nThink."),
        ("def f(x):\n    return 1\n\nf([])", "…\n\nf([])"),
        ("Write\nx = [1, 2]\ny += x[0]\nand try.", "Write\n…\nand try."),
        ("return sum(x) / len(x) if x else 0", "…"),
        ("try:\n    f()\nexcept ValueError:\n    pass\nelse:\n    g()\nSo.", "…\nSo."),
        ("for x in y:\n    z(x)", "…"),
        ("Try:\nwhile True:\n    f(x)\nif ready:\n    g(x)\nelse:\n    h(x)\nThink.", "Try:\n…\nThink."),
        ("with lock: \n    f(x)\n\n    g(x)", "…\n\n…"),
        (
            "If x is empty:\n- look\nif it is an empty list:\nwith great care:",
            "If x is empty:\n- look\nif it is an empty list:\nwith great care:",
        ),
        ("x = '\\d'", "…"),
        (
            "```\nx\n```\nelse you get: nothing\nfinally, think: why?",
            "…\nelse you get: nothing\nfinally, think: why?",
        ),
        ("if necessary:\nlook at x, with care:", "if necessary:\nlook at x, with care:"),
        ("f(x)\nvalues\nTrue", "f(x)\nvalues\nTrue"),
        (
            "return to line 3\nfor example, this\nif it is (so)",
            "return to line 3\nfor example, this\nif it is (so)",
        ),
        (
            "import taxes are due\nHint: look\na == b\nx = ?",
            "import taxes are due\nHint: look\na == b\nx = ?",
        ),
        ("with care\nraise it\nwhile true", "with care\nraise it\nwhile true"),
        ("1. Look.\n\n    Think.\n2. Try.", "1. Look.\n\n    Think.\n2. Try."),
    ],
)
def test_code_blocks_of_every_kind_are_removed(text: str, rest: str) -> None:
    assert remove_code_blocks(text, "…") == rest
