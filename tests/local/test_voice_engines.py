"""The engines that speak and hear, with their real models: what one says the other understands."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import wave
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests

from puq_magics.sandbox import Sandbox
from puq_magics.sandbox.local.speech_engine import VOICES

HIBARI, WHISPER = "local/hibari", "local/whisper-tiny.en"
SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "Most of the museum is closed on Monday morning.",
    "Please bring a pencil and some paper to the library.",
)
TEXT = " ".join(SENTENCES)


class SandboxClient:
    """Asks a sandbox with real models."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Token {sandbox.token}"

    def speak(self, text: str = TEXT, **fields: Any) -> requests.Response:
        body = {"model": HIBARI, "input": text, **fields}
        url = f"{self.sandbox.base_url}/v1/audio/speech"
        return self.session.post(url, json=body, timeout=120, stream=True)

    def hear(self, audio: bytes, name: str = "talk.mp3", **fields: str) -> requests.Response:
        url = f"{self.sandbox.base_url}/v1/audio/transcriptions"
        form = {"model": WHISPER, **fields}
        return self.session.post(url, data=form, files={"file": (name, audio)}, timeout=120, stream=True)


@pytest.fixture(scope="module")
def client(weights: Path) -> Iterator[SandboxClient]:
    with Sandbox(pace=0, local=True) as sandbox:
        client = SandboxClient(sandbox)
        yield client
        client.session.close()


@pytest.fixture(scope="module")
def spoken(client: SandboxClient) -> bytes:
    return client.speak().content


def words(text: str) -> list[str]:
    return "".join(sign for sign in text.lower() if sign.isalpha() or sign == " ").split()


def events(answer: requests.Response) -> Iterator[Any]:
    """The events of a stream; between them, on a busy machine, there are comments that keep it alive."""
    return (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith(b"data: "))


def errors(heard: str, said: str = TEXT) -> int:
    """Words that must be put in, left out or changed to make one of the other."""
    here, there = words(heard), words(said)
    row = list(range(len(there) + 1))
    for i, word in enumerate(here, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(there, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def engine(name: str) -> psutil.Process:
    (process,) = [
        each for each in psutil.Process().children() if f"{name}_engine" in " ".join(each.cmdline())
    ]
    return process


@pytest.mark.parametrize("voice", VOICES)
def test_every_voice_is_understood(client: SandboxClient, voice: str) -> None:
    answer = client.speak(voice=voice)
    assert answer.headers["Content-Type"] == "audio/mpeg"
    heard = client.hear(answer.content).json()
    assert errors(heard["text"]) <= 2, heard["text"]


def test_the_voices_differ_and_stay_the_same(client: SandboxClient) -> None:
    assert client.speak("Hello.").content == client.speak("Hello.", voice="alloy").content
    assert len({client.speak("Hello.", voice=voice).content for voice in VOICES}) == len(VOICES)


@pytest.mark.parametrize("kind", ["wav", "opus", "flac"])
def test_other_formats_are_spoken_and_heard(client: SandboxClient, kind: str) -> None:
    import soundfile

    audio = client.speak(response_format=kind).content
    sound, rate = soundfile.read(io.BytesIO(audio)) if kind != "wav" else (np.zeros(0), 24_000)
    assert rate in (24_000, 48_000)
    heard = client.hear(audio, f"talk.{kind}", response_format="verbose_json").json()
    assert errors(heard["text"]) <= 1, heard["text"]
    assert kind == "wav" or heard["duration"] == pytest.approx(len(sound) / rate, abs=0.1)


def test_a_sentence_leaves_as_soon_as_it_is_spoken(client: SandboxClient) -> None:
    pieces = list(client.speak().raw.read_chunked())
    assert len(pieces) == len(SENTENCES) + 1  # and what the encoder still had
    assert all(len(piece) > 8_000 for piece in pieces[:-1])  # a second each, at least


def test_how_fast(client: SandboxClient) -> None:
    slow, usual, fast = (
        len(client.speak(speed=speed, response_format="wav").content) for speed in (0.5, 1, 2)
    )
    assert 1.6 * usual < slow
    assert fast < 0.7 * usual


def test_the_longest_text_without_a_full_stop(client: SandboxClient) -> None:
    answer = client.speak("word " * 819, response_format="wav", speed=4)
    assert len(answer.content) > 60 * 48_000
    assert engine("speech").memory_info().rss < 400e6


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": "你好,世界。"}, "letters that the voice cannot say"),
        ({"text": "🙂 ..."}, "no words that the voice could say"),
        ({"voice": "nobody"}, "one of alloy, echo, fable, onyx, nova, shimmer, heart; it is 'nobody'"),
        ({"response_format": "aac"}, "mp3, opus, flac, wav; it is 'aac'"),
    ],
)
def test_what_cannot_be_said_is_refused(client: SandboxClient, fields: dict[str, str], said: str) -> None:
    answer = client.speak(**fields)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_segments_and_their_times(client: SandboxClient, spoken: bytes) -> None:
    heard = client.hear(spoken, response_format="verbose_json").json()
    assert "".join(each["text"] for each in heard["segments"]).strip() == heard["text"]
    times = [time for each in heard["segments"] for time in (each["start"], each["end"])]
    assert times == sorted(times)
    assert times[-1] <= heard["duration"] + 0.001
    for each in heard["segments"]:
        assert each["avg_logprob"] < 0 <= each["no_speech_prob"] < 0.6
    assert client.hear(spoken, response_format="text").text == heard["text"] + "\n"


def test_as_events(client: SandboxClient, spoken: bytes) -> None:
    answer = client.hear(spoken, stream="true", language="en")
    *parts, done = events(answer)
    assert done["text"] == "".join(part["delta"] for part in parts[::2]) == client.hear(spoken).json()["text"]


def m4a(samples: Any) -> bytes:
    import av  # here: these packages are of the extra `local`, and every test module is imported

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=24_000, layout="mono")
        for start in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 24_000, start, Fraction(1, 24_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def test_m4a_and_where_it_is_cut(client: SandboxClient) -> None:
    wav = client.speak(response_format="wav").content
    audio = m4a(np.frombuffer(wav[44:], "<i2").astype("float32") / 32768)
    assert errors(client.hear(audio, "talk.m4a").json()["text"]) <= 1
    split_phonemes = client.hear(audio[: len(audio) // 2], "talk.m4a")  # its table stands at its end
    assert split_phonemes.status_code == 400
    assert "'talk.m4a' cannot be read as audio: it may be cut" in split_phonemes.json()["error"]


def test_a_recording_that_is_cut_is_heard_as_far_as_it_goes(client: SandboxClient, spoken: bytes) -> None:
    heard = client.hear(spoken[: len(spoken) // 2]).json()["text"]
    assert errors(heard[: len(SENTENCES[0])], SENTENCES[0]) <= 1
    assert "library" not in heard


@pytest.mark.parametrize("data", [b"ID3" + bytes(5000), b"OggS" + bytes(100), b"fLaC", b"\xff\xfb\x90\x64"])
def test_what_only_begins_like_audio(client: SandboxClient, data: bytes) -> None:
    answer = client.hear(data, "talk.mp3")
    assert answer.status_code == 400
    assert "'talk.mp3'" in answer.json()["error"]


def quiet(seconds: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes(bytes(round(32_000 * seconds)))
    return file.getvalue()


@pytest.mark.parametrize("seconds", [0.001, 1, 65])
def test_silence_has_no_words(client: SandboxClient, seconds: float) -> None:
    heard = client.hear(quiet(seconds), "talk.wav", response_format="verbose_json").json()
    assert (heard["text"], heard["segments"]) == ("", [])
    assert heard["duration"] == pytest.approx(seconds, abs=0.001)


def test_an_hour_can_be_let_go_of_at_any_time(client: SandboxClient, spoken: bytes, tmp_path: Path) -> None:
    seconds = 8 * len(spoken) / 64_000
    hour = spoken * round(3600 / seconds)
    answer = client.hear(hour, "meeting.mp3", stream="true")
    first = list(islice(events(answer), 20))
    assert first[1]["duration"] == pytest.approx(3600, rel=0.05)
    assert errors(first[0]["delta"], SENTENCES[0]) <= 1
    assert engine("transcription").memory_info().rss < 400e6
    answer.close()
    # Nothing is left of it: the next one does not wait for the rest of the hour.
    assert errors(client.hear(spoken).json()["text"]) <= 1


def test_the_router_itself_loads_nothing_of_the_engines() -> None:
    program = (
        "import sys, json, urllib.request\n"
        "from puq_magics.sandbox import Sandbox\n"
        "with Sandbox(local=True) as sandbox:\n"
        "    body = json.dumps({'model': 'local/hibari', 'input': 'Hello.'}).encode()\n"
        "    request = urllib.request.Request(sandbox.base_url + '/v1/audio/speech', body)\n"
        "    request.add_header('Authorization', 'Token ' + sandbox.token)\n"
        "    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))\n"
        "    assert len(opener.open(request).read()) > 1000\n"
        "print(sorted({'hibari', 'soundfile', 'numpy', 'onnxruntime', 'faster_whisper', 'av'} & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"


def test_in_a_notebook_s_shell(shell: Any, weights: Path) -> None:
    shell.run("%puq_sandbox --local --pace 0")
    try:
        shell.run(f"%puq_speak -q -o talk {TEXT}")
        heard = shell.run("%puq_transcribe --stream -o heard talk").out
        assert errors(shell.names["heard"].text) <= 1
        assert heard.startswith(shell.names["heard"].text)
        assert shell.names["heard"].segments
    finally:
        shell.run("%puq_sandbox stop")
