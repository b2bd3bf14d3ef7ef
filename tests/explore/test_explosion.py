"""Distances against ASE's neighbour list, parts against its own; what `step` does about them."""

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

import argon
from tunesmith.errors import DataError
from tunesmith.explore.explosion import ExplosionError, Limits, what_is_wrong
from tunesmith.explore.md import MD, Answer, DynamicsState

LIMITS = Limits(0.5, 10.0, 3.0)


def random_structure(rng: np.random.Generator) -> Atoms:
    """A few atoms in a skewed cell of any shape, some smaller than the reach of a covalent bond."""
    n = int(rng.integers(1, 12))
    cell = np.diag(rng.uniform(1.0, 9.0, 3)) + rng.normal(0, 0.7, (3, 3))
    return Atoms(
        rng.choice([1, 6, 8, 14, 55], n),
        rng.normal(0, 4.0, (n, 3)),
        cell=cell,
        pbc=rng.integers(0, 2, 3).astype(bool),
    )


def test_the_nearest_pair_is_that_of_the_neighbour_list() -> None:
    rng = np.random.default_rng(5)
    far = Limits(0.7, 1e9, 3.0)
    found = 0
    for _ in range(300):
        atoms = random_structure(rng)
        radii = covalent_radii[atoms.numbers]
        i, j, d = neighbor_list("ijd", atoms, 0.7 * radii)
        said = what_is_wrong(atoms, far, 0.0)
        assert (said is None) == (len(d) == 0), said
        if len(d):
            found += 1
            worst = np.argmin(d / (radii[i] + radii[j]))
            assert f"are {d[worst]:.3g} Å apart" in str(said)
    assert 50 < found < 250


def test_parts_that_flew_apart() -> None:
    water = molecule("H2O")
    pair = water + water
    pair.positions[3:] += [9.0, 0, 0]
    assert what_is_wrong(pair, LIMITS, 0.0) is None
    pair.positions[3:] += [4.0, 0, 0]
    assert what_is_wrong(pair, LIMITS, 0.0) == "3 of 6 atoms are over 10 Å from the others"
    pair.set_cell([40, 40, 40])
    pair.pbc = (True, False, False)
    assert what_is_wrong(pair, LIMITS, 0.0) is None
    chain = Atoms("Ar9", [[5.0 * k, 0, 0] for k in range(9)])
    assert what_is_wrong(chain, LIMITS, 0.0) is None


def test_cells_that_blow_up() -> None:
    atoms = argon.solid()
    volume = atoms.cell.volume
    assert what_is_wrong(atoms, LIMITS, volume) is None
    assert "0.25 times that of the start" in str(what_is_wrong(atoms, LIMITS, 4 * volume))
    assert "4 times that of the start" in str(what_is_wrong(atoms, LIMITS, volume / 4))
    atoms.positions[3] = np.inf
    assert "not a finite number" in str(what_is_wrong(atoms, LIMITS, volume))


def explorer(**more: Any) -> MD:
    settings = {"ensemble": "nve", "temperature": "40 K", "max_temperature": "200 K"}
    return MD.model_validate(
        {"start": "x", "timestep": "4 fs", "write_every": "4 fs"} | settings | more
    )


def pulled(force: float) -> Any:
    """Argon, with a pair pulled together so hard."""

    def answer(walker: int, atoms: Atoms) -> Answer:
        given = argon.answer(walker, atoms)
        d = atoms.positions[1] - atoms.positions[0]
        given.forces[0] += force * d / np.linalg.norm(d)
        given.forces[1] -= force * d / np.linalg.norm(d)
        return given

    return answer


def until_it_breaks(md: MD, state: DynamicsState, answer: Any) -> None:
    for _ in range(100):
        state = md.step(state, answer)


def test_nothing_is_asked_of_a_broken_structure() -> None:
    md = explorer(max_temperature="1000000 K")
    start = md.init([argon.cluster()], 1)
    asked: list[Atoms] = []

    def answer(walker: int, atoms: Atoms) -> Answer:
        asked.append(atoms.copy())
        return pulled(30.0)(walker, atoms)

    with pytest.raises(
        ExplosionError, match=r"walker 0: atoms 0 \(Ar\) and 1 \(Ar\) are"
    ) as caught:
        until_it_breaks(md, start, answer)
    broken = caught.value
    assert (broken.walker, len(broken.atoms)) == (0, 7)
    assert what_is_wrong(broken.atoms, md.limits, 0.0) == broken.reason
    assert all(what_is_wrong(a, md.limits, 0.0) is None for a in asked)
    # the walker can go on from a good frame
    md.step(md.restart(start, 0, start), argon.answer)


def test_too_hot() -> None:
    md = explorer()
    start = md.init([argon.cluster()], 1)
    with pytest.raises(ExplosionError, match=r"its temperature is \d+\.?\d* K, over 200 K"):
        until_it_breaks(md, start, pulled(0.5))


def test_answers_that_are_no_numbers() -> None:
    def nan(walker: int, atoms: Atoms) -> Answer:
        return Answer(float("nan"), np.zeros((len(atoms), 3)))

    md = explorer()
    with pytest.raises(ExplosionError, match="not finite"):
        md.step(md.init([argon.cluster()], 1), nan)
    npt = explorer(ensemble="npt")
    without = lambda walker, atoms: Answer(0.0, np.zeros((len(atoms), 3)))  # noqa: E731
    with pytest.raises(DataError, match="npt needs a stress"):
        npt.step(npt.init([argon.solid()], 1), without)
