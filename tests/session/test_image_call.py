"""Images through the one door, in a real kernel: waiting, interrupts, and what is kept."""

from __future__ import annotations

import threading
from base64 import b64encode
from typing import Any

from media_samples import png

NOTHING = "KeyboardInterrupt: the answer was interrupted. Nothing was received."


def point_kernel_at(kernel: Any, server: Any) -> None:
    lines = [f"%config PuqMagics.base_url = '{server.url}'", "%config PuqMagics.image_model = 'a/b'"]
    assert kernel.run("\n".join(lines)).reply["status"] == "ok"


def hold(connection: Any) -> None:
    connection.wait_for_disconnect()


def test_waiting_is_shown_with_its_seconds_and_can_be_interrupted(fresh_kernel: Any, serve: Any) -> None:
    server = serve(hold)
    point_kernel_at(fresh_kernel, server)
    stopped, after = fresh_kernel.run_all(
        ["%puq_image -n 2 -o kite --save kite.png A kite", "ran = True"],
        fresh_kernel.interrupt_at("drawing 2 images with a/b", lambda: server.requests),
    )
    server.wait_for_disconnect()
    assert stopped.reply["status"] == "error"
    assert stopped.error["traceback"] == [NOTHING]
    (bundle,) = stopped.screen
    assert "interrupted" in bundle["text/plain"]
    assert "drawing" not in bundle["text/plain"]
    assert after.reply["status"] in ("aborted", "error")
    assert fresh_kernel.value("[kite.images, kite.interrupted, _puq is kite]") == [[], True, True]
    assert not list(fresh_kernel.folder.glob("kite*"))


def test_an_interrupt_in_mid_download_leaves_no_file(fresh_kernel: Any, serve: Any) -> None:
    def answer(connection: Any) -> None:
        connection.send_head(kind="application/json")
        connection.send(b'{"data": [{"b64_json": "' + b64encode(png()))
        connection.wait_for_disconnect()

    server = serve(answer)
    point_kernel_at(fresh_kernel, server)
    stop = fresh_kernel.interrupt_at("drawing with a/b", lambda: server.requests)
    cell = fresh_kernel.run("%puq_image --save kite.png A kite", stop)
    server.wait_for_disconnect()
    assert cell.error["ename"] == "Interrupted"
    assert not list(fresh_kernel.folder.glob("*kite*"))


def test_what_was_waited_for_takes_the_place_of_the_waiting(fresh_kernel: Any, serve: Any) -> None:
    def answer(connection: Any) -> None:
        seen.wait(30)
        connection.send_head(kind="application/json")
        connection.send(b'{"data": [{"b64_json": "' + b64encode(png()) + b'"}]}')

    seen = threading.Event()
    point_kernel_at(fresh_kernel, serve(answer))

    def watch(message: dict[str, Any]) -> None:
        if "drawing with a/b" in str(message["content"].get("data", "")):
            seen.set()

    cell = fresh_kernel.run("%puq_image A kite", watch)
    assert seen.is_set()
    (bundle,) = cell.screen
    assert "drawing" not in str(bundle)
    assert bundle["text/html"].count("<img ") == 1


def test_an_error_leaves_one_line_and_no_result(fresh_kernel: Any, serve: Any) -> None:
    def answer(connection: Any) -> None:
        connection.send_head("402 Payment Required", "application/json")
        connection.send(b'{"error": "empty"}')

    point_kernel_at(fresh_kernel, serve(answer))
    first, second = fresh_kernel.run_all(["%puq_image -o kite A kite", "ran = True"])
    assert first.error["ename"] == "PaymentRequiredError"
    assert first.screen == []
    assert second.reply["status"] in ("aborted", "error")
    assert fresh_kernel.value("'kite' in globals()") is False


def test_without_live_there_is_one_display(fresh_kernel: Any, serve: Any) -> None:
    def answer(connection: Any) -> None:
        connection.send_head(kind="application/json")
        connection.send(b'{"data": [{"b64_json": "' + b64encode(png()) + b'"}]}')

    point_kernel_at(fresh_kernel, serve(answer))
    cell = fresh_kernel.run("%config PuqMagics.live = False\n%puq_image A kite")
    assert cell.kinds == ["display_data"]
