"""Small networks and small runs are those of other tests' folders."""

import sys
from pathlib import Path

for folder in ("potentials", "loop"):
    sys.path.append(str(Path(__file__).parents[1] / folder))
