import struct
import zlib

from puq_magics.sandbox.scripted.drawing import write_png


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, found = 8, []
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        kind, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        (check,) = struct.unpack_from(">I", png, place + 8 + length)
        assert check == zlib.crc32(kind + data)
        found.append((kind, data))
        place += 12 + length
    return found


def test_what_is_in_it() -> None:
    rows = [bytes([255, 0, 0, 0, 255, 0]), bytearray([0, 0, 255, 9, 8, 7]), bytes(6)]
    found = chunks(write_png(2, 3, rows, {"Description": "Grüße\0!"}))
    assert [kind for kind, _ in found] == [b"IHDR", b"iTXt", b"IDAT", b"IEND"]
    assert found[0][1] == struct.pack(">IIBBBBB", 2, 3, 8, 2, 0, 0, 0)
    assert found[1][1] == b"Description\0\0\0\0\0" + "Grüße !".encode()
    assert zlib.decompress(found[2][1]) == b"".join(b"\0" + row for row in rows)
    assert found[3][1] == b""
