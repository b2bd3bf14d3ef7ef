"""Error bars of a finished posterior, made honest on structures it has not learnt from.

One scale for each quantity, as on the fly (`gamma`), but from a fixed validation set and with
another belief beforehand. On the fly the prior is cautious on purpose (a = 1.5, b = 10: errors a
few times σ), since over-confidence would stop the labels that could correct it; tens of records
outweigh it. On a validation set too wide is as wrong as too narrow. The limit a → 1, b → 0 is the
scale of largest likelihood, the paper's own choice (appendix A), a poor estimate from five
structures. Between them stands one record's worth of belief that σ is right,
λ_MAP = (1/2 + n/2) / (1/2 + n M_n/2).
"""

import numpy as np

from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.core import Frame, Posterior
from tunesmith.errors import DataError, ModelError

#: λ_MAP = 1 before the first record, and as much weight as one record
ONE_RECORD = GammaCalibration(1.5, 0.5)
#: of the rms spread of force components; below it members agree to rounding, as where symmetry
#: makes a force zero, and the ratio of error to spread says nothing
_ROUNDING = 1e-3
_BATCH = 8


def recalibrated(
    posterior: Posterior, frames: list[Frame], prior: GammaCalibration = ONE_RECORD
) -> dict[str, GammaCalibration]:
    """The calibrations of "energy" and "forces" that labelled frames support.

    Each frame makes one record of either quantity, its force components together one (errors
    within a structure are alike). An energy that the posterior's ``e0s`` leave open makes none;
    a quantity without records is absent.

    Raises `DataError` where there is no labelled frame, `ModelError` where the posterior has no
    spread.
    """
    labelled = [frame for frame in frames if frame.label is not None]
    if not labelled:
        raise DataError("no labelled structure to recalibrate error bars on; give some.")
    e0s = getattr(posterior, "e0s", None)
    laws = {"energy": prior, "forces": prior}
    errors, stds = [], []
    for frame, energy, forces in _records(posterior, labelled):
        if e0s is None or e0s.fixes(frame.atoms.numbers):
            laws["energy"] = laws["energy"].update(*energy)
        stds.append(forces[0])
        errors.append(forces[1])
    floor = _ROUNDING * np.sqrt(np.mean(np.concatenate(stds) ** 2))
    for std, error in zip(stds, errors, strict=True):
        if (counts := std > floor).any():
            laws["forces"] = laws["forces"].update(std[counts], error[counts])
    return {name: law for name, law in laws.items() if law.records > prior.records}


def _records(
    posterior: Posterior, frames: list[Frame]
) -> list[tuple[Frame, tuple[float, float], tuple[np.ndarray, np.ndarray]]]:
    """Of every frame: std and error of its energy, eV, and of its forces (n, 3), eV/Å."""
    found = []
    for i in range(0, len(frames), _BATCH):
        batch = frames[i : i + _BATCH]
        prediction = posterior.predict([frame.atoms for frame in batch])
        if (std := prediction.std()) is None:
            raise ModelError("a single fit has no spread to recalibrate; tune two members or more.")
        ends = np.cumsum(prediction.n_atoms)[:-1]
        spreads, means = np.split(std.forces, ends), np.split(prediction.mean.forces, ends)
        for k, frame in enumerate(batch):
            assert frame.label is not None
            energy = float(std.energy[k]), float(prediction.mean.energy[k]) - frame.label.energy
            found.append((frame, energy, (spreads[k], means[k] - frame.label.forces)))
    return found
