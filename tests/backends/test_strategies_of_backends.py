"""Named strategies on every backend, as a user runs them: from a model file to a model file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from backends import SMALL, cells, frames, labelled, model, structures
from tunesmith import tensor_files
from tunesmith.commands.fine_tune import fine_tune
from tunesmith.config import TuneConfig
from tunesmith.config import load as configured
from tunesmith.config.strategies import STRATEGIES
from tunesmith.core import Frame
from tunesmith.data.formats import write_frames
from tunesmith.errors import DataError
from tunesmith.posterior.ensemble import Ensemble, open_model
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Potential
from tunesmith.tune import fixed
from tunesmith.tune.examples import collate, examples
from tunesmith.tune.loss import Huber

#: of every test; the others are held to the same in the slow ones
COMMON = ("naive", "lora", "freeze-first", "freeze-readout", "pseudolabel", "bayesian")
_FIT = ("epochs=8", "batch_size=4", "ema=0.5", "learning_rate=0.03", "checkpoint_every=0 s")
FAST = {
    "adamw": _FIT,
    "committee": ("members=2", *_FIT),
    "sghmc": ("members=2", "steps=20", "batch_size=4", "learning_rate=0.01"),
}


def asked(strategy: str, source: str, folder: Path) -> TuneConfig:
    """A short run of a strategy; what replay needs is a file, as these models ship none."""
    parts = STRATEGIES[strategy].settings
    # random forces point anywhere, which the doctor takes for labels in another order of atoms
    more = ["data.accept=[forces-shuffled]", "execute.processes=1"]
    more += [f"tune.sampler.{setting}" for setting in FAST[parts["sampler"]["kind"]]]
    if parts.get("anchor", {}).get("kind") in ("multihead", "pseudolabel"):
        write_frames(folder / "old.xyz", frames(4, seed=5))
        more.append(f"tune.anchor.frames=[{folder / 'old.xyz'}]")
    given = {"model.source": source, "strategy": strategy, **labelled(folder)}
    return configured(TuneConfig, None, more, given)


class Killed(Exception):
    pass


def killed_at(write: int, config: TuneConfig, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose process ends at that write of a checkpoint."""
    original, calls = tensor_files.write, 0

    def counted(*args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        original(*args, **kwargs)
        if calls == write:
            raise Killed

    monkeypatch.setattr(tensor_files, "write", counted)
    monkeypatch.setattr(fixed, "SAVE_EVERY", 0.0)
    with pytest.raises(Killed):
        fine_tune(config, out)
    monkeypatch.undo()


# of MACE test_product.py does much the same in every run
@cells(
    SMALL, tuple(STRATEGIES), slow=lambda name, strategy: name == "mace" or strategy not in COMMON
)
def test_a_strategy(
    backend: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed on the way and run again: the loss falls, and the model file is the tuned model."""
    source = model(backend, tmp_path)
    config, out = asked(method, source, tmp_path), tmp_path / "run"
    killed_at(3, config, out, monkeypatch)
    assert not (out / "final.model").exists()
    summary = fine_tune(config, out)
    assert summary["strategy"] == method
    tuned, start = open_model(out), zoo.load(source)
    untuned = Ensemble(start, [start.weights()], tuned.e0s)
    learnt = frames(8)
    assert misfit(tuned, learnt) < misfit(untuned, learnt)
    final = zoo.load(str(out / "final.model"))
    only_these_moved(method, start, final)
    as_the_package_says(tuned, final, out)


@cells(SMALL, tuple(STRATEGIES), slow=lambda _, strategy: strategy != "lora")
def test_a_run_again_ends_the_same(
    backend: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = asked(method, model(backend, tmp_path), tmp_path)
    killed_at(2, config, tmp_path / "again", monkeypatch)
    found = []
    for name in ("whole", "again"):
        fine_tune(config, tmp_path / name)
        found.append(open_model(tmp_path / name).weights)
    for mine, its in zip(*found, strict=True):
        assert all(torch.equal(mine[name], its[name]) for name in mine)


@cells(SMALL)
def test_a_model_that_ships_nothing_to_replay_says_so(backend: str, tmp_path: Path) -> None:
    given = {"model.source": model(backend, tmp_path), "strategy": "pseudolabel"}
    config = configured(TuneConfig, None, [], given | labelled(tmp_path))
    with pytest.raises(DataError, match="ships no structures to replay; name files"):
        fine_tune(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def misfit(posterior: Ensemble, learnt: list[Frame]) -> float:
    """Huber's loss, mean over members."""
    potential = posterior.potential
    batch, targets = collate(potential, examples(potential, learnt, posterior.e0s))
    each = [Huber()(potential.evaluate(w, batch), batch, targets) for w in posterior.weights]
    return float(torch.stack(each).mean())


def only_these_moved(strategy: str, start: Potential, final: Potential) -> None:
    """Weights of the run's model file against those of the foundation's, to the bit."""
    names = start.names
    subspace = STRATEGIES[strategy].settings["subspace"]["kind"]
    may = {
        "all": set(names.trainable()),
        "freeze-first": set(names.trainable()) - {*names.embedding, *names.interactions[0]},
        "freeze-readout": set(names.readouts),
        "lora": {linear.weight for linear in start.linears},
    }[subspace]
    before, after = start.weights(), final.weights()
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved <= may, "what is outside the subspace stays, to the bit"
    # weights that nothing depends on have no gradient
    assert len(moved) > len(may) / 2


def as_the_package_says(tuned: Ensemble, final: Potential, run: Path) -> None:
    """The model file here and in its package's own calculator; of one member, the tuned model."""
    again = Ensemble(final, [final.weights()], tuned.e0s)
    native = final.native(run / "final.model")
    for atoms in structures(3, seed=3):
        ours, theirs = again.predict([atoms]).mean, atoms.copy()
        theirs.calc = native
        # float32 holds some hundred eV to 2e-5, and the sums to a few times that
        assert theirs.get_potential_energy() == pytest.approx(ours.energy[0], abs=1e-4)
        np.testing.assert_allclose(theirs.get_forces(), ours.forces, atol=2e-4)
        if len(tuned) == 1:
            same(tuned, atoms, ours)


def same(tuned: Ensemble, atoms: Atoms, expected: Any) -> None:
    found = tuned.predict([atoms]).mean
    assert found.energy[0] == pytest.approx(expected.energy[0], abs=1e-4)
    np.testing.assert_allclose(found.forces, expected.forces, atol=2e-4)
