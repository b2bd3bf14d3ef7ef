"""What stable replicas say of a material: density, self-diffusion, first shells; as JSON values."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from tunesmith.check.averages import block_average
from tunesmith.check.diffusion import NANO, molecules, self_diffusion
from tunesmith.check.rdf import rdf
from tunesmith.check.replicas import Replica, equilibrated
from tunesmith.check.trajectory import Trajectory
from tunesmith.explore.md import MD

#: u/Å³ in g/cm³
DENSITY = 1.66053906660
#: ensembles whose random or damping forces change how far particles go
DAMPED = ("langevin",)
#: samples of one trajectory that g(r) is counted in: those between tell little more
_SAMPLES = 200


def density(trajectories: Sequence[Trajectory]) -> list[np.ndarray]:
    """g/cm³ of every sample, for each trajectory."""
    return [DENSITY * t.masses.sum() / t.volumes for t in trajectories]


def particles(atoms: Atoms, species: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """What can diffuse, by name: atoms of each of ``species``; without those, molecules by formula;
    without molecules (all atoms joined by bonds) atoms of every element."""
    symbols = np.array(atoms.get_chemical_symbols())
    if not species:
        groups = molecules(atoms)
        if len(groups) > 1:
            formulas = [atoms[g].get_chemical_formula("hill") for g in groups]
            names = sorted(set(formulas))
            return {n: [g for g, f in zip(groups, formulas, strict=True) if f == n] for n in names}
    names = sorted(set(species or symbols.tolist()))
    return {n: [np.array([i]) for i in np.flatnonzero(symbols == n)] for n in names}


def observables(
    md: MD, atoms: Atoms, replicas: Sequence[Replica], equilibration: float, species: Sequence[str]
) -> dict[str, Any]:
    """Of the stable replicas of one member; what cannot be said is absent, never 0.

    Keys: ``density_g_per_cm3`` (mean, error), ``diffusion`` by particle (value and error in
    10⁻⁹ m²/s), ``shells`` by pair (position of the first maximum and minimum in Å, number of
    neighbours) and ``rdf`` by pair (r in Å, g, error). Empty without three periodic directions or
    where no replica is stable. equilibration: fs left out.
    """
    trajectories = equilibrated(replicas, equilibration)
    if not trajectories or not atoms.pbc.all():
        return {}
    found: dict[str, Any] = {
        "density_g_per_cm3": _plain(asdict(block_average(density(trajectories))))
    }
    if md.ensemble not in DAMPED:
        found["diffusion"] = {
            name: _diffusion(trajectories, groups)
            for name, groups in particles(atoms, species).items()
        }
    names = sorted(set(species or atoms.get_chemical_symbols()))
    count = {n: int(np.sum(atoms.numbers == chemical_symbols.index(n))) for n in names}
    thinned = [t.every(max(1, len(t) // _SAMPLES)) for t in trajectories]
    shells, curves = {}, {}
    for a, b in combinations_with_replacement(names, 2):
        if a == b and count[a] < 2:
            continue
        pair = rdf(thinned, (a, b))
        shell = pair.first_shell()
        if shell is not None:
            shells[f"{a}-{b}"] = {
                "maximum_A": shell.maximum,
                "minimum_A": shell.minimum,
                **_plain(asdict(shell.number)),
            }
        curves[f"{a}-{b}"] = {"r_A": pair.r.tolist(), "g": pair.g.tolist()}
        curves[f"{a}-{b}"] |= {"error": [_number(x) for x in pair.error]}
    return found | {"shells": shells, "rdf": curves}


def over_members(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The same keys for several members together: the mean of their means, its statistical error
    and the members' spread (standard deviation, None for one)."""
    found = [f for f in found if "density_g_per_cm3" in f]
    if not found:
        return {}
    joined: dict[str, Any] = {"density_g_per_cm3": _joined([f["density_g_per_cm3"] for f in found])}
    for kind in ("diffusion", "shells"):
        names = [n for n in found[0].get(kind, {}) if all(n in f[kind] for f in found)]
        joined[kind] = {name: _joined([f[kind][name] for f in found]) for name in names}
    return joined


def _joined(values: list[dict[str, Any]]) -> dict[str, float | None]:
    means = np.array([v["mean"] for v in values])
    errors = np.array([np.nan if v["error"] is None else v["error"] for v in values])
    return {
        "mean": float(means.mean()),
        "error": _number(np.sqrt((errors**2).sum()) / len(values)),
        "spread": float(means.std(ddof=1)) if len(values) > 1 else None,
    }


def _diffusion(trajectories: list[Trajectory], groups: list[np.ndarray]) -> dict[str, Any]:
    result = self_diffusion(trajectories, groups=groups)
    return {
        "particles": result.n_particles,
        "mean": NANO * result.value,
        "error": _number(NANO * result.error),
        "exponent": _number(result.exponent),
        "fit_fs": list(result.fit),
    }


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    """As JSON has it: None where it is not finite."""
    return float(value) if np.isfinite(value) else None
