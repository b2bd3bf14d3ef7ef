"""Reactive pools: frames of nudged elastic bands on their way down, labelled by xTB.

    python recipes/reactions/make.py [FOLDER]                            # the one in examples/data
    python recipes/reactions/make.py FOLDER --pool small --method GFN1-xTB --valid 4 --test 20

Rearrangements of small organic molecules (ends.py), four in the shipped pool. Every band is relaxed
by a few steps, and each step leaves its images, a little rattled: that is how the data sets of
reaction paths came about on which choosing from pools is studied. The numbers of frames differ by
reaction, as they do there. Bands of another random start make the validation and test structures,
equally many of each reaction.
"""

import argparse
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from tblite.ase import TBLite

from ends import POOLS, ends
from tunesmith.core import Frame, Label
from tunesmith.data.formats import write_frames

HERE = Path(__file__).resolve().parents[2] / "examples" / "data"
#: images between the ends, steps of a band, and Å by which its images are rattled
IMAGES, STEPS, RATTLE = 9, 30, 0.03
#: eV over the lower end, above which an image is left out: the first guess of a band may pass
#: through an atom
HIGHEST = 5.0
#: bands of a reaction that are tried
MOST = 20
#: of every reaction
VALID, TEST = 6, 12


def labelled(atoms: Atoms, calculator: TBLite, name: str, number: int) -> Frame:
    atoms = Atoms(atoms.numbers, atoms.positions)
    atoms.calc = calculator
    label = Label(float(atoms.get_potential_energy()), np.array(atoms.get_forces()))
    return Frame(Atoms(atoms.numbers, atoms.positions), label, f"{name}#{number}", 1.0, name)


def band(name: str, calculator: TBLite, rng: np.random.Generator) -> list[Atoms]:
    """Images of a band at all steps of its relaxation, in order."""
    relaxed = []
    for end in ends(name):
        atoms = Atoms(end.numbers, end.positions + rng.normal(0, 0.01, end.positions.shape))
        atoms.calc = calculator
        BFGS(atoms, logfile=None).run(fmax=0.05, steps=200)
        relaxed.append(atoms)
    images = [relaxed[0], *(relaxed[0].copy() for _ in range(IMAGES)), relaxed[1]]
    for image in images[1:-1]:
        image.calc = calculator
    chain = NEB(images, climb=True, method="improvedtangent", allow_shared_calculator=True)
    chain.interpolate("idpp")
    for image in images[1:-1]:  # a straight line is a saddle of its own
        image.positions += rng.normal(0, RATTLE, image.positions.shape)
    found: list[Atoms] = []
    optimiser = FIRE(chain, logfile=None)
    optimiser.attach(lambda: found.extend(image.copy() for image in images))
    with suppress(CalculationFailed):  # a band that ends early still has what it left
        optimiser.run(fmax=0.02, steps=STEPS)
    for atoms in found:
        atoms.positions += rng.normal(0, RATTLE, atoms.positions.shape)
    return found


def drawn(
    name: str, calculator: TBLite, asked: int, seed: tuple[int, ...]
) -> tuple[list[Frame], np.ndarray]:
    """Frames of as many bands as hold ``asked`` low ones; and those, in random order."""
    frames: list[Frame] = []
    low = np.zeros(0, int)
    first = np.random.default_rng(seed)
    bands = 0
    while len(low) < asked:
        rng = np.random.default_rng((*seed, bands)) if bands else first
        for atoms in band(name, calculator, rng):
            with suppress(CalculationFailed):  # as the first guess of a band may be
                frames.append(labelled(atoms, calculator, name, len(frames)))
        energies = np.array([f.label.energy for f in frames if f.label])
        low = np.flatnonzero(energies < energies.min(initial=np.inf) + HIGHEST)
        bands += 1
        if bands == MOST and len(low) < asked:
            sys.exit(f"{name}: {MOST} bands hold {len(low)} images, not {asked}; ask for fewer.")
    print(f"{name}: {len(low)} of {len(frames)} images of {bands} bands", file=sys.stderr)
    return frames, first.permutation(low)


def main(options: argparse.Namespace) -> None:
    calculator = TBLite(method=options.method, verbosity=0)
    sets: dict[str, list[Frame]] = {"pool": [], "valid": [], "test": []}
    for number, (name, candidates) in enumerate(POOLS[options.pool].items()):
        for part, sizes in (
            ("pool", {"pool": max(1, round(options.share * candidates))}),
            ("held", {"valid": options.valid, "test": options.test}),
        ):
            seed = (number, int(part == "held"), *([options.seed] if options.seed else []))
            frames, order = drawn(name, calculator, sum(sizes.values()), seed)
            for target, size in sizes.items():
                rows, order = sorted(order[:size]), order[size:]
                sets[target] += [frames[i] for i in rows]
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, found in sets.items():
        write_frames(options.folder / f"reactions-{name}.xyz", found)
        print(f"{name}: {len(found)} structures", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("folder", type=Path, nargs="?", default=HERE)
    add("--pool", default="shipped", choices=list(POOLS))
    add("--method", default="GFN2-xTB", choices=["GFN1-xTB", "GFN2-xTB"])
    add("--valid", type=int, default=VALID, help="structures of every reaction")
    add("--test", type=int, default=TEST, help="structures of every reaction")
    add("--share", type=float, default=1.0, help="of the candidates")
    add("--seed", type=int, default=0)
    main(parser.parse_args())
