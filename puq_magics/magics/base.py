"""What the classes of magics share."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from IPython.core.magic import Magics

from puq_magics.session.session import Workspace


class WorkspaceMagics(Magics):
    """Magics of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace.shell)
        self.workspace = workspace

    def variables(self, local_ns: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """What a prompt can name: the variables where the magic stands, as they are now.

        IPython's ``In`` has each cell as it was typed, with its magics as magics.
        """
        names = ChainMap(dict(local_ns or {}), dict(self.workspace.namespace))
        history: Any = self.workspace.shell.history_manager
        if history is not None and names.get("In") is history.input_hist_parsed:
            return names.new_child({"In": history.input_hist_raw})
        return names

    def close(self) -> None:
        """Take back what these magics have brought beside themselves; called when the extension goes."""
