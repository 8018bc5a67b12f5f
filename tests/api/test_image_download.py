"""Images from elsewhere: what is gone to and what is not, over real sockets; names resolve as a test says."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import trustme
from clients import KEY, MODEL, router_for
from media_samples import jpeg, png
from raw_server import Connection, RawServer, Script, answer, head, responds, responds_and_closes

from puq_magics.api import ImagesResponse
from puq_magics.api.image_download import ImageDownloader
from puq_magics.core.errors import APIConnectionError, APIError, APITimeoutError, InvalidResponseError

PNG = answer(png(), content_type="image/png")
Names = dict[str, list[str]]


@pytest.fixture
def fake_dns(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Names as the test has them (several lists: one for each time that it is asked); gives what was asked."""

    def install(**names: list[str] | list[list[str]]) -> list[str]:
        asked: list[str] = []
        real = socket.getaddrinfo

        def getaddrinfo(host: str, port: int, *args: Any, **more: Any) -> Any:
            asked.append(host)
            known = names.get(host.replace(".", "_").replace("-", "_"))
            if known is None:
                if host[0].isdigit() or ":" in host:
                    return real(host, port, *args, **more)
                raise socket.gaierror(-2, "Name or service not known")
            found = known[min(asked.count(host), len(known)) - 1] if isinstance(known[0], list) else known
            return [entry for ip in found for entry in real(ip, port, *args, **more)]

        monkeypatch.setattr("puq_magics.api.image_download.socket.getaddrinfo", getaddrinfo)
        return asked

    return install


def download_image(url: str, **limits: Any) -> bytes:
    return ImageDownloader(**limits)(url)


def refused(url: str, *, loopback: bool = True, **limits: Any) -> APIError:
    with pytest.raises(APIError) as caught:
        download_image(url, loopback=loopback, **limits)
    assert 'response_format="b64_json"' in caught.value.hint
    assert url not in caught.value.message
    return caught.value


def redirect(target: str, status: int = 302) -> bytes:
    return answer(b"<html>", status, Location=target)


# What is fetched, and how


def test_an_image_is_fetched_without_the_key_or_anything_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with RawServer(responds(PNG)) as elsewhere:
        url = f"{elsewhere.base_url}/a%20b/c.png?sig=a%2Fb%3D&x=ü"
        said = answer({"data": [{"url": url, "revised_prompt": "A cat"}]}, Set_Cookie="session=secret")
        with RawServer(responds(said)) as server, router_for(server) as router:
            images = router.image("a cat", model=MODEL)
    assert (images.images[0].data, images.images[0].revised_prompt) == (png(), "A cat")
    assert images.raw["data"] == [{"url": url, "revised_prompt": "A cat"}]
    (asked,) = elsewhere.requests
    assert asked.method == "GET"
    assert asked.path == "/a%20b/c.png?sig=a%2Fb%3D&x=%C3%BC"
    assert asked.headers["host"] == f"127.0.0.1:{elsewhere.port}"
    assert not {"authorization", "cookie", "referer"} & asked.headers.keys()
    assert KEY not in str(asked)


def test_one_that_fails_leaves_the_others() -> None:
    with RawServer(responds(answer(b"gone", 410)), responds(PNG)) as elsewhere:
        entries = [{"url": f"{elsewhere.base_url}/{n}"} for n in range(2)]
        with (
            RawServer(responds(answer({"data": entries}))) as server,
            router_for(server) as router,
            pytest.raises(InvalidResponseError, match=r"does not give the image \(410\)") as caught,
        ):
            router.image("a cat", model=MODEL)
    kept = caught.value.partial
    assert isinstance(kept, ImagesResponse)
    assert [image.data for image in kept.images] == [png()]
    assert kept.raw["data"] == entries


def test_the_bytes_decide(fake_dns: Callable[..., list[str]]) -> None:
    page = answer(b"<!doctype html>", content_type="image/png")
    with RawServer(responds(page)) as elsewhere:
        said = answer({"data": [{"url": elsewhere.base_url}]})
        with (
            RawServer(responds(said)) as server,
            router_for(server) as router,
            pytest.raises(InvalidResponseError, match="holds HTML where an image should be"),
        ):
            router.image("a cat", model=MODEL)


def test_redirects_are_followed_a_few_times() -> None:
    with RawServer(responds(PNG)) as last:
        hops = [
            responds(redirect(last.base_url + "/x", 307)),
            responds(redirect("/c?d", 303)),
            responds(redirect("b")),
        ]
        with RawServer(*reversed(hops)) as first:
            assert download_image(f"{first.base_url}/a", loopback=True) == png()
    assert [asked.path for asked in first.requests] == ["/a", "/b", "/c?d"]


def test_redirects_without_end() -> None:
    with RawServer(*[responds(redirect("/again"))] * 4) as server:
        assert "redirects too often" in refused(server.base_url).message


@pytest.mark.parametrize(
    "target", ["http://10.0.0.1/x", "https://[fe80::1]/", "file:///etc/passwd", "//169.254.169.254/"]
)
def test_each_hop_is_checked(target: str) -> None:
    with RawServer(responds(redirect(target))) as server:
        assert refused(server.base_url).message.startswith("the image's address")


def test_a_redirect_s_body_is_not_read() -> None:
    def endless(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(302, Location="/next", Transfer_Encoding="chunked"))
        assert connection.wait_for_close()

    with RawServer(endless, responds(PNG)) as server:
        assert download_image(server.base_url, loopback=True) == png()


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/files/a.png?sig=1", "/files/a.png?sig=1"),
        ("a.png", "/v1/images/a.png"),
        ("./a.png", "/v1/images/a.png"),
        ("../files/a.png", "/v1/files/a.png"),
        ("//{host}/a.png", "/a.png"),
        (" /a.png", "/a.png"),
    ],
)
def test_a_relative_address_is_that_of_the_router(address: str, path: str) -> None:
    scripts: list[Script] = []
    with RawServer(*[lambda connection: scripts.pop(0)(connection)] * 2) as server:
        said = answer({"data": [{"url": address.format(host=f"127.0.0.1:{server.port}")}]})
        scripts += [responds_and_closes(said), responds_and_closes(PNG)]
        with router_for(server) as router:
            assert router.image("a cat", model=MODEL).images[0].data == png()
    asked = server.requests[1]
    assert asked.path == path
    assert "authorization" not in asked.headers


@pytest.mark.parametrize("address", ["//10.0.0.1/a.png", "https:/a.png", "//[::1", "file:a.png", "\n"])
def test_a_relative_address_leads_nowhere_else(address: str) -> None:
    with RawServer(responds(answer({"data": [{"url": address}]}))) as server, router_for(server) as router:
        with pytest.raises(InvalidResponseError, match="the image's address"):
            router.image("a cat", model=MODEL)
        assert len(server.requests) == 1


# What is not gone to


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://h.example/a.png",
        "gopher://127.0.0.1:70/",
        "javascript:alert(1)",
        "blob:https://h.example/1",
        "/relative.png",
        "h.example/a.png",
        "https://",
        "https:///a.png",
        "https://exa mple/",
        "https://h.example:99999/",
        "https://[::1/",
        "https://-h.example/",
        "https://h..example/",
        "https://" + "a" * 9000,
        "\n",
    ],
)
def test_what_is_no_address_on_the_web(url: str) -> None:
    assert "is not one on the web" in refused(url).message


PRIVATE = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "198.18.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fc00::1]",
    "[fd12:3456::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[::127.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b:1::1]",
    "[2002:0a00:0001::1]",
    "[2002:7f00:0001::1]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_no_private_address(host: str) -> None:
    assert "points into a private network" in refused(f"https://{host}/a.png", loopback=False).message


HERE = ("127.0.0.1", "127.8.9.1", "[::1]", "[::ffff:127.0.0.1]")


@pytest.mark.parametrize("host", [host for host in PRIVATE if host not in HERE])
def test_no_private_address_for_a_router_on_this_machine_either(host: str) -> None:
    assert "points into a private network" in refused(f"https://{host}/a.png").message


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost"])
def test_no_private_address_in_another_spelling(host: str) -> None:
    assert "points into a private network" in refused(f"https://{host}/a.png", loopback=False).message


def test_a_router_elsewhere_cannot_send_us_to_this_machine() -> None:
    with RawServer() as server:
        error = refused(server.base_url, loopback=False)
    assert "points into a private network" in error.message
    assert server.connections == 0


@pytest.mark.parametrize("loopback", [True, False])
def test_no_name_of_a_private_address(fake_dns: Callable[..., list[str]], loopback: bool) -> None:
    fake_dns(h_example=["10.0.0.5"], both_example=["93.184.215.14", "10.0.0.5"], six_example=["fd00::1"])
    for host in ("h.example", "both.example", "six.example"):
        assert "private network" in refused(f"https://{host}/a.png", loopback=loopback).message


def test_plain_http_stays_on_this_machine(fake_dns: Callable[..., list[str]]) -> None:
    fake_dns(h_example=["93.184.215.14"], half_example=["127.0.0.1", "93.184.215.14"])
    for host in ("h.example", "half.example", "93.184.215.14"):
        for loopback in (True, False):
            message = refused(f"http://{host}/a.png", loopback=loopback).message
            assert "plain http" in message or "private network" in message


def test_a_user_name_in_the_address() -> None:
    assert "user name" in refused("https://someone:secret@h.example/").message
    assert "secret" not in str(refused("https://someone:secret@h.example/"))


def test_a_name_that_does_not_resolve(fake_dns: Callable[..., list[str]]) -> None:
    fake_dns()
    error = refused("https://h.example/")
    assert isinstance(error, APIConnectionError)
    assert "h.example" in error.message


# The address that was checked is the one that is gone to


class TlsServer:
    """A certificate for a name, and the names that clients asked for."""

    def __init__(self, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        authority = trustme.CA()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(self.context)
        authority.cert_pem.write_to_path(folder / "authority.pem")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder / "authority.pem"))
        self.asked: list[str | None] = []
        self.context.sni_callback = lambda _, name, __: self.asked.append(name)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TlsServer:
    return TlsServer(tmp_path, "images.example", monkeypatch)


def test_a_name_that_changes_its_mind(fake_dns: Callable[..., list[str]], tls: TlsServer) -> None:
    asked = fake_dns(images_example=[["127.0.0.1"], ["10.0.0.1"]])
    with RawServer(responds(PNG), tls=tls.context) as server:
        assert download_image(f"https://images.example:{server.port}/a.png", loopback=True) == png()
    assert asked.count("images.example") == 1
    assert tls.asked == ["images.example"]
    assert server.requests[0].headers["host"] == f"images.example:{server.port}"


def test_a_name_that_changes_its_mind_between_hops(
    fake_dns: Callable[..., list[str]], tls: TlsServer
) -> None:
    fake_dns(images_example=[["127.0.0.1"], ["10.0.0.1"]])
    with RawServer(responds(redirect("/next")), tls=tls.context) as server:
        message = refused(f"https://images.example:{server.port}/a.png").message
    assert "private network" in message


def test_another_s_certificate(fake_dns: Callable[..., list[str]], tls: TlsServer) -> None:
    fake_dns(other_example=["127.0.0.1"])
    with RawServer(responds(PNG), tls=tls.context) as server:
        message = refused(f"https://other.example:{server.port}/a.png").message
    assert "no secure connection to other.example" in message
    assert server.requests == []


def test_the_next_address_of_a_host_that_does_not_answer(
    fake_dns: Callable[..., list[str]], tls: TlsServer
) -> None:
    fake_dns(images_example=["127.0.0.2", "127.0.0.1"])  # the server is at the second alone
    with RawServer(responds(PNG), tls=tls.context) as server:
        assert download_image(f"https://images.example:{server.port}/", loopback=True) == png()


def test_an_international_name(fake_dns: Callable[..., list[str]]) -> None:
    asked = fake_dns()
    refused("https://Bücher.example/")
    assert asked == ["xn--bcher-kva.example"]


# By a proxy


def through_tls(context: ssl.SSLContext, connects: list[str]) -> Script:
    """A proxy and what is behind it."""

    def script(connection: Connection) -> None:
        connects.append(connection.read_request().path)
        connection.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        with context.wrap_socket(connection.sock, server_side=True) as sock:
            sock.recv(1 << 16)
            sock.sendall(PNG)

    return script


def test_a_proxy_is_told_the_name(
    fake_dns: Callable[..., list[str]], tls: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_dns(images_example=["93.184.215.14"])
    connects: list[str] = []
    with RawServer(through_tls(tls.context, connects)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.base_url)
        assert download_image("https://images.example/a.png", loopback=False) == png()
    assert connects == ["images.example:443"]
    assert tls.asked == ["images.example"]


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/",
        "https://private.example/",
        "https://unknown.example/",
        "https://intranet/",
        "https://printer.local/",
        "https://db.internal./",
        "http://images.example/",
    ],
)
def test_a_proxy_is_not_sent_to_private_places(
    fake_dns: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    fake_dns(private_example=["192.168.0.9"], images_example=["93.184.215.14"])
    with RawServer() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.base_url)
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
        refused(url, loopback=False)
    assert proxy.connections == 0


def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer() as proxy, RawServer(responds(PNG)) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
        assert download_image(server.base_url, loopback=True) == png()


# Limits, and what breaks


def test_too_large() -> None:
    def endless(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(content_type="image/png"), bytes(3000))
        assert connection.wait_for_close()

    with RawServer(endless) as server:
        assert "larger than 2,000 bytes" in refused(server.base_url, limit=2000).message


def test_too_slow() -> None:
    over = Event()

    def slow(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(content_type="image/png"), png()[:20])
        connection.wait(over)

    with RawServer(slow) as server:
        error = refused(server.base_url, seconds=0.2)
        over.set()
    assert isinstance(error, APITimeoutError)


def test_no_answer_in_time() -> None:
    over = Event()

    def silent(connection: Connection) -> None:
        connection.read_request()
        connection.wait(over)

    with RawServer(silent) as server:
        error = refused(server.base_url, seconds=0.2)
        over.set()
    assert isinstance(error, APITimeoutError)


def send_slowly(connection: Connection, over: Event, piece: bytes) -> None:
    """Sends a little now and then until the client has gone."""
    while not over.wait(0.02):
        try:
            connection.send(piece)
        except OSError:
            return


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\n", head(content_type="image/png") + png()[:20]])
def test_what_drips_ends_in_time(start: bytes) -> None:
    over = Event()

    def dripping(connection: Connection) -> None:
        connection.read_request()
        connection.send(start)
        send_slowly(connection, over, b"X-Drip: 1\r\n")
        assert not over.is_set(), "the client waited for more"

    with RawServer(dripping) as server:
        error = refused(server.base_url, seconds=0.3)
    assert isinstance(error, APITimeoutError)
    assert "did not come in time" in error.message


def test_tls_that_drips_ends_in_time(tls: TlsServer, fake_dns: Callable[..., list[str]]) -> None:
    over = Event()
    fake_dns(images_example=["127.0.0.1"])

    def dripping(connection: Connection) -> None:
        connection.send(b"\x16\x03\x03\x3f\x00\x02\x00\x3e\xfc")  # a long handshake message
        send_slowly(connection, over, b"\x00")

    with RawServer(dripping) as server:
        error = refused(f"https://images.example:{server.port}/", seconds=0.3)
    assert isinstance(error, APITimeoutError)


def test_a_proxy_that_drips_ends_in_time(
    fake_dns: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    over = Event()
    fake_dns(images_example=["93.184.215.14"])

    def dripping(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 Connected\r\n")
        send_slowly(connection, over, b"X-Drip: 1\r\n")

    with RawServer(dripping) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.base_url)
        error = refused("https://images.example/a.png", seconds=0.3, loopback=False)
    assert isinstance(error, APITimeoutError)


def test_an_end_that_is_the_time_s_is_no_end() -> None:
    over = Event()

    def silent(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(content_type="image/png") + png())
        connection.wait(over)

    with RawServer(silent) as server:
        assert isinstance(refused(server.base_url, seconds=0.2), APITimeoutError)
        over.set()


def test_one_time_and_one_size_for_all_images_of_an_answer() -> None:
    with RawServer(responds(PNG), responds(PNG), responds(PNG)) as server:
        fetch = ImageDownloader(loopback=True, total_limit=2 * len(png()) + 1)
        assert fetch(server.base_url) == fetch(server.base_url) == png()
        with pytest.raises(InvalidResponseError, match="too large in all"):
            fetch(server.base_url)
    over = Event()

    def silent(connection: Connection) -> None:
        connection.read_request()
        connection.wait(over)

    with RawServer(responds(PNG), silent) as server:
        fetch = ImageDownloader(loopback=True, seconds=0.5)
        assert fetch(server.base_url) == png()
        for _ in range(2):  # the second one is not even gone to
            with pytest.raises(APITimeoutError):
                fetch(server.base_url)
        over.set()


def test_an_answer_of_many_addresses() -> None:
    with RawServer(*[responds(PNG)] * 17) as elsewhere:
        said = answer({"data": [{"url": f"{elsewhere.base_url}/{n}"} for n in range(30)]})
        with RawServer(responds(said)) as server, router_for(server) as router:
            images = router.image("cats", model=MODEL, n=17)
    assert len(images.images) == elsewhere.connections == 17
    assert images.note.startswith("13 further images")
    assert len(images.raw["data"]) == 30


@pytest.mark.parametrize("status", [200, 204, 401, 404, 500, 304, 300])
def test_an_answer_without_an_image(status: int) -> None:
    with RawServer(responds_and_closes(answer(b"", status))) as server:
        if status == 200:
            assert download_image(server.base_url, loopback=True) == b""
        else:
            assert f"({status})" in refused(server.base_url).message


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"not HTTP at all\r\n\r\n",
        head(content_type="image/png", Content_Length=1000) + png()[:30],
        head(content_type="image/png", Transfer_Encoding="chunked") + b"zz\r\n",
        answer(b"not gzip", Content_Encoding="gzip"),
    ],
)
def test_connections_that_break(said: bytes) -> None:
    with RawServer(*[responds_and_closes(said)] * 3) as server:
        assert isinstance(refused(server.base_url), APIError)


def test_nobody_there() -> None:
    with RawServer() as server:
        pass
    assert isinstance(refused(server.base_url), APIConnectionError)


def test_jpegs_come_too() -> None:
    with RawServer(responds(answer(jpeg(), content_type="text/plain"))) as server:
        assert download_image(server.base_url, loopback=True) == jpeg()
