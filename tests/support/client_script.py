"""A client program, as a user writes it: type checkers accept it, and a test runs it against the sandbox."""

from __future__ import annotations

import sys
from pathlib import Path

from puq_magics import APIStatusError, PuqError, RateLimitError, Router, Upload
from puq_magics.api import ChatCompletion, Transcript


def summarize(router: Router, text: str) -> ChatCompletion:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    return router.chat(
        messages,
        model="sandbox/chat",
        temperature=0.2,
        max_completion_tokens=200,
        stop=["END"],
        seed=1,
        extra_body={"verbosity": "low"},
    )


def speak_and_transcribe(router: Router, text: str, folder: Path) -> Transcript:
    speech = router.speech(text, model="sandbox/tts", voice="alloy", response_format="wav")
    path = folder / f"speech{speech.type.extension}"
    path.write_bytes(speech.data)
    return router.transcribe(Upload.from_path(path), model="sandbox/whisper", language="en")


def main(key: str, base_url: str, folder: Path) -> str:
    with Router(key, base_url, timeout=30, max_retries=1) as router:
        try:
            answer = summarize(router, "What is a cell?")
            with router.stream_chat("Hello", model="sandbox/chat", temperature=0) as stream:
                streamed = "".join(delta.text for delta in stream)
            image = router.image("A cat", model="sandbox/image", size="256x256", n=1).images[0]
            transcript = speak_and_transcribe(router, "Hello there.", folder)
        except RateLimitError as error:
            return f"try again in {error.retry_after} s"
        except APIStatusError as error:
            return f"{error.status} {error.code}: {error.detail}"
        except PuqError as error:
            return f"{error.message} {error.hint}"
    tokens = answer.usage.total_tokens if answer.usage else 0
    return f"{bool(streamed)} {tokens > 0} {image.width}x{image.height} {transcript.text}"


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
