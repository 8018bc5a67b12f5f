from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest
from media_samples import CALL_FIELDS, png, wav, webp

from puq_magics.api.types import Usage
from puq_magics.core.errors import ConfigurationError, InputError
from puq_magics.outputs.results import (
    INTERRUPTED,
    ChatResult,
    ImageFile,
    ImageResult,
    Result,
    SpeechResult,
    TranscriptResult,
)
from puq_magics.outputs.results.base import DisplayOnce
from puq_magics.prompts.template import fill_template as fill


@pytest.fixture
def result() -> ChatResult:
    return ChatResult(
        text="**Bold** words\x1b[31m and\n\nmore <script>",
        model="a/b",
        reasoning="thinking",
        finish_reason="stop",
        usage=Usage(1, 2, 3),
        latency=1.25,
        notes=("df: 20 of 10,000 rows",),
        messages=({"role": "user", "content": "hi"},),
        raw={"id": "x"},
    )


def test_attributes_of_a_real_answer(sandbox_shell: Any) -> None:
    result = sandbox_shell.run("%puq_chat -m sandbox/think hi").value
    assert result.text.startswith("*Scripted")
    assert result.reasoning.startswith("The user writes: hi")
    assert result.model == "sandbox/think"
    assert result.finish_reason == "stop"
    assert result.usage.total_tokens == result.usage.prompt_tokens + result.usage.completion_tokens > 0
    assert result.cost > 0
    assert 0 < result.time_to_first_token <= result.latency
    assert result.request_id.startswith("req_")
    assert result.raw["choices"][0]["message"]["content"] == result.text
    assert result.messages == ({"role": "user", "content": "hi"},)
    assert (result.status, result.interrupted, result.notes, result.alternatives) == ("", False, (), {})
    assert str(result) == result.text


def test_the_same_of_an_answer_in_one_piece(sandbox_shell: Any) -> None:
    result = sandbox_shell.run("%puq_chat --no-stream -m sandbox/think hi").value
    assert result.time_to_first_token is None
    assert result.latency > 0
    assert result.usage.total_tokens > 0
    assert result.request_id.startswith("req_")
    assert result.reasoning.startswith("The user writes: hi")


def test_it_is_the_value_of_its_cell(sandbox_shell: Any) -> None:
    ran = sandbox_shell.run("%puq_chat hi")
    number = sandbox_shell.ip.execution_count - 1
    names = sandbox_shell.names
    assert ran.value is names["_"] is names["Out"][number] is names["_puq"]


def test_it_is_shown_once_in_its_cell_and_again_in_later_ones(sandbox_shell: Any) -> None:
    ran = sandbox_shell.run("r = %puq_chat hi\nr")
    assert ran.out.count("## What arrived") == 1
    assert sandbox_shell.run("r").out.count("## What arrived") == 1


@pytest.mark.parametrize("live", ["True", "False"])
def test_it_is_shown_once_in_a_kernel(sandbox_kernel: Any, live: str) -> None:
    sandbox_kernel.run(f"%config PuqMagics.live = {live}")
    for code in ("%puq_chat hi", "r = %puq_chat hi\nr", "%%puq_chat\nhi"):
        cell = sandbox_kernel.run(code)
        assert "execute_result" not in cell.kinds
        assert cell.kinds.count("display_data") == 1
    for code in ("r", "_puq", "display(r)"):
        (bundle,) = sandbox_kernel.run(code).screen
        assert "What arrived" in bundle["text/plain"]


def test_loops_show_each_answer(sandbox_kernel: Any) -> None:
    cell = sandbox_kernel.run(
        "for word in ('one', 'two', 'three'):\n    r = %puq_chat -m sandbox/short {{word}}\nr"
    )
    assert [
        f"> {word}" in shown["text/plain"]
        for word, shown in zip(("one", "two", "three"), cell.screen, strict=True)
    ]
    assert len(cell.screen) == 3
    assert "> three" in sandbox_kernel.run("r").screen[0]["text/plain"]


def test_copies_of_what_was_painted_are_shown(sandbox_kernel: Any) -> None:
    """Made in the cell that painted it; they would never be shown if they took that with them."""
    sandbox_kernel.run(
        "import copy, dataclasses, pickle\nr = %puq_chat -m sandbox/short hi\n"
        "copies = [copy.copy(r), copy.deepcopy(r), pickle.loads(pickle.dumps(r)), dataclasses.replace(r)]"
    )
    for n in range(4):
        assert len(sandbox_kernel.run(f"copies[{n}]").screen) == 1
        assert sandbox_kernel.value(f"copies[{n}] == r") is True


@pytest.mark.parametrize("text", ["", "short", "x" * 1000, "a\nb\r\nc\u2028d\u0085e\x0bf", "\x1b[31mred"])
def test_its_repr_is_one_line(text: str) -> None:
    words = repr(ChatResult(text=text, model="a\n\u2028b", notes=("one\ntwo\u2028three\x85four",)))
    assert len(words.splitlines()) == 1
    assert "\x1b" not in words
    assert len(words) < 200


def test_copies_and_pickles_are_equal(result: ChatResult) -> None:
    for other in (copy.copy(result), copy.deepcopy(result), pickle.loads(pickle.dumps(result))):  # noqa: S301
        assert other == result
        assert other is not result


def test_whether_it_is_painted_is_no_part_of_it(result: ChatResult) -> None:
    other = dataclasses.replace(result)
    result.already_displayed = True
    assert other == result
    for copied in (copy.copy(result), dataclasses.replace(result), pickle.loads(pickle.dumps(result))):  # noqa: S301
        assert copied.already_displayed is False
    assert result.already_displayed


def test_its_bundle_is_safe(result: ChatResult) -> None:
    bundle = result._repr_mimebundle_(include=None, exclude=None)
    assert set(bundle) == {"text/markdown", "text/plain"}
    assert "<script" not in bundle["text/markdown"]
    assert "**Bold** words" in bundle["text/markdown"]
    assert "\x1b" not in bundle["text/plain"]
    assert bundle["text/plain"].endswith("[df: 20 of 10,000 rows · a/b · 3 tokens · 1.2 s]")


def test_it_is_displayed_unless_it_is_painted(result: ChatResult, shell: Any, capsys: Any) -> None:
    result.already_displayed = True
    result._ipython_display_()
    assert capsys.readouterr().out == ""
    result.already_displayed = False
    result._ipython_display_()
    assert "Bold" in capsys.readouterr().out


def test_a_terminal_shows_it_again_as_it_came(
    result: ChatResult, shell: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    result._ipython_display_()
    assert capsys.readouterr().out.startswith("\n\x1b[1mBold\x1b[0m words")
    result.display_now()
    assert capsys.readouterr().out.startswith("\x1b[1mBold\x1b[0m words")


@pytest.mark.parametrize(("words", "shown"), [("short", "short\n"), ("much " * 30, "\nmuch much")])
def test_a_terminal_wraps_what_is_longer_than_a_line(
    words: str, shown: str, shell: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Words(DisplayOnce):
        def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
            return {"text/plain": words.strip()}

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    Words()._ipython_display_()
    out = capsys.readouterr().out
    assert out.startswith(shown)
    assert max(map(len, out.splitlines())) < 80


def test_save_writes_the_models_own_words(result: ChatResult, tmp_path: Path) -> None:
    result.text = "Grüße 🎈\r\n\x1b[0m"
    path = result.save(tmp_path / "answer.md")
    assert path.read_bytes() == result.text.encode()
    assert result.save(str(tmp_path / "other.md")).name == "other.md"


def test_save_never_overwrites_without_force(result: ChatResult, tmp_path: Path) -> None:
    path = tmp_path / "answer.md"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists") as caught:
        result.save(path)
    assert "force=True" in caught.value.hint
    assert path.read_text() == "mine"
    result.save(path, force=True)
    assert path.read_text() == result.text


def test_save_says_where_it_cannot(result: ChatResult, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        result.save(tmp_path / "nowhere" / "answer.md")
    with pytest.raises(InputError):
        result.save(tmp_path)
    with pytest.raises(InputError, match="is a folder"):
        result.save(tmp_path, force=True)


def test_interrupted() -> None:
    assert ChatResult(text="", model="m", status=INTERRUPTED).interrupted
    assert not ChatResult(text="", model="m", status="incomplete").interrupted


# --- images, speech, transcripts


@dataclasses.dataclass(frozen=True)
class ImageLike:
    """As the client gives an image."""

    data: bytes
    revised_prompt: str = ""


@dataclasses.dataclass(frozen=True)
class SegmentStub:
    """As the client gives a part of a transcript."""

    start: float
    end: float
    text: str


def images(*data: bytes | ImageLike, prompt: str = "a red kite", **more: Any) -> ImageResult:
    return ImageResult(images=data or (png(30, 20),), prompt=prompt, **CALL_FIELDS | more)  # type: ignore[arg-type]


def speech(seconds: float = 1.5, **more: Any) -> SpeechResult:
    return SpeechResult(
        **CALL_FIELDS | {"audio": wav(seconds), "text": "Good morning.", "voice": "alloy"} | more
    )


def transcript(text: str = "Good morning.", **more: Any) -> TranscriptResult:
    return TranscriptResult(
        **CALL_FIELDS | {"text": text, "source": "talk.mp3", "segments": (SegmentStub(0, 1, text),)} | more
    )


ALL: dict[str, Result] = {"images": images(), "speech": speech(), "transcript": transcript()}


@pytest.mark.parametrize("name", ALL)
def test_media_are_copied_and_pickled_like_answers(name: str) -> None:
    result = ALL[name]
    result.already_displayed = True
    for other in (
        copy.copy(result),
        copy.deepcopy(result),
        dataclasses.replace(result),
        pickle.loads(pickle.dumps(result)),  # noqa: S301
    ):
        assert other == result
        assert other is not result
        assert not other.already_displayed
        assert other._repr_mimebundle_() == result._repr_mimebundle_()
    result.already_displayed = False


@pytest.mark.parametrize("name", ALL)
def test_media_are_shown_unless_they_are_painted(name: str, shell: Any, capsys: Any) -> None:
    result = copy.copy(ALL[name])
    result.already_displayed = True
    result._ipython_display_()
    assert capsys.readouterr().out == ""
    result.already_displayed = False
    result._ipython_display_()
    assert "[a/b · " in capsys.readouterr().out


@pytest.mark.parametrize("name", ALL)
def test_the_repr_of_media_is_one_line_without_bytes(name: str) -> None:
    words = repr(ALL[name])
    assert words.startswith(f"<{type(ALL[name]).__name__} '")
    assert len(words.splitlines()) == 1
    assert "\\x" not in words
    assert len(words) < 200
    assert "a/b" in words


def test_a_picture_knows_what_it_is() -> None:
    (picture,) = images(ImageLike(png(30, 20), "a kite, red")).images
    assert (picture.format, picture.width, picture.height) == ("png", 30, 20)
    assert (picture.type.mime, picture.type.extension) == ("image/png", ".png")
    assert (picture.prompt, picture.revised_prompt) == ("a red kite", "a kite, red")
    assert picture.data == png(30, 20)
    assert repr(picture) == f"<ImageFile 30 × 20 PNG, {len(picture.data)} bytes>"
    assert str(ImageFile(data=webp(512, 256))) == "512 × 256 WEBP"
    assert str(ImageFile(data=b"\xff\xd8\xff" + bytes(9))) == "JPEG"


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"<svg xmlns='x'/>", b"<html>", b'{"error": 1}', png(1, 1)[:4]]
)
def test_what_is_no_picture_is_none(data: bytes) -> None:
    with pytest.raises(InputError, match="not a PNG, JPEG or WebP"):
        images(data)


def test_words_of_images() -> None:
    assert str(images()) == "an image (30 × 20 PNG) of “a red kite”"
    assert str(images(png(3, 2), webp(4, 4))) == "2 images (3 × 2 PNG, 4 × 4 WEBP) of “a red kite”"
    assert fill("{{r}}", {"r": images()}).text == str(images())
    assert fill("{{r.images[0]}}", {"r": images()}).text == str(images())
    assert images().footer.facts == ("a/b", "30 × 20 PNG", "3 tokens", "1.2 s")
    assert images(png(3, 2), png(3, 2)).footer.facts[1:3] == ("2 images", "3 × 2 PNG")
    assert images(png(3, 2), webp(4, 4)).footer.facts[1:3] == ("2 images", "3 tokens")


def test_to_pil() -> None:
    """Pillow is not among the tests' own dependencies: whichever of the two is so here."""
    (picture,) = images().images
    try:
        import PIL  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigurationError, match="Pillow") as caught:
            picture.to_pil()
        assert "%pip install pillow" in caught.value.hint
        return
    assert picture.to_pil().size == (30, 20)
    with pytest.raises(InputError, match="cannot be decoded"):
        ImageFile(data=png(300, 300)[:60]).to_pil()


def test_without_pillow_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    monkeypatch.delitem(__import__("sys").modules, "PIL.Image", raising=False)
    with pytest.raises(ConfigurationError, match="Pillow") as caught:
        images().images[0].to_pil()
    assert "%pip install pillow" in caught.value.hint


def test_one_image_is_saved_under_its_name(tmp_path: Path) -> None:
    result = images()
    assert result.save(tmp_path / "kite.png") == [tmp_path / "kite.png"]
    assert (tmp_path / "kite.png").read_bytes() == png(30, 20)
    assert result.images[0].path == tmp_path / "kite.png"
    assert result.save(str(tmp_path / "other")) == [tmp_path / "other.png"]
    assert result.notes == ()


def test_several_images_are_numbered(tmp_path: Path) -> None:
    result = images(png(3, 2), webp(4, 4), png(5, 5))
    assert [path.name for path in result.save(tmp_path / "kite")] == [
        "kite-1.png",
        "kite-2.webp",
        "kite-3.png",
    ]
    assert [image.path for image in result.images] == [
        tmp_path / "kite-1.png",
        tmp_path / "kite-2.webp",
        tmp_path / "kite-3.png",
    ]
    assert (tmp_path / "kite-2.webp").read_bytes() == webp(4, 4)


def test_none_is_written_if_one_is_there(tmp_path: Path) -> None:
    result = images(png(3, 2), png(4, 4))
    (tmp_path / "kite-2.png").write_bytes(b"mine")
    for name in ("kite", "kite.png"):
        with pytest.raises(InputError, match=r"kite-2\.png exists"):
            result.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kite-2.png"]
    assert result.images[0].path is None
    result.save(tmp_path / "kite", force=True)
    assert (tmp_path / "kite-2.png").read_bytes() == png(4, 4)


def test_a_name_of_another_format_is_kept_and_noted(tmp_path: Path) -> None:
    result = images(notes=("first",))
    result.save(tmp_path / "kite.jpg")
    result.save(tmp_path / "kite.jpg", force=True)
    assert (tmp_path / "kite.jpg").read_bytes() == png(30, 20)
    assert result.notes == ("first", "kite.jpg holds PNG, whatever its name says")
    said = speech()
    said.save(tmp_path / "said.mp3")
    assert said.notes == ("said.mp3 holds WAV, whatever its name says",)
    assert "said.mp3 holds WAV" in said._repr_mimebundle_()["text/plain"]
    photo = images(b"\xff\xd8\xff" + bytes(9))
    photo.save(tmp_path / "photo.JPEG")
    assert photo.notes == ()


def test_speech() -> None:
    result = speech()
    assert (result.format, result.type.mime, result.duration, result.path) == ("wav", "audio/wav", 1.5, None)
    assert str(result) == result.text == fill("{{r}}", {"r": result}).text == "Good morning."
    assert result.footer.facts == ("a/b", "alloy", "1.5 s of WAV", "3 tokens", "1.2 s")
    assert speech(voice="", audio=b"fLaC").footer.facts[1] == "FLAC"
    with pytest.raises(InputError, match="no audio"):
        speech(audio=b"<html>")


def test_speech_that_was_written_as_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = speech(path=Path("said.mp3"))
    assert result.path == tmp_path / "said.mp3"
    assert result.notes == ("said.mp3 holds WAV, whatever its name says",)
    assert dataclasses.replace(result).notes == result.notes


def test_speech_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = speech()
    assert result.save("hello") == Path("hello.wav")
    assert result.path == tmp_path / "hello.wav"
    assert result.path.read_bytes() == result.audio
    with pytest.raises(InputError, match=r"hello\.wav exists"):
        result.save("hello")
    assert result.save("hello.wav", force=True) == Path("hello.wav")


def test_a_transcript(tmp_path: Path) -> None:
    result = transcript(language="english", duration=75.0)
    assert str(result) == result.text == fill("{{r.text}}", {"r": result}).text == "Good morning."
    assert result.footer.facts == (
        "a/b",
        "talk.mp3",
        "english",
        "1:15 min of audio",
        "3 tokens",
        "1.2 s",
    )
    assert result.save(tmp_path / "talk") == tmp_path / "talk.txt"
    assert (tmp_path / "talk.txt").read_text() == "Good morning."
    assert transcript(" ").footer.warnings == ("no text came",)


def test_what_is_too_large_for_a_display() -> None:
    result = images(png(3, 2, 400), png(3, 2), png(3, 2, 700), png(3, 2))
    result.max_embed_mb = 0.001
    assert [
        file is image for (file, *_), image in zip(result.oversized_files(), result.images[2:3], strict=True)
    ] == [True]
    assert len(images().oversized_files()) == 0
    assert len(speech(max_embed_mb=0.001).oversized_files()) == 1


def test_an_interrupted_one_says_so() -> None:
    result = speech(status=INTERRUPTED)
    assert result.interrupted
    assert result._repr_mimebundle_()["text/plain"].endswith(
        "[interrupted · a/b · alloy · 1.5 s of WAV · 3 tokens · 1.2 s]"
    )
