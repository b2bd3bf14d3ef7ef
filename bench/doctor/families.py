"""Clean labelled sets, in families that share no molecule and no crystal.

The rules of the doctor may be tuned on "development"; "held-out" and "reserve" are for measuring
them, "reserve" when the held-out sets have been looked into. A set is
a function of its name and the seed, is labelled once and kept in the work folder.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from tblite.ase import TBLite

from bench.doctor.crystal_cells import CRYSTALS, crystal_of
from bench.shared.data_sets import FILES, isolated, labelled, put
from bench.shared.structures import bare, clusters_of, dynamics, rattled, strained
from tunesmith import read_frames
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


#: frames of the real sets that each family has, one stretch after the other; where those begin
#: that are not development's
REAL = {"acac": (60, 300), "3bpa": (40, 300), "ethanol": (100, 600)}

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
FAMILIES = {"development": DEVELOPMENT, "held-out": HELD_OUT, "reserve": RESERVE, "last": LAST}


def clean_sets(family: str, work: Path, data: Path | None, seed: int) -> dict[str, list[Frame]]:
    """All sets of a family by name, isolated atoms among the frames; and the real ones of data."""
    found = {}
    for name, spec in FAMILIES[family].items():
        path = work / f"{family}-{name}-{seed}.xyz"
        if not path.is_file():
            put(path, make(spec, derived_seed(seed, family, name)))
        found[f"xtb/{name}"] = read_frames(path)[0]
    for name, (n, later) in REAL.items() if data else ():
        assert data is not None
        assert name in FILES
        begin = list(FAMILIES).index(family)
        first = later + (begin - 1) * n if begin else 0
        frames = labelled(data, name, index=slice(first, first + n))
        found[f"real/{name}"] = frames + isolated(data, name)
    return found


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


def build(name: str, rng: np.random.Generator) -> Atoms:
    """A molecule of ASE's g2 set, "4 H2O": a cluster of four, or one of our crystals."""
    if name in CRYSTALS:
        return crystal_of(name)
    count, _, one = name.rpartition(" ")
    if not count:
        return molecule(one)
    start = molecule(one)
    # 3.6 Å and more apart
    return clusters_of(start, int(count), np.ptp(start.positions, axis=0).max() + 2.4, rng)


def _moved(start: Atoms, n: int, spec: Spec, rng: np.random.Generator) -> list[Atoms]:
    if spec.temperature is not None and not start.pbc.any():
        truth = TBLite(method="GFN2-xTB", verbosity=0)
        course = dynamics(start, truth, spec.temperature, n, rng, before=100, hotter=2)
        return [bare(atoms) for atoms in course]
    found = []
    for _ in range(n):
        atoms = strained(start, rng, 0.02) if start.pbc.all() else start
        found.append(rattled(atoms, rng, spec.rattle))
    return found
