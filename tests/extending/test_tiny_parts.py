"""The package's parts pass the tests that tunesmith has for them, as their pages say."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.build import molecule
from ase.data import covalent_radii

from tunesmith.check.examination import Examination
from tunesmith.core import E0s
from tunesmith.errors import ModelError
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.potentials import zoo
from tunesmith.testing import contract, parts_contract

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def examination() -> Examination:
    potential = zoo.load("eam:untrained", dtype="float64")
    ensemble = Ensemble(potential, [potential.weights()], E0s(potential.e0s))

    def never() -> Any:
        raise AssertionError("nothing is to be simulated")

    return Examination(ensemble, molecule("CH3OH"), 0, never)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda c: c.name)
def test_the_backend_passes_the_contract(installed: Path, check: contract.Check) -> None:
    potential = zoo.load("eam:untrained", dtype="float64")
    assert check.reason_to_skip(potential.capabilities) is None
    check(potential)


def test_the_lines_of_the_pages_are_tests_that_pass(installed: Path) -> None:
    from tinyparts import dimer_wall, morse_pairs, spread_rule

    names = {"parts_contract": parts_contract, "molecule": molecule, "examined": examination()}
    names |= vars(dimer_wall) | vars(morse_pairs) | vars(spread_rule)
    texts = [page.read_text() for page in sorted(PAGES.glob("write-a-*.md"))]
    lines = [
        line for text in texts for line in re.findall(r"^    (parts_contract\..*)$", text, re.M)
    ]
    assert len(lines) == 3
    for line in lines:
        eval(line, dict(names))


def test_the_reference_has_its_minimum_where_radii_say(installed: Path) -> None:
    """Without the fading, and stress by strain."""
    morse = import_module("tinyparts.morse_pairs").MorsePairs(cutoff="100 Å", depth="2 eV")
    atoms = molecule("N2")
    atoms.positions[1] = atoms.positions[0] + [2 * covalent_radii[7], 0, 0]
    label = morse.label(atoms)
    assert label.energy == pytest.approx(-2, rel=1e-3)
    assert abs(label.forces).max() < 2e-3
    atoms.set_cell([5, 6, 7])
    atoms.pbc = True
    short, energies = import_module("tinyparts.morse_pairs").MorsePairs(), []
    for strain in (-1e-4, 1e-4):
        moved = atoms.copy()
        moved.set_cell([5 * (1 + strain), 6, 7], scale_atoms=True)
        energies.append(short.label(moved).energy)
    slope = (energies[1] - energies[0]) / 2e-4 / atoms.get_volume()
    assert short.label(atoms).stress[0, 0] == pytest.approx(slope, rel=1e-4)


def test_the_check_sees_a_wall_and_where_there_is_none(installed: Path) -> None:
    wall = import_module("tinyparts.dimer_wall").DimerWall(points=3)

    class Pushing:
        def __init__(self, sign: float) -> None:
            self.sign = sign

        def predict(self, frames: list) -> Any:
            import numpy as np

            from tunesmith.core import Prediction, Quantities

            pushes = [self.sign * (a.positions - a.positions.mean(0)) for a in frames]
            forces = np.concatenate(pushes)
            return Prediction(Quantities(np.zeros(len(frames)), forces), np.full(len(frames), 2))

    found = [
        wall.run(Examination(Pushing(sign), molecule("H2O"), 0, lambda: None)) for sign in (1, -1)
    ]
    assert [health.well for health in found] == [True, False]
    assert found[0].verdict == "3 of 3 pairs push apart at every distance."
    assert found[1].verdict.endswith("; not H-H, H-O, O-O.")


def test_a_file_of_the_backend_is_known_again_and_runs_no_code(
    installed: Path, tmp_path: Path
) -> None:
    potential = zoo.load("eam:untrained")
    potential.export(tmp_path / "a.model", potential.weights(), {1: -1.0, 6: -2, 7: -3, 8: -4})
    again = zoo.load(str(tmp_path / "a.model"))
    assert again.base.package == "eam"
    assert again.e0s[8] == -4
    held = torch.load(tmp_path / "a.model", weights_only=True)

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save(held | {"more": Trap()}, tmp_path / "a.model")
    with pytest.raises(ModelError, match="more than tensors"):
        zoo.load(str(tmp_path / "a.model"))
    assert not (tmp_path / "sprung").exists()
