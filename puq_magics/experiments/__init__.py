"""Many calls at once: one prompt for each row of a table. Plain Python, without IPython; nothing is shown."""

from puq_magics.experiments.calls import CallOutcome
from puq_magics.experiments.journal import JournalError
from puq_magics.experiments.mapping import MapResult, map_rows
from puq_magics.experiments.runner import RunProgress

__all__ = ["CallOutcome", "JournalError", "MapResult", "RunProgress", "map_rows"]
