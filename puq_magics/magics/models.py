"""``%puq_models`` and ``%puq_choose``: which models there are, and which one to use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class, no_var_expand

from puq_magics.magics import options
from puq_magics.magics.base import WorkspaceMagics
from puq_magics.magics.options import CommandLine, option

if TYPE_CHECKING:
    from puq_magics.outputs.tables.table import ModelTable
    from puq_magics.widgets.chooser import ModelChooser

_KINDS = ("chat", "image", "speech", "transcription", "embedding")

MODELS_COMMAND = CommandLine(
    option("--kind", choices=_KINDS, help="only models of this kind"),
    option("--provider", completes="provider", help="only models of this provider"),
    option("--all", action="store_true", help="disabled models, too"),
    option("--refresh", action="store_true", help="ask the router again"),
    options.OUT,
    options.QUIET,
)
CHOOSE_COMMAND = CommandLine(
    option("--kind", choices=_KINDS[:4], default="chat", help="what the model is to be for; else chat"),
    option("--provider", completes="provider", help="only models of this provider"),
)


@magics_class
class PuqModelsMagics(WorkspaceMagics):
    """The models."""

    @no_var_expand
    @line_magic
    @MODELS_COMMAND
    def puq_models(self, line: str) -> ModelTable | None:
        """List the models, with their kinds and prices: ``%puq_models gpt mini`` shows those with both words.

        The list is fetched once for the session; its value is a sequence, and ``.to_frame()`` a DataFrame.
        """
        args, words = MODELS_COMMAND.read_mixed(line)
        from puq_magics.magics.listing import list_models

        return list_models(self.workspace, args, words)

    @no_var_expand
    @line_magic
    @CHOOSE_COMMAND
    def puq_choose(self, line: str) -> ModelChooser:
        """Choose the model that is used when a cell names none, from a searchable table."""
        args, words = CHOOSE_COMMAND.read_mixed(line)
        from puq_magics.magics.choosing import choose

        return choose(self.workspace, args, words)
