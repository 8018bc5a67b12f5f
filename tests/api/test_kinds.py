from __future__ import annotations

import pytest

from puq_magics.api.types import model_kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("openai/gpt-4o", "chat"),
        ("openai/gpt-4o-mini", "chat"),
        ("openai/tts-1", "speech"),
        ("openai/gpt-4o-mini-tts", "speech"),
        ("openai/whisper-1", "transcription"),
        ("openai/gpt-4o-transcribe", "transcription"),
        ("openai/gpt-image-1.5", "image"),
        ("openai/dall-e-3", "image"),
        ("black-forest-labs/FLUX.1-dev", "image"),
        ("google/imagen-4", "image"),
        ("openai/text-embedding-3-small", "embedding"),
        ("openai/omni-moderation-latest", "embedding"),
        ("deepseek/deepseek-chat", "chat"),
        ("anthropic/claude-sonnet-4", "chat"),
        ("meta/llama-3.2-90b-vision-instruct", "chat"),
        ("google/gemini-2.5-flash", "chat"),
        ("google/gemini-2.5-flash-image", "image"),
        ("mistral/voxtral-mini", "chat"),
        ("fast/stutter", "chat"),
        ("acme/invoice-reader", "chat"),
        ("voice-labs/chat-1", "chat"),
        ("acme/my-voice", "speech"),
        ("local/hibari", "speech"),
        ("local/whisper-tiny.en", "transcription"),
        ("local/smollm2-135m-instruct", "chat"),
        ("", "chat"),
    ],
)
def test_what_names_tell(code: str, kind: str) -> None:
    assert model_kind(code) == kind
