"""Data sets broken the way people break them, and clean ones that look odd.

Each defect is a function of clean labelled frames and a generator; the frames themselves are left
as they are. `DEFECTS` and `CHANGES` hold them by name.
"""

from tunesmith.testing.defects import cells, gaps, pairing, scales, shifted_energies
from tunesmith.testing.defects.defect import Broken, Defect
from tunesmith.testing.defects.harmless import CHANGES, Change

#: name → what breaks a set
DEFECTS: dict[str, Defect] = {
    **scales.DEFECTS,
    **pairing.DEFECTS,
    **gaps.DEFECTS,
    **shifted_energies.DEFECTS,
    **cells.DEFECTS,
}

__all__ = ["CHANGES", "DEFECTS", "Broken", "Change", "Defect"]
