import base64
import io
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from IPython.display import Audio
from IPython.display import Image as Shown
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from puq_magics.core.errors import InputError
from puq_magics.core.media_types import image_dimensions
from puq_magics.outputs.results import ImageFile, ImageResult
from puq_magics.prompts.attachments import attach
from puq_magics.prompts.image_resize import (
    GIF,
    MAX_PIXELS,
    ImageLimits,
    detect_sendable_type,
    fit_image,
    fit_pillow_image,
)
from puq_magics.prompts.images import MAX_IMAGES, image_part, require_image_parts, to_image_parts
from puq_magics.prompts.template import fill_template

mpl.use("agg")
NOISE = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)


def encoded(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gray(width: int = 3, height: int = 2) -> Any:
    return PIL.Image.new("L", (width, height), 128)


PNG = encoded(gray())


def figure() -> Figure:
    drawn = Figure(figsize=(2, 1))
    drawn.subplots().plot([1, 3, 2])
    return drawn


def sent(value: Any, limits: ImageLimits | None = None) -> list[bytes]:
    """The image files that a value becomes."""
    found = to_image_parts(value, limits or ImageLimits())
    assert found is not None
    files = []
    for part in found.parts:
        assert part["type"] == "image_url"
        head, _, data = part["image_url"]["url"].partition(",")
        files.append(base64.b64decode(data, validate=True))
        kind = detect_sendable_type(files[-1])
        assert kind is not None
        assert head == f"data:{kind.mime};base64"
    return files


class Drawing:
    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return PNG, {"width": 3}


class HasJpegRepr:
    def _repr_jpeg_(self) -> str:
        return base64.b64encode(encoded(gray(), "JPEG")).decode()


class HasImagesMethod:
    def _puq_images_(self) -> list[bytes]:
        return [PNG, PNG]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_file_within_the_limits_goes_as_it_is(kind: str) -> None:
    data = encoded(gray(), kind)
    for value in (data, bytearray(data), memoryview(data), io.BytesIO(data), Shown(data=data)):
        assert sent(value) == [data]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (ImageResult(model="m", images=[ImageFile(data=PNG), ImageFile(data=PNG)], prompt="p"), 2),
        (ImageResult(model="m", images=[ImageFile(data=PNG)], prompt="p").images[0], 1),
        (SimpleNamespace(data=PNG), 1),
        (Drawing(), 1),
        (HasJpegRepr(), 1),
        (HasImagesMethod(), 2),
        ([PNG, gray(), figure()], 3),
        ((Shown(data=PNG),), 1),
    ],
)
def test_what_shows_images(value: Any, number: int) -> None:
    assert len(sent(value)) == number


def test_figures_and_what_is_drawn_in_them() -> None:
    drawn = figure()
    (data,) = sent(drawn)
    assert data.startswith(b"\x89PNG")
    axes = drawn.axes[0]
    for value in (axes, axes.lines[0], list(axes.lines), [axes, axes], SimpleNamespace(figure=drawn)):
        assert len(sent(value)) == 1
    grid = Figure().subplots(2, 2)
    assert len(sent(grid)) == 1
    part = Figure().add_subfigure(GridSpec(1, 2)[0]).subplots()
    assert len(sent(part)) == 1
    assert len(sent([drawn, figure()])) == 2
    assert len(sent(Figure())) == 1


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"]
)
def test_images_of_pillow_in_any_mode(mode: str) -> None:
    image = PIL.Image.new(mode, (30, 20))
    for max_side in (2048, 10):
        (data,) = sent(image, ImageLimits(max_side=max_side))
        assert image_dimensions(data) == (min(30, max_side), 20 if max_side > 30 else 7)
    assert image.size == (30, 20)


def test_measurements_keep_their_range() -> None:
    image = PIL.Image.fromarray(np.array([[0.0, 500.0, 1000.0]], dtype=np.float32))
    opened = PIL.Image.open(io.BytesIO(fit_pillow_image(image, ImageLimits()).data))
    assert [opened.getpixel((x, 0)) for x in range(3)] == [0, 127, 255]


def test_a_large_image_is_scaled_down_and_that_is_said() -> None:
    data = encoded(gray(4000, 1000))
    found = to_image_parts(data, ImageLimits(max_side=1000))
    assert found is not None
    assert found.notes == ("scaled down from 4,000 × 1,000 to 1,000 × 250 pixels",)
    assert image_dimensions(sent(data, ImageLimits(max_side=1000))[0]) == (1000, 250)
    assert image_dimensions(sent(gray(4000, 1), ImageLimits(max_side=100))[0]) == (100, 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_every_kind_is_scaled_down(kind: str) -> None:
    fitted = fit_image(encoded(PIL.Image.fromarray(NOISE), kind), ImageLimits(max_side=100))
    assert image_dimensions(fitted.data) == (100, 75)
    assert fitted.type.format == ("jpeg" if kind == "JPEG" else "png")


def test_a_heavy_file_is_made_lighter() -> None:
    data = encoded(PIL.Image.fromarray(NOISE))
    fitted = fit_image(data, ImageLimits(max_megabytes=0.2))
    assert (fitted.type.format, image_dimensions(fitted.data)) == ("jpeg", (400, 300))
    assert re.fullmatch("made smaller, from 3.. kB to 1.. kB", fitted.note)
    fitted = fit_image(data, ImageLimits(max_megabytes=0.02))
    assert len(fitted.data) <= 20_000
    assert fitted.note.startswith("scaled down from 400 × 300 to ")
    with pytest.raises(InputError, match="cannot be made to fit into"):
        fit_image(data, ImageLimits(max_megabytes=0.0001))


def test_a_picture_taken_sideways_stays_upright() -> None:
    image = PIL.Image.new("RGB", (400, 200))
    exif = image.getexif()
    exif[0x0112] = 6
    assert image_dimensions(fit_image(encoded(image, "JPEG", exif=exif), ImageLimits(max_side=100)).data) == (
        50,
        100,
    )


def photo(orientation: int, kind: str = "JPEG", width: int = 40) -> bytes:
    """An image whose upright picture is wide, with a red left half, stored as a camera held that way stores it."""
    upright = PIL.Image.new("RGB", (width, width // 2), "blue")
    upright.paste("red", (0, 0, width // 2, width // 2))
    turns = PIL.Image.Transpose
    turn = {
        2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE,
        6: turns.ROTATE_90, 7: turns.TRANSVERSE, 8: turns.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(turn[orientation]) if orientation in turn else upright
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return encoded(stored, kind, exif=exif)


def is_upright(data: bytes) -> bool:
    image = PIL.Image.open(io.BytesIO(data))
    width, height = image.size
    left, right = (image.convert("RGB").getpixel((x, height // 2)) for x in (width // 4, width * 3 // 4))
    return width > height and left[0] > 200 > right[0] and image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("max_side", [2048, 100])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_sent_upright(tmp_path: Path, orientation: int, kind: str, max_side: int) -> None:
    data, limits = photo(orientation, kind, width=160), ImageLimits(max_side=max_side)
    path = tmp_path / "photo"
    path.write_bytes(data)
    for value in (data, PIL.Image.open(io.BytesIO(data)), io.BytesIO(data), Shown(data=data)):
        (file,) = sent(value, limits)
        assert is_upright(file)
    (part,) = attach([str(path)], {}, image_limits=limits).parts
    assert is_upright(base64.b64decode(part["image_url"]["url"].partition(",")[2]))


def test_an_upright_photo_is_not_changed() -> None:
    for data in (
        photo(1),
        encoded(PIL.Image.new("RGB", (4, 2)), "JPEG", comment=b"Exif\0\0 with no EXIF data"),
    ):
        assert sent(data) == [data]


def test_a_photo_that_was_turned_is_not_turned_again() -> None:
    image = PIL.Image.open(io.BytesIO(photo(6)))
    (file,) = sent(PIL.ImageOps.exif_transpose(image))
    assert is_upright(file)
    turned = to_image_parts(image.rotate(-90, expand=True), ImageLimits())
    assert turned is not None
    assert is_upright(base64.b64decode(turned.parts[0]["image_url"]["url"].partition(",")[2]))
    assert turned.notes == ("its pixels were sent as they are, not turned as its EXIF data says",)
    assert image.size == (20, 40)  # the variable is as it was


def test_without_pillow_a_photo_is_sent_as_it_is_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "PIL" or name.startswith("PIL.")]:
        monkeypatch.setitem(sys.modules, name, None)
    found = to_image_parts(data := PHOTO, ImageLimits())
    assert found is not None
    assert found.notes == ("not turned as its EXIF data may say: that needs Pillow",)
    assert base64.b64encode(data).decode() in found.parts[0]["image_url"]["url"]


PHOTO = photo(6)


@pytest.mark.parametrize(("kind", "as_kind"), [("TIFF", "PNG"), ("BMP", "PNG"), ("AVIF", "JPEG")])
def test_images_that_models_do_not_read_are_converted(tmp_path: Path, kind: str, as_kind: str) -> None:
    image = PIL.Image.new("RGB", (40, 20), "blue")
    image.paste("red", (0, 0, 20, 20))
    try:
        data = encoded(image, kind)
    except KeyError:
        pytest.skip(f"this Pillow has no {kind}")
    (tmp_path / "picture.jpg").write_bytes(data)  # whatever its name says
    for attached in (attach([str(tmp_path / "picture.jpg")], {}), attach(["data"], {"data": data})):
        (part,) = attached.parts
        assert part["image_url"]["url"].startswith(f"data:image/{as_kind.lower()};base64,")
        assert is_upright(base64.b64decode(part["image_url"]["url"].partition(",")[2]))
        assert f"converted from {kind} to {as_kind}" in attached.notes[0]


def test_an_image_that_pillow_does_not_know_either() -> None:
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)
    with pytest.raises(InputError, match="it is an image in HEIC") as caught:
        sent(heic)
    assert "pillow-heif" in caught.value.hint
    with pytest.raises(InputError, match="the variable picture: it is an image in HEIC"):
        attach(["picture"], {"picture": heic})


def test_what_is_see_through_becomes_white_in_a_jpeg() -> None:
    image = PIL.Image.fromarray(np.dstack([NOISE, np.zeros((300, 400), np.uint8)]))
    fitted = fit_image(encoded(image), ImageLimits(max_megabytes=0.2))
    opened = PIL.Image.open(io.BytesIO(fitted.data))
    assert fitted.type.format == "jpeg"
    assert opened.getpixel((200, 150)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an image that can be sent"),
        (b"BM" + bytes(50), "not an image that can be sent"),
        (PNG[:-12], "cut off"),
        (encoded(gray(), "JPEG")[:-2], "cut off"),
        (PNG[:40] + b"\xff" * 8 + PNG[48:], "cannot be decoded"),
    ],
)
def test_what_is_no_whole_image_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_image(data, ImageLimits(max_side=1))


def test_a_small_file_that_is_a_huge_image_is_not_decoded() -> None:
    width = MAX_PIXELS // 1_000 + 1
    data = PNG[:16] + width.to_bytes(4, "big") + (1_000).to_bytes(4, "big") + PNG[24:]
    with pytest.raises(InputError, match="89,001 × 1,000 pixels is too large"):
        fit_image(data, ImageLimits())


def test_without_pillow_a_large_image_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(gray(3000, 20))
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)  # as Python marks what cannot be imported
    assert sent(PNG) == [PNG]
    with pytest.raises(InputError, match=r"\(3,000 × 20 pixels, \d+ bytes\).* needs Pillow") as caught:
        fit_image(data, ImageLimits())
    assert "%pip install pillow" in caught.value.hint


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "text",
        b"bytes",
        [],
        [1, PNG],
        [PNG, 1],
        {"data": PNG},
        np.zeros(3),
        np.array([1, "a"], dtype=object),
        ImageResult,
        Figure,
        SimpleNamespace(data=b"bytes", images=[1], figure=3),
        Audio(data=b"RIFF\0\0\0\0WAVE"),
    ],
)
def test_what_is_no_image(value: Any) -> None:
    assert to_image_parts(value, ImageLimits()) is None
    with pytest.raises(InputError, match="is not an image"):
        require_image_parts(value, ImageLimits())


class Broken:
    def _repr_png_(self) -> bytes:
        raise RuntimeError("no\nluck")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Broken(), "drawing it raised RuntimeError: no luck."),
        (ImageResult(model="m", images=[], prompt="p"), "it contains no image."),
        ([PNG] * (MAX_IMAGES + 1), f"more than {MAX_IMAGES} images"),
        (Shown(url="https://example.org/a.png"), "only a URL"),
        (PIL.Image.new("L", (0, 5)), "no pixels"),
        (PNG[:-12], "cut off"),
    ],
)
def test_images_that_cannot_be_sent(value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        to_image_parts(value, ImageLimits())
    assert message in caught.value.message


def test_limits_are_checked() -> None:
    for options in ({"max_side": 0}, {"max_megabytes": 0}, {"max_megabytes": float("nan")}):
        with pytest.raises(InputError):
            ImageLimits(**options)


def test_a_gif_by_its_first_bytes() -> None:
    assert detect_sendable_type(encoded(gray(), "GIF")) is GIF
    assert image_part(b"a", "image/gif")["image_url"]["url"] == "data:image/gif;base64,YQ=="


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys\n"
        "from puq_magics.prompts.images import to_image_parts, ImageLimits\n"
        "assert to_image_parts(3, ImageLimits()) is None\n"
        "assert not {'numpy', 'matplotlib', 'PIL', 'IPython', 'pandas', 'jinja2'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- in a prompt


def test_an_image_in_a_prompt() -> None:
    drawn = figure()
    namespace = {
        "fig": drawn,
        "both": ImageResult(
            model="m", images=[ImageFile(data=PNG), ImageFile(data=encoded(gray(5, 5)))], prompt="p"
        ),
    }
    found = fill_template(
        "{{fig | image}} or {{both | image}}? Again {{ both.images[0] | image }}, {{fig.axes[0]|image}}.",
        namespace,
    )
    assert found.text == "[image 1] or [image 2] [image 3]? Again [image 2], [image 1]."
    assert len(found.parts) == 3
    assert found.parts[1] == image_part(PNG, "image/png")
    assert found.names == ("fig", "both")
    assert fill_template("no {image}", namespace).parts == ()


def test_an_image_of_a_file_in_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    found = fill_template("{{p | image}}", {"p": tmp_path / "a.png"})
    assert found.parts == (image_part(PNG, "image/png"),)
    (tmp_path / "b.txt").write_text("x")
    for name, message in (
        ("b.txt", "'b.txt' is not an image"),
        ("c.png", "there is no file 'c.png'"),
        ("", "is a folder"),
    ):
        with pytest.raises(InputError) as caught:
            fill_template("{{p | image}}", {"p": tmp_path / name})
        assert caught.value.message.startswith("{{p | image}}: ")
        assert message in caught.value.message


def test_a_note_says_what_was_scaled_down() -> None:
    found = fill_template("{{a | image}}", {"a": gray(100, 50)}, images=ImageLimits(max_side=10))
    assert found.notes == ("a | image: scaled down from 100 × 50 to 10 × 5 pixels",)


def test_where_no_image_can_go() -> None:
    with pytest.raises(InputError, match="images cannot be attached") as caught:
        fill_template("{{a | image}}", {"a": PNG}, images=None)
    assert "chat" in caught.value.hint
