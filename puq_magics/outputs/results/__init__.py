"""Results of the magics: the data, metadata of the call, and a way to show it again."""

from __future__ import annotations

from puq_magics.outputs.results.base import INTERRUPTED as INTERRUPTED
from puq_magics.outputs.results.base import Result as Result
from puq_magics.outputs.results.chat import ChatResult as ChatResult
from puq_magics.outputs.results.chat import collapsed_reasoning as collapsed_reasoning
from puq_magics.outputs.results.image import ImageFile as ImageFile
from puq_magics.outputs.results.image import ImageResult as ImageResult
from puq_magics.outputs.results.speech import SpeechResult as SpeechResult
from puq_magics.outputs.results.transcript import TranscriptResult as TranscriptResult
