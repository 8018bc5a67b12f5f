"""What a magic gives back: the data, what is known of the call, and how to show it again."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from IPython.display import display

from puq_magics.api.errors import InputError
from puq_magics.api.wire import Usage
from puq_magics.outputs.footer import Footer


@dataclass(repr=False)
class ChatResult:
    """An answer, whole or as far as it came.

    The text is the model's own words; what is shown of it is made safe first.
    """

    text: str
    #: The model that answered, as the router names it.
    model: str
    #: The model's reasoning, where the router sends it.
    reasoning: str = ""
    #: ``stop``, ``length`` (cut at the token limit), ``content_filter``, …; None when the answer broke off.
    finish_reason: str | None = None
    usage: Usage | None = None
    #: An estimate in credits; None when it cannot be made.
    cost: float | None = None
    #: Seconds from the request to the end of the answer.
    latency: float | None = None
    #: Seconds from the request to the first words.
    time_to_first_token: float | None = None
    #: The router's id for the request.
    request_id: str | None = None
    #: ``interrupted`` or ``broken off`` when the answer is not whole; empty when it is.
    broken_off: str = ""
    #: What a reader should know of how the prompt was filled, such as that a table was cut.
    notes: Sequence[str] = field(default=())
    #: What was sent.
    messages: Sequence[Mapping[str, Any]] = field(default=())
    #: The texts of further choices, by index.
    alternatives: Mapping[int, str] = field(default_factory=dict)
    #: The router's JSON.
    raw: Mapping[str, Any] = field(default_factory=dict)
    #: Whether the cell that is running has shown it, so that its value is not shown a second time.
    is_painted: bool = field(default=False, init=False, compare=False)

    @property
    def interrupted(self) -> bool:
        """Whether a person stopped the answer."""
        return self.broken_off == INTERRUPTED

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the text to a file, as UTF-8. Raises InputError for an existing file, unless ``force``."""
        target = Path(path).expanduser()
        if target.is_dir():
            raise InputError(f"{target} is a folder.", hint="Name a file in it.")
        try:
            with target.open("w" if force else "x", encoding="utf-8", newline="") as file:
                file.write(self.text)
        except FileExistsError:
            raise InputError(f"{target} exists.", hint="Write force=True to replace it.") from None
        except (OSError, ValueError) as exc:
            raise InputError(
                f"{target} cannot be written: {getattr(exc, 'strerror', None) or exc}."
            ) from None
        return target

    @property
    def footer(self) -> Footer:
        """Model, tokens, cost and seconds, and what is amiss."""
        return Footer.of(
            model=self.model,
            usage=self.usage,
            cost=self.cost,
            seconds=self.latency,
            finish_reason=self.finish_reason,
            broken_off=self.broken_off,
            notes=self.notes,
            is_empty=not self.text,
        )

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        from puq_magics.outputs.markdown_controls import plain

        words = " ".join(plain(self.text[:400]).split())
        return f"<ChatResult {words[:60] + '…' if len(words) > 60 else words!r} {self.footer.plain()}>"

    def _puq_text_(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        from puq_magics.outputs.markdown import plain, safe_markdown

        folded = f"{folded_reasoning(self.reasoning)}\n\n" if self.reasoning else ""
        return {
            "text/markdown": self.footer.below_markdown(folded + safe_markdown(self.text)),
            "text/plain": self.footer.below_plain(plain(self.text)),
        }

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"is_painted": False}  # of a copy, nothing was shown

    def _ipython_display_(self) -> None:
        if self.is_painted:
            if sys.stdout.isatty():
                sys.stdout.write("\r\x1b[K")  # a terminal has written its `Out[n]:` already
        else:
            display(self._repr_mimebundle_(), raw=True)


def folded_reasoning(reasoning: str) -> str:
    """A model's reasoning as safe Markdown, folded."""
    from puq_magics.outputs.markdown import safe_markdown

    return f"<details><summary>Reasoning</summary>\n\n{safe_markdown(reasoning)}\n\n</details>"


#: ``broken_off`` of an answer that a person stopped.
INTERRUPTED = "interrupted"
