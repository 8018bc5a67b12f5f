"""``%puq_chats``: the conversations of this session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class, no_var_expand

from puq_magics.core.errors import InputError
from puq_magics.magics import options
from puq_magics.magics.base import WorkspaceMagics
from puq_magics.magics.options import CommandLine, option

if TYPE_CHECKING:
    from puq_magics.outputs.tables.conversations import ChatTable, ChatTranscript

CHATS_COMMAND = CommandLine(
    option("--fork", metavar="NEW", help="a second conversation, of that name, that goes on from here"),
    option("--reset", action="store_true", help="begin again; the turns are kept as a branch"),
    option("--undo", action="store_true", help="take the last turn off; it is kept in a branch"),
    option("--restore", metavar="BRANCH", completes="branch", help="bring a branch back, like main~1"),
    option("--system", metavar="TEXT", help="the system prompt; '' for none"),
    option("--save", metavar="FILE", completes="path", help="write all of it to a JSON file"),
    option(
        "--load", metavar="FILE", completes="path", help="read what --save wrote, under NAME if one is given"
    ),
    option("--export", metavar="FILE", completes="path", help="write it to read: name.md or name.ipynb"),
    option(
        "--force", action="store_true", help="let --save, --export, --load and --fork replace what is there"
    ),
    options.OUT,
    options.QUIET,
)


@magics_class
class PuqChatsMagics(WorkspaceMagics):
    """The conversations."""

    @no_var_expand
    @line_magic
    @CHATS_COMMAND
    def puq_chats(self, line: str) -> ChatTable | ChatTranscript | None:
        """List the conversations, with their tokens and estimated costs; ``%puq_chats NAME`` shows one to read.

        With an option it is changed or written; without NAME that is the one that PuqMagics.chat names, or the only
        one there is. They last as long as the kernel, ``%reload_ext`` and ``%unload_ext`` included; ``--save`` keeps
        one for longer.
        """
        args, names = CHATS_COMMAND.read_mixed(line)
        if len(names) > 1:
            hint = "%puq_chats takes the name of one conversation; a name has no spaces: essay-2."
            raise InputError(f"{names[1]!r} is one too many.", hint=hint)
        from puq_magics.magics.conversations import converse

        return converse(self.workspace, args, "".join(names))
