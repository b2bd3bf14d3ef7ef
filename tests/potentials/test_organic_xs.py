"""The embedded model: what its card promises, on the frames shipped with it."""

import pytest
from ase.build import molecule

from tunesmith.data.checks import require_labels
from tunesmith.data.formats import read_frames
from tunesmith.errors import ModelError
from tunesmith.posterior.ensemble import open_model
from tunesmith.potentials import zoo
from tunesmith.report.evaluate import evaluate

#: GFN2-xTB errors on unseen molecules, about 1.3 times the card's: energy meV/atom, force meV/Å
MD, ALL = (9.0, 130.0), (10.0, 220.0)


def test_errors_on_unseen_molecules():
    frames, _ = read_frames(zoo.shipped_frames("organic-xs", "forgetting"))
    model = open_model("organic-xs")
    require_labels(frames, model.potential.elements)
    md = [f for f in frames if f.config_type in ("md300", "md500", "md800")]
    assert len(md) > 100
    for chosen, (energy, force) in ((md, MD), (frames, ALL)):
        summary = evaluate(model, chosen).summary()
        assert summary["energy_rmse_meV_per_atom"] < energy
        assert summary["force_rmse_meV_per_A"] < force


def test_replay_and_forgetting_share_no_molecule_and_hold_no_demo_molecule():
    sets = {}
    for which in ("replay", "forgetting"):
        frames, _ = read_frames(zoo.shipped_frames("organic-xs", which))
        assert len(frames) >= 300
        sets[which] = {f.atoms.info["molecule"] for f in frames}
    assert not sets["replay"] & sets["forgetting"]
    assert not {"CCO", "CC(=O)CC(C)=O", "CC(=O)C=C(C)O"} & (sets["replay"] | sets["forgetting"])


def test_weights_are_small_and_need_no_trust():
    path = zoo.shipped_frames("organic-xs", "replay").with_name("weights.safetensors")
    assert path.stat().st_size < 2_000_000
    assert open_model("organic-xs").potential.base.source == "organic-xs"


def test_isolated_atoms_are_gfn2s():
    """A second route to the E0s: tblite itself, with the atoms' ground-state spin."""
    from tblite.ase import TBLite

    e0s = zoo.load("organic-xs").e0s
    for symbol, number, multiplicity in (("H", 1, 2), ("C", 6, 3), ("N", 7, 4), ("O", 8, 3)):
        atom = molecule(symbol)
        atom.set_initial_magnetic_moments(None)
        atom.calc = TBLite(method="GFN2-xTB", multiplicity=multiplicity, verbosity=0)
        assert e0s[number] == pytest.approx(atom.get_potential_energy(), abs=1e-3)


def test_frames_that_are_not_there_are_refused():
    with pytest.raises(ModelError, match="ships no"):
        zoo.shipped_frames("organic-xs", "secrets")
    with pytest.raises(ModelError, match="ships no"):
        zoo.shipped_frames("../data", "replay")
