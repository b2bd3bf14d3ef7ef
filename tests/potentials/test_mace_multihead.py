"""Files that keep several heads: each is what it was alone, for mace and for us."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

import networks
from tunesmith.core import Weights
from tunesmith.errors import ModelError
from tunesmith.potentials import zoo
from tunesmith.potentials.mace import mace_files, mace_multihead
from tunesmith.potentials.mace.mace_potential import MACEPotential
from tunesmith.testing import compute


def biased() -> MACEPotential:
    """All that a readout may have: three layers, biases; from a float32 file with repulsion."""
    readout = mace_files.module("mace.modules.blocks").NonLinearBiasReadoutBlock
    module = networks.native(readout_cls=readout, pair_repulsion=True)
    for name, weight in module.named_parameters():
        if name.endswith("bias"):  # zeros when new
            torch.nn.init.normal_(weight)
    return networks.potential(module.float())


SOURCES: dict[str, Callable[[], MACEPotential]] = {
    "organic-xs": lambda: zoo.load("organic-xs", dtype="float64"),  # type: ignore[dict-item]
    "biased": biased,
}


class Kept:
    """A potential, and a file of it with three heads: of each, weights and E0s."""

    def __init__(self, potential: MACEPotential, path: Path) -> None:
        self.potential, self.path = potential, path
        names = potential.names
        body = compute.move(potential.weights(), compute.random_direction(potential, 0), 0.01)

        def bent(seed: int) -> Weights:
            generator = torch.Generator().manual_seed(seed)
            factors = {
                k: 1 + 0.5 * torch.rand(body[k].shape, generator=generator, dtype=body[k].dtype)
                for k in (*names.readouts, *names.scale)
            }
            return body | {k: body[k] * factor for k, factor in factors.items()}

        self.heads = {
            head: (bent(i), {z: e + (i + 1) * z for z, e in potential.e0s.items()})
            for i, head in enumerate(("pt_head", "dft", "Default"))
        }
        others = {k: v for k, v in self.heads.items() if k != "Default"}
        potential.export(path, *self.heads["Default"], others)

    def expected(self, head: str, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
        """Absolute energy (eV), forces (eV/Å) and stress (eV/Å³) of one head alone."""
        weights, e0s = self.heads[head]
        ours = compute.predict(self.potential, [atoms], weights=weights, stress=True)
        assert ours.stress is not None
        total = float(ours.energy[0]) + sum(e0s[int(z)] for z in atoms.numbers)
        return total, ours.forces, ours.stress[0]


@pytest.fixture(scope="module", params=list(SOURCES))
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(SOURCES[request.param](), tmp_path_factory.mktemp("kept") / "final.model")


def structures() -> list[Atoms]:
    crystal = bulk("C", "diamond", a=3.6)
    crystal.rattle(0.05, seed=1)
    mixed = molecule("CH3CH2OH")
    mixed.rattle(0.05, seed=2)
    return [crystal, mixed]


def whole(path: Path, **head: str) -> object:
    native = mace_files._calculators().MACECalculator
    with mace_files.unsafe_loading(), mace_files.quiet():
        return native(str(path), device="cpu", default_dtype="float64", **head)


@pytest.mark.parametrize("head", ["pt_head", "dft", None])
def test_mace_computes_each_head(kept: Kept, head: str | None) -> None:
    """None: the main head is the one that mace takes by itself."""
    calculator = whole(kept.path, **({"head": head} if head else {}))
    for atoms in structures():
        energy, forces, stress = kept.expected(head or "Default", atoms)
        atoms.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-8, rel=0)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-8)
        if atoms.pbc.all():
            np.testing.assert_allclose(atoms.get_stress(voigt=False), stress, atol=1e-8)


def test_the_heads_differ(kept: Kept) -> None:
    """Else the test above would not see heads mixed up."""
    _, atoms = structures()
    found = [kept.expected(head, atoms) for head in kept.heads]
    for i in range(3):
        energy, forces, _ = found[i]
        assert abs(energy - found[i - 1][0]) > 1
        assert np.abs(forces - found[i - 1][1]).max() > 1e-2


@pytest.mark.parametrize("head", ["pt_head", "Default"])
def test_a_head_loads_alone(kept: Kept, head: str) -> None:
    """The main head of a run folder needs no name."""
    main = head == "Default"
    source = kept.path.parent if main else kept.path
    alone = zoo.load(str(source), head=None if main else head, dtype="float64")
    assert alone.base.head == head
    assert alone.e0s == pytest.approx(kept.heads[head][1], abs=1e-12)
    for atoms in structures():
        energy, forces, _ = kept.expected(head, atoms)
        ours = compute.predict(alone, [atoms])
        total = float(ours.energy[0]) + sum(alone.e0s[int(z)] for z in atoms.numbers)
        assert total == pytest.approx(energy, abs=1e-8, rel=0)
        np.testing.assert_allclose(ours.forces, forces, atol=1e-8)


def test_elsewhere_several_heads_want_a_name(kept: Kept) -> None:
    with pytest.raises(ModelError, match=r"set model\.head to one of pt_head, dft, Default"):
        zoo.load(str(kept.path))


@pytest.fixture(scope="module")
def small() -> MACEPotential:
    return networks.potential(networks.build(hidden_irreps="4x0e"))


def test_mace_drops_a_pretraining_head_by_itself(small: MACEPotential, tmp_path: Path) -> None:
    path = tmp_path / "two.model"
    weights = small.weights()
    other = weights | {k: 2 * weights[k] for k in small.names.readouts}
    small.export(path, weights, small.e0s, {"pt_head": (other, small.e0s)})
    tools = mace_files.module("mace.tools.scripts_utils")
    with mace_files.unsafe_loading(), mace_files.quiet():
        model = torch.load(path, weights_only=False)
    assert model.heads == ["pt_head", "Default"]
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with mace_files.quiet():
            single = networks.potential(tools.remove_pt_head(model))
    finally:
        torch.set_default_dtype(default)
    atoms = [molecule("CH3OH")]
    np.testing.assert_allclose(
        compute.energies(single, atoms), compute.energies(small, atoms), atol=1e-9
    )


def test_one_body_for_all_heads(small: MACEPotential, tmp_path: Path) -> None:
    path = tmp_path / "two.model"
    weights = small.weights()
    moved = small.names.products[0][0]
    wrong = {
        f"'pt_head' and 'Default' differ in {moved}:": weights | {moved: weights[moved] + 1e-6},
        "and 1 more": {k: v for k, v in weights.items() if k not in small.names.products[0][:2]},
    }
    for said, other in wrong.items():
        with pytest.raises(ModelError, match=said):
            small.export(path, weights, small.e0s, {"pt_head": (other, small.e0s)})
    with pytest.raises(ModelError, match="'Default' is the name of the main head"):
        small.export(path, weights, small.e0s, {"Default": (weights, small.e0s)})
    assert not path.exists()


def test_a_model_that_mace_cannot_split_is_refused_before_training(tmp_path: Path) -> None:
    plain = networks.potential(networks.native("MACE", hidden_irreps="4x0e"))
    with pytest.raises(ModelError, match="mace cannot split, so its file cannot hold several"):
        plain.check_heads()
    path, weights = tmp_path / "two.model", plain.weights()
    with pytest.raises(ModelError, match="cannot hold several heads"):
        plain.export(path, weights, plain.e0s, {"pt_head": (weights, plain.e0s)})
    assert not path.exists()


def test_an_unknown_readout_is_refused_by_name() -> None:
    module = networks.native(hidden_irreps="4x0e")
    names = networks.potential(module).names

    class GatedReadout(type(module.readouts[0])):  # type: ignore[misc]
        pass

    module.readouts[0].__class__ = GatedReadout
    with pytest.raises(ModelError, match="the readout GatedReadout: its file cannot hold"):
        mace_multihead.check(module, names)


def test_heads_that_change_are_not_written(
    small: MACEPotential, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check at every export sees a weight that is too large by a factor."""
    right = mace_multihead._fill

    def fill(wide: torch.nn.Module, narrow: list[torch.nn.Module], apart: bool) -> None:
        right(wide, narrow, apart)
        if apart:
            with torch.no_grad():
                wide.weight.mul_(1 + 1e-5)

    monkeypatch.setattr(mace_multihead, "_fill", fill)
    with pytest.raises(ModelError, match="do not stay what they are"):
        mace_multihead.check(small._native, small.names)
