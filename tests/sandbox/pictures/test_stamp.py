import pytest

from puq_magics.sandbox.scripted import drawing as font
from puq_magics.sandbox.scripted.drawing import WORDS, Canvas, band_height, stamp

WHITE = b"\xff\xff\xff"


def stamped(width: int, height: int, prompt: str) -> Canvas:
    canvas = Canvas(width, height)
    stamp(canvas, prompt)
    return canvas


def has(canvas: Canvas, text: str, dot: int) -> bool:
    """Whether these words stand in white somewhere on the canvas, to the last dot."""
    strokes = list(font.pixels(text))
    across, down = font.width(text) * dot, font.CAPITAL * dot
    return any(
        all(
            canvas.rows[y + dy * dot][3 * (x + dx * dot) : 3 * (x + (dx + n) * dot)] == WHITE * n * dot
            for dx, dy, n in strokes
        )
        for y in range(canvas.height - down)
        for x in range(min(20, canvas.width - across + 1))
    )


@pytest.mark.parametrize(
    ("width", "height", "dot"), [(256, 256, 1), (512, 512, 2), (1024, 768, 2), (1024, 1024, 3), (2048, 64, 1)]
)
def test_the_words_are_there_in_one_line(width: int, height: int, dot: int) -> None:
    assert has(stamped(width, height, "A fox"), WORDS, dot)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (64, 2048), (100, 80)])
def test_in_a_narrow_image_they_are_all_there_in_lines(width: int, height: int) -> None:
    canvas = stamped(width, height, "A fox")
    for line in ("SANDBOX", "model"):
        assert any(has(canvas, words, 1) for words in (line, f"a {line}", f"by a {line}", "made by a model"))
    assert band_height(width, height) <= height


def test_the_prompt_is_in_the_band() -> None:
    one, other = stamped(256, 256, "A fox"), stamped(256, 256, "A hen")
    assert one.rows != other.rows
    assert one.rows[: 256 - band_height(256, 256)] == [bytes(3 * 256)] * (256 - band_height(256, 256))
