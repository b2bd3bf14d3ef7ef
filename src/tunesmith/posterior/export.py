"""A posterior as files of the model's own package: every member, and one model for them all."""

from pathlib import Path

import numpy as np
from ase import Atoms

from tunesmith.core import E0s, Members, Weights
from tunesmith.errors import ModelError
from tunesmith.posterior.ensemble import Ensemble, mean_weights
from tunesmith.potentials.potential import REPLAY_HEAD, Potential

#: eV per atom, a large energy of atomisation
_BINDING = 8.0
#: relative error of a sum in single precision: a few roundings, 6e-8 each
_SINGLE = 3e-7


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


def check_export(path: Path, tuned: Ensemble, judges: list[Atoms]) -> None:
    """Absolute energies and forces of the native calculator against ours.

    Ours may compute in float32, so the tolerance is its rounding: 1e-5 eV per atom and 1e-3 eV/Å
    where the network carries the few eV per atom of a binding energy, in proportion where E0s of
    another code leave it hundreds. A calculator of single precision rounds total energies, which
    all-electron E0s make large.
    """
    single = not tuned.potential.capabilities.native_float64
    native = tuned.potential.native(path)
    for structure in judges:
        atoms = structure.copy()
        ours = tuned.predict([atoms]).mean
        atoms.calc = native
        energy = abs(atoms.get_potential_energy() - ours.energy[0]) / len(atoms)
        force = np.abs(atoms.get_forces(apply_constraint=False) - ours.forces).max()
        carried = abs(ours.energy[0] - tuned.e0s.total(atoms.numbers)) / len(atoms)
        rounding = max(1.0, carried / _BINDING)
        total = _SINGLE * abs(ours.energy[0]) / len(atoms) if single else 0.0
        if not (energy < 1e-5 * rounding + total and force < 1e-3 * rounding):
            raise ModelError(
                f"{path} does not reproduce the tuned model ({energy:.1e} eV/atom, {force:.1e} "
                "eV/Å off); please report this with the model's origin."
            )
