"""Base of all results: metadata of the call, and the display that happens only once."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from IPython.display import display

from puq_magics.api.types import Usage
from puq_magics.core.text import wrap_for_terminal
from puq_magics.outputs.results.footer import Footer
from puq_magics.outputs.results.provenance import METADATA_KEY, Provenance

if TYPE_CHECKING:
    from puq_magics.core.media_types import MediaType

#: Characters that a terminal has room for behind ``Out[n]:``.
_MAX_PROMPT_LINE = 60


class Displayable(Protocol):
    """Object that can be marked as already displayed."""

    already_displayed: bool


class DisplayOnce:
    """A value that shows itself by its MIME bundle, except in the cell that has shown it already."""

    #: Whether the cell that is running has shown it.
    already_displayed: bool = False
    #: JavaScript for what is shown, as an output of its own; front ends run it where they trust the notebook.
    script: ClassVar[str] = ""

    @property
    def display_metadata(self) -> dict[str, Any]:
        """Metadata of the output that shows it, as it is saved in a notebook."""
        return {}

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        raise NotImplementedError

    def _to_terminal(self, text: str) -> str:
        """Return the plain text as a terminal shows it."""
        return "\n".join(wrap_for_terminal([text]))

    def _ipython_display_(self) -> None:
        if not self.already_displayed:
            self.display_now(below_prompt=True)
        elif sys.stdout.isatty():
            sys.stdout.write("\r\x1b[K")  # a terminal has written its `Out[n]:` already

    def display_now(self, *, below_prompt: bool = False) -> None:
        """Display it; ``below_prompt`` where a terminal may have written ``Out[n]:`` already."""
        bundle = self._repr_mimebundle_()
        if sys.stdout.isatty():
            text = self._to_terminal(bundle["text/plain"])
            fits = "\n" not in text and len(text) < _MAX_PROMPT_LINE
            bundle = bundle | {"text/plain": text if fits or not below_prompt else f"\n{text}"}
        try:
            display(bundle, raw=True, metadata=self.display_metadata)
        except UnicodeEncodeError:  # of a terminal with another encoding
            from puq_magics.outputs.views.stdout import Stdout

            Stdout().write(f"{bundle['text/plain']}\n")
        if self.script and not sys.stdout.isatty():
            display({"application/javascript": self.script}, raw=True)


#: ``status`` of an answer that the user stopped, and of one that failed after a part of it had arrived.
INTERRUPTED, INCOMPLETE = "interrupted", "incomplete"

#: Megabytes of images or sound, as files, that a display holds, if nobody says otherwise; what is larger is linked.
#: In the notebook each takes a third more, as base64, and while it is shown several times that in memory.
MAX_EMBED_MB = 10.0

_MAX_REPR_CHARS = 60
#: Extensions of one format.
_EXTENSION_ALIASES = {
    ".jpeg": ".jpg",
    ".jpe": ".jpg",
    ".oga": ".ogg",
    ".opus": ".ogg",
    ".wave": ".wav",
    ".mp4": ".m4a",
}


class DetailNote(str):
    """A note that the footer shows as a fact, and not as a warning."""

    __slots__ = ()


@dataclass(repr=False, kw_only=True)
class Result(DisplayOnce):
    """Metadata of a call, common to all results."""

    #: The model that answered, as the router names it.
    model: str
    #: ``stop``, ``length`` (cut at the token limit), ``content_filter``, …; None when the answer is incomplete.
    finish_reason: str | None = None
    usage: Usage | None = None
    #: An estimate in credits; None when it cannot be made.
    cost: float | None = None
    #: Seconds from the request to the end of the answer.
    latency: float | None = None
    #: Seconds from the request to the first words, or the first bytes.
    time_to_first_token: float | None = None
    #: The router's id for the request.
    request_id: str | None = None
    #: ``interrupted`` or ``incomplete`` when the answer is not whole; empty when it is.
    status: str = ""
    #: What a reader should know, such as that a table in the prompt was cut.
    notes: Sequence[str] = field(default=())
    #: The router's JSON.
    raw: Mapping[str, Any] = field(default_factory=dict)
    #: How it came about: models, parameters, a hash of what was sent, when and for how much.
    provenance: Provenance | None = field(default=None, compare=False)
    #: Whether the cell that is running has shown it, so that its value is not shown a second time.
    already_displayed: bool = field(default=False, init=False, compare=False)
    #: True if the footer says that the cost is not known, where one could be expected.
    tells_unknown_cost: bool = field(default=False, init=False, compare=False)

    @property
    def display_metadata(self) -> dict[str, Any]:
        """Implement `DisplayOnce`: the provenance."""
        return {} if self.provenance is None else {METADATA_KEY: [self.provenance.to_json()]}

    @property
    def interrupted(self) -> bool:
        """True if the user interrupted the answer."""
        return self.status == INTERRUPTED

    @property
    def has_content(self) -> bool:
        """True if it has content worth keeping."""
        raise NotImplementedError

    @property
    def resume_hint(self) -> str:
        """Hint on how to get the rest of an incomplete answer; empty if there is no way."""
        return ""

    @property
    def footer(self) -> Footer:
        """Model, what came of it, tokens, cost and seconds, and what is amiss."""
        footer = Footer.from_call(
            model=self.model,
            usage=self.usage,
            cost=self.cost,
            tells_unknown_cost=self.tells_unknown_cost,
            seconds=self.latency,
            finish_reason=self.finish_reason,
            status=self.status,
            notes=[note for note in self.notes if not isinstance(note, DetailNote)],
            is_empty=self._is_empty,
        )
        model, *others = footer.facts
        return Footer((model, *self._facts, *others), footer.warnings)

    @property
    def _is_empty(self) -> bool:
        """True if the text is missing."""
        return False

    @property
    def _facts(self) -> tuple[str, ...]:
        """Facts about the data for the footer."""
        return ()

    def add_up(self) -> None:
        """Add the usage, cost and seconds of the calls before it that it goes on from."""

    def add_note(self, text: str, *, is_warning: bool = True) -> None:
        """Add a note unless it is there already; the footer marks warnings, and shows other notes as facts."""
        if text not in self.notes:
            self.notes = (*self.notes, text if is_warning else DetailNote(text))

    def _puq_text_(self) -> str:
        """Text that represents it in a prompt."""
        return str(self)

    def bundle(self, footer: Footer) -> dict[str, str]:
        """Its MIME bundle, safe to show, with this footer below it."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return self.bundle(self.footer)

    def __repr__(self) -> str:
        from puq_magics.outputs.control_chars import strip_control_chars

        words = " ".join(strip_control_chars(str(self)[:400]).split())
        shown = words[:_MAX_REPR_CHARS] + "…" if len(words) > _MAX_REPR_CHARS else words
        return f"<{type(self).__name__} {shown!r} {self.footer.to_text()}>"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"already_displayed": False}  # of a copy, nothing was shown


class SegmentLike(Protocol):
    """Part of a transcript, as the client returns it."""

    @property
    def start(self) -> float:
        """Seconds from the beginning."""

    @property
    def end(self) -> float:
        """Seconds from the beginning."""

    @property
    def text(self) -> str:
        """Text of the segment."""


class MediaFile(Protocol):
    """Object with the bytes of one file."""

    #: Where it was saved last.
    path: Path | None
    type: MediaType


@dataclass(repr=False, kw_only=True)
class MediaResult(Result):
    """Result that consists of files."""

    #: Megabytes that a display holds; what is larger is linked where it was saved.
    max_embed_mb: float = field(default=MAX_EMBED_MB, compare=False)

    @property
    def files(self) -> list[tuple[MediaFile, bytes, str]]:
        """Files to save: their bytes, and text to derive a name from."""
        raise NotImplementedError

    def oversized_files(self) -> list[tuple[MediaFile, bytes, str]]:
        """Return the files that exceed the display's limit; the first ones fit."""
        remaining, oversized = self.max_embed_mb * 1_000_000, []
        for file in self.files:
            if len(file[1]) <= remaining:
                remaining -= len(file[1])
            else:
                oversized.append(file)
        return oversized

    def _note_format_mismatch(self, path: Path, kind: MediaType) -> None:
        """Note that a file's name says another format than its bytes, if it does."""
        given_extension, true_extension = path.suffix.lower(), kind.extension
        if _EXTENSION_ALIASES.get(given_extension, given_extension) != _EXTENSION_ALIASES.get(
            true_extension, true_extension
        ):
            self.add_note(f"{path.name} holds {kind.format.upper()}, whatever its name says")
