"""One headless Chromium, and a record of everything its pages ask for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    BrowserType,
    Page,
    Request,
    WebError,
    WebSocket,
    sync_playwright,
)

#: Names the browser to use when it is not found on the path.
BROWSER_VARIABLE = "PUQ_TEST_CHROMIUM"

_MICROPHONE = "--use-fake-device-for-media-stream"
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Nothing but loopback has an address: a stray request is recorded, and reaches nobody.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    # A microphone that beeps. Pages may use it (see `_run`) until a test says `context.clear_permissions()`.
    _MICROPHONE,
)
#: What Notebook 7.6 itself throws whenever it opens a notebook, with an empty one and all defaults too.
_NOTEBOOK_7_ERRORS = {
    "Cannot read properties of undefined (reading 'schema')",
    "Command 'filebrowser:open-path' not registered.",
}
_LOCAL_SCHEMES = {"data", "blob", "about"}


@dataclass
class Traffic:
    """What the pages of one browser did: requests, websockets, uncaught errors, console lines.

    `origin` is the only place they may ask (over HTTP or by websocket).
    """

    origin: str
    requests: list[str] = field(default_factory=list)
    page_errors: list[str] = field(default_factory=list)
    #: Lines of the browser's console, as `kind: text`.
    console: list[str] = field(default_factory=list)
    pending: set[Request] = field(default_factory=set)
    #: Addresses elsewhere that the test expected to be asked for.
    accepted_urls: set[str] = field(default_factory=set)

    @property
    def external_requests(self) -> list[str]:
        """The addresses asked for that are not this server's, and that no test has taken."""
        return [url for url in self.requests if self._is_external(url) and url not in self.accepted_urls]

    def accept_external_requests(self) -> list[str]:
        """The requests to elsewhere so far, which the test expected: `check` no longer minds these addresses.

        Not later either: an image that fails is asked for again whenever the page lays itself out anew.
        """
        expected = self.external_requests
        self.accepted_urls.update(expected)
        return expected

    def accept_page_errors(self) -> list[str]:
        """The pages' uncaught errors so far, which the test expected: `check` no longer minds them."""
        taken = self.page_errors[:]
        self.page_errors.clear()
        return taken

    def check(self) -> None:
        """Raise `AssertionError` if a page asked elsewhere for anything, or had an uncaught error."""
        assert not self.external_requests, f"requests left the test's own server: {self.external_requests}"
        assert not self.page_errors, f"uncaught errors in the page: {self.page_errors}"

    def forget(self) -> None:
        """Start a new record."""
        for record in (self.requests, self.page_errors, self.console, self.accepted_urls):
            record.clear()

    def watch(self, context: BrowserContext) -> None:
        """Record all pages of `context`, popups and frames included."""
        context.on("request", self._on_request)
        context.on("requestfinished", self._on_response)
        context.on("requestfailed", self._on_response)
        context.on("weberror", self._on_page_error)
        context.on("console", lambda line: self.console.append(f"{line.type}: {line.text}"))
        context.on("page", self._watch_page)

    def _watch_page(self, page: Page) -> None:
        page.on("websocket", self._on_websocket)
        page.on("dialog", lambda dialog: dialog.accept())  # a `beforeunload` must not hold a page open
        page.on("close", lambda _: self.pending.clear())

    def _on_request(self, request: Request) -> None:
        self.requests.append(request.url)
        self.pending.add(request)

    def _on_response(self, request: Request) -> None:
        self.pending.discard(request)

    def _on_websocket(self, socket: WebSocket) -> None:
        self.requests.append(socket.url)

    def _on_page_error(self, error: WebError) -> None:
        message = str(error.error)
        in_notebook_7 = error.page is not None and "/notebooks/" in error.page.url
        if in_notebook_7 and message in _NOTEBOOK_7_ERRORS:
            self.console.append(f"pageerror: {message}")
        else:
            self.page_errors.append(message)

    def _is_external(self, url: str) -> bool:
        asked, own = urlsplit(url), urlsplit(self.origin)
        if asked.scheme in _LOCAL_SCHEMES:
            return False
        return asked.scheme not in ("http", "ws") or asked.netloc != own.netloc


@dataclass(frozen=True)
class Chromium:
    """A running browser with one context for all pages (so that JupyterLab's code stays cached)."""

    browser: Browser
    context: BrowserContext
    traffic: Traffic

    def cpu_seconds(self) -> float:
        """CPU seconds that all processes of the browser have used up to now."""
        session = self.browser.new_browser_cdp_session()
        try:
            found = session.send("SystemInfo.getProcessInfo")
        finally:
            session.detach()
        return float(sum(process["cpuTime"] for process in found["processInfo"]))


def find_chromium() -> str:
    """The browser's program: `$PUQ_TEST_CHROMIUM`, or Chromium or Chrome on the path; else `RuntimeError`."""
    if named := os.environ.get(BROWSER_VARIABLE):
        return named
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise RuntimeError(f"No Chromium on the path. Install one, or name it in {BROWSER_VARIABLE}.")


@contextmanager
def browse(origin: str, home: Path) -> Iterator[Chromium]:
    """Run a headless Chromium whose pages belong to the server at `origin`, with `home` as its HOME."""
    with sync_playwright() as playwright, _run(playwright.chromium, origin, home, _FLAGS) as chromium:
        yield chromium


@contextmanager
def browse_without_microphone(beside: Chromium, home: Path) -> Iterator[Chromium]:
    """Run a second Chromium, as `browse` does, on a machine that has no microphone."""
    flags = [flag for flag in _FLAGS if flag != _MICROPHONE]
    with _run(beside.browser.browser_type, beside.traffic.origin, home, flags) as chromium:
        yield chromium


@contextmanager
def _run(program: BrowserType, origin: str, home: Path, flags: Iterable[str]) -> Iterator[Chromium]:
    home.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    browser = program.launch(executable_path=find_chromium(), args=list(flags), env={**environment})
    try:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
        context.grant_permissions(["microphone"])
        context.add_init_script(path=Path(__file__).with_name("lab.js"))
        traffic = Traffic(origin)
        traffic.watch(context)
        yield Chromium(browser, context, traffic)
    finally:
        browser.close()
