"""Certificates that the environment names."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme
from clients import router_for
from raw_server import RawServer, answer, responds

from puq_magics.api.base_url import BaseURL
from puq_magics.api.http_session import ca_bundle, create_session

OPENSSL = shutil.which("openssl") or ""
VARIABLES = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]


@pytest.fixture(autouse=True)
def _no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*VARIABLES, "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)


def ask_balance(authority: trustme.CA) -> float:
    """The balance that a server with a certificate of this authority answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with (
        RawServer(responds(answer({"success": True, "balance": 5.0})), tls=context) as server,
        router_for(server) as router,
    ):
        return router.balance()


@pytest.mark.parametrize("variable", VARIABLES)
def test_certificates_of_the_environment_are_trusted(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv(variable, str(tmp_path / "ca.pem"))
    assert ask_balance(authority) == 5.0


@pytest.mark.skipif(not OPENSSL, reason="a folder of certificates is made by openssl rehash")
@pytest.mark.parametrize("place", ["file", "first folder", "last folder"])
def test_the_file_and_all_folders_of_openssl_are_trusted(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    for folder in ("first folder", "last folder"):
        (tmp_path / folder).mkdir()
    other.cert_pem.write_to_path(str(tmp_path / "file.pem"))
    if place == "file":
        authority.cert_pem.write_to_path(str(tmp_path / "file.pem"))
    else:
        authority.cert_pem.write_to_path(str(tmp_path / place / "ca.pem"))
        subprocess.run([OPENSSL, "rehash", tmp_path / place], check=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "file.pem"))
    folders = [tmp_path / "missing", tmp_path / "first folder", tmp_path / "last folder"]
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join(map(str, folders)))
    assert ask_balance(authority) == 5.0


@pytest.mark.parametrize("url", ["https://127.0.0.1", "https://h.example"])
@pytest.mark.parametrize("variable", [*VARIABLES, "SSL_CERT_DIR"])
def test_each_variable_counts_for_each_host(
    url: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    with create_session(BaseURL.parse(url)) as session:
        settings = session.merge_environment_settings(url, {}, True, None, None)
    assert settings["verify"] == str(tmp_path)


def test_which_variable_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ca_bundle() is True
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    assert ca_bundle() is True
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path / 'missing'}:{tmp_path}")
    assert ca_bundle() == str(tmp_path)
    (tmp_path / "file.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "file.pem"))
    assert ca_bundle() == str(tmp_path / "file.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/anywhere")
    assert ca_bundle() == "/anywhere"
