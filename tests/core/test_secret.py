from __future__ import annotations

import copy
import pickle
from base64 import b64encode
from collections.abc import Callable
from html import escape

import pytest
from clients import KEY, shown
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.api.client import Router
from puq_magics.core.errors import ConfigurationError
from puq_magics.core.secret import Secret, SecretFilter, redact_secrets

HIDDEN = "-hunter2"


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret(f"  {KEY}\n")
    assert secret.reveal() == KEY
    for words in (repr(secret), str(secret), f"{secret}", f"{[secret]}", repr(secret.__getstate__())):
        assert KEY not in words
    assert repr(secret) == f"<Secret …{KEY[-4:]}>"
    with pytest.raises(TypeError):
        vars(secret)


def test_a_short_secret_shows_no_part_of_itself() -> None:
    assert Secret("short").tail == ""
    assert "short" not in repr(Secret("short"))


def test_a_secret_is_not_pickled_and_copies_are_itself() -> None:
    secret = Secret(KEY)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(secret, protocol)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


def test_secrets_compare_by_value() -> None:
    assert Secret(KEY) == Secret(KEY)
    assert hash(Secret(KEY)) == hash(Secret(KEY))
    assert Secret(KEY) != Secret("another")
    assert Secret(KEY) != KEY


@pytest.mark.parametrize(
    "value", ["", "  ", "two words", "clé-0123456789", "line\nbreak", "tab\there", "nul\0", "\x7f1234"]
)
@pytest.mark.parametrize("make", [Secret, Router])
def test_what_no_header_carries_is_refused_without_showing_it(value: str, make: type) -> None:
    with pytest.raises(ConfigurationError, match="not an API key") as caught:
        make(value + (HIDDEN if value.strip() else ""))
    assert not [words for words in shown(caught.value) if HIDDEN in words]


@pytest.mark.parametrize(
    "text",
    [
        f'"{KEY}"', f"'{KEY}'", f"`{KEY}`", f"```{KEY}```", f"“{KEY}”", f"‘{KEY}’,", f"{KEY},", f" {KEY} ; ",
        f"PUQ_API_KEY={KEY}", f"PUQ_API_KEY = '{KEY}'", f"export PUQ_API_KEY={KEY}", f'set PUQ_API_KEY="{KEY}"',
        f'$env:PUQ_API_KEY = "{KEY}"', f"%env PUQ_API_KEY={KEY}", f'os.environ["PUQ_API_KEY"] = "{KEY}"',
        f"api_key: {KEY}", f"'api_key': '{KEY}',", f'"token":"{KEY}"', f"SECRET={KEY};",
        f"Bearer {KEY}", f"Token {KEY}", f"Authorization: Bearer {KEY}", f'"Authorization: Token {KEY}"',
        f"X-Api-Key: {KEY}", f'"Authorization": "Bearer {KEY}"', f"-H 'Authorization: Bearer {KEY}'",
        f'--header "X-API-KEY: {KEY}"', f"setx PUQ_API_KEY {KEY}", f"%env PUQ_API_KEY {KEY}",
        f"PUQ_API_KEY={KEY} # mine", f"{KEY}.", f'"{KEY}".', f"export PUQ_API_KEY='{KEY}'  # don't share",
        f"\ufeff{KEY}\u200b", f"{KEY}\u00a0",
    ],
)  # fmt: skip
def test_what_is_pasted_with_a_key_is_left_out(text: str) -> None:
    assert Secret(text).reveal() == KEY


@pytest.mark.parametrize(
    "key",
    [
        "sk-abc==",
        "QUJDREVGRw==",
        "a=b",
        "key:x",
        "none",
        "EMPTY",
        "ollama",
        "key",
        "a.b-d_e/f+g=",
        "id:secret",
        "pk_your_token_8f3a9c2d7b6e",
        "sk-Yourk3yAb12Tokenz98",
    ],
)
def test_unusual_keys_are_not_changed(key: str) -> None:
    assert Secret(key).reveal() == key


@pytest.mark.parametrize(
    "text",
    [
        "<your-key>", "<key>", "PUQ_API_KEY=<your key>", "your-api-key", "YOUR_API_KEY", "'your_puq_api_key_here',",
        "sk-your-key-here", "sk-...", "sk-xxxxxxxx", "XXXXXXXX", "********", "$PUQ_API_KEY", "${PUQ_API_KEY}",
        "{{key}}", "%PUQ_API_KEY%", "Bearer $TOKEN", "{api_key}", "Bearer <token>",
        "pk_your_token_123", "your-secret-token",
        "sk-abc...xyz", "sk-abc****xyz", "None", "null", "PUQ_API_KEY", "API_KEY", "os.environ['PUQ_API_KEY']",
        "https://api.puq.ai", "REPLACE_ME", "sk-changeme",
    ],
)  # fmt: skip
@pytest.mark.parametrize("make", [Secret, Router])
def test_placeholders_are_refused(text: str, make: type) -> None:
    with pytest.raises(ConfigurationError, match="placeholder") as caught:
        make(text)
    assert "dashboard" in caught.value.hint


SECRET = Secret(KEY)
ENCODED = b64encode(KEY.encode()).decode().rstrip("=")[:-1]


@given(
    parts=st.lists(
        st.sampled_from([KEY, KEY[:9], KEY[9:], KEY[:11], KEY[9:11], KEY[11:], ENCODED, "x", "sk-", ""])
    )
)
def test_a_filter_of_text_finds_a_key_however_it_is_split(parts: list[str]) -> None:
    whole = SecretFilter()
    assert "".join(map(whole.feed, parts)) + whole.finish() == "".join(parts).replace(KEY, "…").replace(
        ENCODED, "…"
    )


@given(
    parts=st.lists(
        st.sampled_from(
            [KEY, KEY[:3], KEY[3:9], KEY[:9], KEY[9:], KEY[:11], KEY[9:11], KEY[11:], "x", "sk-", ""]
        )
    ),
    pauses=st.sets(st.integers(0, 20)),
)
def test_no_pause_loses_text_or_shows_a_whole_key(parts: list[str], pauses: set[int]) -> None:
    paused = SecretFilter()
    out = ""
    for number, part in enumerate(parts):
        out += paused.feed(part)
        if number in pauses:
            out += paused.release()
            assert not paused.pending
    out += paused.finish()
    assert KEY not in out
    if KEY not in "".join(parts):
        assert out == "".join(parts)


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize(
    "spelling", ["{}", "\\u{:04x}", "\\\\u{:04X}", "&#{};", "&amp;#x{:x};", "%{:02x}", "%25{:02X}"]
)
def test_a_key_in_small_parts_is_erased(spelling: str, size: int) -> None:
    spelled = "".join(sign if spelling == "{}" else spelling.format(ord(sign)) for sign in KEY)
    text = f"a {spelled} b"
    split = SecretFilter()
    shown = "".join(split.feed(text[n : n + size]) for n in range(0, len(text), size)) + split.finish()
    assert shown.startswith("a ")
    assert shown.replace(";", "").endswith("… b")
    assert spelled[len(spelled) // 2 :] not in shown


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("spell", [str, escape, lambda key: "".join(f"&#{ord(sign)};" for sign in key)])
@pytest.mark.parametrize("key", ["Ab12" * 10, "key-key-key-key-x", "puq_k3y/with+spec&~xyz1"])
def test_a_key_that_repeats_itself_or_has_escapes_is_erased(
    key: str, spell: Callable[[str], str], size: int
) -> None:
    secret, split = Secret(key), SecretFilter()
    text = f"a {spell(secret.reveal())} b"
    shown = "".join(split.feed(text[n : n + size]) for n in range(0, len(text), size)) + split.finish()
    assert shown.replace(";", "").endswith("… b")
    assert spell(key)[len(spell(key)) // 2 :] not in shown


def test_a_key_that_repeats_itself_is_erased_after_a_pause() -> None:
    secret, split = Secret("key-key-key-key-x"), SecretFilter()
    shown = split.feed(secret.reveal()[:-1]) + split.release()
    shown += "".join(map(split.feed, "key-x!")) + split.finish()
    assert secret.reveal() not in shown
    assert shown.endswith("…!")


def test_only_the_beginning_of_a_key_is_held_back() -> None:
    held = SecretFilter()
    assert held.feed(f"a {KEY[:7]}") == f"a {KEY[:7]}"  # as a word of any text
    assert held.feed(f" b {KEY[:8]}") == " b "
    assert held.feed("!") == f"{KEY[:8]}!"
    assert (held.feed(KEY[:8]), held.release(), held.feed(KEY[8:12]), held.release()) == (
        ("", KEY[:8], "", KEY[8:12])
    )
    assert held.feed(KEY[12:] + " c") == "… c"  # the rest is erased
    assert (held.feed(KEY[:8]), held.release(), held.feed("x")) == ("", KEY[:8], "x")


def test_keys_that_are_gone_or_short_are_not_looked_for() -> None:
    short = Secret("short")
    other = Secret(HIDDEN * 3)
    assert redact_secrets(f"short {other.reveal()} {KEY}") == "short … …"
    value = other.reveal()
    del other
    assert redact_secrets(value) == value
    assert short.tail == ""
