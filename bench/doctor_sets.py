"""Clean labelled sets for `doctor.py`, in families that share no molecule and no crystal.

The rules of the doctor may be tuned on "development"; "held-out" and "reserve" are for measuring
them, "reserve" when the held-out sets have been looked into. A set is
a function of its name and the seed, is labelled once and kept in the work folder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.lattice.hexagonal import Graphite
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.spacegroup import crystal
from tblite.ase import TBLite

from tunesmith import read_frames, write_frames
from tunesmith.core import Frame, Label, derived_seed
from tunesmith.references.pyscf import PySCF
from tunesmith.references.tblite import TBLite as XTB

GFN1, GFN2 = XTB(method="GFN1-xTB"), XTB(method="GFN2-xTB")
DFT = PySCF(xc="pbe0", basis="def2-svp", density_fit=True)
GROUND_STATES = {"H": 2, "C": 3, "N": 4, "O": 3}  # 2S+1


@dataclass(frozen=True)
class Spec:
    """One set. structures: name (of ASE's g2, of a cluster or of a crystal) → frames of it.

    temperature: K, of dynamics with GFN2-xTB; None: displacements of `rattle` Å, and cells
    strained by 2 % instead. stress: share of the periodic frames whose stress is kept.
    """

    structures: dict[str, int]
    reference: XTB | PySCF = GFN2
    temperature: float | None = 300.0
    rattle: float = 0.06
    isolated: bool = True
    stress: float = 1.0
    multiplicity: int | None = None


#: frames of the real sets: which file, and which of them are development's and held out
REAL = {
    "acac": ("acac", "train_300K.xyz", "isolated_atoms.xyz", 0, 300, 60),
    "3bpa": ("3bpa", "train_300K.xyz", "iso_atoms.xyz", 0, 300, 40),
    "ethanol": ("ethanol", "train.xyz", "isolated_atoms.xyz", 0, 600, 100),
}

DEVELOPMENT = {
    "ethanol": Spec({"CH3CH2OH": 40}),
    "benzene": Spec({"C6H6": 30}, GFN1, 900.0, isolated=False),
    "five": Spec(dict.fromkeys(("CH4", "NH3", "H2O", "CH3OH", "HCN"), 12), GFN1, 500.0),
    "ten": Spec(
        dict.fromkeys(
            ("CH4", "C2H6", "H2O", "CO2", "HCOOH", "C4H4O", "H2CCO", "CH3CN", "C4H4NH", "N2O"), 6
        ),
        isolated=False,
    ),
    "isomers": Spec({"CH3CH2OH": 20, "CH3OCH3": 20}, GFN1, 600.0),
    "amides": Spec({"CH3CONH2": 200}, GFN1),
    "few": Spec({"CH3CONH2": 10}, temperature=None, isolated=False),
    "water": Spec({"4 H2O": 30}, GFN1, isolated=False),
    "radicals": Spec(dict.fromkeys(("CH3", "C2H5", "CH3O"), 12), multiplicity=2),
    "diamond": Spec({"diamond": 12}, GFN1, None),
    "dry-ice": Spec({"dry ice": 10}, GFN2, None, isolated=False),
    "urea": Spec({"urea": 10}, GFN1, None, 0.05, stress=0.0),
    "both": Spec({"diamond": 8, "C2H6": 12, "CH4": 12}, GFN2, None, stress=0.5),
}
HELD_OUT = {
    "acetone": Spec({"CH3COCH3": 50}, GFN1, 400.0),
    "pyridine": Spec({"C5H5N": 25}, GFN2, 1000.0, isolated=False),
    "six": Spec(dict.fromkeys(("H2CO", "N2H4", "C2H4", "C3H8", "CH3NO2", "C2H2"), 10), GFN1, 400.0),
    "eight": Spec(
        dict.fromkeys(
            ("H2O2", "C2H4", "NCCN", "C3H6_D3h", "CH3CHO", "C2H6NH", "OCHCHO", "H2CCHCN"), 7
        ),
        GFN2,
        400.0,
        isolated=False,
    ),
    "acids": Spec({"CH3COOH": 18, "HCOOCH3": 18}, GFN1, 700.0),
    "butadiene": Spec({"butadiene": 200}, GFN1, 400.0, isolated=False),
    "few": Spec({"H3CNH2": 10}, GFN1, temperature=None),
    "clusters": Spec({"3 H2O2": 15, "2 H2CO": 15}, GFN2, 250.0, isolated=False),
    "radicals": Spec(dict.fromkeys(("C2H3", "NH2", "CH3CO"), 12), multiplicity=2),
    "nitrogen": Spec({"nitrogen": 12}, GFN1, None, isolated=False),
    "ice": Spec({"ice": 16}, GFN2, None, 0.04, stress=0.7),
    "graphite": Spec({"graphite": 10}, GFN1, None, 0.04, isolated=False),
    "ammonia": Spec({"ammonia": 10}, GFN1, None, 0.04, stress=0.0),
    "both": Spec({"nitrogen": 8, "N2H4": 12, "C3H8": 12}, GFN2, None),
    "dft": Spec({"H2CO": 12, "H3CNH2": 12}, DFT, 400.0),
}
#: nobody has looked at these yet: for rules that were mended after a look at the held-out sets
RESERVE = {
    "isobutane": Spec({"isobutane": 40}, GFN1, 500.0),
    "butyne": Spec({"2-butyne": 25}, GFN2, 900.0, isolated=False),
    "rings": Spec(dict.fromkeys(("cyclobutane", "CH2OCH2", "bicyclobutane", "C3H4_D2d"), 12), GFN1),
    "isomers": Spec({"CH3CH2NH2": 18, "C3H9N": 18}, GFN1, 600.0, isolated=False),
    "few": Spec({"CH3ONO": 10}, GFN1, None),
    "clusters": Spec({"2 CH3CHO": 15, "3 HCN": 15}, GFN2, 250.0, isolated=False),
    "radicals": Spec(dict.fromkeys(("C3H7", "H2COH", "C3H9C"), 12), GFN1, multiplicity=2),
    "lonsdaleite": Spec({"lonsdaleite": 10}, GFN1, None),
    "acetylene": Spec({"acetylene": 12}, GFN1, None, 0.04, isolated=False),
    "both": Spec({"acetylene": 8, "CH3CH2NH2": 12, "trans-butane": 12}, GFN2, None),
}
#: the same once more, after the reserve
LAST = {
    "propene": Spec({"C3H6_Cs": 40}, GFN1, 400.0),
    "propanol": Spec({"C2H6CHOH": 25}, GFN2, 900.0, isolated=False),
    "rings": Spec(
        dict.fromkeys(("C3H4_C2v", "CH2NHCH2", "cyclobutene", "methylenecyclopropane"), 12), GFN1
    ),
    "ethers": Spec({"CH3CH2OCH3": 18, "C2H6CHOH": 18}, GFN1, 600.0, isolated=False),
    "few": Spec({"C3H4_C3v": 10}, GFN1, None),
    "clusters": Spec({"2 CH3OH": 15, "3 NH3": 15}, GFN2, 250.0, isolated=False),
    "radicals": Spec(dict.fromkeys(("CH3CH2O", "HCO", "CCH"), 12), multiplicity=2),
    "hot radicals": Spec(dict.fromkeys(("CH3CH2O", "HCO"), 20), GFN1, 800.0, multiplicity=2),
    "ice": Spec({"ice": 12}, GFN1, None, 0.08),
    "both": Spec({"urea": 8, "C3H4_C3v": 12, "CH3CH2OCH3": 12}, GFN2, None),
}
FAMILIES = {"last": LAST, "development": DEVELOPMENT, "held-out": HELD_OUT, "reserve": RESERVE}


def clean_sets(family: str, work: Path, data: Path | None, seed: int) -> dict[str, list[Frame]]:
    """All sets of a family by name, isolated atoms among the frames; and the real ones of data."""
    found = {f"xtb/{n}": _kept(family, n, s, work, seed) for n, s in FAMILIES[family].items()}
    for name, (folder, file, atoms, start, later, n) in REAL.items() if data else ():
        assert data is not None
        begin = {
            "development": start,
            "held-out": later,
            "reserve": later + n,
            "last": later + 2 * n,
        }[family]
        frames, _ = read_frames(data / folder / file, index=slice(begin, begin + n))
        isolated, _ = read_frames(data / folder / atoms)
        marked = [replace(f, config_type="IsolatedAtom") for f in isolated]
        found[f"real/{name}"] = frames + marked
    return found


def _kept(family: str, name: str, spec: Spec, work: Path, seed: int) -> list[Frame]:
    path = work / f"{family}-{name}-{seed}.xyz"
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        write_frames(path, make(spec, derived_seed(seed, family, name)))
    return read_frames(path)[0]


def make(spec: Spec, seed: int) -> list[Frame]:
    """Structures, labelled; a structure without a label is left out."""
    rng = np.random.default_rng(seed)
    frames: list[Frame] = []
    for name, n in spec.structures.items():
        start = build(name, rng)
        for atoms in _moved(start, n, spec, rng):
            if spec.multiplicity is not None:
                atoms.info["multiplicity"] = spec.multiplicity
            frames += _labelled(atoms, spec.reference, name)
    frames = [_with_stress(f, rng.random() < spec.stress) for f in frames]
    if spec.isolated:
        for symbol in sorted({s for f in frames for s in f.atoms.get_chemical_symbols()}):
            atom = Atoms(symbol, info={"multiplicity": GROUND_STATES[symbol]})
            frames += _labelled(atom, spec.reference, "IsolatedAtom")
    return frames


def _labelled(atoms: Atoms, reference: XTB | PySCF, kind: str) -> list[Frame]:
    label = reference.label(atoms)
    return [Frame(atoms, label, "made", config_type=kind)] if isinstance(label, Label) else []


def _with_stress(frame: Frame, kept: bool) -> Frame:
    if frame.label is None or kept:
        return frame
    return replace(frame, label=replace(frame.label, stress=None))


# ------------------------------------------------------------------------- structures


def build(name: str, rng: np.random.Generator) -> Atoms:
    """A molecule of ASE's g2 set, "4 H2O": a cluster of four, or one of our crystals."""
    if name in CRYSTALS:
        return CRYSTALS[name]()
    count, _, one = name.rpartition(" ")
    return _cluster(molecule(one), int(count), rng) if count else molecule(one)


def _cluster(one: Atoms, n: int, rng: np.random.Generator) -> Atoms:
    """n copies, turned at random, on a small grid, 3.6 Å and more apart."""
    size = np.ptp(one.positions, axis=0).max()
    every = Atoms()
    for i in range(n):
        copy = one.copy()
        copy.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COP")
        copy.translate((size + 2.4) * np.array([i % 2, i // 2 % 2, i // 4]))
        every += copy
    return every


def _moved(start: Atoms, n: int, spec: Spec, rng: np.random.Generator) -> list[Atoms]:
    if spec.temperature is not None and not start.pbc.any():
        return _dynamics(start, n, spec.temperature, rng)
    found = []
    for _ in range(n):
        atoms = start.copy()
        if atoms.pbc.all():
            strain = rng.normal(scale=0.02, size=(3, 3))
            atoms.set_cell(atoms.cell @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        atoms.positions += rng.normal(scale=spec.rattle, size=(len(atoms), 3))
        found.append(atoms)
    return found


def _dynamics(start: Atoms, n: int, temperature: float, rng: np.random.Generator) -> list[Atoms]:
    """n frames, 15 fs apart after 50 fs, from Langevin dynamics with GFN2-xTB."""
    atoms, found = start.copy(), []
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * temperature, rng=rng)
    friction = 0.02 / units.fs
    md = Langevin(
        atoms, 0.5 * units.fs, temperature_K=temperature, friction=friction, rng=rng, fixcm=False
    )
    md.run(100)
    for _ in range(n):
        md.run(30)
        found.append(Atoms(atoms.numbers, atoms.positions.copy()))
    return found


def _dry_ice() -> Atoms:
    cell = [5.62, 5.62, 5.62, 90, 90, 90]
    sites = [(0, 0, 0), (0.119, 0.119, 0.119)]
    return crystal("CO", sites, spacegroup=205, cellpar=cell).repeat(2)


def _nitrogen() -> Atoms:
    cell = [5.65, 5.65, 5.65, 90, 90, 90]
    return crystal("N", [(0.056, 0.056, 0.056)], spacegroup=205, cellpar=cell).repeat(2)


def _ammonia() -> Atoms:
    cell = [5.13, 5.13, 5.13, 90, 90, 90]
    sites = [(0.2107, 0.2107, 0.2107), (0.3689, 0.2671, 0.1159)]
    return crystal("NH", sites, spacegroup=198, cellpar=cell).repeat(2)


def _urea() -> Atoms:
    cell = [5.565, 5.565, 4.684, 90, 90, 90]
    sites = [(0, 0.5, 0.326), (0, 0.5, 0.5953), (0.1459, 0.6459, 0.1766)]
    sites += [(0.2575, 0.7575, 0.2827), (0.1441, 0.6441, -0.038)]
    return crystal("CONHH", sites, spacegroup=113, cellpar=cell).repeat((2, 2, 2))


def _ice() -> Atoms:
    """Proton-ordered ice XI: 8 molecules, doubled along a."""
    cell = [4.465, 7.858, 7.292, 90, 90, 90]
    sites = [(0, 0.6648, 0.0631), (0.5, 0.8255, -0.0631), (0, 0.6636, 0.1963)]
    sites += [(0, 0.5363, 0.0183), (0.6766, 0.7748, -0.0183)]
    return crystal("OOHHH", sites, spacegroup=36, cellpar=cell).repeat((2, 1, 1))


def _lonsdaleite() -> Atoms:
    cell = [2.52, 2.52, 4.12, 90, 90, 120]
    sites = [(1 / 3, 2 / 3, 0.0625)]
    return crystal("C", sites, spacegroup=194, cellpar=cell).repeat((4, 4, 2))


def _acetylene() -> Atoms:
    cell = [6.14, 6.14, 6.14, 90, 90, 90]
    sites = [(0.0564, 0.0564, 0.0564), (0.156, 0.156, 0.156)]
    return crystal("CH", sites, spacegroup=205, cellpar=cell).repeat(2)


def _graphite() -> Atoms:
    layers = Graphite("C", latticeconstant={"a": 2.461, "c": 6.708}, size=(4, 4, 1))
    return Atoms(layers.numbers, layers.positions, cell=layers.cell, pbc=True)


CRYSTALS = {
    "diamond": lambda: bulk("C", "diamond", 3.567, cubic=True).repeat((3, 2, 2)),
    "dry ice": _dry_ice,
    "urea": _urea,
    "nitrogen": _nitrogen,
    "ice": _ice,
    "ammonia": _ammonia,
    "graphite": _graphite,
    "lonsdaleite": _lonsdaleite,
    "acetylene": _acetylene,
}
