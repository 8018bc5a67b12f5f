"""``%puq_balance`` and ``%puq_usage``: what is left, and what was used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class, no_var_expand

from puq_magics.magics import options
from puq_magics.magics.base import WorkspaceMagics
from puq_magics.magics.options import CommandLine, option, refuse_rest

if TYPE_CHECKING:
    from puq_magics.outputs.tables.usage_report import UsageReport
    from puq_magics.session.balance import Balance

BALANCE_COMMAND = CommandLine()
USAGE_COMMAND = CommandLine(
    option("--all", action="store_true", help="of all sessions, from the ledger on this machine"),
    options.OUT,
    options.QUIET,
)


@magics_class
class PuqCostsMagics(WorkspaceMagics):
    """What is left, and what was used."""

    @no_var_expand
    @line_magic
    @BALANCE_COMMAND
    def puq_balance(self, line: str) -> Balance:
        """The balance in credits, and how it has changed since the session began."""
        refuse_rest(BALANCE_COMMAND, line)
        from puq_magics.magics.listing import show_balance

        return show_balance(self.workspace)

    @no_var_expand
    @line_magic
    @USAGE_COMMAND
    def puq_usage(self, line: str) -> UsageReport | None:
        """Calls, tokens, seconds and estimated cost of this session, by model and by cell.

        ``--all`` counts all sessions. The value has ``.to_frame()`` and ``.plot()``.
        """
        args = refuse_rest(USAGE_COMMAND, line)
        from puq_magics.magics.listing import report_usage

        return report_usage(self.workspace, args)
