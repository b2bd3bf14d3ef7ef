"""How far members disagree about structures: the committee's scores."""

from collections.abc import Iterable
from itertools import islice
from typing import Literal

import numpy as np
from ase import Atoms

from tunesmith.contracts import Posterior
from tunesmith.core import Prediction
from tunesmith.errors import ModelError
from tunesmith.posterior.ensemble import Ensemble

_TOGETHER = 16  # structures whose members' spread is predicted in one pass


def committee_scores(prediction: Prediction) -> dict[str, np.ndarray]:
    """How far members disagree about every structure, (B,) each, by the score's name.

    ``committee-energy``: standard deviation of the energies, eV. ``committee-force``: the largest
    over atoms of sqrt(Σ_xyz std²), eV/Å; ``committee-force-mean``: the mean over atoms. Over
    members alone, predicted noise left out; NaN where a spread was not asked for. Raises
    `ModelError` where there is one member.
    """
    spread = prediction.var_model
    if spread is None:
        raise ModelError(
            "a committee's score needs members that disagree, but this model has one member; tune "
            "a committee (--strategy committee), or select by its features."
        )
    atoms = np.sqrt(spread.forces.sum(1))
    ends = np.cumsum(prediction.n_atoms)
    parts = np.split(atoms, ends[:-1])
    return {
        "committee-energy": np.sqrt(spread.energy),
        "committee-force": np.array([p.max() for p in parts]),
        "committee-force-mean": np.array([p.mean() for p in parts]),
    }


def disagreement(posterior: Posterior, structures: Iterable[Atoms], score: str) -> np.ndarray:
    """`committee_scores` of that name of any number of structures, (n,), a few at a time."""
    spread: Literal["energy", "all"] = "energy" if score == "committee-energy" else "all"
    members: Ensemble = posterior.members
    left, found = iter(structures), []
    while batch := list(islice(left, _TOGETHER)):
        found.append(committee_scores(members.predict(batch, spread=spread))[score])
    return np.concatenate(found)
