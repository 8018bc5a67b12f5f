from __future__ import annotations

import json
from email import message_from_bytes
from email.message import Message
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from media_samples import wav_of as wav

from puq_magics.core.errors import APIError, ConfigurationError, InputError, InvalidResponseError

pytestmark = pytest.mark.usefixtures("work_folder")
SOUND = wav(1, 2, 3)
HELLO_RESPONSE = {"text": "Hello there"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def form(heard: Any) -> dict[str, Message]:
    """The parts of a form, by their names."""
    head = f"Content-Type: {heard.headers['content-type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + heard.body).get_payload()
    assert isinstance(parts, list)
    return {str(part.get_param("name", header="content-disposition")): part for part in parts}  # type: ignore[union-attr]


def fields(heard: Any) -> dict[str, str]:
    return {name: str(part.get_payload()) for name, part in form(heard).items() if name != "file"}


def test_what_was_spoken_comes_back(media_shell: Any, work_folder: Path) -> None:
    media_shell.run("%puq_speak --save talk.wav -o spoken Hello there, all of you.")
    ran = media_shell.run("r = %puq_transcribe -o heard talk.wav")
    assert ran.out.startswith("Hello there, all of you.\n[")
    assert "talk.wav" in ran.out
    heard = media_shell.names["heard"]
    assert heard is media_shell.names["r"] is media_shell.names["_puq"]
    assert heard.text == "Hello there, all of you."
    assert "variable spoken" in media_shell.run("%puq_transcribe spoken").out
    media_shell.run("%puq_transcribe --response-format verbose_json spoken")
    (segment,) = media_shell.names["_puq"].segments
    assert (segment.start, segment.text) == (0.0, "Hello there, all of you.")
    assert media_shell.echoed_request("%puq_chat -m sandbox/echo Sum this up: {{heard.text}}")[
        "messages"
    ] == [{"role": "user", "content": "Sum this up: Hello there, all of you."}]


def test_only_what_was_set_is_sent_and_of_the_file_its_name(
    shell: Any, use_responses: Any, work_folder: Path
) -> None:
    (work_folder / "secret").mkdir()
    (work_folder / "secret" / "my talk.wav").write_bytes(SOUND)
    server = use_responses(HELLO_RESPONSE)
    shell.run("%puq_transcribe secret/my talk.wav")
    shell.run("%puq_transcribe -m c/d --language en --response-format verbose_json 'secret/my talk.wav'")
    assert [fields(heard) for heard in server.requests] == [
        {"model": "a/b"},
        {"model": "c/d", "language": "en", "response_format": "verbose_json"},
    ]
    for heard in server.requests:
        file = form(heard)["file"]
        assert file.get_filename() == "my talk.wav"
        assert file.get_payload(decode=True) == SOUND
        assert b"secret" not in heard.body


@pytest.mark.parametrize(
    "line",
    [
        "-o heard --language en talk - part 1.wav",
        "talk - part 1.wav -o heard --language en",
        "-o heard talk - part 1.wav --language en",
        "'talk - part 1.wav' -o heard --language=en",
        '--language en -o heard "talk - part 1.wav"',
        "-o heard --language en -- talk - part 1.wav",
    ],
)
def test_options_stand_before_or_behind_a_path_with_spaces(
    shell: Any, use_responses: Any, work_folder: Path, line: str
) -> None:
    (work_folder / "talk - part 1.wav").write_bytes(SOUND)
    server = use_responses(HELLO_RESPONSE)
    shell.run(f"%puq_transcribe {line}")
    assert fields(server.requests[0]) == {"model": "a/b", "language": "en"}
    assert form(server.requests[0])["file"].get_filename() == "talk - part 1.wav"
    assert shell.names["heard"].text == "Hello there"


def test_a_name_that_looks_like_options_wins_if_it_is_there(
    shell: Any, use_responses: Any, work_folder: Path
) -> None:
    (work_folder / "talk -o x").write_bytes(SOUND)
    server = use_responses(HELLO_RESPONSE)
    shell.run("%puq_transcribe talk -o x")
    assert form(server.requests[0])["file"].get_filename() == "talk -o x"
    assert "x" not in shell.names


def test_a_variable_by_its_name_and_which_was_taken(
    shell: Any, use_responses: Any, work_folder: Path
) -> None:
    server = use_responses(HELLO_RESPONSE)
    shell.run(f"talk = {SOUND!r}")
    assert "variable talk" in shell.run("%puq_transcribe talk").out
    (work_folder / "talk").write_bytes(wav(4))
    assert "the file talk was used, not the variable" in shell.run("%puq_transcribe talk").out
    shell.run("def f(local):\n    get_ipython().run_line_magic('puq_transcribe', 'local')\nf(talk)")
    sent = [form(heard)["file"].get_payload(decode=True) for heard in server.requests]
    assert sent == [SOUND, wav(4), SOUND]


def test_an_array_with_its_rate(shell: Any, use_responses: Any) -> None:
    server = use_responses(HELLO_RESPONSE)
    shell.run("import numpy as np\npair = (16_000, np.array([1, 2, 3], dtype='int16'))\n%puq_transcribe pair")
    assert form(server.requests[0])["file"].get_payload(decode=True) == SOUND
    error = shell.error("bare = pair[1]\n%puq_transcribe bare")
    assert "pair = (bare, 16000), then %puq_transcribe pair" in error.hint


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "there is nothing to transcribe"),
        ("-o heard", "there is nothing to transcribe"),
        ("missing.wav", "there is no file 'missing.wav'"),
        ("missing - part 1.wav", "there is no file 'missing - part 1.wav'"),
        ("missing", "neither a file nor a variable named 'missing'"),
        (".", "is a folder"),
        ("empty.wav", "is empty"),
        ("text.mp3", "is not audio that can be sent, but text"),
        ("number", "is an int, not audio"),
        ("talk.wav --langage en", "Did you mean --language?"),
        ("--response-format srt talk.wav", "invalid choice"),
        ("-n 1 talk.wav", "there is no option -n"),
        ("--save there.txt talk.wav", "there.txt exists"),
        ("talk.wav --save there", "there.txt exists"),
        ("--save missing/x.txt talk.wav", "there is no folder missing"),
        ('--save "" talk.wav', "'' is not the name of a file"),
        ("--save folder talk.wav", "folder is a folder"),
        ("talk.wav --save talk.wav", "talk.wav exists"),
        ("talk.wav --save ./talk.wav --force", "talk.wav is the recording itself"),
        ("path --save talk.wav --force", "talk.wav is the recording itself"),
        ("-dash.wav", "If it is a file, write ./-dash.wav"),
        ("song -live.wav", "there is no file 'song -live.wav'"),
        ("talk.wav -xyz", "there is no option -xyz"),
        ("number.real", "number is a variable: %puq_transcribe number"),
        ('"number"', "number is a variable: %puq_transcribe number"),
        ("--record talk.wav", "--record cannot be combined with talk.wav"),
        ("--record", "the recorder needs a notebook"),
    ],
)
def test_bad_input_is_an_error_before_anything_is_sent(
    shell: Any, use_responses: Any, work_folder: Path, line: str, said: str
) -> None:
    (work_folder / "talk.wav").write_bytes(SOUND)
    (work_folder / "empty.wav").touch()
    (work_folder / "text.mp3").write_text("Dear diary, these are only words.")
    (work_folder / "there.txt").write_text("mine")
    server = use_responses(HELLO_RESPONSE)
    (work_folder / "folder").mkdir()
    shell.run("number = 5\nfrom pathlib import Path\npath = Path('talk.wav')")
    error = shell.error(f"%puq_transcribe {line}")
    assert isinstance(error, InputError)
    assert said in str(error)
    assert error.hint
    assert server.requests == []
    assert (work_folder / "there.txt").read_text() == "mine"
    assert (work_folder / "talk.wav").read_bytes() == SOUND


@pytest.mark.parametrize("name", ["-dash.wav", "-old song.wav", "song -live.wav"])
@pytest.mark.parametrize("start", ["", "./"])
def test_a_file_whose_name_has_a_dash(
    shell: Any, use_responses: Any, work_folder: Path, name: str, start: str
) -> None:
    (work_folder / name).write_bytes(SOUND)
    server = use_responses(HELLO_RESPONSE)
    shell.run(f"%puq_transcribe {start}{name}")
    assert form(server.requests[0])["file"].get_filename() == name


@pytest.mark.parametrize(
    ("body", "words"), [(b'{"text": "Hello th', "Hello th"), (b"Hello \xf0\x9f", "Hello \ufffd")]
)
def test_the_words_of_an_answer_that_breaks_off_are_kept(
    shell: Any, serve: Any, work_folder: Path, body: bytes, words: str
) -> None:
    (work_folder / "talk.wav").write_bytes(SOUND)

    def _answer(connection: Any) -> None:
        connection.send_head(kind="text/plain", content_length=str(len(body) + 100))
        connection.send(body)

    shell.run(f"%config PuqMagics.base_url = {serve(_answer).url!r}")
    ran = shell.attempt("%puq_transcribe -m a/b talk.wav -o heard --save heard.txt")
    assert isinstance(ran.error, APIError)
    assert "The text that came is in _puq." in ran.error.hint
    assert "partial" not in str(ran.error)
    heard = shell.names["heard"]
    assert heard is shell.names["_puq"]
    assert (heard.text, heard.status) == (words, "incomplete")
    assert ran.out.startswith(words)
    assert not (work_folder / "heard.txt").exists()


def test_a_text_with_the_name_of_a_recording_is_noted(
    shell: Any, use_responses: Any, work_folder: Path
) -> None:
    (work_folder / "talk.wav").write_bytes(SOUND)
    use_responses(HELLO_RESPONSE)
    assert "words.mp3 holds text" in shell.run("%puq_transcribe talk.wav --save words.mp3").out


def test_without_a_model_the_error_says_how_to_name_one(sandbox_shell: Any, work_folder: Path) -> None:
    (work_folder / "talk.wav").write_bytes(SOUND)
    error = sandbox_shell.error("%puq_transcribe talk.wav")
    assert isinstance(error, ConfigurationError)
    assert "transcribe_model" in error.hint


@pytest.mark.parametrize("options", ["", "--response-format verbose_json", "--stream"])
@pytest.mark.parametrize(("name", "start"), [("talk.srt", "1\n00:00:0"), ("talk.vtt", "WEBVTT\n\n00:00:0")])
def test_subtitles_are_saved(
    media_shell: Any, work_folder: Path, name: str, start: str, options: str
) -> None:
    media_shell.run("%puq_speak -q --audio-format wav --save talk.wav Hello there. How are you?")
    ran = media_shell.run(f"%puq_transcribe {options} talk.wav --save {name}")
    saved = (work_folder / name).read_text()
    assert saved.startswith(start)
    assert " --> " in saved
    assert "Hello there." in ran.out
    assert f" · saved as {name} · " in ran.out


@pytest.mark.parametrize("requested", ["json", "text"])
def test_subtitles_need_times(media_shell: Any, sandbox: Any, work_folder: Path, requested: str) -> None:
    media_shell.run("%puq_speak -q --audio-format wav --save talk.wav Hello there.")
    before = len(sandbox.requests)
    error = media_shell.error(f"%puq_transcribe talk.wav --response-format {requested} --save talk.srt")
    assert f"subtitles need times, which {requested} does not have" in error.message
    assert len(sandbox.requests) == before


def test_a_transcript_without_times_is_not_lost(shell: Any, use_responses: Any, work_folder: Path) -> None:
    (work_folder / "talk.wav").write_bytes(wav())
    server = use_responses({"text": "Hello there."})
    error = shell.error("%puq_transcribe talk.wav --save talk.srt")
    assert "the router sent no times" in error.message
    assert "_puq" in error.hint
    assert shell.names["_puq"].text == "Hello there."
    assert b"verbose_json" in server.requests[0].body
    assert not (work_folder / "talk.srt").exists()


def test_the_text_is_saved(shell: Any, use_responses: Any, work_folder: Path) -> None:
    (work_folder / "talk.wav").write_bytes(SOUND)
    use_responses('{"text": "Grüße"}'.encode())
    shell.run("%puq_transcribe talk.wav --save words")
    assert (work_folder / "words.txt").read_text(encoding="utf-8") == "Grüße"
    (work_folder / "words.md").write_text("mine")
    shell.run("%puq_transcribe talk.wav --save words.md --force")
    assert (work_folder / "words.md").read_text(encoding="utf-8") == "Grüße"


def test_plain_text_is_an_answer_too(shell: Any, use_responses: Any, work_folder: Path) -> None:
    (work_folder / "talk.wav").write_bytes(SOUND)
    use_responses(b"Hello there\n", kind="text/plain")
    shell.run("r = %puq_transcribe talk.wav --response-format text -q")
    assert shell.names["r"].text == "Hello there"


def test_quiet_and_dry_run(shell: Any, use_responses: Any, work_folder: Path) -> None:
    (work_folder / "talk.wav").write_bytes(SOUND)
    server = use_responses(HELLO_RESPONSE)
    assert shell.run("r = %puq_transcribe -q talk.wav").out == ""
    out = shell.run(f"%puq_transcribe --dry-run --language en {work_folder}/talk.wav").out
    assert f"curl -N {server.url}/v1/audio/transcriptions " in out
    assert "language=en" in out
    assert "talk.wav: 50 bytes" in out
    assert str(work_folder) not in out
    assert len(server.requests) == 1


# --- as it comes ---------------------------------------------------------------------------------------------------


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


HELLO = sse(
    {"type": "transcript.text.delta", "delta": "Hello"},
    {"type": "transcript.text.segment", "id": "s", "start": 0, "end": 1.5, "text": "Hello", "duration": 4},
)
DONE = sse(
    {"type": "transcript.text.done", "text": "Hello there", "usage": {"type": "duration", "seconds": 4}}
)


def test_the_words_of_a_stream(media_shell: Any, work_folder: Path) -> None:
    media_shell.run("%puq_speak -q --save talk.wav Hello there. How are you?")
    ran = media_shell.run("r = %puq_transcribe --stream -o heard --save heard.txt talk.wav")
    assert ran.out.startswith("Hello there. How are you?\n[")
    assert ran.out.count("Hello there") == 1
    heard = media_shell.names["heard"]
    assert heard is media_shell.names["r"] is media_shell.names["_puq"]
    assert heard.text == (work_folder / "heard.txt").read_text() == "Hello there. How are you?"
    assert [segment.text for segment in heard.segments] == ["Hello there.", "How are you?"]
    assert 0 < heard.time_to_first_token <= heard.latency
    assert heard.usage.prompt_tokens > 0
    media_shell.run("%puq_transcribe talk.wav")
    whole = media_shell.names["_puq"]
    assert (whole.text, whole.usage, whole.cost) == (heard.text, heard.usage, heard.cost)


def test_that_it_streams_is_sent_and_shown_by_a_dry_run(
    shell: Any, use_responses: Any, work_folder: Path
) -> None:
    (work_folder / "talk.wav").write_bytes(SOUND)
    server = use_responses(HELLO + DONE, kind="text/event-stream")
    assert " stream=true " in shell.run("%puq_transcribe --dry-run --stream talk.wav").out
    assert server.requests == []
    shell.run("%puq_transcribe talk.wav --stream --language en")
    assert fields(server.requests[0]) == {"model": "a/b", "language": "en", "stream": "true"}
    assert (shell.names["_puq"].text, shell.names["_puq"].duration) == ("Hello there", 4)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"text": "Hello there"}', "application/json"),
        (b'   {"text": "Hello there"}', "application/json"),
        (b"Hello there\n", "text/plain"),
    ],
)
def test_a_router_that_does_not_stream(
    shell: Any, use_responses: Any, work_folder: Path, body: bytes, kind: str
) -> None:
    (work_folder / "talk.wav").write_bytes(SOUND)
    use_responses(body, kind=kind)
    ran = shell.run("%puq_transcribe --stream talk.wav")
    assert ran.out.startswith("Hello there\n[a/b")
    assert ran.out.count("Hello there") == 1
    assert shell.names["_puq"].text == "Hello there"


@pytest.mark.parametrize(
    ("end", "said"),
    [(b"", "ended before it was finished"), (sse({"error": "the engine ended by signal 9"}), "by signal 9")],
)
def test_the_words_of_a_stream_that_breaks_off_are_kept(
    shell: Any, use_responses: Any, work_folder: Path, end: bytes, said: str
) -> None:
    (work_folder / "talk.wav").write_bytes(SOUND)
    use_responses(HELLO + end, kind="text/event-stream")
    ran = shell.attempt("%puq_transcribe --stream talk.wav -o heard --save heard.txt")
    assert isinstance(ran.error, APIError)
    assert said in str(ran.error)
    assert ran.error.partial == "Hello"
    assert "The text that came is in _puq." in ran.error.hint
    heard = shell.names["heard"]
    assert heard is shell.names["_puq"]
    assert (heard.text, heard.status, heard.segments[0].end) == ("Hello", "incomplete", 1.5)
    assert ran.out.startswith("Hello\n")
    assert not (work_folder / "heard.txt").exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"", ""), (b": PROCESSING\n\n", "holds no text"), (b'{"error": "no ears left"}', "no ears left")],
)
def test_streams_without_words(
    shell: Any, use_responses: Any, work_folder: Path, body: bytes, said: str
) -> None:
    (work_folder / "talk.wav").write_bytes(SOUND)
    use_responses(body, kind="text/event-stream")
    error = shell.error("%puq_transcribe talk.wav --stream -o heard")
    assert isinstance(error, InvalidResponseError)
    assert said in str(error)
    assert "heard" not in shell.names


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", ""),
        (b'{"words": 5}', "holds no text"),
        (b'{"error": "no ears left"}', "no ears left"),
        (b"<html><title>Down</title></html>", "Down"),
    ],
)
def test_answers_without_words(
    shell: Any, use_responses: Any, work_folder: Path, body: bytes, said: str
) -> None:
    (work_folder / "talk.wav").write_bytes(SOUND)
    use_responses(body)
    error = shell.error("%puq_transcribe talk.wav -o heard --save heard.txt")
    assert isinstance(error, InvalidResponseError)
    assert said in str(error)
    assert "heard" not in shell.names
    assert not (work_folder / "heard.txt").exists()


def test_a_sound_that_the_sandbox_did_not_make(media_shell: Any, work_folder: Path) -> None:
    (work_folder / "talk.wav").write_bytes(SOUND)
    ran = media_shell.attempt("%puq_transcribe talk.wav")
    words = str(ran.error) if isinstance(ran.error, APIError) else media_shell.names["_puq"].text
    assert "recogniser" in words


def test_help_has_the_options_and_an_example(shell: Any) -> None:
    words = shell.run("%puq_transcribe?").out
    assert "--response-format" in words
    assert "For example:\n\n    %puq_transcribe " in words


# --- in a notebook -------------------------------------------------------------------------------------------------


def test_a_transcript_in_a_notebook(sandbox_kernel: Any) -> None:
    sandbox_kernel.run("%puq_speak -q -o talk Two < three, they say.")
    cell = sandbox_kernel.run("%puq_transcribe talk --response-format verbose_json")
    (bundle,) = cell.screen
    assert "<p>Two < three, they say.</p>" in unescape(bundle["text/html"])
    assert "Two <" not in bundle["text/html"]
    assert bundle["text/plain"].startswith("Two < three, they say.")
    assert cell.contents("execute_result") == []


def test_a_recording_goes_the_same_way(sandbox_kernel: Any) -> None:
    sandbox_kernel.run("%puq_speak -q -o talk Hello, recorder.")
    cell = sandbox_kernel.run("%puq_transcribe --record -o heard")
    assert cell.reply["status"] == "ok"
    assert any(WIDGET_VIEW in bundle for bundle in cell.screen)
    taken = sandbox_kernel.run(recorder_of(cell) + "recorder._handle_recording(talk.audio, 'audio/wav')")
    assert taken.reply["status"] == "ok"
    assert sandbox_kernel.value("[heard.text, _puq is heard, recorder.state, recorder.message]") == [
        "Hello, recorder.",
        True,
        "done",
        "Transcribed; the text is in _puq.text and heard.text.",
    ]
    assert any("Hello, recorder." in json.dumps(bundle) for bundle in taken.screen)
    (bundle,) = sandbox_kernel.run("heard").contents("display_data")
    assert "Hello, recorder." in bundle["data"]["text/plain"]


def recorder_of(cell: Any) -> str:
    """Return code that assigns the recorder that the cell shows to ``recorder``."""
    (view,) = [bundle[WIDGET_VIEW] for bundle in cell.screen if WIDGET_VIEW in bundle]
    return f"from ipywidgets.widgets.widget import _instances\nrecorder = _instances[{view['model_id']!r}]\n"


def test_a_recording_that_fails_is_told_by_the_recorder(sandbox_kernel: Any) -> None:
    cell = sandbox_kernel.run("%puq_transcribe --record")
    sandbox_kernel.run(recorder_of(cell) + "recorder._handle_recording(b'what is this?', 'audio/odd')")
    state, words = sandbox_kernel.value("[recorder.state, recorder.message]")
    assert state == "failed"
    assert words.startswith("the recording (audio/odd) cannot be sent: the data is not audio")
    kept = Path(words.rpartition("The recording is saved: %puq_transcribe ")[2])
    assert kept.read_bytes() == b"what is this?"
    kept.unlink()


def test_the_text_of_each_recording_has_a_file_of_its_own(sandbox_kernel: Any) -> None:
    sandbox_kernel.run("%puq_speak -q -o one One.\n%puq_speak -q -o two Two.")
    cell = sandbox_kernel.run("%puq_transcribe --record --save words.txt")
    sandbox_kernel.run(
        recorder_of(cell)
        + "recorder._handle_recording(one.audio, 'audio/wav')\nrecorder._handle_recording(two.audio, 'audio/wav')"
    )
    assert sandbox_kernel.value("recorder.message").endswith("in _puq.text and words-2.txt.")
    assert (sandbox_kernel.folder / "words.txt").read_text(encoding="utf-8") == "One."
    assert (sandbox_kernel.folder / "words-2.txt").read_text(encoding="utf-8") == "Two."
    assert (
        "words.txt exists" in sandbox_kernel.run("%puq_transcribe --record --save words.txt").error["evalue"]
    )
    cell = sandbox_kernel.run("%puq_transcribe --record --save words.txt --force")
    sandbox_kernel.run(recorder_of(cell) + "recorder._handle_recording(two.audio, 'audio/wav')")
    assert (sandbox_kernel.folder / "words.txt").read_text(encoding="utf-8") == "Two."


def test_an_interrupted_recording_is_kept(sandbox_kernel: Any) -> None:
    cell = sandbox_kernel.run("%puq_speak -q -o talk Hello, recorder.\n%puq_transcribe --record")
    sandbox_kernel.run("from unittest.mock import patch\n" + recorder_of(cell))
    sandbox_kernel.run(
        "with patch('puq_magics.api.client.Router.transcribe', side_effect=KeyboardInterrupt):\n"
        "    recorder._handle_recording(talk.audio, 'audio/wav')"
    )
    state, words = sandbox_kernel.value("[recorder.state, recorder.message]")
    assert state == "failed"
    assert words.startswith("Interrupted. The recording is saved: %puq_transcribe ")
    kept = Path(words.rpartition(" ")[2])
    assert sandbox_kernel.value(f"open({str(kept)!r}, 'rb').read() == talk.audio")
    kept.unlink()


def test_a_recorder_asks_first_for_what_would_be_missing_later(fresh_kernel: Any) -> None:
    fresh_kernel.run("%config PuqMagics.base_url = 'http://127.0.0.1:9'")
    cell = fresh_kernel.run("%puq_transcribe --record")
    assert cell.error["ename"] == "ConfigurationError"
    assert cell.screen == []
    cell = fresh_kernel.run("%puq_transcribe --record -m a/b -q")
    assert cell.error["ename"] == "InputError"


def test_prompt_temperature_and_further_fields_are_sent(
    shell: Any, use_responses: Any, work_folder: Path
) -> None:
    server = use_responses({"text": "hi"})
    (work_folder / "a.wav").write_bytes(wav())
    shell.run("names = 'Ada, Menabrea'")
    shell.run(
        "%puq_transcribe --prompt 'talk of {{names}}' -t 0.2 --param timestamp_granularities='[\"word\"]' a.wav"
    )
    sent = fields(server.requests[0])
    assert (sent["prompt"], sent["temperature"]) == ("talk of Ada, Menabrea", "0.2")
    assert sent["timestamp_granularities[]"] == "word"
    assert "option" in str(shell.error("%puq_transcribe --param prompt=x a.wav"))
