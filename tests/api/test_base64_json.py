from __future__ import annotations

import base64
import json
import os
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puq_magics.api.base64_json import DecodedField, IncrementalBase64Decoder, StreamingBase64Decoder
from puq_magics.core.errors import InvalidResponseError

DATA = random.Random(4).randbytes(3000)
TEXT = base64.b64encode(DATA).decode()


def decode_all(body: bytes | str, size: int = 1 << 16) -> tuple[Any, list[DecodedField]]:
    """The JSON with what was lifted put in its place, and what was lifted."""
    decoder = StreamingBase64Decoder(("b64_json",), ("url",))
    body = body.encode() if isinstance(body, str) else body
    for start in range(0, len(body), size):
        decoder.feed(body[start : start + size])
    return _restore_fields(decoder.end(), decoder), decoder.found


def _restore_fields(value: Any, decoder: StreamingBase64Decoder) -> Any:
    if isinstance(value, dict):
        return {key: _restore_fields(one, decoder) for key, one in value.items()}
    if isinstance(value, list):
        return [_restore_fields(one, decoder) for one in value]
    return decoder.decoded(value) or value


WHOLE = DecodedField(DATA, complete=True)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 511, 1 << 16])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(TEXT),
        json.dumps(TEXT).replace("/", "\\/"),
        json.dumps(TEXT).replace("+", "\\u002b"),
        json.dumps("\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76))),
        json.dumps(TEXT.replace("+", "-").replace("/", "_")),
        json.dumps("data:image/png;base64," + TEXT),
        json.dumps("DATA:image/png;charset=x;Base64," + TEXT).replace("/", "\\/"),
    ],
    ids=["plain", "slashes", "escapes", "lines", "url-safe", "data URL", "data URL of PHP"],
)
def test_base64_is_decoded_however_it_is_written_and_cut(text: str, size: int) -> None:
    answer, found = decode_all(
        '{"created": 0, "data" : [ {"b64_json" :\n' + text + ', "revised_prompt": "a \\"b\\""}]}', size
    )
    assert answer == {"created": 0, "data": [{"b64_json": WHOLE, "revised_prompt": 'a "b"'}]}
    assert found == [WHOLE]


@pytest.mark.parametrize("size", [1, 5, 1 << 16])
def test_what_is_not_base64_stays(size: int) -> None:
    entries = [
        {"url": 'https://h.example/a.png?b64_json=\u00fc\\"' + "x" * 2000},
        {"url": "https://h.example/short", "b64_json": None},
        {"url": "data:image/svg+xml,%3Csvg/%3E"},
        {"b64_json": "https://h.example/c.png"},
        {"b64_json": "", "url": ""},
        {"other": TEXT, "b64_json": [TEXT[:8]], "x": {"url": 5}},
        ["b64_json", TEXT],
        "b64_json",
        TEXT,
    ]
    for ascii_only in (True, False):
        answer, found = decode_all(json.dumps(entries, ensure_ascii=ascii_only), size)
        assert answer == entries
        assert found == []


def test_several_and_a_data_url() -> None:
    answer, found = decode_all(
        json.dumps({"a": {"b64_json": TEXT}, "url": "data:;base64," + TEXT, "b64_json": "AAAA"})
    )
    assert answer == {
        "a": {"b64_json": WHOLE},
        "url": WHOLE,
        "b64_json": DecodedField(bytes(3), complete=True),
    }
    assert len(found) == 3


@pytest.mark.parametrize(
    ("text", "data", "invalid_text"),
    [
        ("AAAAA", bytes(3), b"A"),
        ("AAAA!AAAA", bytes(3), b"!AAAA"),
        ("AAA=AAAA", b"", b"AAA=AAAA"),
        ("====", b"", b"===="),
        ("!AAAA", b"", b"!AAAA"),
        ("AA==AA", bytes(1), b"AA"),
        ("not base64, but words", base64.b64decode("notbase6"), b"4,butwords"),
    ],
)
def test_base64_that_is_none(text: str, data: bytes, invalid_text: bytes) -> None:
    _, (decoded,) = decode_all(json.dumps({"b64_json": text}))
    assert decoded == DecodedField(data, complete=False, invalid_text=invalid_text)


@pytest.mark.parametrize("size", [1, 3, 1 << 16])
@pytest.mark.parametrize(
    ("text", "data"),
    [("AA==", bytes(1)), ("AA", bytes(1)), ("AA=", bytes(1)), ("AAA", bytes(2)), ("AAAAAA", bytes(4))],
)
def test_padding_may_be_left_out(text: str, data: bytes, size: int) -> None:
    _, (decoded,) = decode_all(json.dumps({"b64_json": text}), size)
    assert decoded == DecodedField(data, complete=True)


@pytest.mark.parametrize("kept", range(3))
def test_no_byte_is_lost_without_padding(kept: int) -> None:
    data = DATA[: 2000 + kept]
    text = base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert decode_all(json.dumps({"b64_json": text}), 700)[1] == [DecodedField(data, complete=True)]


def test_nothing_is_taken_behind_the_padding() -> None:
    decoder = IncrementalBase64Decoder()
    for part in (b"AA", b"==", b"AAAA"):
        decoder.feed(part)
    assert decoder.end() == DecodedField(b"\x00", complete=False, invalid_text=b"AAAA")


@pytest.mark.parametrize("end", range(1, 60))
def test_a_body_that_is_cut(end: int) -> None:
    body = json.dumps({"data": [{"b64_json": TEXT[:20]}, {"url": "https://x"}]}).encode()[:-end]
    decoder = StreamingBase64Decoder(("b64_json",), ("url",))
    decoder.feed(body)
    before = decoder.found
    with pytest.raises(json.JSONDecodeError):
        decoder.end()
    assert all(DATA.startswith(decoded.data) for decoded in [*before, *decoder.found])


def test_what_came_of_a_string_without_its_end() -> None:
    decoder = StreamingBase64Decoder(("b64_json",))
    decoder.feed(b'{"b64_json": "' + TEXT[:2002].encode())
    assert decoder.found == [DecodedField(DATA[:1501], complete=False)]


def test_a_stand_in_cannot_be_forged() -> None:
    decoder = StreamingBase64Decoder(("b64_json",))
    assert [decoder.decoded(value) for value in ("0", "", None, 0, f"{os.urandom(8).hex()}0")] == [None] * 5


def test_json_without_end_is_refused() -> None:
    decoder = StreamingBase64Decoder(("b64_json",))
    for _ in range(15):
        decoder.feed(b'"' + b"x" * (1 << 20))
    with pytest.raises(InvalidResponseError, match="larger than"):
        decoder.feed(b"x" * (1 << 20))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9) | st.just("url"), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON, st.integers(1, 40), st.booleans())
def test_any_json_comes_through(value: Any, size: int, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert decode_all(body, size) == (value, [])


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_are_too_strange(data: bytes, size: int) -> None:
    decoder = StreamingBase64Decoder(("b64_json",), ("url",))
    for start in range(0, len(data), size):
        decoder.feed(data[start : start + size])
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        with pytest.raises((ValueError, RecursionError)):
            decoder.end()
    else:
        decoder.end()
