"""``%puq_transcribe``: have a recording written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.magic import line_magic, magics_class, needs_local_scope, no_var_expand

from puq_magics.magics import options
from puq_magics.magics.base import WorkspaceMagics
from puq_magics.magics.options import CommandLine

if TYPE_CHECKING:
    from puq_magics.outputs.results import TranscriptResult

COMMAND = CommandLine(
    options.TRANSCRIBE_MODEL,
    options.LANGUAGE,
    options.RESPONSE_FORMAT,
    options.STREAM,
    options.OUT,
    options.SAVE,
    options.FORCE,
    options.QUIET,
    options.DRY_RUN,
    options.RECORD,
)


@magics_class
class PuqTranscribeMagics(WorkspaceMagics):
    """Have a recording written down."""

    @needs_local_scope
    @no_var_expand
    @line_magic
    @COMMAND
    def puq_transcribe(self, line: str, local_ns: Mapping[str, Any] | None = None) -> TranscriptResult | None:
        """Have a recording written down; the text is shown, and the result is the value of the magic.

        What to transcribe is the path of a file, or the name of a variable: bytes, the result of %puq_speak, an
        IPython Audio, ``(array, rate)`` or an open file. A file of that name comes before a variable. ``--record``
        shows a recorder instead; what it records comes into ``_puq``, and into the variable of ``-o``.

        ``--stream`` shows the words as they come, which is worth it for a long recording; a router that does not
        stream transcripts answers as a whole.

        Example: ``%puq_transcribe -o talk my talk.mp3``, then ``%puq_chat Sum this up: {{talk.text}}``
        """
        from puq_magics.magics.transcription import run

        variables = self.variables(local_ns)
        return run(self.workspace, COMMAND, line, variables)
