from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from html import unescape
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from media_samples import wav_of as wav

from puq_magics.core.errors import InputError, InvalidResponseError, MissingVariableError, RateLimitError


def as_streamed_wav(data: bytes) -> bytes:
    """As a server sends WAV that does not know its length."""
    return data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4 + data[44:]


TIMEOUT = 30.0  # seconds
FLAC = b"fLaC\0\0\0\x22" + bytes(200)
MP3 = b"\xff\xfb\x90\x00" + bytes(413)
SENTENCE = "This is a sentence that is some fifty characters long. "


pytestmark = pytest.mark.usefixtures("work_folder")
UseResponses = Callable[..., Any]


@pytest.fixture
def use_responses(shell: Any, use_responses: UseResponses) -> UseResponses:
    """Extend the shared fixture: bodies are WAV, long texts are split, calls are not retried."""
    shell.run("%config PuqMagics.max_speech_chars = 100\n%config PuqMagics.max_retries = 0")
    return partial(use_responses, kind="audio/wav")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_speech_is_saved_and_told_in_a_terminal_and_is_the_value(media_shell: Any, work_folder: Path) -> None:
    ran = media_shell.run("r = %puq_speak -o talk Hello there")
    assert ran.out.startswith("saved puq_media/hello-there-1.")
    talk = media_shell.names["talk"]
    assert media_shell.names["r"] is talk is media_shell.names["_puq"]
    assert talk.text == "Hello there"
    assert (work_folder / "puq_media" / f"hello-there-1.{talk.format}").read_bytes() == talk.audio
    assert talk.duration > 0.2


def test_only_what_was_set_is_sent(shell: Any, use_responses: UseResponses) -> None:
    server = use_responses(wav(1))
    shell.run("who = 'Ann'\n%puq_speak Hello {{who}}, how are you?")
    shell.run("%puq_speak --voice alloy --speed 1.5 --audio-format wav --raw Hello {{who}}")
    shell.run("%config PuqMagics.voice = 'nova'\n%puq_speak -m c/d Hello")
    shell.run("%%puq_speak e/f --speed 2\nHello\n\nyou")
    assert [heard.json for heard in server.requests] == [
        {"model": "a/b", "input": "Hello Ann, how are you?"},
        {"model": "a/b", "input": "Hello {{who}}", "voice": "alloy", "speed": 1.5, "response_format": "wav"},
        {"model": "c/d", "input": "Hello", "voice": "nova"},
        {"model": "e/f", "input": "Hello\n\nyou", "voice": "nova", "speed": 2.0},
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "the prompt is empty"),
        ("--voice alloy", "the prompt is empty"),
        ("{{nothing}}", "the text is empty after its variables are substituted"),
        ("{{nobody}}", "nobody"),
        ("--speed 0 Hello", "'0' is not a speed above 0"),
        ("--speed fast Hello", "'fast' is not a number"),
        ("--audio-format midi Hello", "invalid choice"),
        ("--size 1x1 Hello", "there is no option --size"),
        ("--save missing/x.wav Hello", "there is no folder missing"),
        ("--save there.wav Hello", "there.wav exists"),
        ("--save there Hello", "there.wav exists"),
        ("--save there Hello", "Name another; or --force replaces it"),
        ('--save "" Hello', "'' is not the name of a file"),
        ('--save "sub dir" Hello', "sub dir is a folder"),
        ("--save ~ Hello", "is a folder"),
        ("--save /dev/null --force Hello", "/dev/null is not an ordinary file"),
        (f"--audio-format flac {SENTENCE * 4}", "parts of FLAC cannot be joined. Ask for --audio-format wav"),
    ],
)
def test_bad_input_is_an_error_before_anything_is_sent(
    shell: Any, use_responses: UseResponses, work_folder: Path, line: str, said: str
) -> None:
    (work_folder / "there.wav").write_bytes(b"mine")
    (work_folder / "sub dir").mkdir()
    shell.run("nothing = '  '")
    server = use_responses(wav(1))
    error = shell.error(f"%puq_speak {line}")
    assert isinstance(error, InputError | MissingVariableError)
    assert said in str(error)
    assert server.requests == []
    assert files(work_folder) == ["sub dir", "there.wav"]


def test_a_router_that_knows_no_such_voice(media_shell: Any, work_folder: Path) -> None:
    error = media_shell.error("%puq_speak --voice nobody --save x Hello")
    assert error.status in (400, 422)
    assert files(work_folder) == []
    media_shell.run("%puq_speak Hello\nusage = %puq_usage -q")
    total = media_shell.names["usage"].total
    assert (total.calls, total.failures, total.characters) == (2, 1, 5)


def test_a_dry_run_tells_the_parts_and_sends_nothing(shell: Any, use_responses: UseResponses) -> None:
    server = use_responses(wav(1))
    out = shell.run(f"%puq_speak --dry-run --voice alloy {SENTENCE * 2}Last.").out
    assert f"\n\ncurl -N {server.url}/v1/audio/speech " in out
    assert "in 2 requests like this" in out
    assert "part 2: " in out
    assert server.requests == []


# --- files ---------------------------------------------------------------------------------------------------------


def test_speech_is_saved_under_its_name(shell: Any, use_responses: UseResponses, work_folder: Path) -> None:
    use_responses(wav(1, 2))
    assert shell.run("%puq_speak --save talk Hello").out.startswith("saved talk.wav (")
    assert (work_folder / "talk.wav").read_bytes() == wav(1, 2)
    (work_folder / "mine.wav").write_bytes(b"mine")
    shell.run("%puq_speak --save mine.wav --force Hello")
    assert (work_folder / "mine.wav").read_bytes() == wav(1, 2)
    assert files(work_folder) == ["mine.wav", "talk.wav"]


def test_a_file_that_appeared_meanwhile_is_left_alone(
    shell: Any, serve: Any, monkeypatch: pytest.MonkeyPatch, work_folder: Path
) -> None:
    def answer(connection: Any) -> None:
        (work_folder / "talk.wav").write_bytes(b"mine")
        connection.send_head(kind="audio/wav")
        connection.send(wav(1, 2))

    monkeypatch.setenv("PUQ_BASE_URL", serve(answer).url)
    error = shell.error("%puq_speak -m a/b -o talk --save talk.wav Hello")
    assert isinstance(error, InputError)
    assert "exists" in str(error)
    assert "The audio is in _puq" in error.hint
    assert (work_folder / "talk.wav").read_bytes() == b"mine"
    assert shell.names["_puq"].audio == shell.names["talk"].audio == wav(1, 2)


def test_a_file_has_what_came_before_the_rest_has_come(
    shell: Any, serve: Any, monkeypatch: pytest.MonkeyPatch, work_folder: Path
) -> None:
    seen: list[tuple[str, bytes]] = []

    def answer(connection: Any) -> None:
        connection.send_head(kind="audio/wav")
        connection.send(wav(*range(100)))
        end = monotonic() + TIMEOUT
        while not (found := [path for path in work_folder.iterdir() if path.stat().st_size >= 244]):
            assert monotonic() < end
        seen.extend((path.name, path.read_bytes()) for path in found)
        connection.send(bytes(100))

    monkeypatch.setenv("PUQ_BASE_URL", serve(answer).url)
    shell.run("%puq_speak -m a/b --save talk.wav Hello")
    ((name, data),) = seen
    assert name != "talk.wav"
    assert data == wav(*range(100))
    assert files(work_folder) == ["talk.wav"]


def test_a_wav_without_its_length_is_saved_with_it(
    shell: Any, use_responses: UseResponses, work_folder: Path
) -> None:
    use_responses(as_streamed_wav(wav(1, 2, 3)))
    shell.run("%puq_speak --save talk.wav Hello")
    assert (work_folder / "talk.wav").read_bytes() == shell.names["_puq"].audio == wav(1, 2, 3)


# --- long texts ----------------------------------------------------------------------------------------------------


def test_a_wav_that_is_cut_is_told_and_stays_as_it_came(
    shell: Any, use_responses: UseResponses, work_folder: Path
) -> None:
    cut = wav(*range(50))[:-40]
    use_responses(cut)
    ran = shell.run("%puq_speak --save talk.wav -o talk Hello")
    talk = shell.names["talk"]
    assert (talk.audio, talk.status) == (cut, "incomplete")
    assert (work_folder / "talk.wav").read_bytes() == cut
    assert "the audio is cut: 40 bytes that its head tells of did not come" in ran.out


@pytest.mark.parametrize("head", [wav(), as_streamed_wav(wav()), wav(1, 2)[:44]])
def test_a_head_alone_is_no_sound(
    shell: Any, use_responses: UseResponses, work_folder: Path, head: bytes
) -> None:
    use_responses(head)
    error = shell.error("%puq_speak --save talk.wav -o talk Hello")
    assert isinstance(error, InvalidResponseError)
    assert "no sound came" in str(error)
    assert files(work_folder) == []
    assert "talk" not in shell.names


def test_a_long_text_is_split_and_its_parts_are_one(
    shell: Any, use_responses: UseResponses, work_folder: Path
) -> None:
    server = use_responses(as_streamed_wav(wav(1, 2)), as_streamed_wav(wav(3)), wav(4, 5, 6))
    shell.run(f"%puq_speak --voice alloy --save talk -o talk {SENTENCE * 3}")
    assert [heard.json["input"] for heard in server.requests] == [SENTENCE.strip()] * 3
    assert {heard.json["voice"] for heard in server.requests} == {"alloy"}
    assert shell.names["talk"].audio == wav(1, 2, 3, 4, 5, 6)
    assert shell.names["talk"].text == (SENTENCE * 3).strip()
    assert (work_folder / "talk.wav").read_bytes() == wav(1, 2, 3, 4, 5, 6)
    assert files(work_folder) == ["talk.wav"]


def test_parts_of_mp3_are_one(shell: Any, use_responses: UseResponses, work_folder: Path) -> None:
    use_responses(b"ID3\4\0\0\0\0\0\2xx" + MP3, MP3 + MP3, kind="audio/mpeg")
    shell.run(f"%puq_speak --save talk {SENTENCE * 2}")
    assert (work_folder / "talk.mp3").read_bytes() == shell.names["_puq"].audio == MP3 * 3


def test_a_long_text_comes_back_whole(media_shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUQ_TRANSCRIBE_MODEL", "sandbox/whisper")
    media_shell.run("%config PuqMagics.max_speech_chars = 100")
    text = "First of all, hello. Then there is more to say, which takes a while. 'Third,' she said, 'is late.' Bye!"
    media_shell.run(f"%%puq_speak -o talk\n{text}")
    media_shell.run("%puq_transcribe talk")
    assert media_shell.names["_puq"].text.split() == text.split()


def test_what_a_failed_part_leaves(shell: Any, use_responses: UseResponses, work_folder: Path) -> None:
    use_responses(wav(1), wav(2), ("429 Too Many Requests", {"error": "enough"}))
    ran = shell.attempt(f"%puq_speak -o talk --save talk.wav {SENTENCE * 3}")
    error, talk = ran.error, shell.names["talk"]
    assert isinstance(error, RateLimitError)
    assert "What was spoken is in _puq" in error.hint
    assert talk.audio == wav(1, 2)
    assert talk.status == "incomplete"
    assert "2 of 3 parts were spoken" in talk.notes
    assert "talk.wav" not in files(work_folder)


def test_flac_in_parts_stops_after_the_first(shell: Any, use_responses: UseResponses) -> None:
    server = use_responses(FLAC, kind="audio/flac")
    error = shell.attempt(f"%puq_speak -o talk {SENTENCE * 3}").error
    assert isinstance(error, InvalidResponseError)
    assert "FLAC cannot be joined" in str(error)
    assert "--audio-format wav" in error.hint
    assert len(server.requests) == 1
    assert shell.names["talk"].audio == FLAC


@pytest.mark.parametrize("other", [wav(2, rate=8_000), MP3, b"OggS" + bytes(100)])
def test_a_part_that_does_not_fit_is_kept_in_a_file(
    shell: Any, use_responses: UseResponses, work_folder: Path, other: bytes
) -> None:
    use_responses(wav(1), other, wav(3))
    error = shell.attempt(f"%puq_speak -o talk --save talk.wav {SENTENCE * 3}").error
    assert isinstance(error, InvalidResponseError)
    assert "part 2 has another format, rate or number of channels" in str(error)
    assert shell.names["talk"].audio == wav(1)
    (kept,) = (work_folder.parent / "kept").iterdir()
    assert kept.read_bytes() == other
    assert str(kept) in error.hint
    assert "talk.wav" not in files(work_folder)


# --- answers that are none -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said", "ending"),
    [
        (b"", "the answer is empty", ""),
        (b'{"error": {"message": "no voice left"}}', "JSON where audio should be: no voice left", ".json"),
        (b"<html><title>Down</title></html>", "HTML where audio should be", ".txt"),
        (
            b"Sorry, not today, and not tomorrow either, nor on any other day of this year.",
            "text where audio",
            ".txt",
        ),
        (b"\x00\x01\x02" * 50, "not audio that can be played (audio/wav)", ".bin"),
    ],
)
def test_what_is_no_audio_is_an_error_and_is_kept(
    shell: Any, use_responses: UseResponses, work_folder: Path, body: bytes, said: str, ending: str
) -> None:
    use_responses(body)
    error = shell.error("%puq_speak -o talk --save talk.wav Hello")
    assert isinstance(error, InvalidResponseError)
    assert said in str(error)
    kept = list((work_folder.parent / "kept").iterdir())
    assert [path.read_bytes() for path in kept] == ([body] if body else [])
    assert all(path.suffix == ending and str(path) in error.hint for path in kept)
    assert files(work_folder) == []
    assert "talk" not in shell.names


def test_a_cut_answer_keeps_what_came(
    shell: Any, serve: Any, monkeypatch: pytest.MonkeyPatch, work_folder: Path
) -> None:
    def answer(connection: Any) -> None:
        connection.send_head(kind="audio/wav", Content_Length="1000")
        connection.send(wav(*range(50)))

    monkeypatch.setenv("PUQ_BASE_URL", serve(answer).url)
    ran = shell.attempt("%puq_speak -m a/b -o talk --save talk.wav Hello")
    assert "What was spoken is in _puq" in str(ran.error)
    assert shell.names["talk"].audio == wav(*range(50))
    assert "talk.wav" not in files(work_folder)
    assert "incomplete" in ran.out


def test_where_nothing_can_be_played_the_result_says_so(shell: Any, use_responses: UseResponses) -> None:
    use_responses(wav(1, 2))
    assert "not played: a terminal has no player" in shell.run("%puq_speak --autoplay -o talk Hello").out
    shell.run("%puq_speak --autoplay -q -o talk Hello")
    assert shell.names["talk"].notes == ("not played: -q shows no player",)
    shell.run("%puq_speak -q -o talk Hello")
    assert shell.names["talk"].notes == ()


def test_help_has_the_options_and_an_example(shell: Any) -> None:
    words = shell.run("%puq_speak?").out
    assert "--audio-format" in words
    assert "For example:\n\n    %puq_speak " in words


def test_the_examples_of_the_help_page_and_of_the_readme_work(media_shell: Any, work_folder: Path) -> None:
    page = media_shell.run("%puq_speak?").out
    readme = Path(__file__).parents[2].joinpath("README.md").read_text("utf-8")
    (row,) = re.findall(r"^\| `%%puq_speak`.*", readme, re.MULTILINE)
    examples = re.findall(r"^    (%puq_speak .*)", page, re.MULTILINE)
    for example in (*examples, f"%puq_speak {' '.join(re.findall('`(--.*?)`', row))} Hello"):
        assert "whatever its name says" not in media_shell.run(example).out
    assert files(work_folder) == ["hello.wav", "puq_media", "talk.wav"]


def test_a_player_in_a_notebook(sandbox_kernel: Any) -> None:
    cell = sandbox_kernel.run("%puq_speak -o talk Hello <b>you</b>")
    (bundle,) = cell.screen
    assert "<audio controls" in bundle["text/html"]
    assert "data:audio/" in bundle["text/html"]
    assert "<b>" not in bundle["text/html"]
    assert "Hello" in bundle["text/plain"]
    assert cell.contents("execute_result") == []


def test_a_notebook_plays_at_once_or_says_why_not(sandbox_kernel: Any) -> None:
    assert "not played" not in sandbox_kernel.run("%puq_speak --autoplay Hello").screen[-1]["text/html"]
    sandbox_kernel.run("%config PuqMagics.live = False")
    (bundle,) = sandbox_kernel.run("%puq_speak --autoplay Hello").screen
    assert "not played: displays are not updated" in unescape(bundle["text/html"])


def test_what_is_too_large_for_a_notebook_is_saved_beside_it(sandbox_kernel: Any) -> None:
    sandbox_kernel.run("%config PuqMagics.max_embed_mb = 0.001")
    (bundle,) = sandbox_kernel.run("%puq_speak -o talk A large greeting").screen
    assert "data:audio/" not in bundle["text/html"]
    path = Path(sandbox_kernel.value("str(talk.path)"))
    assert path.parent == sandbox_kernel.folder
    assert path.name in bundle["text/html"]
    assert path.stat().st_size == sandbox_kernel.value("len(talk.audio)")


def test_instructions_and_further_fields_are_sent(shell: Any, use_responses: Any) -> None:
    server = use_responses(wav(1), kind="audio/wav")
    shell.run("mood = 'slowly'")
    shell.run("%puq_speak --instructions 'speak {{mood}}' --param seed=7 Hello")
    asked = server.requests[0].json
    assert (asked["instructions"], asked["seed"]) == ("speak slowly", 7)
    assert "option" in str(shell.error("%puq_speak --param voice=x Hello"))
