"""The raw server's plain modules, which these tests import too."""

from __future__ import annotations

import sys
from pathlib import Path

FAULTS = str(Path(__file__).parent.parent / "faults")

if FAULTS not in sys.path:
    sys.path.insert(0, FAULTS)
