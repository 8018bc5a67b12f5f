"""The new cell below the one that runs: where code goes that a person is to read before it is run."""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell

from puq_magics.session.conversations import Conversations


class CellBelow:
    """One for each execution: front ends make one at most, of the last text that they are sent."""

    def __init__(self, shell: InteractiveShell, conversations: Conversations) -> None:
        self._shell = shell
        self._conversations = conversations
        self._execution = -1
        self._codes: list[str] = []

    def put(self, code: str) -> bool:
        """Put code there, behind what this execution has put there so far; return whether there was any."""
        execution = self._conversations.execution
        if execution != self._execution:
            self._execution, self._codes = execution, []
        self._codes.append(code)
        first, *others = self._codes
        parts = [first, *(f"# --- answer {number} ---\n{code}" for number, code in enumerate(others, 2))]
        self._shell.set_next_input("\n\n".join(parts), replace=False)
        return bool(others)
