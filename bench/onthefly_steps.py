"""Heavy steps of `onthefly.py`, each in its own process: ``python onthefly_steps.py STEP JSON``."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any


def md(dtype: str, device: str, members: int, turns: int) -> dict[str, Any]:
    """Way → median ms, CPU ms, and how far its mean is from `MACECalculator`'s."""
    import numpy as np
    import torch
    from ase.build import molecule

    from tunesmith.core import E0s
    from tunesmith.posterior.ensemble import Ensemble
    from tunesmith.potentials import zoo
    from tunesmith.potentials.mace import mace_files
    from tunesmith.potentials.potential import one_by_one

    torch.set_num_threads(1)
    potential = zoo.load("organic-xs", dtype=dtype, device=device)
    generator = torch.Generator().manual_seed(0)

    def bent(weight: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        return weight * (1 + 0.01 * noise.to(weight.device))

    start, trained = potential.weights(), potential.names.trainable()
    weights = [start | {k: bent(start[k]) for k in trained} for _ in range(members)]
    e0s = E0s(potential.e0s)
    whole, one = Ensemble(potential, weights, e0s), Ensemble(potential, weights[:1], e0s)
    apart = Ensemble(zoo.load("organic-xs", dtype=dtype, device=device), weights, e0s)
    apart.potential.evaluate_members = partial(one_by_one, apart.potential)  # type: ignore
    native = _native(potential, weights, mace_files, dtype, device)

    def predict(ensemble: Ensemble, spread: str, atoms: Any) -> tuple[float, Any]:
        found = ensemble.predict([atoms], spread=spread)  # type: ignore
        return found.mean.energy[0], found.mean.forces

    def ase(atoms: Any) -> tuple[float, Any]:
        atoms.calc = native
        return atoms.get_potential_energy(), atoms.get_forces()

    ways: dict[str, Callable[[Any], tuple[float, Any]]] = {
        "MACECalculator": ase,
        "one pass, spread of energies and forces": partial(predict, whole, "all"),
        "one pass, spread of energies": partial(predict, whole, "energy"),
        "one by one": partial(predict, apart, "all"),
        "one member": partial(predict, one, "all"),
    }
    rng, atoms = np.random.default_rng(0), molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    off: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for turn in range(turns + 3):  # the first three warm up
        atoms.positions += 0.005 * rng.normal(size=atoms.positions.shape)
        truth = None
        for way, function in ways.items():
            moved = atoms.copy()
            clock, cpu = time.perf_counter(), time.process_time()
            energy, forces = function(moved)
            spent = time.perf_counter() - clock, time.process_time() - cpu
            truth = truth or (energy, forces)
            if turn >= 3:
                times[way].append(spent)
                differences = abs(energy - truth[0]), float(abs(forces - truth[1]).max())
                off[way].append(differences)
    found: dict[str, Any] = {}
    for way in ways:
        found[way] = {
            "ms": 1e3 * median(t for t, _ in times[way]),
            "cpu_ms": 1e3 * median(t for _, t in times[way]),
            "off_meV": 1e3 * max(e for e, _ in off[way]),
            "off_meV_per_A": 1e3 * max(f for _, f in off[way]),
        }
    # another model than the mean of all
    found["one member"] |= {"off_meV": None, "off_meV_per_A": None}
    return found


def _native(potential: Any, weights: list[Any], mace_files: Any, dtype: str, device: str) -> Any:
    """mace's own calculator of all members."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{i}.model") for i in range(len(weights))]
        for path, w in zip(paths, weights, strict=True):
            potential.export(Path(path), w, potential.e0s)
        calculators = mace_files._calculators()
        with mace_files.unsafe_loading(), mace_files.quiet():
            return calculators.MACECalculator(model_paths=paths, device=device, default_dtype=dtype)


STEP = {"md": md}

if __name__ == "__main__":
    print(json.dumps(STEP[sys.argv[1]](**json.loads(sys.argv[2]))))
