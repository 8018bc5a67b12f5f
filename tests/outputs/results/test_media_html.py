"""The MIME bundles of images, speech and transcripts: what is in them, and what never is."""

from __future__ import annotations

import base64
import re
import tracemalloc
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from corpus import PAYLOADS
from media_samples import CALL_FIELDS, png, wav

from puq_magics.core.media_types import MP3
from puq_magics.outputs.results import ImageResult, SpeechResult, TranscriptResult
from puq_magics.outputs.results.footer import Footer
from puq_magics.outputs.results.image import ImageFile
from puq_magics.outputs.results.media_html import (
    format_duration,
    paragraphs,
)

#: All that our own HTML has; nothing that anybody else wrote may add to it.
ATTRIBUTES = {
    "div": set(),
    "p": set(),
    "br": set(),
    "sub": set(),
    "strong": set(),
    "span": set(),
    "code": set(),
    "details": set(),
    "summary": set(),
    "table": set(),
    "thead": set(),
    "tbody": set(),
    "tr": set(),
    "th": {"style"},
    "td": {"style"},
    "a": {"href"},
    "img": {"alt", "width", "height", "style", "src"},
    "audio": {"controls", "preload", "title", "aria-label", "style", "src"},
}
#: Styles that JupyterLab's sanitiser lets through, measured.
STYLES = {
    "width",
    "max-width",
    "height",
    "display",
    "vertical-align",
    "margin",
    "margin-bottom",
    "text-align",
}
SOURCE = re.compile(r"data:(image/png|audio/wav);base64,[A-Za-z0-9+/]+={0,2}|[A-Za-z0-9%./_-]+")


@dataclass(frozen=True)
class SegmentStub:
    start: float
    end: float
    text: str


class StrictHTMLReader(HTMLParser):
    """Reads HTML as a browser does; notes what should not be in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ATTRIBUTES:
            self.faults.append(tag)
        found = {name: value or "" for name, value in attrs}
        self.faults += [f"{tag} {name}" for name in found if name not in ATTRIBUTES.get(tag, set())]
        for name in {"src", "href"} & found.keys():
            if not SOURCE.fullmatch(found[name]):
                self.faults.append(f"{name} {found[name][:80]}")
        styles = [part.split(":")[0].strip() for part in found.get("style", "").split(";") if part]
        self.faults += [f"style {style}" for style in styles if style not in STYLES]
        self.tags.append((tag, found))

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"comment {data}")

    def handle_decl(self, decl: str) -> None:
        self.faults.append(f"declaration {decl}")

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [found for name, found in self.tags if name == tag]


def read(result: ImageResult | SpeechResult | TranscriptResult) -> tuple[StrictHTMLReader, str]:
    """Its HTML, read, and its plain text; there is nothing else but a picture for print."""
    bundle = result._repr_mimebundle_(include=None, exclude=None)
    assert set(bundle) - {"image/png", "image/jpeg"} == {"text/html", "text/plain"}
    reader = StrictHTMLReader(bundle["text/html"])
    assert reader.faults == []
    return reader, bundle["text/plain"]


def images(*sizes: tuple[int, int], prompt: str = "a red kite", **more: Any) -> ImageResult:
    return ImageResult(images=[png(*size) for size in sizes], prompt=prompt, **CALL_FIELDS | more)  # type: ignore[misc]


def speech(text: str = "Good morning.", **more: Any) -> SpeechResult:
    return SpeechResult(**CALL_FIELDS | {"audio": wav(1.5), "text": text} | more)


def transcript(text: str, **more: Any) -> TranscriptResult:
    return TranscriptResult(text=text, **CALL_FIELDS | more)


@pytest.fixture
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that links start from."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- images


def test_an_image_is_there_once_at_its_size_with_the_prompt() -> None:
    result = images((300, 200), prompt='A "red" kite\nover <fields> & $5')
    reader, plainly = read(result)
    (image,) = reader.of("img")
    assert image["alt"] == 'A "red" kite over <fields> & $5'
    assert (image["width"], image["height"]) == ("300", "200")
    assert "width: 300px; height: auto; max-width: 100%" in image["style"]
    assert base64.b64decode(image["src"].split(",")[1]) == result.images[0].data
    assert str(result._repr_mimebundle_()).count("base64") == 1
    assert plainly == (
        '[image 300 × 200 PNG, “A "red" kite over <fields> & $5”]\n\n[a/b · 300 × 200 PNG · 3 tokens · 1.2 s]'
    )


@pytest.mark.parametrize(
    ("sizes", "widths"),
    [
        ([(1024, 1024)], [640]),
        ([(1024, 1536)], [427]),
        ([(1536, 1024)], [640]),
        ([(64, 64)], [64]),
        ([(4000, 1)], [640]),
        ([(1, 4000)], [1]),
        ([(1024, 1024)] * 2, [400, 400]),
        ([(1024, 1024)] * 3, [260, 260, 260]),
        ([(100, 50), (1024, 512)], [100, 400]),
    ],
)
def test_a_sensible_width(sizes: list[tuple[int, int]], widths: list[int]) -> None:
    reader, _ = read(images(*sizes))
    assert [(int(image["width"]), int(image["height"])) for image in reader.of("img")] == sizes
    shown = [int(re.search(r"\bwidth: (\d+)px", image["style"])[1]) for image in reader.of("img")]  # type: ignore[index]
    assert shown == widths


def test_several_images_are_counted() -> None:
    reader, plainly = read(images((3, 2), (4, 4)))
    assert [image["alt"] for image in reader.of("img")] == ["1 of 2: a red kite", "2 of 2: a red kite"]
    assert plainly.startswith(
        "[image 1 of 2: 3 × 2 PNG, “a red kite”]\n[image 2 of 2: 4 × 4 PNG, “a red kite”]\n"
    )


def test_an_image_by_itself() -> None:
    bundle = images((3, 2)).images[0]._repr_mimebundle_(include=None, exclude=None)
    assert StrictHTMLReader(bundle["text/html"]).faults == []
    assert bundle["text/plain"] == "[image 3 × 2 PNG, “a red kite”]"


def test_an_image_whose_size_is_not_known() -> None:
    result = ImageResult(images=[png(3, 2)[:12]], prompt="", **CALL_FIELDS)  # type: ignore[list-item]
    reader, plainly = read(result)
    assert "width" not in reader.of("img")[0]
    assert reader.of("img")[0]["alt"] == "an image"
    assert plainly.startswith("[image PNG]")


def test_a_prompt_that_the_model_changed() -> None:
    result = images((3, 2), (4, 4))
    for image in result.images:
        image.revised_prompt = "a kite, <b>red</b>"
    reader, _ = read(result)
    assert "Revised prompt" in reader.text
    assert reader.text.count("a kite, <b>red</b>") == 1
    result.images[0].revised_prompt = result.images[1].revised_prompt = "a red kite"
    assert "Revised" not in read(result)[0].text


def test_no_images() -> None:
    reader, plainly = read(images())
    assert reader.of("img") == []
    assert plainly == "[a/b · no image · 3 tokens · 1.2 s]"


def test_what_is_too_large_is_linked_where_it_was_saved(work_folder: Path) -> None:
    result = images((3, 2), (4, 4))
    result.max_embed_mb = (len(result.images[0].data) + 1) / 1e6
    (work_folder / "my pics").mkdir()
    result.images[1].save(work_folder / "my pics" / "a&b: #1.png")
    reader, plainly = read(result)
    assert [image["src"][:5] for image in reader.of("img")] == ["data:", "my%20"]
    link = "my%20pics/a%26b%3A%20%231.png"
    assert reader.of("img")[1]["src"] == reader.of("a")[0]["href"] == link
    assert "2 of 2: my pics/a&b: #1.png is " in reader.text
    assert "max_embed_mb" in reader.text
    assert "my pics/a&b: #1.png" in plainly
    assert str(work_folder) not in plainly + reader.text


def test_what_was_saved_is_linked_too(work_folder: Path) -> None:
    result = images((3, 2), (4, 4))
    assert "Saved" not in read(result)[0].text
    result.save("kite")
    reader, _ = read(result)
    assert "Saved as kite-1.png, kite-2.png." in reader.text
    assert [link["href"] for link in reader.of("a")] == ["kite-1.png", "kite-2.png"]
    assert all(image["src"].startswith("data:") for image in reader.of("img"))
    said = speech()
    said.save(work_folder.parent / "said.wav", force=True)
    reader, _ = read(said)
    assert f"Saved as {work_folder.parent}/said.wav." in reader.text
    assert reader.of("a") == []


def test_what_is_too_large_and_not_saved_is_said(work_folder: Path) -> None:
    result = images((3, 2))
    result.max_embed_mb = 0.00001
    reader, plainly = read(result)
    assert reader.of("img") == reader.of("a") == []
    assert "more than the 1e-05 MB" in reader.text
    assert ".save(" in reader.text
    assert "3 × 2 PNG" in plainly
    result.images[0].path = work_folder.parent / "elsewhere.png"
    result.images[0].path.write_bytes(b"")
    reader, _ = read(result)
    assert reader.of("img") == []
    assert f"outside of the notebook's folder: {work_folder.parent}" in reader.text


# --- speech


def test_a_player_with_its_words() -> None:
    result = speech("It is $5 to $6,\n\n<b>really</b>.")
    reader, plainly = read(result)
    (player,) = reader.of("audio")
    assert (player["controls"], player["preload"]) == ("", "metadata")
    assert "autoplay" not in player
    assert player["aria-label"] == player["title"] == "Speech: It is $5 to $6, <b>really</b>."
    assert base64.b64decode(player["src"].split(",")[1]) == result.audio
    assert str(result._repr_mimebundle_()).count("base64") == 1
    assert "It is $5 to $6,\n<b>really</b>." in reader.text
    assert reader.of("details") == []
    assert plainly == (
        "[speech: WAV, 24 kB]\nIt is $5 to $6,\n\n<b>really</b>.\n\n[a/b · 1.5 s of WAV · 3 tokens · 1.2 s]"
    )


def test_many_words_are_folded() -> None:
    reader, plainly = read(speech("Many words. " * 60))
    assert len(reader.of("details")) == 1
    assert reader.text.count("Many words.") == 60
    assert plainly.count("Many words.") == 60
    assert len(reader.of("audio")[0]["title"]) == 100


def test_speech_that_was_interrupted_before_anything_came() -> None:
    reader, plainly = read(speech(audio=b"", type=MP3, status="interrupted"))
    assert reader.of("audio") == []
    assert (
        plainly
        == "[speech: nothing came]\nGood morning.\n\n[interrupted · a/b · no audio · 3 tokens · 1.2 s]"
    )


def test_large_audio_is_linked(work_folder: Path) -> None:
    result = speech(max_embed_mb=0.01)
    result.save("morning.wav")
    reader, plainly = read(result)
    assert reader.of("audio")[0]["src"] == reader.of("a")[0]["href"] == "morning.wav"
    assert "morning.wav is 24 kB, more than the 0.01 MB that a display holds (max_embed_mb)" in reader.text
    assert plainly.startswith("[speech: morning.wav]\nGood morning.")
    (work_folder / "morning.wav").unlink()
    reader, _ = read(result)
    assert reader.of("audio") == []


# --- transcripts


def test_a_transcript_is_in_paragraphs() -> None:
    reader, plainly = read(transcript("One *line*.\nAnother.\n\n\n1. $5 to $6 \\(x\\)"))
    assert len(reader.of("p")) == 3  # and the footer
    assert len(reader.of("br")) == 1
    assert reader.text == "One *line*.Another.\n1. $5 to $6 \\(x\\)\na/b · 3\u00a0tokens · 1.2\u00a0s"
    assert plainly == "One *line*.\nAnother.\n\n\n1. $5 to $6 \\(x\\)\n\n[a/b · 3 tokens · 1.2 s]"


def test_long_lines_are_whole() -> None:
    assert read(transcript("word " * 5_000))[0].text.count("word") == 5_000


def test_the_times_are_folded() -> None:
    reader, plainly = read(
        transcript("x", segments=[SegmentStub(0, 3.24, "one <i>"), SegmentStub(59.96, 3675, "two")])
    )
    assert len(reader.of("details")) == len(reader.of("table")) == 1
    assert "0:00.00:03.2one <i>\n1:00.061:15.0two" in reader.text
    assert "2 segments" in reader.text
    assert "one" not in plainly


def test_very_many_segments_are_counted() -> None:
    reader, _ = read(transcript("x", segments=[SegmentStub(n, n + 1, "word") for n in range(2_100)]))
    assert len(reader.of("tr")) == 2_001
    assert "100 more in .segments" in reader.text


# --- untrusted words

HOSTILE = [
    *PAYLOADS.values(),
    '"><script>x</script>',
    "' onerror='x",
    "--> ]]> <!--",
    "\x1b[2J\u202e\ud83d",
    "a\0b",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_nobodys_words_become_anything_but_words(text: str, work_folder: Path) -> None:
    more = {"model": text, "notes": (text,)}
    result = images((3, 2), prompt=text, **more)
    result.images[0].revised_prompt = f"{text}, revised"
    results = [
        result,
        speech(text, voice=text, **more),
        transcript(text, source=text, language=text, segments=[SegmentStub(0, 1, text)], **more),
    ]
    for each in results:
        bundle = each._repr_mimebundle_()
        _, plainly = read(each)
        assert not re.search(r"(?<!<span>)(?:\$|&#36;)", re.sub(r'"[^"]*"', "", bundle["text/html"]))
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", plainly + bundle["text/html"]
        )
        assert bundle["text/html"].encode()
        repr(each)


def test_paragraphs_of_nothing() -> None:
    assert paragraphs("") == paragraphs(" \n\n ") == ""


def test_the_footer_is_that_of_an_answer() -> None:
    result = transcript("x")
    html = result.bundle(Footer(("a/b", "3 $"), ("cut < off",)))["text/html"]
    assert html.endswith("<p><sub><strong>⚠ cut &#60; off</strong> · a/b · 3 <span>&#36;</span></sub></p>")
    assert "<sub>" not in result.bundle(Footer())["text/html"]


# --- small words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1:00 min"), (185, "3:05 min"), (3785, "1:03:05 h")],
)
def test_times(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


@pytest.mark.parametrize(
    "result",
    [
        ImageResult(images=[ImageFile(data=png(2, 2, 3_000_000))], prompt="a kite", **CALL_FIELDS),
        SpeechResult(audio=b"ID3" + bytes(3_000_000), text="Hello", **CALL_FIELDS),
    ],
)
def test_media_are_copied_no_more_than_base64_must(result: ImageResult | SpeechResult) -> None:
    result.bundle(Footer())  # imports, and what else is done once
    tracemalloc.start()
    try:
        html = result.bundle(Footer())["text/html"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(html) > 4_000_000
    assert peak < 2.2 * len(html)
