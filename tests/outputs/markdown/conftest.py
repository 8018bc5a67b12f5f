"""The corpus and the oracles are plain modules of this folder; the browser's tests import the corpus too."""

import sys
from pathlib import Path

HERE = str(Path(__file__).parent)

if HERE not in sys.path:
    sys.path.insert(0, HERE)
