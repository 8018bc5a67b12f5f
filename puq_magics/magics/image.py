"""``%puq_image`` and ``%%puq_image``: have images made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.magic import line_cell_magic, magics_class, needs_local_scope, no_var_expand

from puq_magics.magics import options
from puq_magics.magics.base import WorkspaceMagics
from puq_magics.magics.options import CommandLine
from puq_magics.magics.prompt_lines import read_prompt

if TYPE_CHECKING:
    from puq_magics.outputs.results import ImageResult

COMMAND = CommandLine(
    options.IMAGE_MODEL,
    options.SIZE,
    options.COUNT,
    options.PARAM,
    options.OUT,
    options.SAVE,
    options.FORCE,
    options.RAW,
    options.QUIET,
    options.DRY_RUN,
)


@magics_class
class PuqImageMagics(WorkspaceMagics):
    """Have images made."""

    @needs_local_scope
    @no_var_expand
    @line_cell_magic
    @COMMAND
    def puq_image(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> ImageResult | None:
        """Have images made of a prompt; they are shown, and are the value of the magic.

        In a line the prompt follows the options; in a cell it is the body, and the first word of the line may be
        the model. ``{{name}}`` is filled from your variables. Of the result, ``.images`` are the images, each with
        ``.data``, ``.width``, ``.height`` and ``.to_pil()``; ``.save("kite.png")`` keeps them.

        Example: ``%puq_image --size 1024x1024 -o kite A red kite over green hills``
        """
        args, prompt = read_prompt(COMMAND, "puq_image", line, cell)
        from puq_magics.magics.imaging import draw

        variables = self.variables(local_ns)
        return draw(self.workspace, args, prompt, variables)
