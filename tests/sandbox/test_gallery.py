from puq_magics.sandbox.state import ImageStore


def test_an_image_is_found_by_its_name_alone() -> None:
    gallery = ImageStore()
    one, other = gallery.add(b"one"), gallery.add(b"other")
    assert (gallery.find(one), gallery.find(other)) == (b"one", b"other")
    assert len(one) >= 32
    assert gallery.find("one") is None


def test_the_oldest_go_first() -> None:
    gallery = ImageStore()
    names = [gallery.add(bytes([number])) for number in range(70)]
    assert [gallery.find(name) is not None for name in names] == [False] * 6 + [True] * 64


def test_large_ones_make_room() -> None:
    gallery = ImageStore()
    names = [gallery.add(bytes(30 * 1024 * 1024)) for _ in range(3)]
    assert [gallery.find(name) is not None for name in names] == [False, True, True]


def test_after_an_hour_they_are_gone() -> None:
    time = 1000.0
    gallery = ImageStore(lambda: time)
    name = gallery.add(b"one")
    time += 3600
    assert gallery.find(name) == b"one"
    time += 1
    assert gallery.find(name) is None
