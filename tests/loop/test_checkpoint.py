"""The one checkpoint of all recipes, and what a resumed run may bring."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.build import molecule

from small import config, start
from tiny import e0s, molecules, potential
from tunesmith import tensor_files
from tunesmith.config import CagoConfig, PoolConfig, TuneConfig, load
from tunesmith.core import Base, Members
from tunesmith.errors import CheckpointError, ConfigError, RunFolderError
from tunesmith.loop import checkpoint
from tunesmith.loop.checkpoint import Packed
from tunesmith.loop.run import may_change
from tunesmith.posterior import members_file
from tunesmith.posterior.ensemble import posterior_of
from tunesmith.posterior.spread_rules import ByTangentKernel
from tunesmith.run_folder import stamp
from tunesmith.tune.subspace import All


def members(value: float) -> Members:
    model = potential()
    moved = {k: torch.full_like(v, value)[None] for k, v in model.weights().items()}
    # not in the order of the alphabet, which a file has
    moved = dict(sorted(moved.items(), reverse=True))
    return Members(model.base, model.weights(), All(), moved, e0s())


def saved(run: Path, number: int, value: float | None) -> None:
    found = None if value is None else members(value)
    checkpoint.save(run, Packed(number, found, {}, {"a": number}), {"md": 1.0})


def test_what_is_saved_comes_back_in_its_order(tmp_path: Path) -> None:
    saved(tmp_path, 3, 0.5)
    at, seconds = checkpoint.load(tmp_path, potential(), lambda packed: packed)
    assert seconds == {"md": 1.0}
    assert (at.number, at.info) == (3, {"a": 3})
    assert at.members is not None
    assert list(at.members.moved) == list(members(0.5).moved)
    assert all(torch.equal(v, members(0.5).moved[k]) for k, v in at.members.moved.items())


def test_without_members_there_are_none(tmp_path: Path) -> None:
    saved(tmp_path, 0, None)
    assert checkpoint.load(tmp_path, potential(), lambda packed: packed)[0].members is None
    assert not list((tmp_path / "checkpoint").glob("members-*"))


def test_members_that_nobody_names_are_written_anew(tmp_path: Path) -> None:
    """A kill between the two files, and a run that begins anew in such a folder."""
    saved(tmp_path, 1, 0.1)
    members_file.write(tmp_path / "checkpoint" / "members-2.safetensors", members(9.0))
    at, _ = checkpoint.load(tmp_path, potential(), lambda packed: packed)
    assert at.number == 1
    assert not (tmp_path / "checkpoint" / "members-2.safetensors").exists()
    checkpoint.state(tmp_path).unlink()
    saved(tmp_path, 1, 0.3)
    at, _ = checkpoint.load(tmp_path, potential(), lambda packed: packed)
    assert at.members is not None
    assert float(next(iter(at.members.moved.values())).flatten()[0]) == pytest.approx(0.3)


def test_what_cannot_be_understood_is_of_another_version(tmp_path: Path) -> None:
    saved(tmp_path, 1, 0.1)
    with pytest.raises(CheckpointError, match=r"\('b'\), so it is of another version"):
        checkpoint.load(tmp_path, potential(), lambda packed: packed.info["b"])


def test_members_of_before_there_were_spreads_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "members.safetensors"
    members_file.write(path, members(0.2))
    tensors, info = tensor_files.read(path)
    tensor_files.write(
        path, tensors, {k: v for k, v in info.items() if k not in {"spread", "names"}}
    )
    assert members_file.read(path, potential(), "x").closed is None


def test_a_model_file_that_was_moved_is_named_where_it_is_now(tmp_path: Path) -> None:
    path, old = tmp_path / "members.safetensors", members(0.2)
    members_file.write(path, replace(old, base=Base("/old/place.model", "0" * 64, "mace")))
    assert members_file.read(path, potential(), "x").base.source == "tiny"


def test_members_of_a_part_that_is_gone_say_which(tmp_path: Path) -> None:
    path = tmp_path / "members.safetensors"
    members_file.write(path, members(0.2))
    tensors, info = tensor_files.read(path)
    tensor_files.write(path, tensors, info | {"spread": {"kind": "mine"}})
    with pytest.raises(CheckpointError, match=r"is not here: .*'mine'.* Install its package"):
        members_file.read(path, potential(), "x")


# ------------------------------------------------------------------- what may differ at a resume


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ("explore.time=9 fs", None),
        ("loop.max_labels=3", None),
        ("execute.processes=1", None),
        ("explore.timestep=0.25 fs", "another explore.timestep"),
        ("tune.spread=ntk", "another tune.spread"),
        ("tune.keep=9", "another tune.keep"),
        ("attack.target=1 eV/Å", "another attack|without a setting attack"),
    ],
)
def test_only_what_changes_no_meaning(tmp_path: Path, changed: str, refused: str | None) -> None:
    files = start(tmp_path)
    first, later = config(files), config(files, changed)
    stamp.claim(tmp_path / "run", first, {})
    checkpoint.state(tmp_path / "run").write_text("something is learnt")
    if refused is None:
        assert stamp.stored(tmp_path / "run", later, may_change(later)) is not None
    else:
        with pytest.raises(RunFolderError, match=refused):
            stamp.stored(tmp_path / "run", later, may_change(later))


# ---------------------------------------------------------------------------- what fits together


def test_explorers_of_another_recipe_are_refused() -> None:
    pool = ("reference=tblite", "data.valid=v.xyz", "explore={kind: cago, start: s.xyz}")
    with pytest.raises(ConfigError, match=r"explore\.kind: 'cago' has no candidates"):
        load(PoolConfig, None, pool)
    cago = ("reference=tblite", "target.forces=1 eV/Å", "explore={kind: pool, files: p.xyz}")
    with pytest.raises(ConfigError, match=r"explore\.kind: 'pool' makes no"):
        load(CagoConfig, None, cago)


def test_the_tangent_kernel_needs_energies() -> None:
    without = ("data.train=x.xyz", "tune.loss.energy=0", "tune.spread=ntk")
    with pytest.raises(ConfigError, match=r"tune\.spread: ntk rests on labels of energy"):
        load(TuneConfig, None, without)


def test_one_structure_that_cannot_be_represented_leaves_the_others_their_spread() -> None:
    model, frames = potential(), [f for f in molecules(7) if len(f.atoms) == 9]
    own = replace(members(0.0), moved={k: v[None] for k, v in model.weights().items()})
    known = ByTangentKernel().fitted(model, own, frames)
    posterior = posterior_of(model, replace(own, closed=known))
    on_top = Atoms("HH", [[0, 0, 0], [0, 0, 0.01]])
    std = posterior.predict([molecule("CH4"), on_top, molecule("H2O")]).std()
    alone = posterior.predict([molecule("CH4")]).std()
    assert std is not None
    assert alone is not None
    assert [bool(x > 0) for x in std.energy] == [True, False, True]
    assert std.energy[0] == pytest.approx(alone.energy[0], rel=1e-6)
