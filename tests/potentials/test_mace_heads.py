"""Models with several heads: the head is named, and is then a model of its own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule

import networks
from tunesmith.errors import ModelError
from tunesmith.potentials import zoo
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.trust import trust
from tunesmith.testing import compute, interface

HEADS = ["pt_head", "dft"]
ALL_E0S = np.array([networks.E0S, [-14.0, -1040.0, -2050.0]])


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heads") / "two.model"
    module = networks.native(
        heads=HEADS,
        atomic_energies=ALL_E0S,
        atomic_inter_scale=[1.5, 0.75],
        atomic_inter_shift=[-0.5, 0.25],
    )
    with mace_files.quiet():
        torch.save(module, path)
    trust(path)
    return path


@pytest.mark.parametrize("head", HEADS)
def test_a_head_is_what_mace_says_it_is(two_heads: Path, head: str) -> None:
    potential = zoo.load(str(two_heads), head=head, dtype="float64")
    assert potential.base.head == head
    assert list(potential.e0s.values()) == list(ALL_E0S[HEADS.index(head)])
    native = mace_files._calculators().MACECalculator
    with mace_files.unsafe_loading(), mace_files.quiet():
        whole = native(str(two_heads), device="cpu", default_dtype="float64", head=head)
    atoms = molecule("CH3OH")
    ours = compute.predict(potential, [atoms])
    total = ours.energy[0] + sum(potential.e0s[z] for z in atoms.numbers)
    atoms.calc = whole
    assert total == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(ours.forces, atoms.get_forces(), atol=1e-9)


def test_the_heads_differ_and_export_alone(two_heads: Path) -> None:
    a, b = (zoo.load(str(two_heads), head=h, dtype="float64") for h in HEADS)
    difference = compute.energies(a, [molecule("CH4")]) - compute.energies(b, [molecule("CH4")])
    assert abs(difference[0]) > 1e-3
    interface.check_native(b)


def test_a_head_taken_out_can_keep_the_other(two_heads: Path, tmp_path: Path) -> None:
    """mace gives the scale of a head taken out a shape of its own."""
    dft, old = (zoo.load(str(two_heads), head=h, dtype="float64") for h in reversed(HEADS))
    path = tmp_path / "final.model"
    dft.export(path, dft.weights(), dft.e0s, {"pt_head": (old.weights(), old.e0s)})
    native = mace_files._calculators().MACECalculator
    with mace_files.unsafe_loading(), mace_files.quiet():
        before = native(str(two_heads), device="cpu", default_dtype="float64", head="pt_head")
        after = native(str(path), device="cpu", default_dtype="float64", head="pt_head")
    atoms = molecule("CH3OH")
    energies = [c.get_potential_energy(atoms) for c in (before, after, dft.native(path))]
    assert energies[0] == pytest.approx(energies[1], abs=1e-8, rel=0)
    expected = compute.energies(dft, [atoms])[0] + sum(dft.e0s[z] for z in atoms.numbers)
    assert energies[2] == pytest.approx(expected, abs=1e-8, rel=0)


@pytest.mark.parametrize("head", [None, "DFT"])
def test_the_head_must_be_named_rightly(two_heads: Path, head: str | None) -> None:
    with pytest.raises(ModelError, match="pt_head, dft") as error:
        zoo.load(str(two_heads), head=head)
    assert head is None or head in str(error.value)


def test_a_head_that_mace_cannot_take_out_is_refused(tmp_path: Path) -> None:
    """mace rebuilds a head from a description that a plain MACE does not have."""
    path = tmp_path / "plain.model"
    with mace_files.quiet():
        torch.save(networks.native("MACE", heads=HEADS, atomic_energies=ALL_E0S), path)
    trust(path)
    with pytest.raises(ModelError, match="could not be taken out"):
        zoo.load(str(path), head="dft")


def test_one_head_needs_no_name(tmp_path: Path) -> None:
    potential = networks.potential(networks.build(hidden_irreps="4x0e"))
    path = tmp_path / "one.model"
    potential.export(path, potential.weights(), potential.e0s)
    assert zoo.load(str(path), head="Default").base.head is None
    with pytest.raises(ModelError, match="one head, 'Default'"):
        zoo.load(str(path), head="dft")
