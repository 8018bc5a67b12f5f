"""``%puq_chat`` and ``%%puq_chat``: ask a model, stream the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.magic import line_cell_magic, magics_class, needs_local_scope, no_var_expand

from puq_magics.magics import options
from puq_magics.magics.base import WorkspaceMagics
from puq_magics.magics.options import CommandLine
from puq_magics.magics.prompt_lines import read_prompt

if TYPE_CHECKING:
    from puq_magics.outputs.results.chat import ChatResult

COMMAND = CommandLine(
    options.MODEL,
    options.SYSTEM,
    options.CHAT,
    options.CONTINUE,
    options.ATTACH,
    options.TEMPERATURE,
    options.MAX_TOKENS,
    options.NO_STREAM,
    options.FORMAT,
    options.SCHEMA,
    options.ALL_BLOCKS,
    options.OUT,
    options.SAVE,
    options.FORCE,
    options.RAW,
    options.PARAM,
    options.QUIET,
    options.DRY_RUN,
)


@magics_class
class PuqChatMagics(WorkspaceMagics):
    """Ask a model."""

    @needs_local_scope
    @no_var_expand
    @line_cell_magic
    @COMMAND
    def puq_chat(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> ChatResult | None:
        """Ask a model; the answer streams in as Markdown, and is the value of the magic.

        In a line the prompt follows the options; in a cell it is the body, and the first word of the line may be
        the model: ``%%puq_chat openai/gpt-4o``. ``{{name}}`` is filled from your variables. With ``-c NAME`` the
        cell is a turn of a conversation: run again, it takes its own place there. ``--continue`` needs no prompt.
        """
        args, prompt = read_prompt(COMMAND, "puq_chat", line, cell, without="proceed")
        from puq_magics.magics.chat import ask

        return ask(self.workspace, args, prompt, self.variables(local_ns))
