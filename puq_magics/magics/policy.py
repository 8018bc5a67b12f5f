"""Put a teacher's policy in force, and show it."""

from __future__ import annotations

from puq_magics.outputs.tables.table import show_fields
from puq_magics.session.session import Session


def show_policy(session: Session, path: str) -> None:
    """Show the policy in force, after reading it from ``path`` if that is given. Raises ConfigurationError."""
    policy = session.load_policy(path) if path else session.policy
    rows = [("policy", "none")] if policy is None else policy.rows(session.spent)
    show_fields(rows, in_notebook=session.in_notebook)
