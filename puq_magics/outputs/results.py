"""What a magic gives back: the data, what is known of the call, and how to show it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from puq_magics.outputs.footer import Footer
from puq_magics.outputs.image_result import ImageResult as ImageResult
from puq_magics.outputs.image_result import Picture as Picture
from puq_magics.outputs.result import INTERRUPTED as INTERRUPTED
from puq_magics.outputs.result import Result as Result
from puq_magics.outputs.speech_result import SpeechResult as SpeechResult
from puq_magics.outputs.transcript_result import TranscriptResult as TranscriptResult


@dataclass(repr=False, kw_only=True)
class ChatResult(Result):
    """An answer, whole or as far as it came.

    The text is the model's own words; what is shown of it is made safe first.
    """

    text: str
    #: The model's reasoning, where the router sends it.
    reasoning: str = ""
    #: What was sent.
    messages: Sequence[Mapping[str, Any]] = field(default=())
    #: The texts of further choices, by index.
    alternatives: Mapping[int, str] = field(default_factory=dict)

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the text to a file, as UTF-8. Raises InputError for an existing file, unless ``force``."""
        from puq_magics.outputs.saving import save_text

        return save_text(self.text, path, force=force)

    @property
    def has_content(self) -> bool:
        """See Result."""
        return bool(self.text or self.reasoning)

    @property
    def _is_empty(self) -> bool:
        return not self.text

    def __str__(self) -> str:
        return self.text

    def bundle(self, footer: Footer) -> dict[str, str]:
        """See Result; Markdown."""
        from puq_magics.outputs.markdown import plain, safe_markdown

        folded = f"{folded_reasoning(self.reasoning)}\n\n" if self.reasoning else ""
        return {
            "text/markdown": footer.below_markdown(folded + safe_markdown(self.text)),
            "text/plain": footer.below_plain(plain(self.text)),
        }


def folded_reasoning(reasoning: str) -> str:
    """A model's reasoning as safe Markdown, folded."""
    from puq_magics.outputs.markdown import safe_markdown

    return f"<details><summary>Reasoning</summary>\n\n{safe_markdown(reasoning)}\n\n</details>"
