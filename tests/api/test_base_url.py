from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from clients import KEY, MODEL
from hypothesis import example, given
from hypothesis import strategies as st
from raw_server import COMPLETION, RawServer, answer, responds

from puq_magics.api.base_url import DEFAULT_BASE_URL, BaseURL
from puq_magics.api.client import Router
from puq_magics.core.errors import InvalidURLError, PuqError


@pytest.mark.parametrize(
    ("text", "url", "host"),
    [
        ("https://api.puq.ai", "https://api.puq.ai", "api.puq.ai"),
        ("https://api.puq.ai/", "https://api.puq.ai", "api.puq.ai"),
        ("https://api.puq.ai/v1", "https://api.puq.ai", "api.puq.ai"),
        ("  https://api.puq.ai/v1/\n", "https://api.puq.ai", "api.puq.ai"),
        ("HTTPS://API.Puq.AI:443//", "https://api.puq.ai", "api.puq.ai"),
        ("https://h.example:8443/router/v1/", "https://h.example:8443/router", "h.example:8443"),
        ("https://h.example/v1/v1", "https://h.example/v1", "h.example"),
        ("https://h.example/v12", "https://h.example/v12", "h.example"),
        ("http://localhost:8000/v1", "http://localhost:8000", "localhost:8000"),
        ("http://127.0.0.1:80", "http://127.0.0.1", "127.0.0.1"),
        ("http://127.8.9.10", "http://127.8.9.10", "127.8.9.10"),
        ("http://[::1]:8080/v1", "http://[::1]:8080", "[::1]:8080"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]", "[2001:db8::1]"),
        ("https://bücher.example", "https://bücher.example", "bücher.example"),
        ("https://h.example?", "https://h.example", "h.example"),
    ],
)
def test_base_urls_as_people_write_them(text: str, url: str, host: str) -> None:
    address = BaseURL.parse(text)
    assert (address.url, address.host) == (url, host)
    assert url.startswith(address.origin)
    assert BaseURL.parse(address.api_url) == address


@pytest.mark.parametrize(
    ("text", "api_url"),
    [
        ("https://api.puq.ai", "https://api.puq.ai/v1"),
        ("https://h.example/v1/", "https://h.example/v1"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", None),
        ("https://models.github.ai/inference", None),
        ("https://ark.cn-beijing.volces.com/api/v3", None),
        ("https://open.bigmodel.cn/api/paas/v4/", None),
        ("https://api.deepinfra.com/v1/openai", None),
        ("https://h.example/client/v4/accounts/abc/ai/v1", None),
        ("https://h.example/V1", None),
        ("https://h.example/v12", None),
        ("https://h.example/v1.1", None),
        ("http://localhost:3000/api", None),
        ("http://localhost:8888/proxy/8000//", "http://localhost:8888/proxy/8000"),
        # Addresses of endpoints, as documentation gives them.
        ("https://h.example/v1/chat/completions", "https://h.example/v1"),
        ("https://api.perplexity.ai/chat/completions", "https://api.perplexity.ai"),
        ("https://h.example/api/v3/chat/completions/", "https://h.example/api/v3"),
        ("https://h.example/v1/models", "https://h.example/v1"),
        ("https://h.example/openai/v1/responses", "https://h.example/openai/v1"),
        ("https://h.example/v2/audio/speech", "https://h.example/v2"),
        # Copied with what is around it.
        ('"https://h.example/v1"', "https://h.example/v1"),
        ("`https://h.example/api/v3`,", "https://h.example/api/v3"),
        ("PUQ_BASE_URL=https://h.example/v1", "https://h.example/v1"),
        ("export OPENAI_BASE_URL='https://h.example/v1/'", "https://h.example/v1"),
    ],
)
def test_a_base_url_with_a_path_of_its_own_is_asked_there(text: str, api_url: str | None) -> None:
    expected = text.rstrip("/") if api_url is None else api_url
    address = BaseURL.parse(text)
    assert address.api_url == expected
    assert address.endpoint("/v1/chat/completions") == f"{expected}/chat/completions"
    assert address.endpoint("/v1/models") == f"{expected}/models"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "api.puq.ai",
        "ftp://api.puq.ai",
        "https://",
        "https:///v1",
        "https:api.puq.ai",
        "//api.puq.ai",
        "https://api puq.ai",
        "https://api.puq.ai/a b",
        "https://api.puq.ai/\u2028x",
        "https://api.puq.ai/\x00",
        "https://h.example:99999",
        "https://h.example:port",
        "https://[::1",
        "https://[nonsense]",
        "https://[v1.fe80]",
        "https://user:hunter2@h.example",
        "https://@h.example",
        "https://h.example/?key=hunter2",
        "https://h.example/#part",
        # What one parser takes for a local name and another for somebody's host.
        "http://evil.example\\.localhost",
        "http://evil.example\\@127.0.0.1",
        "http://evil.example%2f.localhost",
        "https://h.example\u2100",
        "https://" + "h" * 5000,
        "http://h.example",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://0.0.0.0",
        "http://[2001:db8::1]",
        "http://①②⑦.0.0.1",
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(InvalidURLError) as caught:
        BaseURL.parse(text)
    said = str(caught.value)
    assert "hunter2" not in said
    assert len(said) < 300
    assert caught.value.message.endswith(".")
    assert caught.value.hint


@pytest.mark.parametrize("text", ["https://user:hunter2@h.example:99999", "gopher://user:hunter2@h.example"])
def test_a_password_is_not_shown_even_when_the_rest_is_wrong(text: str) -> None:
    with pytest.raises(InvalidURLError) as caught:
        BaseURL.parse(text)
    assert "hunter2" not in str(caught.value)


def test_plain_http_elsewhere_only_when_allowed() -> None:
    address = BaseURL.parse("http://h.example:8000", allow_http=True)
    assert address.url == "http://h.example:8000"
    assert not address.is_loopback


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("http://localhost", True),
        ("http://LOCALHOST:1", True),
        ("https://dev.localhost", True),
        ("http://127.0.0.1", True),
        ("http://[::1]", True),
        ("https://h.example", False),
        ("https://notlocalhost", False),
        ("https://128.0.0.1", False),
    ],
)
def test_loopback(text: str, loopback: bool) -> None:
    assert BaseURL.parse(text).is_loopback is loopback


def test_the_vendor() -> None:
    assert BaseURL.parse(DEFAULT_BASE_URL + "/v1").is_puq_ai
    assert not BaseURL.parse("https://api.puq.ai.example").is_puq_ai
    assert not BaseURL.parse("https://api.puq.ai:444").is_puq_ai


_BITS = st.sampled_from([*"http[]:/@\\%#?.v1 ", "https://", "localhost", "127.0.0.1", "\u212a", "::1"])
_SCHEMES = st.sampled_from(["http", "https", "HTTP", ""])
_URLS = st.one_of(
    st.text(max_size=60),
    st.builds("{}://{}{}".format, _SCHEMES, st.text(max_size=30), st.text(max_size=30)),
    st.lists(_BITS, max_size=12).map("".join),
)


@given(text=_URLS)
@example("https://[::1%25eth0]")
@example("https://h.example\ud800")
def test_anything_is_an_address_or_an_error_of_ours(text: str) -> None:
    try:
        address = BaseURL.parse(text)
    except PuqError as error:
        assert isinstance(error, InvalidURLError)  # noqa: PT017 - either outcome is right
        return
    parts = urlsplit(address.url)
    assert parts.scheme == "https" or address.is_loopback
    assert f"{parts.scheme}://{parts.netloc}" == address.origin
    assert not parts.query
    assert "@" not in parts.netloc
    assert not address.url.endswith("/")


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("", "/v1"),
        ("/v1/", "/v1"),
        ("/v1beta/openai/", "/v1beta/openai"),
        ("/inference", "/inference"),
        ("/api/v3", "/api/v3"),
        ("/chat/completions", ""),
    ],
)
def test_what_is_asked(path: str, prefix: str) -> None:
    script = responds(answer(COMPLETION), answer({"success": True, "balance": 5.0}))
    with RawServer(script) as server, Router(KEY, f"{server.base_url}{path}", max_retries=0) as router:
        router.chat("Hello", model=MODEL)
        router.balance()
    assert [asked.path for asked in server.requests] == [
        f"{prefix}/chat/completions",
        f"{prefix}/credits/balance",
    ]
