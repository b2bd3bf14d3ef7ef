"""Make the ethanol data of examples/data: frames by GFN2-xTB dynamics, labels by PBE/def2-SVP.

One core, about ten minutes. Every trajectory and every label is kept in the work folder as
soon as it exists, so the same command goes on after an interruption and repeats nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.optimize import BFGS
from tblite.ase import TBLite

from tunesmith import LabelStore, read_frames, write_frames
from tunesmith.core import Frame, Label
from tunesmith.references.pyscf import PySCF

DIHEDRALS = {"anti": 180.0, "gauche+": 60.0, "gauche-": -60.0}  # C-C-O-H, degrees
TIME_STEP = 0.5  # fs
FRICTION = 0.02  # 1/fs
EQUILIBRATION = 1000  # steps, 500 fs
STRIDE = 200  # steps between frames, 100 fs
#: 2S+1 of the atoms' ground states
MULTIPLICITIES = {"H": 2, "C": 3, "O": 3}
#: the level of the labels, as `tunesmith label --reference pyscf` has it by default
LEVEL = PySCF(xc="pbe", basis="def2-svp", density_fit=True)


@dataclass(frozen=True)
class Run:
    """One trajectory: where it starts, how hot (K), how many frames, and for which file."""

    split: str
    conformer: str
    temperature: float
    count: int

    @property
    def name(self) -> str:
        """Unique, also among files."""
        return f"{self.split}-{self.conformer}-{self.temperature:.0f}K"

    def generator(self, seed: int) -> np.random.Generator:
        """Random numbers of this trajectory alone."""
        return np.random.default_rng([seed, *self.name.encode()])


RUNS = (
    *(Run("train", start, t, 10) for start in DIHEDRALS for t in (300.0, 500.0)),
    *(Run("test", start, t, 10) for start in ("anti", "gauche+") for t in (300.0, 500.0)),
    Run("unlabelled", "gauche-", 400.0, 3),
)


def conformer(name: str) -> Atoms:
    """Ethanol relaxed with GFN2-xTB, calculator attached."""
    atoms = molecule("CH3CH2OH")
    carbon_o, oxygen, carbon = _backbone(atoms)
    hydrogens = np.flatnonzero(atoms.numbers == 1)
    hydrogen = int(hydrogens[np.argmin(atoms.get_distances(oxygen, hydrogens))])
    atoms.set_dihedral(carbon, carbon_o, oxygen, hydrogen, DIHEDRALS[name], indices=[hydrogen])
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=200)
    return atoms


def _backbone(atoms: Atoms) -> tuple[int, int, int]:
    """Indices of C bound to O, O, and the other C."""
    oxygen = int(np.flatnonzero(atoms.numbers == 8)[0])
    carbons = np.flatnonzero(atoms.numbers == 6)
    near, far = carbons[np.argsort(atoms.get_distances(oxygen, carbons))]
    return int(near), oxygen, int(far)


def sample(run: Run, rng: np.random.Generator) -> list[Frame]:
    """Frames of one Langevin trajectory, positions rounded to 1e-6 Å (before they are labelled)."""
    atoms = conformer(run.conformer)
    MaxwellBoltzmannDistribution(atoms, temperature_K=run.temperature, rng=rng)
    dynamics = Langevin(
        atoms,
        TIME_STEP * units.fs,
        temperature_K=run.temperature,
        friction=FRICTION / units.fs,
        fixcm=False,
        rng=rng,
    )
    frames: list[Frame] = []
    steps = EQUILIBRATION
    while len(frames) < run.count:
        dynamics.run(steps)
        positions = np.round(atoms.positions - atoms.get_center_of_mass(), 6)
        bare = Atoms(atoms.numbers, positions, info={"trajectory": run.name})
        kind = f"md{run.temperature:.0f}"
        frames.append(Frame(bare, None, f"{run.name}#{len(frames)}", config_type=kind))
        steps = STRIDE
    return frames


def trajectory(run: Run, seed: int, work: Path) -> list[Frame]:
    """The frames of a run: read where they exist, else sampled and kept."""
    path = work / f"{run.name}-seed{seed}.xyz"
    if not path.exists():
        write_frames(path, sample(run, run.generator(seed)))
    return read_frames(path)[0]


def isolated_atoms() -> list[Frame]:
    """Ground states; UKS, since the multiplicity is over 1."""
    return [
        Frame(Atoms(symbol, info={"multiplicity": m}), None, symbol, config_type="IsolatedAtom")
        for symbol, m in MULTIPLICITIES.items()
    ]


def labelled(frames: list[Frame], store: LabelStore) -> list[Frame]:
    """The same frames with labels; a label that is in the store is not computed again."""
    done = []
    for number, frame in enumerate(frames, 1):
        label = store.label(frame.atoms, LEVEL, origin=frame.origin, config_type=frame.config_type)
        if not isinstance(label, Label):
            raise SystemExit(f"{frame.origin}: {label.kind}: {label.reason}")
        print(f"{number}/{len(frames)} {frame.origin} {label.energy:.6f} eV", flush=True)
        done.append(replace(frame, label=label))
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("examples/data"))
    parser.add_argument("--work", type=Path, default=Path("build/ethanol-pbe"))
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    splits: dict[str, list[Frame]] = {}
    for run in RUNS:
        splits.setdefault(run.split, []).extend(trajectory(run, options.seed, options.work))
    store = LabelStore(options.work / "labels.db")
    write_frames(options.out / "ethanol-unlabelled.xyz", splits["unlabelled"])
    train = labelled(isolated_atoms() + splits["train"], store)
    write_frames(options.out / "ethanol-train.xyz", train)
    write_frames(options.out / "ethanol-test.xyz", labelled(splits["test"], store))


if __name__ == "__main__":
    main()
