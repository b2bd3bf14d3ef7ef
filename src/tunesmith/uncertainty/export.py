"""A posterior as files of the model's own package: every member, and one model for them all."""

from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from tunesmith.core import E0s, Members, Weights
from tunesmith.errors import ModelError
from tunesmith.potentials.base import REPLAY_HEAD, Potential
from tunesmith.uncertainty.ensemble import Ensemble

#: eV per atom, a large energy of atomisation
_BINDING = 8.0
#: of float32, relative
_ROUNDING = 2.0**-24


def export(
    out: Path,
    potential: Potential,
    members: Members,
    judges: list[Atoms],
    replay_e0s: E0s | None = None,
) -> str:
    """Write final.model and, of several members, members/*.model; says whose weights the former
    has.

    judges: structures on which files are checked and candidates compared. replay_e0s: keeps the
    replay head in the files, with these E0s. Raises `ModelError` where a file does not reproduce
    what was tuned.
    """
    ensemble = Ensemble.of(potential, members)

    def write(path: Path, weights: Weights, replay: Weights) -> None:
        others = None if replay_e0s is None else {REPLAY_HEAD: (replay, replay_e0s.values)}
        potential.export(path, weights, members.e0s.values, others)
        check_export(path, Ensemble(potential, [weights], members.e0s), judges[:3])

    heads = [members.replay_head(i) for i in range(len(members))]
    if len(members) == 1:
        write(out / "final.model", ensemble.weights[0], heads[0])
        return "the only member"
    for i, (weights, head) in enumerate(zip(ensemble.weights, heads, strict=True)):
        write(out / "members" / f"member-{i}.model", weights, head)
    name, weights = nearest(ensemble, judges)
    chosen = name.removeprefix("member ")
    head = heads[int(chosen)] if chosen.isdigit() else mean_weights(heads)
    write(out / "final.model", weights, head)
    return name


def nearest(ensemble: Ensemble, judges: list[Atoms]) -> tuple[str, Weights]:
    """Of the mean weights and the members, what comes closest to the ensemble's mean.

    Distance: squared differences of energy and force components on ``judges``, in units of the
    likelihood's scales, each averaged.
    """
    candidates = {"the mean of the members' weights": mean_weights(ensemble.weights)}
    candidates |= {f"member {i}": w for i, w in enumerate(ensemble.weights)}
    scale = ensemble.noise_scale
    energy, force = (scale.energy, scale.forces) if scale else (1e-3, 1e-3)
    means = [ensemble.predict([atoms]).mean for atoms in judges]

    def distance(weights: Weights) -> float:
        single = Ensemble(ensemble.potential, [weights], ensemble.e0s)
        total = 0.0
        for atoms, mean in zip(judges, means, strict=True):
            own = single.predict([atoms]).mean
            total += float(np.mean((own.energy - mean.energy) ** 2)) / energy**2
            total += float(np.mean((own.forces - mean.forces) ** 2)) / force**2
        return total

    name = min(candidates, key=lambda n: distance(candidates[n]))
    return name, candidates[name]


def mean_weights(weights: list[Weights]) -> Weights:
    """Every weight's mean over members."""
    return {
        name: torch.stack([w[name].double() for w in weights]).mean(0).to(first)
        for name, first in weights[0].items()
    }


def check_export(path: Path, tuned: Ensemble, judges: list[Atoms]) -> None:
    """Absolute energies and forces of the native calculator against ours.

    Ours may compute in float32, so the tolerance is its rounding: 1e-5 eV per atom and 1e-3 eV/Å
    where the network carries the few eV per atom of a binding energy, in proportion where E0s of
    another code leave it hundreds. A package that computes in float32 also rounds total energies.
    """
    native = tuned.potential.native(path)
    exact = tuned.potential.capabilities.native_float64
    for structure in judges:
        atoms = structure.copy()
        ours = tuned.predict([atoms]).mean
        atoms.calc = native
        energy = abs(atoms.get_potential_energy() - ours.energy[0]) / len(atoms)
        force = np.abs(atoms.get_forces(apply_constraint=False) - ours.forces).max()
        carried = abs(ours.energy[0] - tuned.e0s.total(atoms.numbers)) / len(atoms)
        rounding = max(1.0, carried / _BINDING)
        allowed = 1e-5 * rounding + (0.0 if exact else _rounded(atoms.numbers, carried, tuned.e0s))
        if not (energy < allowed and force < 1e-3 * rounding):
            raise ModelError(
                f"{path} does not reproduce the tuned model ({energy:.1e} eV/atom, {force:.1e} "
                "eV/Å off); please report this with the model's origin."
            )


def _rounded(numbers: np.ndarray, carried: float, e0s: E0s) -> float:
    """eV per atom by which float32 may miss a total energy, E0s included.

    Every E0, every atom's energy and, at worst all one way, every step of their sum is rounded.
    """
    total = sum(abs(e0s.values[int(z)]) + carried for z in numbers)
    return _ROUNDING * total * (len(numbers) + 3) / len(numbers)
