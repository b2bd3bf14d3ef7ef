"""How good a round's model is on labelled structures it has not learnt."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms

from tunesmith.contracts import Posterior
from tunesmith.core import Frame, Prediction
from tunesmith.report.curves import METRICS
from tunesmith.report.evaluate import evaluate

_BATCH = 16  # structures computed together


@dataclass(frozen=True)
class Measured:
    """metrics: as of `METRICS`, None where not defined. errors: by quantity, of every structure
    (n,): |energy error| in eV, None where the zero of energy of one is open; the rms of the
    components of its forces' error, eV/Å."""

    metrics: dict[str, float | None]
    errors: dict[str, np.ndarray | None]


def measure(posterior: Posterior, frames: list[Frame], *, aligned: bool = True) -> Measured:
    """A model against labels.

    aligned: whether its E0s are of the labels' level of theory; otherwise, and where they leave the
    energy of a composition open, energies are compared within each composition alone. Of no
    structures nothing is known.
    """
    if not frames:
        return Measured(dict.fromkeys(METRICS), {"energy": None, "forces": None})
    members = posterior.members  # whose mean it is; a closed form's spread would cost and is unseen
    found = evaluate(_Means(members), frames, batch_size=_BATCH)
    summary = found.summary()
    fixed = aligned and all(members.e0s.fixes(f.atoms.numbers) for f in frames)
    metrics = {
        name: summary.get(name) if fixed or not _absolute(name) else None for name in METRICS
    }
    squares = np.bincount(found.frame_of_atom, np.sum(found.forces.error**2, axis=1))
    errors: dict[str, np.ndarray | None] = {
        "energy": np.abs(found.energy.error) if fixed else None,
        "forces": np.sqrt(squares / (3 * found.n_atoms)),
    }
    return Measured(metrics, errors)


def _absolute(metric: str) -> bool:
    return metric.startswith("energy") and "within_composition" not in metric


class _Means(Posterior):
    """A posterior's means, whatever it thinks of its own energies."""

    def __init__(self, posterior: Posterior) -> None:
        self._posterior = posterior

    @property
    def judged(self) -> tuple[str, ...]:
        return ()

    def predict(
        self,
        frames: list[Atoms],
        *,
        stress: bool = False,
        spread: Literal["all", "energy"] = "all",
    ) -> Prediction:
        prediction = self._posterior.predict(frames, stress=stress, spread=spread)
        return Prediction(prediction.mean, prediction.n_atoms)
