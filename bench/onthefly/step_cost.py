"""One MD step of ethanol: members in one pass, one by one, one, and `MACECalculator` of all."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule

from bench.runner.parts import Named, Options, Record
from bench.shared.clocks import medians, timed
from bench.shared.structures import bent, rattled
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.potentials import zoo
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.potential import one_by_one

NATIVE, ONE = "MACECalculator", "one member"
#: the aim: of MACECalculator's time
AIM = 0.7
WARM = 3


@dataclass(frozen=True)
class Step(Named):
    """Turns of all ways in one process."""

    dtype: str
    device: str
    members: int
    turns: int


def measured(it: Step, _: Options) -> Record:
    """Way → median seconds, and how far its mean is from `MACECalculator`'s."""
    torch.set_num_threads(1)
    load = partial(zoo.load, "organic-xs", dtype=it.dtype, device=it.device)
    whole = bent(load(), it.members, 0.01)
    potential, weights = whole.potential, whole.weights
    one = Ensemble(potential, weights[:1], whole.e0s)
    apart = Ensemble(load(), weights, whole.e0s)
    apart.potential.evaluate_members = partial(one_by_one, apart.potential)  # type: ignore
    native = _native(whole, it)

    def predict(ensemble: Ensemble, spread: Any, atoms: Atoms) -> tuple[float, np.ndarray]:
        found = ensemble.predict([atoms], spread=spread)
        return float(found.mean.energy[0]), found.mean.forces

    def ase(atoms: Atoms) -> tuple[float, np.ndarray]:
        atoms.calc = native
        return float(atoms.get_potential_energy()), atoms.get_forces()

    ways: dict[str, Callable[[Atoms], tuple[float, np.ndarray]]] = {
        NATIVE: ase,
        "one pass, spread of energies and forces": partial(predict, whole, "all"),
        "one pass, spread of energies": partial(predict, whole, "energy"),
        "one by one": partial(predict, apart, "all"),
        ONE: partial(predict, one, "all"),
    }
    rng, atoms = np.random.default_rng(0), molecule("CH3CH2OH")
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    off: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for turn in range(it.turns + WARM):
        atoms = rattled(atoms, rng, 0.005)
        said: dict[str, tuple[float, np.ndarray]] = {}
        for way, function in ways.items():
            spent = timed(partial(_answer, said, way, function, atoms.copy()))
            energy, forces = (abs(x - y) for x, y in zip(said[way], said[NATIVE], strict=True))
            if turn >= WARM:
                runs[way].append(spent)
                off[way].append((float(energy), float(np.max(forces))))
    found = {way: medians(runs[way]) for way in ways}
    for way, known in found.items():
        # one member is another model than the mean of all
        worst = (max(column) for column in zip(*off[way], strict=True))
        known |= {} if way == ONE else dict(zip(("off_energy", "off_forces"), worst, strict=True))
    return {"ways": found}


def _answer(said: dict[str, Any], way: str, function: Callable[[Atoms], Any], at: Atoms) -> None:
    said[way] = function(at)


def _native(ensemble: Ensemble, it: Step) -> Any:
    """mace's own calculator of all members."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{i}.model") for i in range(len(ensemble))]
        for path, weights in zip(paths, ensemble.weights, strict=True):
            ensemble.potential.export(Path(path), weights, ensemble.potential.e0s)
        calculators = mace_files._calculators()
        how: dict[str, Any] = {"device": it.device, "default_dtype": it.dtype}
        with mace_files.unsafe_loading(), mace_files.quiet():
            return calculators.MACECalculator(model_paths=paths, **how)


def rows(records: list[Record]) -> list[Record]:
    """Times of every way, and the ratio to `MACECalculator`."""
    found = []
    for record in records:
        native = record["ways"][NATIVE]
        for way, w in record["ways"].items():
            far = (
                f" ({1e3 * w['off_energy']:.2g}, {1e3 * w['off_forces']:.2g})"
                if "off_energy" in w
                else ""
            )
            times = {"ms": 1e3 * w["wall_s"], "cpu_ms": 1e3 * w["cpu_s"]}
            ratios = {k[:3]: w[k] / native[k] for k in ("wall_s", "cpu_s")}
            found.append({"way": f"{record['dtype']}, {way}{far}", **times, **ratios})
    return found
