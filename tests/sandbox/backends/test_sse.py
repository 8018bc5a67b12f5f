import pytest
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.sandbox.backends import sse
from puq_magics.sandbox.backends.http_client import IncompleteResponseError
from puq_magics.sandbox.backends.sse import EventReader

LINES = [
    ": a comment",
    "data: one",
    "",
    "event: x",
    "data:two",
    "data: and more",
    "",
    "id: 7",
    "",
    "data: ",
    "",
    "data: last",
]


def read(*pieces: bytes) -> list[bytes]:
    reader = EventReader()
    return [data for piece in pieces for data in reader.feed(piece)] + reader.close()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@given(data=st.data())
def test_however_it_is_cut(end: str, data: st.DataObject) -> None:
    whole = end.join(LINES).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read(*pieces) == [b"one", b"two\nand more", b"", b"last"]


def test_an_event_is_given_as_soon_as_it_is_whole() -> None:
    reader = EventReader()
    assert reader.feed(b"data: one\n") == []
    assert reader.feed(b"\ndata: two") == [b"one"]
    assert reader.feed(b"\r\n\r\n") == [b"two"]
    assert reader.close() == []


def test_nothing_comes_of_nothing() -> None:
    assert read() == []
    assert read(b"\n\n\n", b": only a comment\n\n") == []


def test_a_long_line_in_many_pieces() -> None:
    pieces = [b"data: ", *[b"x" * 65_536] * 800, b"\r", b"\n\n"]
    assert [len(data) for data in read(*pieces)] == [800 * 65_536]


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 1_000_000, b"data: x\n" * 100_000])
def test_an_event_without_an_end_is_not_waited_for(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_MAX_EVENT_BYTES", 4_000_000)
    with pytest.raises(IncompleteResponseError, match="one of its events is larger than 4 MB"):
        read(*[piece] * 100)


def test_many_events_are_no_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_MAX_EVENT_BYTES", 4_000_000)
    assert len(read(*[b"data: " + b"x" * 1_000_000 + b"\n\n"] * 10)) == 10
