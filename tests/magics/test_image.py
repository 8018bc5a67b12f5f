from __future__ import annotations

import json
import signal
import threading
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from media_samples import png

from puq_magics.core.errors import ConfigurationError, InputError, InvalidResponseError, MissingVariableError

pytestmark = pytest.mark.usefixtures("work_folder")
UseResponses = Callable[..., Any]
ONE_IMAGE = {"data": [{"b64_json": b64encode(png()).decode()}]}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_image_is_saved_and_told_in_a_terminal_and_is_the_value(
    media_shell: Any, work_folder: Path
) -> None:
    ran = media_shell.run("r = %puq_image --size 256x256 -o kite A red kite")
    assert ran.out.startswith("saved puq_media/a-red-kite-1.png (")
    assert "256 × 256 PNG" in ran.out
    result = media_shell.names["r"]
    assert result is media_shell.names["kite"] is media_shell.names["_puq"]
    (image,) = result.images
    assert (image.format, image.width, image.height, result.prompt) == ("png", 256, 256, "A red kite")
    assert (work_folder / "puq_media" / "a-red-kite-1.png").read_bytes() == image.data
    assert media_shell.run("%puq_image --size 256x256 A red kite").out.startswith(
        "saved puq_media/a-red-kite-1.png ("
    )
    assert media_shell.run("%puq_image --size 512x512 A red kite").out.startswith(
        "saved puq_media/a-red-kite-2.png ("
    )


def test_a_cell_takes_its_model_from_its_line(media_shell: Any) -> None:
    media_shell.run("%%puq_image sandbox/image --size 256x256\nA red kite\n\nover hills\n")
    assert media_shell.names["_puq"].prompt == "A red kite\n\nover hills"
    error = media_shell.error("%%puq_image sandbox/image -m sandbox/image\nA kite")
    assert "unexpected argument" in str(error)


def test_only_what_was_set_is_sent(shell: Any, use_responses: UseResponses) -> None:
    server = use_responses(ONE_IMAGE)
    shell.run("%puq_image A kite")
    shell.run("%puq_image --size 512x512 -n 3 --param quality=high --param seed=7 What is a kite?")
    shell.run("%config PuqMagics.image_size = '256x256'")
    shell.run("%puq_image -m c/d A kite")
    shell.run("%puq_image --size auto A kite")
    assert [heard.json for heard in server.requests] == [
        {"model": "a/b", "prompt": "A kite"},
        {
            "model": "a/b",
            "prompt": "What is a kite?",
            "size": "512x512",
            "n": 3,
            "quality": "high",
            "seed": 7,
        },
        {"model": "c/d", "prompt": "A kite", "size": "256x256"},
        {"model": "a/b", "prompt": "A kite", "size": "auto"},
    ]


def test_variables_are_filled_in(shell: Any, use_responses: UseResponses) -> None:
    server = use_responses(ONE_IMAGE)
    shell.run("colour = 'red'\n%puq_image A {{colour}} kite")
    shell.run("%puq_image --raw A {{colour}} kite")
    shell.run(
        "def f(colour):\n    return get_ipython().run_line_magic('puq_image', 'A {{colour}} kite')\nf('blue')"
    )
    assert [heard.json["prompt"] for heard in server.requests] == [
        "A red kite",
        "A {{colour}} kite",
        "A blue kite",
    ]
    assert isinstance(shell.error("%puq_image A {{color}} kite"), MissingVariableError)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--size potato A kite", "'potato' is not a size; write it like 1024x1024"),
        ("--size 0x0 A kite", "'0x0' is not a size"),
        ("-n 0 A kite", "'0' is not a whole number above 0"),
        ("-n two A kite", "'two' is not a whole number"),
        ("--szie 256x256 A kite", "Did you mean --size?"),
        ("-t 1 A kite", "there is no option -t"),
        ("--param size=256x256 A kite", "size is not for --param"),
        ("--param prompt=x A kite", "prompt is not for --param"),
        ("--param seed A kite", "--param seed has no value"),
        ("-o 2 A kite", "'2' is not a name for a variable"),
        ("", "the prompt is empty"),
        ("--size 256x256", "the prompt is empty"),
        ("--save missing/kite.png A kite", "there is no folder missing"),
        ("--save . A kite", "is a folder"),
        ("--save folder A kite", "folder is a folder"),
        ("--save folder -n 2 A kite", "folder is a folder"),
        ("--save /dev/null A kite", "not an ordinary file"),
        ('--save "" A kite', "'' is not the name of a file"),
        ("--save there.png A kite", "there.png exists"),
        ("--save there A kite", "there.png exists"),
        ("--save some -n 3 A kite", "some-2.webp exists"),
    ],
)
def test_bad_input_is_an_error_before_anything_is_sent(
    shell: Any, use_responses: UseResponses, work_folder: Path, line: str, said: str
) -> None:
    (work_folder / "there.png").write_bytes(b"mine")
    (work_folder / "some-2.webp").write_bytes(b"mine")
    (work_folder / "folder").mkdir()
    server = use_responses(ONE_IMAGE)
    error = shell.error(f"%puq_image {line}")
    assert isinstance(error, InputError)
    assert said in str(error)
    assert server.requests == []
    assert (work_folder / "there.png").read_bytes() == b"mine"


def test_without_a_model_the_error_says_how_to_name_one(sandbox_shell: Any, sandbox: Any) -> None:
    error = sandbox_shell.error("%puq_image A kite")
    assert isinstance(error, ConfigurationError)
    assert "no image model is set" in error.message
    assert "image_model" in error.hint
    assert [asked.path for asked in sandbox.requests if "images" in asked.path] == []


def test_images_are_saved_under_their_name_or_numbered(media_shell: Any, work_folder: Path) -> None:
    ran = media_shell.run("%puq_image --size 256x256 --save kite A kite")
    assert ran.out.startswith("saved kite.png (")
    media_shell.run("%puq_image --size 256x256 -n 2 --save 'two kites.png' A kite")
    assert files(work_folder) == ["kite.png", "two kites-1.png", "two kites-2.png"]
    assert (work_folder / "two kites-2.png").read_bytes() == media_shell.names["_puq"].images[1].data
    (work_folder / "kite.png").write_bytes(b"mine")
    media_shell.run("%puq_image --size 256x256 --save kite --force A kite")
    assert (work_folder / "kite.png").read_bytes() == media_shell.names["_puq"].images[0].data


def test_a_file_that_appeared_meanwhile_is_left_alone(
    shell: Any, use_responses: UseResponses, work_folder: Path
) -> None:
    use_responses(ONE_IMAGE, before=lambda: (work_folder / "kite.png").write_bytes(b"mine"))
    error = shell.error("%puq_image --save kite.png A kite")
    assert "kite.png exists" in str(error)
    assert "The images are in _puq" in str(error)
    assert (work_folder / "kite.png").read_bytes() == b"mine"
    assert shell.names["_puq"].images[0].data == png()


def test_quiet_shows_nothing(media_shell: Any, work_folder: Path) -> None:
    assert media_shell.run("r = %puq_image -q --size 256x256 -o kite A kite").out == ""
    assert media_shell.names["kite"].images[0].width == 256
    assert files(work_folder) == []


def test_a_dry_run_sends_nothing(shell: Any, use_responses: UseResponses) -> None:
    server = use_responses(ONE_IMAGE)
    ran = shell.run("%puq_image --dry-run --size 256x256 -n 2 it's a kite")
    assert ran.value is None
    assert f"\n\ncurl -N {server.url}/v1/images/generations " in ran.out
    assert '"size": "256x256", "n": 2' in ran.out
    assert "prompt: it's a kite" in ran.out
    assert "nothing was sent" in ran.out
    assert server.requests == []


def encoded(data: bytes) -> dict[str, str]:
    return {"b64_json": b64encode(data).decode()}


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "the answer is"),
        (b"<html><title>Down</title></html>", "HTML"),
        ({"created": 0}, "holds no images"),
        ({"data": []}, "holds no images"),
        ({"data": [{}]}, "neither data nor a URL"),
        ({"data": [{"b64_json": ""}]}, "neither data nor a URL"),
        ({"error": {"message": "no paint left"}}, "no paint left"),
        ({"data": [encoded(b"GIF89a....")]}, "GIF where an image should be"),
        ({"data": [encoded(SVG)]}, "SVG where an image should be"),
        ({"data": [encoded(b"<!doctype html><script>")]}, "HTML where an image should be"),
        ({"data": [encoded(png()[:-9])]}, "is cut"),
        ({"data": [{"b64_json": b64encode(png()).decode()[:-5]}]}, "is cut"),
        ({"data": [{"url": "file:///etc/passwd"}]}, "(file:…) is not one on the web"),
        ({"data": [{"url": "data:text/html,<script>"}]}, "HTML where an image should be"),
        ({"data": [{"url": "http://93.184.215.14/kite.png"}]}, "plain http"),
        ({"data": [{"url": "https://10.0.0.1/kite.png"}]}, "into a private network"),
    ],
)
def test_what_is_no_image_is_an_error_and_is_not_shown(
    shell: Any, use_responses: UseResponses, work_folder: Path, answer: object, said: str
) -> None:
    use_responses(answer)
    error = shell.error("%puq_image -o kite --save kite A kite")
    assert isinstance(error, InvalidResponseError)
    assert said in str(error)
    assert error.hint
    assert files(work_folder) == []
    assert "kite" not in shell.names
    assert "_puq" not in shell.names


def test_of_several_the_good_ones_are_kept_and_the_rest_is_in_files(
    shell: Any, use_responses: UseResponses, work_folder: Path
) -> None:
    use_responses({"data": [encoded(png(3, 3)), encoded(SVG), encoded(png(4, 4)), encoded(png(5, 5)[:-7])]})
    ran = shell.attempt("%puq_image -n 4 -o kites --save kite.png A kite")
    error, kites = ran.error, shell.names["kites"]
    assert isinstance(error, InvalidResponseError)
    assert [image.width for image in kites.images] == [3, 4]
    assert kites.status == "incomplete"
    assert kites is shell.names["_puq"]
    assert "2 valid images are in _puq" in error.hint
    assert files(work_folder) == ["kite-1.png", "kite-2.png"]
    kept = {path.suffix: path for path in (work_folder.parent / "kept").iterdir()}
    assert kept[".txt"].read_bytes() == SVG
    assert "partial" not in error.hint
    assert kept[".png"].read_bytes() == png(5, 5)[:-7]
    assert all(str(path) in error.hint for path in kept.values())
    assert "saved kite-1.png" in ran.out


def test_of_an_interrupted_answer_the_images_that_came_are_kept(
    shell: Any, serve: Any, work_folder: Path
) -> None:
    """The second one is fetched from elsewhere when somebody stops it."""

    def _elsewhere(connection: Any) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        connection.wait_for_disconnect()

    address = f"{serve(_elsewhere).url}/kite.png"

    def _answer(connection: Any) -> None:
        connection.send_head(kind="application/json")
        connection.send(json.dumps({"data": [encoded(png(3, 3)), {"url": address}]}).encode())

    shell.run(f"%config PuqMagics.base_url = {serve(_answer).url!r}")
    ran = shell.attempt("%puq_image -m a/b -n 2 -o kites --save kite A kite")
    assert isinstance(ran.error, KeyboardInterrupt)
    kites = shell.names["kites"]
    assert [image.width for image in kites.images] == [3]
    assert kites.interrupted
    assert files(work_folder) == ["kite.png"]


def test_an_address_that_was_not_gone_to_is_kept(
    shell: Any, use_responses: UseResponses, work_folder: Path
) -> None:
    address = "https://10.0.0.1/kite.png?signature=abc"
    use_responses({"data": [{"url": address}], "created": 7})
    error = shell.error("%puq_image A kite")
    (kept,) = (work_folder.parent / "kept").iterdir()
    assert json.loads(kept.read_text()) == {"data": [{"url": address}], "created": 7}
    assert error.hint.endswith(f"What came instead is kept in {kept}")


def test_help_has_the_options_and_an_example(shell: Any) -> None:
    words = shell.run("%puq_image?").out
    assert "--size" in words
    assert "For example:\n\n    %puq_image " in words


def test_an_image_in_a_notebook(sandbox_kernel: Any) -> None:
    cell = sandbox_kernel.run('%puq_image --size 256x256 A "red" kite <b>')
    (bundle,) = cell.screen
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert bundle["text/html"].count("data:image/png;base64,") == 1
    assert "<b>" not in bundle["text/html"].replace("<br>", "")
    assert cell.contents("execute_result") == []
    (bundle,) = sandbox_kernel.run("_puq").contents("display_data")
    assert "data:image/png;base64," in bundle["data"]["text/html"]


@pytest.mark.parametrize("given", ["photo.png", "photo", "r"])
def test_an_image_is_edited(media_shell: Any, sandbox: Any, work_folder: Path, given: str) -> None:
    media_shell.run("r = %puq_image -q --size 64x64 A kite\nphoto = r.images[0].data")
    (work_folder / "photo.png").write_bytes(media_shell.names["photo"])
    dry = media_shell.run(f"%puq_image -a {given} --dry-run At night").out
    assert "/v1/images/edits" in dry
    assert "image=@image-1.png" in dry
    media_shell.run(f"%puq_image -a {given} --size 64x64 -o edited At night")
    (edited,) = media_shell.names["edited"].images
    assert edited.data != media_shell.names["photo"]
    assert "image that was sent" in edited.revised_prompt
    assert media_shell.names["edited"].cost > 0
    paths = [request.path for request in sandbox.requests if request.method == "POST"]
    assert paths == ["/v1/images/generations", "/v1/images/edits"]


def test_what_is_no_image_is_not_sent(media_shell: Any, sandbox: Any, work_folder: Path) -> None:
    (work_folder / "a.txt").write_text("words")
    assert "images only" in str(media_shell.error("%puq_image -a a.txt At night"))
    assert "no file" in str(media_shell.error("%puq_image -a b.png At night"))
    assert not [request for request in sandbox.requests if request.method == "POST"]


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        ("404 Not Found", {"error": "no route"}, True),
        ("405 Method Not Allowed", b"<html>", True),
        ("404 Not Found", {"error": "The model 'a/b' does not exist"}, False),
    ],
)
def test_a_router_without_edits_is_told(
    shell: Any, use_responses: UseResponses, work_folder: Path, status: str, body: Any, says: bool
) -> None:
    use_responses((status, body))
    (work_folder / "a.png").write_bytes(png())
    assert ("may not edit images" in str(shell.error("%puq_image -a a.png At night"))) is says
