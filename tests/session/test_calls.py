"""The one door, in a real kernel: interrupts, errors, and what is kept."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from puq_magics.core import errors

KEPT = (
    "KeyboardInterrupt: the answer was interrupted. The partial answer is in _puq. "
    "%puq_chat --continue continues it."
)
NOTHING = "KeyboardInterrupt: the answer was interrupted. Nothing was received."


def point_kernel_at(kernel: Any, server: Any, *more: str) -> None:
    lines = [f"%config PuqMagics.base_url = '{server.url}'", "%config PuqMagics.chat_model = 'a/b'", *more]
    assert kernel.run("\n".join(lines)).reply["status"] == "ok"


def stall(connection: Any) -> None:
    connection.send_head()
    connection.send_event("The first words")
    connection.wait_for_disconnect()


def hold(connection: Any) -> None:
    connection.wait_for_disconnect()


def answer(connection: Any) -> None:
    connection.send_head()
    connection.send_event("An answer.")
    connection.send_done()


def assert_stopped(cell: Any, line: str) -> None:
    assert cell.reply["status"] == "error"
    assert " ".join(cell.error["traceback"]) == line
    assert "interrupt" in cell.error["ename"].lower()


def test_an_interrupt_in_mid_stream(fresh_kernel: Any, serve: Any) -> None:
    server = serve(stall)
    point_kernel_at(fresh_kernel, server)
    stopped, *others = fresh_kernel.run_all(
        ["%puq_chat -o kept hi", "ran = True", "%puq_chat again"],
        fresh_kernel.interrupt_at("The first words"),
    )
    assert_stopped(stopped, KEPT)
    server.wait_for_disconnect()
    assert len(stopped.screen) == 1, stopped.screen
    (bundle,) = stopped.screen
    assert bundle["text/plain"].startswith("The first words\n\n[interrupted · a/b · ")
    assert "**⚠ interrupted**" in bundle["text/markdown"]
    assert {cell.reply["status"] for cell in others} <= {"aborted", "error"}
    assert [cell.contents("display_data") for cell in others] == [[], []]
    assert len(server.requests) == 1
    assert fresh_kernel.value(
        "[kept.text, kept.interrupted, kept.status, _puq is kept, 'ran' in globals()]"
    ) == [
        "The first words",
        True,
        "interrupted",
        True,
        False,
    ]


def test_the_cell_after_an_interrupt_works(fresh_kernel: Any, serve: Any) -> None:
    answers = [stall, answer]
    server = serve(lambda connection: answers.pop(0)(connection))
    point_kernel_at(fresh_kernel, server)
    assert_stopped(fresh_kernel.run("%puq_chat hi", fresh_kernel.interrupt_at("The first words")), KEPT)
    assert fresh_kernel.run("%puq_chat hi").screen[0]["text/plain"].startswith("An answer.")


def test_an_interrupt_before_the_head_of_the_answer(fresh_kernel: Any, serve: Any) -> None:
    server = serve(hold)
    point_kernel_at(fresh_kernel, server)
    waiting = threading.Thread(target=lambda: (server.wait_for_request(), fresh_kernel.interrupt()))
    waiting.start()
    cell = fresh_kernel.run("%puq_chat -o kept hi")
    waiting.join()
    assert_stopped(cell, NOTHING)
    server.wait_for_disconnect()
    assert fresh_kernel.value("[_puq.text, _puq.interrupted, kept is _puq]") == ["", True, True]


def test_an_interrupt_of_an_answer_in_one_piece(fresh_kernel: Any, serve: Any) -> None:
    server = serve(hold)
    point_kernel_at(fresh_kernel, server)
    stop = fresh_kernel.interrupt_at("Waiting", lambda: server.requests)
    assert_stopped(fresh_kernel.run("%puq_chat --no-stream hi", stop), NOTHING)
    server.wait_for_disconnect()


def test_an_interrupt_while_waiting_to_try_again(fresh_kernel: Any) -> None:
    fresh_kernel.run("%puq_sandbox --pace 50 --fail 429\n%config PuqMagics.max_retries = 10")
    cell = fresh_kernel.run("%puq_chat hi", fresh_kernel.interrupt_at("trying again"))
    assert_stopped(cell, NOTHING)
    fresh_kernel.run("%puq_sandbox --pace 0 --fail 0")
    assert fresh_kernel.run("%puq_chat hi").reply["status"] == "ok"


def test_an_interrupt_of_the_sandbox_ends_its_answer(fresh_kernel: Any) -> None:
    fresh_kernel.run("%puq_sandbox --pace 0")
    cell = fresh_kernel.run("%puq_chat -m sandbox/stall hi", fresh_kernel.interrupt_at("interrupt me when"))
    assert_stopped(cell, KEPT)
    assert fresh_kernel.value("_puq.text").endswith("interrupt me when")


def test_a_quiet_interrupt_keeps_its_words_too(fresh_kernel: Any, serve: Any) -> None:
    server = serve(stall)
    point_kernel_at(fresh_kernel, server)
    # The kernel itself says when the words have arrived: nothing of them is on the screen.
    fresh_kernel.run(
        "from puq_magics.api.chat import ChatStream\nabsorb = ChatStream._handle_events\n"
        "def noted(self, events):\n    delta = absorb(self, events)\n    print('heard')\n    return delta\n"
        "ChatStream._handle_events = noted"
    )

    def _watch(message: dict[str, Any]) -> None:
        if "heard" in str(message["content"].get("text", "")):
            fresh_kernel.interrupt()

    cell = fresh_kernel.run("%puq_chat -q hi", _watch)
    fresh_kernel.run("ChatStream._handle_events = absorb")
    assert_stopped(cell, KEPT)
    assert cell.screen == []


def test_an_interrupt_can_be_caught_but_not_by_accident(fresh_kernel: Any, serve: Any) -> None:
    server = serve(stall)
    point_kernel_at(fresh_kernel, server)
    code = "try:\n    get_ipython().run_line_magic('puq_chat', 'hi')\nexcept {}:\n    print('caught')"
    swallowed = fresh_kernel.run(code.format("Exception"), fresh_kernel.interrupt_at("The first words"))
    assert_stopped(swallowed, KEPT)
    caught = fresh_kernel.run(code.format("KeyboardInterrupt"), fresh_kernel.interrupt_at("The first words"))
    assert caught.reply["status"] == "ok"
    assert "caught" in caught.out


# --- errors, in the shell --------------------------------------------------------------------------------------


def status(code: str, body: str = "", kind: str = "application/json", **headers: str) -> Any:
    def _answer(connection: Any) -> None:
        connection.send_head(code, kind, **headers)
        connection.send(body.encode())

    return _answer


@pytest.fixture
def use_server(shell: Any, serve: Any) -> Any:
    """Points the shell at a server that answers so."""

    def _use_server(answer: Any) -> Any:
        server = serve(answer)
        shell.run(f"%config PuqMagics.base_url = '{server.url}'\n%config PuqMagics.chat_model = 'a/b'")
        shell.run("%config PuqMagics.max_retries = 0")
        return server

    return _use_server


@pytest.mark.parametrize(
    ("line", "model", "kind", "words"),
    [
        ("", "sandbox/nope", errors.NotFoundError, "The nearest names: "),
        ("", "nope/sandbox-short", errors.NotFoundError, "sandbox/short"),
        ("", "sandbox/forbidden", errors.PermissionDeniedError, "sandbox/forbidden"),
        ("", "sandbox/image", errors.BadRequestError, "does not chat"),
        ("", "sandbox/fail", errors.StreamError, "The scripted model failed"),
        ("--balance 0", "sandbox/chat", errors.PaymentRequiredError, "%puq_sandbox --balance 100"),
        ("--fail 402", "sandbox/chat", errors.PaymentRequiredError, "limit"),
        ("--fail 401", "sandbox/chat", errors.AuthenticationError, "%puq_login"),
        ("--fail 422", "sandbox/chat", errors.UnprocessableEntityError, "422"),
        ("--fail 429", "sandbox/chat", errors.RateLimitError, "Try again now"),
        ("--fail 500", "sandbox/chat", errors.ServerError, "500"),
        ("--fail 502", "sandbox/chat", errors.ServerError, "an HTML page"),
        ("--fail 503", "sandbox/chat", errors.ServerError, "503"),
        ("--drop-after 5", "sandbox/chat", errors.APIConnectionError, "closed the connection"),
    ],
)
def test_refusals_are_plain_lines(shell: Any, line: str, model: str, kind: type, words: str) -> None:
    shell.run(f"%puq_sandbox --pace 0 {line}\n%config PuqMagics.max_retries = 0")
    error = shell.error(f"%puq_chat -m {model} hi")
    assert type(error) is kind
    assert words in str(error)
    shell.run("%puq_sandbox stop\n%puq_sandbox --pace 0")
    shell.run("%puq_chat the next cell works")


def test_an_error_can_be_caught(shell: Any) -> None:
    shell.run("%puq_sandbox --pace 0 --balance 0\nimport puq_magics")
    shell.run("try:\n    %puq_chat hi\nexcept puq_magics.PuqError as error:\n    status = error.status")
    assert shell.names["status"] == 402


def test_an_error_stops_run_all(sandbox_kernel: Any) -> None:
    failed, after = sandbox_kernel.run_all(["%puq_chat -m sandbox/nope hi", "ran = True"])
    assert failed.reply["status"] == "error"
    assert failed.error["ename"] == "NotFoundError"
    shown = " ".join(failed.error["traceback"])
    assert shown.startswith("NotFoundError: the router has no such model")
    assert "Traceback" not in shown
    assert after.reply["status"] == "aborted"
    assert sandbox_kernel.value("'ran' in globals()") is False


def test_a_broken_answer_is_shown_and_kept_as_far_as_it_came(sandbox_kernel: Any) -> None:
    cell = sandbox_kernel.run("%puq_chat -m sandbox/fail -o kept hi")
    assert cell.error["ename"] == "StreamError"
    text = sandbox_kernel.value("kept.text")
    assert text.endswith("but it will not")
    (bundle,) = cell.screen
    assert bundle["text/plain"].startswith(text)
    assert "[incomplete · sandbox/fail" in bundle["text/plain"]
    assert sandbox_kernel.value("[_puq is kept, kept.status, kept.interrupted]") == [
        True,
        "incomplete",
        False,
    ]
    assert sandbox_kernel.value("__import__('sys').last_value.partial == kept.text") is True


def test_a_failed_call_leaves_the_last_result_and_the_variable(sandbox_shell: Any) -> None:
    sandbox_shell.run("%puq_chat -q -o kept hi")
    first = sandbox_shell.names["_puq"]
    sandbox_shell.error("%puq_chat -o kept -m sandbox/nope hi")
    assert sandbox_shell.names["kept"] is sandbox_shell.names["_puq"] is first


def test_a_closed_port(shell: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    shell.run(f"%config PuqMagics.base_url = 'http://127.0.0.1:{port}'\n%config PuqMagics.max_retries = 0")
    error = shell.error("%puq_chat -m a/b hi")
    assert isinstance(error, errors.APIConnectionError)
    assert f"127.0.0.1:{port}" in str(error)


def test_a_name_that_does_not_resolve(shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("PUQ_API_KEY", "a-key-of-many-signs")
    monkeypatch.setenv("PUQ_BASE_URL", "https://no-such-host.invalid")
    error = shell.error("%puq_chat -m a/b hi")
    assert isinstance(error, errors.APIConnectionError)
    assert "no-such-host.invalid" in str(error)


@pytest.mark.parametrize(
    "url", ["router", "ftp://router.example", "https://", "https://a b", "http://[::1", "//x"]
)
def test_what_is_no_url(shell: Any, monkeypatch: Any, url: str) -> None:
    monkeypatch.setenv("PUQ_BASE_URL", url)
    error = shell.error("%puq_chat -m a/b hi")
    assert isinstance(error, errors.InvalidURLError)
    assert "https://api.puq.ai" in error.hint


def test_plain_http_to_another_machine(shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("PUQ_API_KEY", "a-key-of-many-signs")
    monkeypatch.setenv("PUQ_BASE_URL", "http://router.example")
    assert "allow_http" in str(shell.error("%puq_chat -m a/b hi"))


def test_a_proxys_page(shell: Any, use_server: Any) -> None:
    use_server(status("200 OK", "<html><title>Sign in &amp; pay</title>", "text/html"))
    error = shell.error("%puq_chat hi")
    assert isinstance(error, errors.InvalidResponseError)
    assert "Sign in & pay" in str(error)
    assert "proxy" in error.hint


def test_a_redirect_is_not_followed(shell: Any, use_server: Any, serve: Any) -> None:
    other = serve(answer)
    server = use_server(status("307 Temporary Redirect", location=f"{other.url}/v1/chat/completions"))
    shell.run("%config PuqMagics.auth_scheme = 'Token'")
    error = shell.error("%puq_chat hi")
    assert isinstance(error, errors.RedirectError)
    assert other.url in str(error)
    assert len(server.requests) == 1
    assert other.requests == []


def test_a_limit_says_when(shell: Any, use_server: Any) -> None:
    use_server(status("429 Too Many Requests", "{}", Retry_After="3600"))
    assert "in 60 minutes" in str(shell.error("%puq_chat hi"))


def test_hostile_words_of_a_server_are_plain(shell: Any, use_server: Any) -> None:
    use_server(
        status("400 Bad Request", '{"error": "\\u001b[31mred\\u001b[0m\\nsecond\\u2028line \\u202eevil"}')
    )
    ran = shell.attempt("%puq_chat hi")
    assert "\x1b" not in ran.out
    assert "\u202e" not in ran.out
    assert len(ran.error._render_traceback_()[0].splitlines()) == 1


def test_a_refused_usage_is_asked_without(shell: Any, use_server: Any) -> None:
    def _answer(connection: Any) -> None:
        if "stream_options" in connection.request.json:
            status("400 Bad Request", '{"error": "unknown field stream_options"}')(connection)
        else:
            answer(connection)

    server = use_server(_answer)
    shell.run("%puq_chat hi\n%puq_chat hi")
    assert ["stream_options" in heard.json for heard in server.requests] == [True, False, False]


def test_a_retry_is_made_and_said(fresh_kernel: Any) -> None:
    fresh_kernel.run("%puq_sandbox --pace 100 --fail 429:1")
    cell = fresh_kernel.run("%puq_chat -m sandbox/short hi")
    assert cell.reply["status"] == "ok"
    shown = [
        content["data"] for kind in ("display_data", "update_display_data") for content in cell.contents(kind)
    ]
    said = "too many requests; trying again in 1.0 s (1 of 2)"
    assert any(said in bundle["text/plain"] for bundle in shown)
    assert len(cell.screen) == 1
    assert "trying again" not in str(cell.screen)


def test_no_retries_when_none_are_wanted(sandbox_shell: Any, sandbox: Any) -> None:
    sandbox.configure(fail="429:1")
    sandbox_shell.run("%config PuqMagics.max_retries = 0")
    assert isinstance(sandbox_shell.error("%puq_chat hi"), errors.RateLimitError)
    assert [asked.status for asked in sandbox.requests if asked.method == "POST"] == [429]


def test_stopping_the_sandbox_under_an_answer(fresh_kernel: Any) -> None:
    fresh_kernel.run("%puq_sandbox --pace 0")
    stop = "import threading\nws = get_ipython().magics_manager.registry['PuqCommands'].session\n"
    stop += "sandbox, seen = ws.sandbox, threading.Event()\n"
    stop += "thread = threading.Thread(target=lambda: (seen.wait(), sandbox.stop()))\nthread.start()\n"
    fresh_kernel.run(
        stop
        + "from puq_magics.outputs.views.notebook import UpdatableDisplay\npaint = UpdatableDisplay.update\n"
    )
    code = (
        "def noted(self, *args):\n    paint(self, *args)\n    seen.set()\nUpdatableDisplay.update = noted\n"
    )
    cell = fresh_kernel.run(
        code
        + "try:\n    %puq_chat -m sandbox/stall hi\nfinally:\n    UpdatableDisplay.update = paint; thread.join()"
    )
    assert cell.error["ename"] == "APIConnectionError"
    assert fresh_kernel.value("_puq.status") == "incomplete"
    fresh_kernel.run("%puq_sandbox stop\n%puq_sandbox --pace 0")
    assert fresh_kernel.run("%puq_chat hi").reply["status"] == "ok"
