"""What the classes of magics share."""

from __future__ import annotations

from IPython.core.magic import Magics

from puq_magics.session.workspace import Workspace


class WorkspaceMagics(Magics):
    """Magics of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace.shell)
        self.workspace = workspace

    def close(self) -> None:
        """Take back what these magics have brought beside themselves; called when the extension goes."""
