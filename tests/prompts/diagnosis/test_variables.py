from __future__ import annotations

import types
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from typing import Any

import numpy
import pandas
import pytest

from puq_magics.prompts.diagnosis.variables import MAX_CHARS, VariableSummarizer
from puq_magics.prompts.redaction.masking import SecretMasker


def summarize(value: object, name: str = "x") -> str:
    return VariableSummarizer(SecretMasker()).summarize(name, value)


class Plain:
    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


class Trap(Plain):
    @property
    def trap(self) -> str:
        raise AssertionError("a property was run")

    @property
    def __class__(self) -> Any:
        raise AssertionError("a property was run")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was looked up")


class Raises:
    def __repr__(self) -> str:
        raise ValueError("no")


class Exits:
    def __repr__(self) -> str:
        raise SystemExit


class Huge:
    def __repr__(self) -> str:
        return "x" * 10_000_000


class Deep:
    def __repr__(self) -> str:
        return repr(self)


class NoText:
    def __repr__(self) -> str:
        return 3  # type: ignore[return-value]


@dataclass
class Login:
    user: str
    password: str


def function(a: int, b: int = 2, *, c: int = 3) -> None:
    inner = a
    del inner


ABOUT = [
    (None, "NoneType: None"),
    (True, "bool: True"),
    (3, "int: 3"),
    (2.5, "float: 2.5"),
    ("ada", "str of 3: 'ada'"),
    (b"ada", "bytes of 3: b'ada'"),
    ([1, "a", None], "list of 3: [1, 'a', None]"),
    ((), "tuple of 0: ()"),
    ({"a": [1]}, "dict of 1: {'a': [1]}"),
    ({1}, "set of 1: {1}"),
    (deque([1]), "deque of 1: [1]"),
    (OrderedDict(a=1), "OrderedDict of 1: {'a': 1}"),
    (defaultdict(list, a=[1]), "defaultdict of 1: {'a': [1]}"),
    (Counter("aab"), "Counter of 2: {'a': 2, 'b': 1}"),
    (list(range(1000)), "list of 1,000: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …]"),
    (10**5000, "int: an integer of about 4,983 digits"),
    (int, "type: <class 'int'>"),
    (types, "module: types"),
    (function, "function: function(a, b, c)"),
    (len, "builtin_function_or_method: len"),
    (Plain(a=1, b=[2]), "Plain: <Plain a=1, b=[2]>"),
    (object(), "object: <object>"),
    (Raises(), "Raises: <Raises, whose repr raises ValueError>"),
    ([Raises()], "list of 1: [<Raises, whose repr raises ValueError>]"),
    (Exits(), "Exits: <Exits, whose repr raises SystemExit>"),
    (Deep(), "Deep: <Deep, whose repr raises RecursionError>"),
    (NoText(), "NoText: <NoText, whose repr raises TypeError>"),
    (numpy.arange(3), "ndarray: shape (3,), int64: [0, 1, 2]"),
    (numpy.zeros((100, 100)), "ndarray: shape (100, 100), float64"),
    (pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "DataFrame: 2 rows × 2 columns: 'a' int64, 'b' "),
    (pandas.Series([1.5], name="a"), "Series: 1 values of float64, named 'a'"),
]


@pytest.mark.parametrize(("value", "said"), ABOUT, ids=lambda value: type(value).__name__)
def test_values_at_a_glance(value: object, said: str) -> None:
    assert summarize(value).startswith(said)
    if not isinstance(value, pandas.DataFrame):
        assert summarize(value) == said


def test_nothing_is_looked_up_on_a_value() -> None:
    assert summarize([Trap(a=1)]) == "list of 1: [<Trap a=1>]"


def test_a_table_is_shown_without_its_data() -> None:
    assert "Lovelace" not in summarize(pandas.DataFrame({"name": ["Lovelace"]}))


@pytest.mark.parametrize(
    "value", [Huge(), "x" * 10**7, ["y" * 10**7] * 50, {"k" * 10**6: "v"}, [[["z"] * 99] * 99] * 99]
)
def test_huge_values_stay_short(value: object) -> None:
    assert len(summarize(value)) < MAX_CHARS + 60


def test_values_that_hold_themselves() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    held = Plain()
    held.__dict__["me"] = held
    table: dict[str, Any] = {}
    table["t"] = [table]
    assert summarize(ring) == "list of 2: [1, …]"
    assert summarize(held) == "Plain: <Plain me=<Plain>>"
    assert summarize(table) == "dict of 1: {'t': [{…}]}".replace("{…}", "…")


def test_items_are_not_asked_of_classes_that_make_their_own() -> None:
    class Sly(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            raise AssertionError("items() was called")

    assert summarize(Sly(a=1)) == "Sly: {'a': 1}"


SECRETS = [
    ("password", "hunter2"),
    ("key", "nmae-8f31"),
    ("api_key", b"hunter2"),
    ("token", ["hunter2"]),
    ("password", 123456),
    ("credentials", {"user": "hunter2"}),
    ("config", {"password": "hunter2"}),
    ("config", {"a": {"db_password": ["hunter2"]}}),
    ("x", Login("ada", "hunter2")),
    ("x", Plain(password="hunter2")),
    ("x", "sk-hunter2hunter2hunter2"),
    ("x", "a" * (MAX_CHARS - 10) + " sk-hunter2hunter2hunter2hunter2"),
]


@pytest.mark.parametrize(("name", "value"), SECRETS)
def test_secrets_are_masked(name: str, value: object) -> None:
    said = summarize(value, name)
    assert "nmae" not in said
    assert "123456" not in said
    assert "hunter" not in said


@pytest.mark.parametrize(("name", "value"), [("key", "kestrel"), ("sort", {"key": "kestrel"})])
def test_a_key_that_is_a_plain_word_is_shown(name: str, value: object) -> None:
    assert "kestrel" in summarize(value, name)


class Slotted:
    __slots__ = ("password", "user")

    def __init__(self) -> None:
        self.password = "hunterplain"

    def __repr__(self) -> str:
        return "Slotted hunterplain"


class Shown(Plain):
    def __repr__(self) -> str:
        return f"Shown {list(self.__dict__.values())}"


OWN = [Slotted(), Shown(api_key="hunterplain"), Shown(password=12345678), [("password", "hunterplain")]]


@pytest.mark.parametrize("value", OWN, ids=lambda value: type(value).__name__)
def test_secrets_of_objects_with_a_repr_of_their_own_are_masked(value: object) -> None:
    said = summarize(value)
    assert "hunterplain" not in said
    assert "12345678" not in said
    assert "<secret 1>" in said


def test_counts_are_no_secrets() -> None:
    assert summarize(400, "max_tokens") == "int: 400"
    assert summarize(["the", "cat"], "tokens") == "list of 2: ['the', 'cat']"


def test_values_of_tables_and_of_arrays_with_a_secret_name_are_left_out() -> None:
    assert "12345" not in summarize(numpy.array([12345, 67890]), "passwords")
    assert "hunter2" not in summarize(pandas.Series(["hunter2"], name="password"))
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"password": ["hunter2"], "user": ["ada"]})
    for value in (frame, frame["password"], frame.to_arrow(), frame.to_arrow()["password"]):
        assert "hunter2" not in summarize(value)
    assert summarize(frame).endswith("1 rows × 2 columns: 'password' String, 'user' String")
