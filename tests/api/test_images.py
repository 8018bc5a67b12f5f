"""Images in answers: read from parts, and over real sockets."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from clients import KEY, MODEL, router_for
from media_samples import jpeg, png, wav, webp
from raw_server import RawServer, answer, chunk, head, responds, responds_and_closes

from puq_magics.api import GeneratedImage, ImagesResponse, Router
from puq_magics.api.images import read_images
from puq_magics.api.types import Usage
from puq_magics.core.errors import APIConnectionError, InputError, InvalidResponseError
from puq_magics.core.media_types import JPEG, PNG, WEBP

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def entry(data: bytes, **more: Any) -> dict[str, Any]:
    return {"b64_json": b64(data), **more}


def read(*entries: Any, **more: Any) -> ImagesResponse:
    body = json.dumps({"created": 0, "data": list(entries), **more}).encode()
    return read_images([body], MODEL, "r1", _no_fetching)


def _no_fetching(url: str) -> bytes:
    raise AssertionError(url)


def refused(*entries: Any, **more: Any) -> InvalidResponseError:
    with pytest.raises(InvalidResponseError) as caught:
        read(*entries, **more)
    assert caught.value.hint
    return caught.value


def partial_of(error: Any) -> ImagesResponse:
    assert isinstance(error.partial, ImagesResponse)
    return error.partial


# Reading


def test_the_images_of_an_answer() -> None:
    usage = {"input_tokens": 5, "output_tokens": 100, "total_tokens": 105, "input_tokens_details": {}}
    images = read(
        entry(png(3, 2), revised_prompt="A cat, \ud83d\ude00"),
        entry(jpeg(5, 4), url=None),
        {"url": "data:image/webp;base64," + b64(webp(7, 6)), "revised_prompt": None},
        usage=usage,
        model="maker/other",
    )
    assert images.images == (
        GeneratedImage(png(3, 2), PNG, 3, 2, "A cat, 😀"),
        GeneratedImage(jpeg(5, 4), JPEG, 5, 4),
        GeneratedImage(webp(7, 6), WEBP, 7, 6),
    )
    assert (images.model, images.request_id, images.usage) == ("maker/other", "r1", Usage(5, 100, 105))
    assert images.rejected == ()


def test_the_bytes_decide_and_not_what_the_router_says() -> None:
    images = read({"url": "data:image/svg+xml;base64," + b64(png())}, output_format="webp")
    assert images.images[0].type is PNG


def test_what_is_kept_of_the_answer_has_no_base64() -> None:
    data = png(500, 500, b"\x01")
    images = read(entry(data), {"url": "data:image/png;base64," + b64(data)}, background="opaque")
    assert images.raw == {
        "created": 0,
        "data": [{"b64_json": f"({len(data):,} bytes)"}, {"url": f"({len(data):,} bytes)"}],
        "background": "opaque",
    }
    assert b64(data)[:40] not in repr(images)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (SVG, "SVG"),
        (b"<!doctype html><title>Sorry</title>", "HTML"),
        (b'{"error": "no"}', "JSON"),
        (b"GIF89a" + bytes(20), "GIF"),
        (b"Sorry, I cannot draw that.", "text"),
        (wav(), "something else"),
        (bytes(30), "something else"),
    ],
)
@pytest.mark.parametrize("how", ["b64_json", "png by its url", "as it is"])
def test_what_is_no_image_is_an_error_and_kept(data: bytes, named: str, how: str) -> None:
    bad = {
        "b64_json": entry(data),
        "png by its url": {"url": "data:image/png;base64," + b64(data)},
        "as it is": {"url": "data:image/png," + quote(data)},
    }[how]
    error = refused(entry(png()), bad, entry(jpeg()), model="maker/other")
    assert f"holds {named} where an image should be" in error.message
    kept = partial_of(error)
    assert [image.type for image in kept.images] == [PNG, JPEG]
    assert kept.rejected == (data,)
    assert kept.model == "maker/other"


@pytest.mark.parametrize("data", [png(), jpeg(), webp()])
@pytest.mark.parametrize("missing", [2, 3, 4, 5])
def test_base64_that_is_cut(data: bytes, missing: int) -> None:
    error = refused({"b64_json": b64(data).rstrip("=")[:-missing]}, entry(png()))
    assert "is cut" in error.message
    kept = partial_of(error)
    assert [image.type for image in kept.images] == [PNG]
    assert data.startswith(kept.rejected[0])
    assert len(kept.rejected[0]) > len(data) - 10


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({}, "neither data nor a URL"),
        ({"b64_json": ""}, "neither data nor a URL"),
        ({"b64_json": None, "url": None}, "neither data nor a URL"),
        ({"b64_json": 5, "url": ["x"]}, "neither data nor a URL"),
        ({"b64_json": "not base64!"}, "empty, or not base64"),
        ({"url": "data:image/png;base64,"}, "empty, or not base64"),
        ({"b64_json": "=AAA"}, "empty, or not base64"),
    ],
)
def test_an_entry_without_an_image(bad: dict[str, Any], said: str) -> None:
    error = refused(bad, entry(png()))
    assert said in error.message
    assert len(partial_of(error).images) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is empty"),
        (b"<html><title>Gateway</title></html>", "is not JSON: an HTML page"),
        (b"sorry", "is not JSON: sorry"),
        (b"[]", "not a JSON object"),
        (b"5", "not a JSON object"),
        (b"{}", "holds no images"),
        (b'{"data": []}', "holds no images"),
        (b'{"data": {"x": 1}}', "holds no images"),
        (b'{"data": ["x", null]}', "holds no images"),
        (b'{"error": {"message": "The prompt was refused"}}', "with an error: The prompt was refused"),
        (b'{"error": "no", "data": [{"b64_json": "AAAA"}]}', "with an error: no"),
    ],
)
def test_an_answer_without_images(body: bytes, said: str) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        read_images([body], MODEL, None, _no_fetching)
    assert said in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "message",
    [
        {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + b64(png())}}]},
        {"content": [{"type": "text", "text": "Here"}, {"type": "image", "b64_json": b64(png())}]},
        {"content": [{"type": "image_url", "image_url": "data:image/png;base64," + b64(png())}]},
        {
            "images": [{"image_url": {"url": "https://a.example/1.png"}}],
            "annotations": [{"url": "https://b.example"}],
        },
    ],
)
def test_an_answer_in_the_shape_of_a_chat(message: dict[str, Any]) -> None:
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    images = read_images([body], MODEL, None, lambda url: png() if url == "https://a.example/1.png" else b"")
    assert [image.data for image in images.images] == [png()]
    assert "base64" not in str(images.raw)


def test_json_that_breaks_off_behind_an_image() -> None:
    body = json.dumps({"data": [entry(png()), entry(jpeg())]})
    with pytest.raises(InvalidResponseError, match="is incomplete") as caught:
        read_images([body[:-20].encode()], MODEL, "r1", _no_fetching)
    kept = partial_of(caught.value)
    assert [image.type for image in kept.images] == [PNG]
    assert jpeg().startswith(kept.rejected[0])
    assert kept.request_id == "r1"


@pytest.mark.parametrize("data", [png(), jpeg(), webp()])
def test_base64_without_its_padding(data: bytes) -> None:
    assert read({"b64_json": b64(data).rstrip("=")}).images[0].data == data


def test_what_is_not_base64_is_kept_as_it_came() -> None:
    text = "?" + b64(png())
    error = refused({"b64_json": text})
    assert "not base64" in error.message
    assert partial_of(error).rejected == (text.encode(),)


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.parametrize("data", [png(9, 9), jpeg(), webp()])
def test_an_answer_that_is_an_image(data: bytes, size: int) -> None:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    images = read_images([b"", *parts], MODEL, "r1", _no_fetching)
    assert [image.data for image in images.images] == [data]
    assert (images.model, images.request_id) == (MODEL, "r1")


def test_an_answer_that_is_half_an_image() -> None:
    kept: list[ImagesResponse] = []
    with pytest.raises(InvalidResponseError, match="is cut") as caught:
        read_images([png()[:-9]], MODEL, "r1", _no_fetching, kept.append)
    assert partial_of(caught.value).rejected == (png()[:-9],)
    assert kept == [caught.value.partial]


@pytest.mark.parametrize("body", [b"\xff\xd8 no image", wav(), b"\x00\x01\x02"])
def test_an_answer_that_nobody_can_read_is_kept_and_not_quoted(body: bytes) -> None:
    with pytest.raises(InvalidResponseError, match="neither JSON nor an image") as caught:
        read_images([body], MODEL, "r1", _no_fetching)
    assert caught.value.partial == body


def test_words_that_begin_like_an_image() -> None:
    with pytest.raises(InvalidResponseError, match="is not JSON: Refused") as caught:
        read_images([b"Ref", b"used."], MODEL, "r1", _no_fetching)
    assert caught.value.partial == ""


# What is kept


def test_an_interrupt_in_the_answer_keeps_what_came() -> None:
    body = json.dumps({"data": [{"url": "https://h.example/1"}, entry(png()), entry(jpeg())]}).encode()

    def parts() -> Iterator[bytes]:
        yield body[:-20]
        raise KeyboardInterrupt

    kept: list[ImagesResponse] = []
    with pytest.raises(KeyboardInterrupt):
        read_images(parts(), MODEL, "r1", _no_fetching, kept.append)
    (images,) = kept
    assert [image.data for image in images.images] == [png()]
    assert images.raw == {"data": [{"url": "https://h.example/1"}]}
    assert jpeg().startswith(images.rejected[0])
    assert (images.model, images.request_id) == (MODEL, "r1")


@pytest.mark.parametrize("how", [KeyboardInterrupt, APIConnectionError("cut")])
def test_an_interrupt_in_a_download_keeps_the_others(how: Any) -> None:
    entries = [{"url": "https://h.example/1"}, {"url": "https://h.example/2"}, entry(jpeg())]
    fetched = iter([png()])

    def download(url: str) -> bytes:
        data = next(fetched, None)
        if data is None:
            raise how
        return data

    kept: list[ImagesResponse] = []
    body = json.dumps({"data": entries, "model": "maker/other"}).encode()
    with pytest.raises((KeyboardInterrupt, APIConnectionError)):
        read_images([body], MODEL, "r1", download, kept.append)
    (images,) = kept
    assert [image.data for image in images.images] == [png(), jpeg()]
    assert images.raw["data"][:2] == entries[:2]
    assert images.model == "maker/other"


def test_addresses_of_an_answer_that_breaks_off() -> None:
    body = b'{"data": [{"url": "https:\\/\\/h.example\\/1"}, {"url": "https://h.exam'
    with pytest.raises(InvalidResponseError, match="is incomplete") as caught:
        read_images([body], MODEL, "r1", _no_fetching)
    assert partial_of(caught.value).raw == {"data": [{"url": "https://h.example/1"}]}


def test_nothing_is_handed_out_where_nothing_came_or_all_is_well() -> None:
    kept: list[ImagesResponse] = []
    with pytest.raises(InvalidResponseError):
        read_images(
            [b'{"error": {"message": "no", "url": "https://h.example/help"}}'], MODEL, None, str, kept.append
        )  # type: ignore[arg-type]
    read_images([json.dumps({"data": [entry(png())]}).encode()], MODEL, None, _no_fetching, kept.append)
    assert kept == []


def test_an_interrupt_over_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("puq_magics.api.image_download.ImageDownloader.__call__", interrupted)
    said = answer({"data": [entry(png()), {"url": "https://h.example/2"}]})
    kept: list[ImagesResponse] = []
    with (
        RawServer(responds_and_closes(said)) as server,
        router_for(server) as router,
        pytest.raises(KeyboardInterrupt),
    ):
        router.image("a cat", model=MODEL, on_partial=kept.append)
    assert [image.data for image in kept[0].images] == [png()]
    assert kept[0].raw["data"][1] == {"url": "https://h.example/2"}


def test_no_more_images_than_were_asked_for() -> None:
    entries = [{"url": f"https://h.example/{n}"} for n in range(18)] + [entry(jpeg())]
    body = json.dumps({"data": entries}).encode()
    asked: list[str] = []

    def download(url: str) -> bytes:
        asked.append(url)
        return png()

    images = read_images([body], MODEL, "r1", download, max_images=17)
    assert len(images.images) == len(asked) == 17
    assert images.note == "2 further images of the answer were left out; see raw and rejected."
    assert images.raw["data"][17] == entries[17]
    assert images.rejected == (jpeg(),)


# Over the network


def test_an_image_over_the_network() -> None:
    said = {"created": 0, "data": [entry(png(4, 4))]}
    with RawServer(responds(answer(said, X_Request_Id="r7"))) as server, router_for(server) as router:
        images = router.image("a cat", model=MODEL, size="1024x1024", n=None, extra_body={"stream": True})
    assert images.images == (GeneratedImage(png(4, 4), PNG, 4, 4),)
    assert (images.model, images.request_id) == (MODEL, "r7")
    (asked,) = server.requests
    assert (asked.method, asked.path) == ("POST", "/v1/images/generations")
    assert asked.json == {"model": MODEL, "prompt": "a cat", "size": "1024x1024"}
    assert asked.headers["accept"] == "application/json"


def test_an_image_in_chunks_of_any_size() -> None:
    body = json.dumps({"data": [entry(png(60, 60, b"\x07"))]}).encode()
    parts = [chunk(body[at : at + 7]) for at in range(0, len(body), 7)]
    said = head(content_type="application/json", Transfer_Encoding="chunked") + b"".join(parts) + b"0\r\n\r\n"
    with RawServer(responds(said)) as server, router_for(server) as router:
        assert router.image("a cat", model=MODEL).images[0].data == png(60, 60, b"\x07")


def test_a_connection_cut_in_an_image_keeps_what_came() -> None:
    body = json.dumps({"data": [entry(png()), entry(jpeg())]}).encode()
    said = answer(body[:-20], content_type="application/json", Content_Length=len(body))
    with (
        RawServer(responds_and_closes(said)) as server,
        router_for(server) as router,
        pytest.raises(APIConnectionError) as caught,
    ):
        router.image("a cat", model=MODEL)
    kept = partial_of(caught.value)
    assert [image.type for image in kept.images] == [PNG]
    assert len(kept.rejected) == 1


def test_a_large_image_is_held_once() -> None:
    data = png(1, 1)[:-12] + _padding(5_000_000) + png(1, 1)[-12:]
    said = answer({"data": [entry(data)]})
    with RawServer(responds(said)) as server, router_for(server) as router:
        tracemalloc.start()
        try:
            images = router.image("a cat", model=MODEL)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert images.images[0].data == data
    assert peak < 2 * len(data)


def _padding(size: int) -> bytes:
    """A chunk that no reader of PNG looks into."""
    return size.to_bytes(4, "big") + b"puQq" + bytes(size + 4)


def test_a_key_that_comes_back_in_an_error_is_not_shown() -> None:
    said = {"error": f"no credit for {KEY}"}
    with (
        RawServer(responds(answer(said))) as server,
        router_for(server) as router,
        pytest.raises(InvalidResponseError, match="no credit for …") as caught,
    ):
        router.image("a cat", model=MODEL)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("prompt", ["", " \n", None, 5, b"cat", ["cat"]])
def test_a_prompt_is_words(prompt: Any) -> None:
    with Router(KEY, "https://h.example") as router, pytest.raises(InputError, match="prompt"):
        router.image(prompt, model=MODEL)


def test_the_request_of_an_image() -> None:
    with Router(KEY) as router:
        request = router.image_request("a cat", model=MODEL, size="1x1")
        assert request.timeouts.read == 300
        assert json.loads(request.body) == {"model": MODEL, "prompt": "a cat", "size": "1x1"}  # type: ignore[arg-type]
        assert KEY not in request.to_curl(router.address, router.auth_scheme)
        with pytest.raises(InputError, match="is not a model name"):
            router.image_request("a cat", model="gpt-image-1.5")
        with pytest.raises(InputError, match="is a reserved parameter"):
            router.speech_request("words", model=MODEL, extra_body={"input": "others"})
