"""How requests go out, and what is never sent twice; over real sockets."""

from __future__ import annotations

import copy
import http.client
import inspect
import logging
import pickle
import re
import signal
import socket
import ssl
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from clients import KEY, MODEL, ask, router_for, shown, words
from raw_server import (
    COMPLETION,
    Connection,
    RawServer,
    answer,
    chunked,
    event_stream,
    head,
    responds,
    responds_and_closes,
)

from puq_magics import __version__
from puq_magics.api.base_url import BaseURL
from puq_magics.api.client import Router
from puq_magics.api.request import Retry
from puq_magics.api.transport import RequestsTransport, _to_failure, translate_exception
from puq_magics.core.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ConfigurationError,
    InvalidResponseError,
    PaymentRequiredError,
    PuqError,
    RateLimitError,
    RedirectError,
    ServerError,
)

pytestmark = pytest.mark.usefixtures("body_reader")  # each test with both readers

BALANCE = answer({"success": True, "balance": 5.0})
HELLO = chunked(event_stream(["Hello"]))
ADDRESS = BaseURL.parse("https://h.example")


def chat(router: Router, **more: Any) -> str:
    return router.chat("Hello", model=MODEL, **more).text


# What is sent


def test_the_head_of_a_request() -> None:
    with RawServer(responds(HELLO, BALANCE)) as server, router_for(server) as router:
        assert words(ask(router)) == "Hello"
        assert router.balance() == 5.0
    post, get = server.requests
    assert (post.method, post.path) == ("POST", "/v1/chat/completions")
    assert (get.method, get.path) == ("GET", "/v1/credits/balance")
    for asked in server.requests:
        assert asked.headers["authorization"] == f"Token {KEY}"
        assert asked.headers["user-agent"].startswith(f"puq_magics/{__version__} ")
        assert asked.headers["accept-encoding"] == "gzip"
        assert asked.headers["host"] == f"127.0.0.1:{server.port}"
    assert post.headers["accept"] == "text/event-stream"
    assert post.headers["content-type"] == "application/json"
    assert get.headers["accept"] == "application/json"
    assert get.body == b""


@pytest.mark.parametrize(
    ("key", "scheme", "sent"),
    [(KEY, "Bearer", f"Bearer {KEY}"), (KEY, "none", None), (None, "Token", None)],
)
def test_other_ways_to_authenticate(key: str | None, scheme: str, sent: str | None) -> None:
    with (
        RawServer(responds(BALANCE), responds(BALANCE)) as server,
        Router(key, server.base_url, scheme) as router,
    ):
        router.balance()
        with router.with_max_retries(0) as other:
            other.balance()
    assert [asked.headers.get("authorization") for asked in server.requests] == [sent, sent]


@pytest.mark.parametrize(
    "scheme",
    ["", "two words", "a:b", "x\r\nX-Evil: 1", 'x" ; rm "', "$(id)", "é", "x" * 41, None, 5, b"Token"],
)
def test_a_scheme_is_one_word(scheme: Any) -> None:
    with pytest.raises(ConfigurationError, match="not an authentication scheme") as caught:
        Router(KEY, "https://h.example", scheme)
    assert not [said for said in shown(caught.value) if KEY in said]
    assert (f"'{'x' * 40}'" in caught.value.message) == (scheme == "x" * 41)


@pytest.mark.parametrize("count", [-1, 1.5, "2", None])
def test_a_number_of_retries_is_a_whole_number(count: Any) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"the number of retries is {count!r}")):
        Router(KEY, "https://h.example", max_retries=count)


@pytest.mark.parametrize("scheme", ["Token", "none"])
def test_netrc_does_not_replace_the_key(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine localhost login somebody password else\ndefault login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth("http://h.example") == ("somebody", "else")  # type: ignore[no-untyped-call]
    with RawServer(responds(BALANCE)) as server:
        address = BaseURL(
            server.base_url, server.base_url, "h.example", is_loopback=False
        )  # reads the environment
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        secret = Router(KEY)._transport._key  # type: ignore[attr-defined]
        with Router(transport=RequestsTransport(address, secret, auth_scheme=scheme)) as router:
            router.balance()
    assert server.requests[0].headers.get("authorization") == (f"Token {KEY}" if scheme == "Token" else None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_bypasses_proxies(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with RawServer(responds(BALANCE)) as server, Router(KEY, f"http://{host}:{server.port}") as router:
        assert router.balance() == 5.0


def test_other_hosts_use_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with RawServer(responds(BALANCE)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.base_url)
        with Router(KEY, "http://h.example", allow_http=True, timeout=15) as router:
            assert router.balance() == 5.0
    assert proxy.requests[0].path == "http://h.example/v1/credits/balance"


def test_calls_share_a_connection(body_reader: str) -> None:
    said = [
        HELLO,
        answer(COMPLETION),
        head(Content_Length=len(event_stream("a"))) + event_stream("a"),
        answer({"error": "no"}, 400),
    ]
    with RawServer(responds(*said, BALANCE)) as server, router_for(server) as router:
        assert words(ask(router)) == "Hello"
        assert chat(router) == "Hello."
        assert words(ask(router)) == "a"
        with pytest.raises(APIError):
            chat(router)
        assert router.balance() == 5.0
    assert server.connections == 1


@pytest.mark.parametrize("body_reader", ["polled"], indirect=True)
def test_a_connection_is_not_used_again_after_what_nobody_asked_for() -> None:
    with (
        RawServer(responds(HELLO + b"HTTP/1.1 200 OK\r\n\r\n"), responds(BALANCE)) as server,
        router_for(server) as router,
    ):
        assert words(ask(router)) == "Hello"
        assert router.balance() == 5.0
    assert server.connections == 2


def test_a_closed_idle_connection_is_replaced() -> None:
    closed = threading.Event()

    def once(connection: Connection) -> None:
        connection.read_request()
        connection.send(answer(COMPLETION))
        connection.close()
        closed.set()

    with RawServer(once, responds(answer(COMPLETION))) as server, router_for(server) as router:
        assert chat(router) == "Hello."
        assert closed.wait(15)
        assert chat(router) == "Hello."
    assert [asked.method for asked in server.requests] == ["POST", "POST"]


# Retries


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_that_says_later_is_tried_again(status: int, retry_delays: list[float]) -> None:
    told: list[Retry] = []
    said = [answer({"error": "later"}, status)] * 2 + [answer(COMPLETION)]
    with RawServer(*map(responds, said)) as server, router_for(server, max_retries=2) as router:
        assert chat(router, on_retry=told.append) == "Hello."
    assert len(server.requests) == 3
    assert [(retry.attempt, retry.max_retries, retry.delay) for retry in told] == [
        (1, 2, retry_delays[0]),
        (2, 2, retry_delays[1]),
    ]
    assert 0.5 <= retry_delays[0] <= 1
    assert 1 <= retry_delays[1] <= 2


def test_the_pauses_differ(retry_delays: list[float]) -> None:
    for _ in range(2):
        server = RawServer(*[responds(answer("", 503))] * 6)
        with server, router_for(server, max_retries=5) as router, pytest.raises(ServerError):
            router.balance()
    assert len(set(retry_delays)) == 10
    for number, delay in enumerate(retry_delays):
        longest = (1, 2, 4, 8, 8)[number % 5]
        assert longest / 2 <= delay <= longest


def test_retry_after_is_honoured(retry_delays: list[float]) -> None:
    said = [answer("", 429, Retry_After="60"), answer("", 503, Retry_After="0"), answer(COMPLETION)]
    with (
        RawServer(*map(responds, said)) as server,
        router_for(server) as other,
        other.with_max_retries(2) as router,
    ):
        assert chat(router) == "Hello."
    assert retry_delays[0] == 60
    assert retry_delays[1] < 0.25


@pytest.mark.parametrize("status", [500, 503])
def test_the_connection_is_closed_before_another_try(status: int, retry_delays: list[float]) -> None:
    closed = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(status, Content_Length=1 << 40) + b" " * (1 << 16))
        connection.wait_for_close()
        closed.set()

    were_closed: list[bool] = []
    with RawServer(script, responds(BALANCE)) as server, router_for(server, max_retries=1) as router:
        assert router.balance(on_retry=lambda _: were_closed.append(closed.wait(15))) == 5.0
    assert were_closed == [True]


def test_a_long_retry_after_is_the_user_s_to_wait(retry_delays: list[float]) -> None:
    with (
        RawServer(responds(answer({"error": "x"}, 429, Retry_After="61"))) as server,
        router_for(server, max_retries=2) as router,
        pytest.raises(RateLimitError) as caught,
    ):
        chat(router)
    assert caught.value.retry_after == 61
    assert retry_delays == []


@pytest.mark.parametrize("status", [429, 503])
def test_a_spent_quota_is_not_tried_again_and_told_in_the_router_s_words(
    status: int, retry_delays: list[float]
) -> None:
    spent = answer({"error": "the quota of May is exceeded"}, status)
    with (
        RawServer(responds(spent)) as server,
        router_for(server, max_retries=2) as router,
        pytest.raises(PaymentRequiredError, match="the quota of May is exceeded") as caught,
    ):
        chat(router)
    assert (caught.value.reason, retry_delays) == ("quota", [])
    assert caught.value.detail == "the quota of May is exceeded"


def test_there_is_an_end_to_trying(retry_delays: list[float]) -> None:
    defaults = [
        inspect.signature(kind).parameters["max_retries"].default for kind in (Router, RequestsTransport)
    ]
    assert defaults == [2, 2]
    assert RequestsTransport(ADDRESS, None).auth_scheme == "Token"
    with (
        RawServer(*[responds(answer({"error": "x"}, 429))] * 3) as server,
        router_for(server, max_retries=2) as router,
        pytest.raises(RateLimitError),
    ):
        chat(router)
    assert len(server.requests) == 3
    assert len(retry_delays) == 2


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 422, 500, 502, 504, 529])
def test_a_post_that_may_have_been_processed_is_not_sent_twice(
    status: int, retry_delays: list[float]
) -> None:
    with (
        RawServer(responds(answer({"error": "x"}, status))) as server,
        router_for(server, max_retries=2) as router,
        pytest.raises(APIError),
    ):
        chat(router)
    assert len(server.requests) == 1
    assert retry_delays == []


def test_after_a_cut_a_get_is_sent_again_and_a_post_is_not(retry_delays: list[float]) -> None:
    cut = responds_and_closes(b"")
    with RawServer(cut, responds(BALANCE)) as server, router_for(server, max_retries=1) as router:
        assert router.balance() == 5.0
        assert len(retry_delays) == 1
    with RawServer(cut) as server, router_for(server, max_retries=1) as router:
        with pytest.raises(APIConnectionError, match="closed the connection") as caught:
            chat(router)
        assert (caught.value.was_sent, len(server.requests), len(retry_delays)) == (True, 1, 1)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529, 429])
def test_a_get_is_tried_again_after_any_failure_of_the_server(status: int, retry_delays: list[float]) -> None:
    told: list[Retry] = []
    said = answer("" if status in (429, 503) else {"error": "the quota is exceeded"}, status)
    with (
        RawServer(responds(said), responds(BALANCE)) as server,
        router_for(server, max_retries=1) as router,
    ):
        assert router.balance(on_retry=told.append) == 5.0
    assert str(status) in told[0].reason or status == 429


@pytest.mark.parametrize("status", [400, 401, 404, 499])
def test_a_get_that_is_refused_is_not_tried_again(status: int, retry_delays: list[float]) -> None:
    with (
        RawServer(responds(answer("", status))) as server,
        router_for(server, max_retries=2) as router,
        pytest.raises(APIError),
    ):
        router.models()
    assert len(server.requests) == 1


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_without_a_connection_anything_is_tried_again(retry_delays: list[float]) -> None:
    told: list[Retry] = []
    port = _free_port()
    with (
        Router(KEY, f"http://127.0.0.1:{port}", max_retries=2) as router,
        pytest.raises(APIConnectionError, match="no connection") as caught,
    ):
        chat(router, on_retry=told.append)
    assert len(retry_delays) == len(told) == 2
    assert str(told[0]).startswith(
        f"no connection to 127.0.0.1:{port} (connection refused); trying again in "
    )
    assert "connection refused" in caught.value.message


def test_a_name_that_does_not_resolve_is_not_tried_again(retry_delays: list[float]) -> None:
    with Router(KEY, "https://nowhere.invalid", max_retries=2) as router:
        for call in (router.balance, lambda: chat(router)):
            with pytest.raises(APIConnectionError, match=r"the name nowhere\.invalid does not resolve"):
                call()
    assert retry_delays == []


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 304, 399])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_redirects_are_not_followed(status: int, method: str) -> None:
    with RawServer() as elsewhere:
        said = answer("go away", status, Location=f"{elsewhere.base_url}/v1/stolen")
        with (
            RawServer(responds(said)) as server,
            router_for(server, max_retries=2) as router,
            pytest.raises(RedirectError) as caught,
        ):
            router.balance() if method == "GET" else chat(router)
    assert f"{elsewhere.base_url}/v1/stolen" in caught.value.message
    assert str(status) in caught.value.message
    assert elsewhere.connections == 0
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "/elsewhere",
        "http://[",
        "//",
        "x" * 5000,
        "http://h.example:port/",
        f"/?key={KEY}",
        "/\x1b[31m",
    ],
)
def test_odd_redirects(location: str | None) -> None:
    more = {} if location is None else {"Location": location}
    with (
        RawServer(responds(answer("", 302, **more))) as server,
        router_for(server) as router,
        pytest.raises(RedirectError) as caught,
    ):
        router.balance()
    assert len(caught.value.message) < 400
    assert KEY not in str(caught.value)
    assert "\x1b" not in caught.value.message
    assert ("redirects to nowhere (302)" in caught.value.message) == (not location)
    assert (f" {'x' * 200} (302)" in caught.value.message) == (location == "x" * 5000)


def test_the_body_of_a_redirect_is_not_read() -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(302, Location="/x", Content_Length=1 << 40))
        assert connection.wait_for_close()

    with RawServer(script) as server, router_for(server, timeout=15) as router, pytest.raises(RedirectError):
        router.balance()


# The key


def _hidden(value: Any) -> None:
    for said in (repr(value), str(value), repr(getattr(value, "__dict__", ""))):
        assert KEY not in said


def test_the_key_is_not_in_what_is_shown_stored_or_copied() -> None:
    with RawServer(responds(HELLO, answer(COMPLETION))) as server, router_for(server) as router:
        transport = router._transport
        stream = ask(router)
        words(stream)
        completion = router.chat("Hello", model=MODEL)
        for value in (
            router,
            transport,
            stream,
            stream.completion,
            completion,
            *vars(transport).values(),
            *vars(stream).values(),
        ):
            _hidden(value)
        for holder in (router, transport, transport._auth):  # type: ignore[attr-defined]
            with pytest.raises(TypeError, match="not pickled"):
                pickle.dumps(holder)
            _hidden(copy.deepcopy(holder))
        assert KEY.encode() not in pickle.dumps(completion)
        assert KEY not in router.chat_request("Hello", model=MODEL).to_curl(
            router.address, router.auth_scheme
        )


def _no_connection(router: Router) -> None:
    chat(router)


@pytest.mark.parametrize(
    "script",
    [
        responds(answer({"error": "Unauthorized"}, 401)),
        responds(answer("", 302, Location="/elsewhere")),
        responds_and_closes(b""),
        responds_and_closes(b"nonsense\r\n\r\n"),
        responds_and_closes(head(Content_Length=10, content_type="application/json") + b"{"),
        responds_and_closes(head(Content_Encoding="gzip") + b"plain"),
        responds_and_closes(head(Transfer_Encoding="chunked") + b"nonsense\r\n"),
        responds_and_closes(chunked(b"data: nonsense\n\n")),
        responds(answer("<html>")),
        lambda connection: (connection.read_request(), connection.reset()),
    ],
)
@pytest.mark.parametrize("streams", [True, False])
def test_the_key_is_not_in_errors_or_their_tracebacks(
    script: Callable[[Connection], None], streams: bool
) -> None:
    with RawServer(script) as server, router_for(server) as router, pytest.raises(PuqError) as caught:
        words(ask(router)) if streams else chat(router)
    assert not [said for said in shown(caught.value) if KEY in said]
    assert KEY.encode() not in pickle.dumps(caught.value)


@pytest.mark.parametrize(
    "url",
    ["https://nowhere.invalid", "https://127.0.0.1:9", "https://..", "https://" + "a" * 64 + ".example"],
)
def test_the_key_is_not_in_errors_without_an_answer(url: str) -> None:
    with Router(KEY, url, max_retries=0) as router, pytest.raises(APIConnectionError) as caught:
        chat(router)
    assert not [said for said in shown(caught.value) if KEY in said]


class Stop(BaseException):
    """What a signal's handler may raise."""


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Stop])
@pytest.mark.parametrize("sent", [b"", head(Transfer_Encoding="chunked")])
def test_the_key_is_not_in_the_traceback_of_an_interrupt(
    kind: type[BaseException], sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = threading.get_ident()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(sent)
        signal.pthread_kill(main, signal.SIGINT)
        connection.wait_for_close()

    def stop(*_: object) -> None:
        raise kind

    before = signal.signal(signal.SIGINT, stop)
    try:
        with RawServer(script) as server, router_for(server) as router, pytest.raises(kind) as caught:
            chat(router)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not [said for said in shown(caught.value) if KEY in said]


def test_the_key_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with RawServer(responds(HELLO, answer({"error": "x"}, 401))) as server, router_for(server) as router:
        words(ask(router))
        with pytest.raises(APIError):
            chat(router)
    assert "POST /v1/chat/completions" in caplog.text
    assert KEY not in caplog.text
    assert not [record for record in caplog.records if KEY in repr(vars(record))]


@pytest.mark.parametrize("status", [401, 429, 500])
@pytest.mark.parametrize("missing", [1, 1 << 20])
def test_an_error_that_is_cut_within_the_key(status: int, missing: int, retry_delays: list[float]) -> None:
    body = b"x" * (1 << 16 if missing > 1 else 0) + b"not for " + KEY[:-1].encode()
    said = head(status, Content_Length=len(body) + missing) + body
    with (
        RawServer(*[responds_and_closes(said)] * 2) as server,
        router_for(server, max_retries=1) as router,
        pytest.raises(APIError) as caught,
    ):
        chat(router)
    assert not [text for text in shown(caught.value) if KEY[:8] in text]


@pytest.mark.parametrize("size", [1, 9, 10_000])
def test_a_router_that_echoes_the_key_does_not_bring_it_into_an_error(size: int) -> None:
    body = b'{"error": {"message": "Incorrect API key: %b."}}' % KEY.encode()
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    with (
        RawServer(responds(chunked(*parts).replace(b"200 Said", b"401 Said"))) as server,
        router_for(server) as router,
        pytest.raises(APIError) as caught,
    ):
        chat(router)
    assert "Incorrect API key: …." in caught.value.message
    assert not [said for said in shown(caught.value) if KEY in said]


# TLS


def test_a_certificate_that_is_not_trusted(retry_delays: list[float]) -> None:
    import trustme

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with (
        RawServer(tls=context) as server,
        router_for(server, max_retries=2) as router,
        pytest.raises(APIConnectionError, match="certificate") as caught,
    ):
        router.balance()
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint
    assert retry_delays == []
    assert "_ssl.c" not in caught.value.message


def test_a_certificates_file_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with (
        Router(KEY, "https://h.example", max_retries=0) as router,
        pytest.raises(APIConnectionError, match=r"TLS CA certificate bundle.*/nowhere/ca\.pem"),
    ):
        router.balance()


# The one door: every exception of the libraries below has an error of ours


def _kinds(*modules: Any) -> list[type[Exception]]:
    found = [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, Warning)
    ]
    return sorted(set(found), key=lambda kind: (kind.__module__, kind.__qualname__))


FOREIGN = _kinds(requests.exceptions, urllib3.exceptions, http.client, ssl, socket, zlib)
OS_ERRORS = [kind for kind in _kinds(sys.modules["builtins"]) if issubclass(kind, OSError)]


def _instance(kind: type[Exception]) -> Exception:
    """One of it, whatever its constructor asks for."""
    exc = kind.__new__(kind)
    exc.args = (f"Invalid header value b'Token {KEY}'",)
    return exc


@pytest.mark.parametrize("kind", [*FOREIGN, *OS_ERRORS, ValueError, RuntimeError, EOFError, AttributeError])
def test_every_foreign_exception_has_its_error(kind: type[Exception]) -> None:
    assert not inspect.isabstract(kind)
    error = translate_exception(_instance(kind), ADDRESS)
    assert isinstance(error, APIConnectionError | InvalidResponseError)
    assert "h.example" in error.message
    assert error.message.endswith(".")
    assert error.hint
    of_the_system = issubclass(kind, OSError) and not issubclass(kind, requests.RequestException)
    assert of_the_system or KEY.lower() not in str(error).lower()  # the system's words quote no header


@pytest.mark.parametrize(
    ("exc", "kind", "words"),
    [
        (requests.ReadTimeout(), APITimeoutError, "sent nothing for too long"),
        (requests.ConnectTimeout(), APITimeoutError, "did not take the connection"),
        (TimeoutError(), APITimeoutError, "sent nothing"),
        (ConnectionResetError(104, "Connection reset by peer"), APIConnectionError, "closed the connection"),
        (BrokenPipeError(), APIConnectionError, "closed the connection"),
        (http.client.RemoteDisconnected("x"), APIConnectionError, "closed the connection"),
        (http.client.IncompleteRead(b""), APIConnectionError, "closed the connection"),
        (http.client.BadStatusLine("x"), InvalidResponseError, "proper HTTP"),
        (http.client.LineTooLong("x"), InvalidResponseError, "proper HTTP"),
        (ssl.SSLEOFError(8, "EOF occurred"), APIConnectionError, "closed the connection"),
        (
            ssl.SSLCertVerificationError(1, "[SSL] certificate verify failed: expired (_ssl.c:1)"),
            APIConnectionError,
            "(expired)",
        ),
        (OSError(113, "No route to host"), APIConnectionError, "(no route to host)"),
        (OSError(113), APIConnectionError, "(OSError)"),
        (OSError(), APIConnectionError, "(OSError)"),
        (OSError(5, ""), APIConnectionError, "(OSError)"),
        (OSError("..."), APIConnectionError, "(OSError)"),
        (OSError("(X.)", 5), APIConnectionError, "(X)"),
        (OSError(5, "first: second: third"), APIConnectionError, "(third)"),
        (OSError(5, "x" * 130), APIConnectionError, f"({'x' * 120})"),
        (zlib.error("x"), InvalidResponseError, "compressed"),
        (EOFError(), APIConnectionError, "closed the connection"),
        (requests.exceptions.InvalidURL("x"), APIConnectionError, "cannot be made"),
        (requests.exceptions.InvalidProxyURL("x"), APIConnectionError, "proxy"),
        (requests.exceptions.ProxyError("x"), APIConnectionError, "proxy"),
        (ValueError(f"Invalid header value {KEY!r}"), APIConnectionError, "(ValueError)"),
    ],
)
def test_translations(exc: Exception, kind: type[PuqError], words: str) -> None:
    error = translate_exception(exc, ADDRESS)
    assert type(error) is kind
    assert words in error.message
    assert error.hint.endswith((".", " = 300"))


def test_what_is_wrapped_is_found() -> None:
    inner = urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))
    assert "closed the connection" in translate_exception(requests.ConnectionError(inner), ADDRESS).message
    tried = urllib3.exceptions.MaxRetryError(None, "/", TimeoutError())  # type: ignore[arg-type]
    assert "sent nothing" in translate_exception(requests.ConnectionError(tried), ADDRESS).message
    outer = OSError(5, "outer")
    outer.__cause__ = OSError(113, "No route to host")
    assert "(no route to host)" in translate_exception(outer, ADDRESS).message
    circle = requests.ConnectionError("x")
    circle.__cause__ = circle
    assert translate_exception(circle, ADDRESS).message


@pytest.mark.parametrize("kind", [RuntimeError, InvalidResponseError, KeyboardInterrupt])
def test_a_failure_of_our_own_making_is_no_traceback_with_the_key(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise kind("broken") from RuntimeError(f"Token {KEY}")

    with RawServer(responds(BALANCE)) as server, router_for(server, max_retries=1) as router:
        monkeypatch.setattr("puq_magics.api.transport.open_body", broken)
        with pytest.raises((APIConnectionError, InvalidResponseError, KeyboardInterrupt)) as caught:
            router.balance()
        assert len(server.requests) == 1
    assert not [said for said in shown(caught.value) if KEY in said]


@pytest.mark.parametrize(
    ("error", "was_not_sent", "is_transient", "may_be_billed"),
    [
        (ConnectionResetError(), False, True, True),
        (http.client.RemoteDisconnected(), False, True, True),
        (urllib3.exceptions.ProtocolError("cut"), False, True, True),
        (urllib3.exceptions.NewConnectionError(None, "refused"), True, False, False),  # type: ignore[arg-type]
        (urllib3.exceptions.ConnectTimeoutError(), True, False, False),
        (urllib3.exceptions.NameResolutionError("a.example", None, socket.gaierror()), False, False, False),  # type: ignore[arg-type]
        (requests.exceptions.SSLError(ConnectionResetError()), False, False, False),
        (requests.exceptions.ProxyError(ConnectionResetError()), False, True, False),
        (requests.exceptions.InvalidURL(), False, False, False),
        (requests.exceptions.ReadTimeout(), False, False, True),
        (ValueError("x"), False, False, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_which_failures_another_try_may_mend(
    error: Exception, was_not_sent: bool, is_transient: bool, may_be_billed: bool
) -> None:
    failure = _to_failure(error, BaseURL.parse("https://a.example"))
    assert (failure.was_not_sent, failure.is_transient) == (was_not_sent, is_transient)
    assert isinstance(failure.error, APIConnectionError)
    assert failure.error.was_sent == may_be_billed


def test_a_forked_process_keeps_its_parents_session_open() -> None:
    transport = RequestsTransport(BaseURL.parse("https://a.example"), None)
    session = transport._session
    transport._replace_session()
    assert transport._session is not session
    assert transport._sessions_before_fork == [session]


def test_a_rate_limit_is_told_and_its_words_reach_the_error(retry_delays: list[float]) -> None:
    told: list[Retry] = []
    limited = answer({"error": "slow down"}, status=429)
    with (
        RawServer(responds(limited), responds(limited)) as server,
        router_for(server, max_retries=1) as router,
        pytest.raises(RateLimitError) as caught,
    ):
        router.balance(on_retry=told.append)
    assert caught.value.message.endswith(": slow down.")
    assert [retry.reason for retry in told] == ["too many requests"]
    assert len(retry_delays) == 1
