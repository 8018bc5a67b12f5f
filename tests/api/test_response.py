"""Headers of a response."""

from __future__ import annotations

import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.api.response import parse_retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", None),
        ("0", 0),
        ("7", 7),
        (" 2.5 ", 2.5),
        ("-3", 0),
        ("soon", None),
        ("nan", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert parse_retry_after({"retry-after": value}) == seconds


def test_retry_after_as_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_800_000_000
    monkeypatch.setattr(time, "time", lambda: now)
    for seconds in (60, 0):
        date = email.utils.formatdate(now + seconds, usegmt=True)
        assert parse_retry_after({"retry-after": date}) == seconds
    assert parse_retry_after({"retry-after": email.utils.formatdate(now - 60, usegmt=True)}) == 0
    assert parse_retry_after({}) is None


@given(
    st.text(max_size=40)
    | st.from_regex(r"(Mon, )?\d{1,2} (Jan|Feb) \d{1,5} \d\d:\d\d:\d\d( [+-]\d{4})?", fullmatch=True)
)
def test_any_retry_after_is_seconds_or_nothing(value: str) -> None:
    seconds = parse_retry_after({"retry-after": value})
    assert seconds is None or seconds >= 0
