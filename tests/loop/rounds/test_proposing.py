"""Proposals that are kept: whatever a structure's comment said."""

from pathlib import Path

import numpy as np
from ase.build import molecule

from tunesmith.explore.pool import RoundsState
from tunesmith.loop.rounds import proposing
from tunesmith.loop.rounds.proposing import Candidate, Proposal
from tunesmith.loop.rounds.rounds_standing import Chosen


def test_what_a_comment_holds_is_no_traceback(tmp_path: Path) -> None:
    atoms = molecule("H2O")
    atoms.info |= {"step": np.int64(3), "field": np.arange(3.0), "charge": 1, "who": object()}
    about = {"source": "structures learnt"}
    proposing.save(
        tmp_path, 2, Proposal([Candidate(atoms, Chosen(0, "start 0"))], RoundsState(2), {}, about)
    )
    kept = proposing.load(tmp_path, 2)
    assert kept is not None
    [one] = kept.candidates
    assert one.atoms == atoms
    assert one.atoms.info == {"step": 3, "field": [0.0, 1.0, 2.0], "charge": 1}
    assert (kept.about, one.chosen.origin) == (about, "start 0")
