"""Many calls at once: a prompt for each row of a table, and grids of models, settings and wordings.

Plain Python, without IPython; nothing is shown.
"""

from puq_magics.core.errors import JournalError
from puq_magics.experiments.calls import CallOutcome
from puq_magics.experiments.comparison import Comparison
from puq_magics.experiments.grid import Grid
from puq_magics.experiments.grid_result import GridResult
from puq_magics.experiments.judging import Judgement
from puq_magics.experiments.mapping import MapResult, map_rows
from puq_magics.experiments.runner import RunProgress

__all__ = [
    "CallOutcome",
    "Comparison",
    "Grid",
    "GridResult",
    "JournalError",
    "Judgement",
    "MapResult",
    "RunProgress",
    "map_rows",
]
