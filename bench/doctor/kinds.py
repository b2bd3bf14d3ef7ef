"""Clean sets of the kinds that published files are made of, each from a real reference.

Scans of dimers and bonds, relaxations, equations of state, strong compression, surfaces, clusters,
small boxes, high temperature: forces that are tiny, zero by symmetry, or where a foundation is
soft. A set is a function of its seed; labels are exact for the reference, so every refusal of such
a set is a false alarm. "development" is what rules were tuned on, "held-out" shares no molecule,
crystal or metal with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from bench.doctor import moves
from bench.doctor.crystal_cells import crystal_of
from bench.shared.data_sets import put
from bench.shared.structures import Rng, bare, told
from tunesmith import read_frames
from tunesmith.core import Frame, Label, derived_seed


@dataclass(frozen=True)
class Systems:
    """What a family may draw from. metals: with EMT's lattice constants; noble: σ of LJ in Å."""

    molecules: tuple[str, ...]
    pairs: tuple[str, ...]
    crystals: tuple[str, ...]
    metals: tuple[str, ...]
    solids: tuple[tuple[str, str, float], ...]
    noble: tuple[tuple[str, float], ...]


FAMILIES = {
    "development": Systems(
        ("CH4", "C2H6", "CH3OH", "H2O", "NH3", "C2H4", "HCN", "CO2", "CH3CH2OH", "C6H6"),
        ("CC", "NN", "CO", "HO"),
        ("diamond", "dry ice", "urea"),
        ("Al", "Cu", "Pd"),
        (("Si", "diamond", 5.43), ("Ti", "bcc", 3.3), ("NaCl", "rocksalt", 5.64)),
        (("Ar", 3.4),),
    ),
    "held-out": Systems(
        ("C2H2", "H2CO", "H3CNH2", "N2H4", "CH3OCH3", "C3H8", "CH3CN", "HCOOH", "H2O2", "N2O",
         "butadiene", "CH3NO2", "C4H4O", "C2H6NH", "CH3CHO"),
        ("HH", "CN", "NO", "OO", "CH", "NH"),
        ("nitrogen", "ammonia", "acetylene"),
        ("Ni", "Ag", "Pt", "Au"),
        (("Ge", "diamond", 5.66), ("Mo", "bcc", 3.15), ("MgO", "rocksalt", 4.21),
         ("W", "bcc", 3.17), ("GaAs", "zincblende", 5.65), ("LiF", "rocksalt", 4.03)),
        (("Kr", 3.6), ("Xe", 3.9)),
    ),
}  # fmt: skip


# ------------------------------------------------------------------------- references


def _xtb(method: str) -> Any:
    from tblite.ase import TBLite

    return TBLite(method=method, verbosity=0, max_iterations=150)


@cache
def _network(name: str) -> Any:
    from tunesmith import open_model
    from tunesmith.posterior.calculator import Calculator

    return Calculator(open_model(name))


def label(atoms: Atoms, calculator: Any, stress: bool) -> Frame | None:
    """With the calculator's label, constraints not applied; None where it has none."""
    work = bare(atoms)
    work.calc = calculator
    try:
        found = told(work, stress=stress)
    except Exception:  # of a self-consistency that fails far from equilibrium
        return None
    known = np.isfinite(found.energy) and np.isfinite(found.forces).all()
    return Frame(bare(atoms), found, "made") if known else None


# ------------------------------------------------------------------------------- sets

Kind = Callable[[list[Atoms], Any, Rng], list[Atoms]]
ANYWHERE: dict[str, Kind] = {
    "dimers": moves.dimer_scans,
    "relaxations": moves.relaxations,
    "relaxed and hot": moves.relaxed_and_hot,
    "equation of state": moves.equations_of_state,
    "compression": moves.compression,
    "hot": moves.hot,
    "clusters": moves.clusters,
}
MIXED = "dimers beside dynamics"
ORGANIC = ANYWHERE | {
    MIXED: moves.dimer_scans,
    "box": moves.in_a_box,
    "bond scans": moves.bond_scans,
}
INORGANIC = ANYWHERE | {"surfaces": moves.surfaces}
WORLDS = ("organic", "metal", "noble", "network")


def clean_kinds(
    family: str, worlds: list[str], rounds: range, network: str, work: Path
) -> dict[str, list[Frame]]:
    """Sets by name, "world/kind-round", made once and kept in the folder ``work``.

    network: the potential that labels the world "network".
    """
    found = {}
    for world in worlds:
        by = "-" + network.replace(":", "-") if world == "network" else ""
        for kind, make in (ORGANIC if world == "organic" else INORGANIC).items():
            for i in rounds:
                path = work / f"{family}-{world}{by}-{kind.replace(' ', '_')}-{i}.xyz"
                if not path.is_file():
                    rng = np.random.default_rng(derived_seed(i, family, world, kind))
                    put(path, _set(FAMILIES[family], world, kind, make, network, rng))
                frames = read_frames(path)[0] if path.stat().st_size else []
                if len(frames) >= 5:
                    found[f"{world}/{kind}-{i}"] = frames
    return found


def _set(
    systems: Systems, world: str, kind: str, make: Kind, network: str, rng: Rng
) -> list[Frame]:
    starts, calculator = _starts(systems, world, kind, network, rng)
    images = make(starts, calculator, rng) if starts else []
    if kind == MIXED:
        images += moves.dynamics(
            molecule(str(rng.choice(systems.molecules))), calculator, 400, 24, rng
        )
    stress = bool(rng.random() < 0.6)
    short = rng.random() < 0.3  # many files have few digits, and so zeros where forces are small
    frames = [f for f in (label(a, calculator, stress) for a in images) if f is not None]
    frames = [f for f in frames if f.label and np.abs(f.label.forces).max() < 200]
    return [_rounded(f) for f in frames] if short else frames


def _rounded(frame: Frame) -> Frame:
    assert frame.label is not None
    kept = Label(round(frame.label.energy, 6), frame.label.forces.round(4), frame.label.stress)
    return Frame(frame.atoms, kept, frame.origin)


def _starts(
    systems: Systems, world: str, kind: str, network: str, rng: Rng
) -> tuple[list[Atoms], Any]:
    """Structures to begin with, in random order, and the reference; none where it makes no sense"""
    calculator = {
        "organic": partial(_xtb, str(rng.choice(["GFN1-xTB", "GFN2-xTB"]))),
        "metal": EMT,
        "noble": partial(LennardJones, epsilon=0.012, rc=9.0, smooth=True),
        "network": partial(_network, network),
    }[world]
    if world == "noble":
        symbol, sigma = systems.noble[int(rng.integers(len(systems.noble)))]
        calculator = partial(calculator, sigma=sigma)
        start = bulk(symbol, "fcc", a=1.56 * sigma, cubic=True)
        starts = [start]
    elif world == "organic":
        starts = [molecule(str(m)) for m in rng.permutation(list(systems.molecules))]
        if kind in ("equation of state", "compression"):
            starts = [_one_cell(str(rng.choice(systems.crystals)))]
    elif world == "metal":
        starts = [bulk(str(m), cubic=True) for m in rng.permutation(list(systems.metals))]
    else:
        solids = [systems.solids[i] for i in rng.permutation(len(systems.solids))]
        starts = [bulk(s, kind_, a=a, cubic=True) for s, kind_, a in solids]
    if kind.startswith("dimers"):
        starts = _pairs(systems, world, starts, rng)
    elif kind == "surfaces":
        starts = [_slab(systems, rng)] if world != "noble" else []
    elif kind == "clusters" and world != "organic":
        starts = [a.repeat(2) for a in starts[:1]] if world == "network" else [starts[0][:1]]
    elif kind == "hot" and world != "organic" and len(starts[0]) < 5:
        starts = [starts[0].repeat((2, 2, 1))]
    if kind == "clusters" and world == "network":
        return [], calculator()
    return starts, calculator()


def _one_cell(name: str) -> Atoms:
    """8 to 16 atoms of a crystal: milliseconds a label"""
    if name == "diamond":
        return bulk("C", "diamond", 3.567, cubic=True).repeat((2, 1, 1))
    eight = crystal_of(name)
    first = eight[: len(eight) // 8]
    first.set_cell(eight.cell / 2)
    return first


def _pairs(systems: Systems, world: str, starts: list[Atoms], rng: Rng) -> list[Atoms]:
    if world == "organic":
        near = {"HH": 0.74, "HO": 0.97, "CH": 1.09, "NH": 1.02}
        return [Atoms(str(p), positions=[[0, 0, 0], [0, 0, near.get(str(p), 1.2)]])
                for p in rng.permutation(list(systems.pairs))]  # fmt: skip
    found = []
    for start in starts:
        d = start.get_all_distances(mic=True)[0] + 99 * (np.arange(len(start)) == 0)
        numbers = start.numbers[[0, int(np.argmin(d))]]
        found.append(Atoms(numbers, [[0, 0, 0], [0, 0, 0.95 * d.min()]]))
    return found


def _slab(systems: Systems, rng: Rng) -> Atoms:
    slab = fcc111(str(rng.choice(systems.metals)), (2, 2, 3), vacuum=7.0)
    add_adsorbate(slab, str(rng.choice(["O", "C", "N", "H"])), 1.6, "fcc")
    slab.pbc = True
    return slab
