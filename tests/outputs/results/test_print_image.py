from __future__ import annotations

from base64 import b64decode
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from puq_magics.outputs.results import ImageResult
from puq_magics.outputs.results.footer import Footer
from puq_magics.outputs.results.image import ImageFile
from puq_magics.outputs.results.print_image import print_bundle


def image(kind: str, size: tuple[int, int], *, noise: bool = False) -> ImageFile:
    picture = Image.effect_noise(size, 90).convert("RGB") if noise else Image.new("RGB", size, "navy")
    buffer = BytesIO()
    picture.save(buffer, kind)
    return ImageFile(data=buffer.getvalue())


def opened(bundle: dict[str, str]) -> Any:
    (data,) = bundle.values()
    return Image.open(BytesIO(b64decode(data)))


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_small_image_is_carried_as_it_is(kind: str) -> None:
    small = image(kind, (64, 48))
    (encoded,) = [print_bundle([small])[f"image/{kind}"]]
    assert b64decode(encoded) == small.data


@pytest.mark.parametrize(
    ("images", "mime", "size"),
    [
        ([image("webp", (64, 48))], "image/png", (64, 48)),
        ([image("png", (1500, 750), noise=True)], "image/jpeg", (1024, 512)),
        (
            [image("png", (64, 48)), image("jpeg", (1024, 512)), image("png", (8, 8))],
            "image/png",
            (1032, 520),
        ),
    ],
    ids=["webp", "large", "several"],
)
def test_others_become_one_picture(images: list[ImageFile], mime: str, size: tuple[int, int]) -> None:
    bundle = print_bundle(images)
    assert list(bundle) == [mime]
    assert opened(bundle).size == size


def test_what_cannot_be_one_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert print_bundle([]) == {}
    broken = image("webp", (8, 8))
    broken.data = broken.data[:30]
    assert print_bundle([broken]) == {}
    huge = image("png", (8, 8))
    huge.width = huge.height = 20_000
    assert print_bundle([huge]) == {}


def test_a_result_carries_it_beside_its_html() -> None:
    result = ImageResult(images=[image("png", (8, 8))], prompt="a dot", model="a/b")
    assert list(result.bundle(Footer())) == ["text/html", "image/png", "text/plain"]
