"""``%puq_speak`` and ``%%puq_speak``: have a text spoken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.magic import line_cell_magic, magics_class, needs_local_scope, no_var_expand

from puq_magics.magics import options
from puq_magics.magics.base import WorkspaceMagics
from puq_magics.magics.options import CommandLine
from puq_magics.magics.prompt_lines import read_prompt

if TYPE_CHECKING:
    from puq_magics.outputs.results import SpeechResult

COMMAND = CommandLine(
    options.SPEECH_MODEL,
    options.VOICE,
    options.AUDIO_FORMAT,
    options.SPEED,
    options.AUTOPLAY,
    options.OUT,
    options.SAVE,
    options.FORCE,
    options.RAW,
    options.QUIET,
    options.DRY_RUN,
)


@magics_class
class PuqSpeakMagics(WorkspaceMagics):
    """Have a text spoken."""

    @needs_local_scope
    @no_var_expand
    @line_cell_magic
    @COMMAND
    def puq_speak(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> SpeechResult | None:
        """Have a text spoken; a player shows the audio, which is the value of the magic.

        In a line the text follows the options; in a cell it is the body, and the first word of the line may be the
        model. ``{{name}}`` is filled from your variables: ``{{_puq.text}}`` is the last answer. A text that is too
        long for the model is split at sentences, and the parts are joined. Of the result, ``.audio`` are the bytes.

        Example: ``%puq_speak --voice alloy --save hello.mp3 Hello, and welcome.``
        """
        args, text = read_prompt(COMMAND, "puq_speak", line, cell)
        from puq_magics.magics.speech import say

        variables = self.variables(local_ns)
        return say(self.workspace, args, text, variables)
