"""A small reactive pool: frames of nudged elastic bands on their way down, labelled by GFN2-xTB.

    python recipes/reactions/make.py [FOLDER]

Four rearrangements of small organic molecules. Every band is relaxed by a few steps, and each step
leaves its images, a little rattled: that is how the data sets of reaction paths came about on which
choosing from pools is studied. The numbers of frames differ by reaction, as they do there. Bands
of another random start make the validation and test structures, equally many of each reaction.
"""

import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from tblite.ase import TBLite

from tunesmith.core import Frame, Label
from tunesmith.data.formats import write_frames

HERE = Path(__file__).resolve().parents[2] / "examples" / "data"
#: images between the ends, steps of a band, and Å by which its images are rattled
IMAGES, STEPS, RATTLE = 9, 30, 0.03
#: eV over the lower end, above which an image is left out: the first guess of a band may pass
#: through an atom
HIGHEST = 5.0
#: reaction → elements, positions (Å) of both ends before they are relaxed, and candidates
REACTIONS: dict[str, tuple[str, list[list[float]], list[list[float]], int]] = {
    "HCN": (
        "HCN",
        [[-1.07, 0, 0], [0, 0, 0], [1.15, 0, 0]],
        [[2.15, 0, 0], [0, 0, 0], [1.17, 0, 0]],
        30,
    ),
    "formaldehyde": (
        "COHH",
        [[0, 0, 0], [1.21, 0, 0], [-0.59, 0.94, 0], [-0.59, -0.94, 0]],
        [[0, 0, 0], [1.31, 0, 0], [-0.36, 1.05, 0], [1.65, -0.92, 0]],
        50,
    ),
    "formamide": (
        "CONHHH",
        [[0, 0, 0], [1.22, 0, 0], [-0.69, 1.18, 0], [-0.6, -0.93, 0], [-0.2, 2.07, 0],
         [-1.7, 1.16, 0]],
        [[0, 0, 0], [1.34, 0, 0], [-0.69, 1.06, 0], [-0.55, -0.95, 0], [1.67, 0.9, 0],
         [-1.69, 0.85, 0]],
        90,
    ),
    "acetaldehyde": (
        "CCOHHHH",
        [[0, 0, 0], [1.5, 0, 0], [2.12, 1.04, 0], [2.0, -1.0, 0], [-0.37, 1.03, 0],
         [-0.35, -0.53, 0.88], [-0.35, -0.53, -0.88]],
        [[0, 0, 0], [1.34, 0, 0], [2.08, 1.15, 0], [1.85, -0.96, 0], [1.45, 1.9, 0],
         [-0.55, -0.3, 0.87], [-0.55, -0.3, -0.87]],
        130,
    ),
}  # fmt: skip
#: of every reaction
VALID, TEST = 6, 12


def labelled(atoms: Atoms, calculator: TBLite, name: str, number: int) -> Frame:
    atoms = Atoms(atoms.numbers, atoms.positions)
    atoms.calc = calculator
    label = Label(float(atoms.get_potential_energy()), np.array(atoms.get_forces()))
    return Frame(Atoms(atoms.numbers, atoms.positions), label, f"{name}#{number}", 1.0, name)


def band(name: str, rng: np.random.Generator) -> list[Atoms]:
    """Images of a band at all steps of its relaxation, in order."""
    symbols, first, last, _ = REACTIONS[name]
    calculator = TBLite(method="GFN2-xTB", verbosity=0)
    ends = []
    for positions in (first, last):
        atoms = Atoms(symbols, np.array(positions) + rng.normal(0, 0.01, np.shape(positions)))
        atoms.calc = calculator
        BFGS(atoms, logfile=None).run(fmax=0.05, steps=200)
        ends.append(atoms)
    images = [ends[0], *(ends[0].copy() for _ in range(IMAGES)), ends[1]]
    for image in images[1:-1]:
        image.calc = calculator
    chain = NEB(images, climb=True, method="improvedtangent", allow_shared_calculator=True)
    chain.interpolate("idpp")
    for image in images[1:-1]:  # a straight line is a saddle of its own
        image.positions += rng.normal(0, RATTLE, image.positions.shape)
    found: list[Atoms] = []
    optimiser = FIRE(chain, logfile=None)
    optimiser.attach(lambda: found.extend(image.copy() for image in images))
    optimiser.run(fmax=0.02, steps=STEPS)
    for atoms in found:
        atoms.positions += rng.normal(0, RATTLE, atoms.positions.shape)
    return found


def main(folder: Path) -> None:
    calculator = TBLite(method="GFN2-xTB", verbosity=0)
    sets: dict[str, list[Frame]] = {"pool": [], "valid": [], "test": []}
    for number, (name, (*_, candidates)) in enumerate(REACTIONS.items()):
        for part, sizes in (
            ("pool", {"pool": candidates}),
            ("held", {"valid": VALID, "test": TEST}),
        ):
            rng = np.random.default_rng([number, part == "held"])
            found = band(name, rng)
            frames = [labelled(a, calculator, name, i) for i, a in enumerate(found)]
            energies = np.array([f.label.energy for f in frames if f.label])
            low = np.flatnonzero(energies < energies.min() + HIGHEST)
            drawn = rng.permutation(low)
            for target, size in sizes.items():
                rows, drawn = sorted(drawn[:size]), drawn[size:]
                sets[target] += [frames[i] for i in rows]
            print(f"{name}, {part}: {len(low)} of {len(found)} images", file=sys.stderr)
    for name, frames in sets.items():
        write_frames(folder / f"reactions-{name}.xyz", frames)
        print(f"{name}: {len(frames)} structures", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
