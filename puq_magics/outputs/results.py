"""What a magic gives back: the data, what is known of the call, and how to show it again."""

from __future__ import annotations

from puq_magics.outputs.chat_result import ChatResult as ChatResult
from puq_magics.outputs.chat_result import folded_reasoning as folded_reasoning
from puq_magics.outputs.image_result import ImageResult as ImageResult
from puq_magics.outputs.image_result import Picture as Picture
from puq_magics.outputs.result import INTERRUPTED as INTERRUPTED
from puq_magics.outputs.result import Result as Result
from puq_magics.outputs.speech_result import SpeechResult as SpeechResult
from puq_magics.outputs.transcript_result import TranscriptResult as TranscriptResult
