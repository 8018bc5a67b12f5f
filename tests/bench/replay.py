"""Replayed calls against the bare reading of a stream, and the first look into a cassette with many recordings."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from puq_magics.api import Router
from puq_magics.api.base_url import BaseURL
from puq_magics.api.chat import ChatStream
from puq_magics.replay.cassette import Cassette
from puq_magics.replay.fingerprint import name_of
from puq_magics.replay.recorded_answer import RecordedAnswer, decode_answer
from puq_magics.replay.transport import CassetteSettings, CassetteTransport, ReplayedResponse

WORDS = 300  # of an answer, one event each


def make_recording(cassette: Cassette, question: str) -> str:
    """Write a recording of a streamed chat; return its file's name."""
    body = {"messages": [{"role": "user", "content": question}], "model": "a/b", "stream": True}
    request = {"body": body, "endpoint": "POST /v1/chat/completions"}
    events: list[object] = [
        {"choices": [{"delta": {"content": f"word {n} "}, "index": 0}]} for n in range(WORDS)
    ]
    response = {"events": [*events, "[DONE]"], "status": 200, "type": "text/event-stream"}
    times = [round(0.01 * n, 3) for n in range(WORDS + 1)]
    name = f"{name_of(request)}.json"
    cassette.write(name, {"request": request, "response": response, "seconds": times[-1], "times": times}, {})
    return name


def median(action: Callable[[], object], repeats: int) -> float:
    """Return the median of the seconds that an action takes."""
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        action()
        seconds.append(perf_counter() - start)
    return statistics.median(seconds)


def measure_calls(folder: Path, repeats: int) -> dict[str, float]:
    """Replay a stream through the client, and read the same bytes without a cassette."""
    cassette = Cassette(folder)
    cassette.prepare_recording()
    name = make_recording(cassette, "Why?")
    address = BaseURL.parse("https://replay.invalid")
    router = Router(transport=CassetteTransport(cassette, CassetteSettings("replay", 0.0), address, None))
    answer = decode_answer(cassette.read(name), cassette.read_media)
    joined = RecordedAnswer(200, answer.headers, [(0.0, b"".join(data for _, data in answer.parts))])

    def replay() -> None:
        with router.stream_chat("Why?", model="a/b") as stream:
            list(stream)

    def read() -> None:
        with ChatStream(ReplayedResponse(joined, 0.0, lambda: None), "a/b", None) as stream:
            list(stream)

    bare, replayed = median(read, repeats), median(replay, repeats)
    return {"bare_ms": bare * 1e3, "replayed_ms": replayed * 1e3, "added_ms": (replayed - bare) * 1e3}


def measure_opening(folder: Path, recordings: int) -> dict[str, float]:
    """Find a recording in a cassette that was not looked into before; the floor is the listing of its folder."""
    cassette = Cassette(folder)
    cassette.prepare_recording()
    text = json.dumps({"format": 1})
    for number in range(recordings):
        (folder / f"chat-{number:020x}.json").write_text(text)
    listing = median(lambda: list(folder.iterdir()), 9)
    opening = median(lambda: Cassette(folder).find(f"chat-{recordings - 1:020x}", 1), 9)
    return {"listing_ms": listing * 1e3, "opening_ms": opening * 1e3, "ratio": opening / listing}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recordings", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        calls = measure_calls(Path(folder, "calls.cassette"), args.repeats)
        opening = measure_opening(Path(folder, "many.cassette"), args.recordings)
    for name, figures in (("a call of 300 events", calls), (f"{args.recordings:,} recordings", opening)):
        print(name, json.dumps({key: round(value, 3) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
