from puq_magics.sandbox.scripted.drawing import Canvas, mix

WHITE = (255, 255, 255)


def red(canvas: Canvas) -> list[list[int]]:
    return [list(row[::3]) for row in canvas.rows]


def test_mixing() -> None:
    assert mix((0, 100, 200), (100, 0, 200), 0) == (0, 100, 200)
    assert mix((0, 100, 200), (100, 0, 200), 0.5) == (50, 50, 200)
    assert mix((0, 100, 200), (100, 0, 200), 1) == (100, 0, 200)


def test_spans_are_cut_at_the_edges() -> None:
    canvas = Canvas(4, 2)
    canvas.span(0, -5, 2, (1, 2, 3))
    canvas.span(1, 3, 9, (1, 2, 3))
    for y in (-1, 2):
        canvas.span(y, 0, 4, WHITE)
    assert red(canvas) == [[1, 1, 0, 0], [0, 0, 0, 1]]
    assert bytes(canvas.rows[0][:6]) == bytes([1, 2, 3, 1, 2, 3])


def test_a_veil_and_a_blend() -> None:
    canvas = Canvas(3, 1)
    canvas.veil(0, 1, 9, (100, 200, 50), 0.5)
    canvas.blend(0, 0, (100, 200, 50), 0.1)
    canvas.blend(7, 0, WHITE, 1)
    assert list(canvas.rows[0]) == [10, 20, 5, 50, 100, 25, 50, 100, 25]


def test_a_disc_covers_its_area_and_is_round() -> None:
    canvas = Canvas(40, 40)
    canvas.disc(20, 20, 10, WHITE)
    covered = sum(map(sum, red(canvas))) / 255
    assert abs(covered - 314.16) < 3
    rows = red(canvas)
    assert rows[20][20] == 255
    assert rows == rows[::-1] == [row[::-1] for row in rows]
    columns = [list(column) for column in zip(*rows, strict=True)]
    assert (
        max(
            abs(a - b)
            for row, column in zip(rows, columns, strict=True)
            for a, b in zip(row, column, strict=True)
        )
        < 80
    )


def test_a_disc_over_the_edge() -> None:
    canvas = Canvas(10, 10)
    canvas.disc(0, 0, 5, WHITE, 0.5)
    assert red(canvas)[0][0] == 128
    canvas.disc(100, 100, 5, WHITE)
    assert red(canvas)[9][9] == 0


def test_what_is_below_a_line() -> None:
    canvas = Canvas(5, 4)
    colours = [(10, 0, 0), (20, 0, 0), (30, 0, 0), (40, 0, 0)]
    canvas.below([2, 2.5, 0, -3, 9], colours)
    assert red(canvas) == [
        [0, 0, 10, 10, 0],
        [0, 0, 20, 20, 0],
        [30, 15, 30, 30, 0],
        [40, 40, 40, 40, 0],
    ]
