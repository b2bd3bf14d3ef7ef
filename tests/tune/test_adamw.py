"""The trainer against plain mace + torch, and against itself interrupted."""

import copy

import numpy as np
import pytest
import torch

import tiny
from tiny import crystals, molecules, potential
from tunesmith import tensor_files
from tunesmith.core import derived_seed
from tunesmith.errors import CheckpointError, TrainingError
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.adamw_fit import AdamWFit
from tunesmith.tune.examples import collate, examples
from tunesmith.tune.problem import Problem


def problem(train=None, valid=None, dtype=torch.float64, seed: int = 11) -> Problem:
    train = molecules(7) if train is None else train
    valid = molecules(3, seed=9) if valid is None else valid
    return tiny.problem(train, valid, potential=potential(dtype), seed=seed)


def labelled(task: Problem, frames=None):
    return examples(task.potential, task.train if frames is None else frames, task.e0s)


def test_updates_are_those_of_plain_mace_and_torch():
    """The same steps with mace's module, its own forces, torch's AdamW, clipping and a loop EMA."""
    task = problem()
    settings = AdamW(
        epochs=3, batch_size=3, learning_rate=3e-3, ema=0.9, clip=0.5, weight_decay=0.01
    )
    fit = settings.fit(task)
    module = copy.deepcopy(task.potential._native).double()
    named = dict(module.named_parameters())
    for p in named.values():
        p.requires_grad_(True)
    optimiser = torch.optim.AdamW(named.values(), lr=3e-3, weight_decay=0.01)
    ema = {k: v.detach().clone() for k, v in named.items()}
    zero = torch.zeros_like(module.atomic_energies_fn.atomic_energies)
    module.atomic_energies_fn.atomic_energies.copy_(zero)
    data = labelled(task)
    t, best = 0, None
    for epoch in range(3):
        g = torch.Generator().manual_seed(derived_seed(11, "epoch", epoch))
        order = torch.randperm(7, generator=g).tolist()
        for i in range(0, 7, 3):
            batch, targets = collate(task.potential, [data[j] for j in order[i : i + 3]])
            out = module(_of_mace(task.potential, batch), training=True)
            loss = _plain_huber(out["energy"], out["forces"], batch, targets)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(named.values(), 0.5)
            optimiser.step()
            t += 1
            decay = min(0.9, (1 + t) / (10 + t))
            for k, p in named.items():
                ema[k] = decay * ema[k] + (1 - decay) * p.detach()
        if fit.details["best_epoch"] == epoch + 1:
            best = copy.deepcopy(ema)
    assert best is not None
    start = task.potential.weights()
    moved = max(float((fit.moved[k][0] - start[k]).abs().max()) for k in fit.moved)
    worst = max(float((fit.moved[k][0] - best[k]).abs().max()) for k in fit.moved)
    assert moved > 5e-3
    assert worst < 1e-9


def _of_mace(potential, batch):
    """A batch of molecules as mace's own dictionary, edges from the plain neighbour list."""
    species = torch.nn.functional.one_hot(batch.species, len(potential.elements))
    real = batch.padding == 0
    return {
        "positions": batch.positions.clone(),
        "node_attrs": species.to(batch.positions),
        "edge_index": batch.edges[:, real],
        "shifts": torch.zeros(int(real.sum()), 3).to(batch.positions),
        "unit_shifts": batch.unit_shifts[real],
        "cell": batch.cell.reshape(-1, 3),
        "batch": batch.index,
        "ptr": torch.cat([batch.counts.new_zeros(1), batch.counts.cumsum(0)]),
    }


def _plain_huber(energy, forces, batch, targets):
    h = torch.nn.functional.huber_loss
    total, start = 0.0, 0
    for b, n in enumerate(batch.counts.tolist()):
        de = (energy[b] - targets.energy[b]) / n
        df = (forces - targets.forces)[start : start + n].norm(dim=1)
        total = total + 10 * h(de, torch.zeros_like(de), delta=0.01)
        total = total + 10 * h(df, torch.zeros_like(df), delta=0.01)
        start += n
    return total / len(batch.counts)


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_at", [2, 4, 9, 10])
def test_restart_is_exact_to_the_bit(tmp_path, monkeypatch, killed_at):
    """Killed at any step, mid-epoch or at its end, and run again: the very same numbers."""
    settings = AdamW(epochs=5, batch_size=3, learning_rate=1e-2, checkpoint_every="0 s")
    train = molecules(6) + crystals(1)
    whole = settings.fit(problem(train, dtype=torch.float32))
    task = problem(train, dtype=torch.float32)
    calls = 0
    evaluate = task.potential.evaluate

    def counted(*args, create_graph=False, **kwargs):
        nonlocal calls
        calls += create_graph
        if calls > killed_at:
            raise Killed
        return evaluate(*args, create_graph=create_graph, **kwargs)

    monkeypatch.setattr(task.potential, "evaluate", counted)
    with pytest.raises(Killed):
        settings.fit(task, tmp_path)
    again = settings.fit(problem(train, dtype=torch.float32), tmp_path)
    assert again.histories[0] == whole.histories[0]
    assert again.details == whole.details
    assert all(torch.equal(again.moved[k], whole.moved[k]) for k in whole.moved)


def test_killed_between_an_epochs_last_step_and_its_validation(tmp_path, monkeypatch):
    settings = AdamW(epochs=3, batch_size=3, checkpoint_every="0 s")
    whole = settings.fit(problem())
    task = problem()
    evaluate = task.potential.evaluate
    checks = 0

    def counted(*args, create_graph=False, **kwargs):
        nonlocal checks
        checks += not create_graph
        if checks > 1:
            raise Killed
        return evaluate(*args, create_graph=create_graph, **kwargs)

    monkeypatch.setattr(task.potential, "evaluate", counted)
    with pytest.raises(Killed):
        settings.fit(task, tmp_path)
    again = settings.fit(problem(), tmp_path)
    assert again.histories[0] == whole.histories[0]
    assert all(torch.equal(again.moved[k], whole.moved[k]) for k in whole.moved)


def test_more_epochs_go_on_from_a_finished_fit(tmp_path):
    state = tmp_path
    short = AdamW(epochs=2, batch_size=3).fit(problem(), state)
    longer = AdamW(epochs=4, batch_size=3).fit(problem(), state)
    whole = AdamW(epochs=4, batch_size=3).fit(problem())
    assert short.histories[0] == whole.histories[0][:2]
    assert longer.histories[0] == whole.histories[0]


def test_loss_falls_and_the_best_epoch_is_the_lowest_validation_loss():
    fit = AdamW(epochs=25, batch_size=2, learning_rate=1e-2, ema=0.9, patience=25).fit(
        problem(molecules(10) + crystals(3), molecules(4, seed=2))
    )
    losses = [e["valid_loss"] for e in fit.histories[0]]
    assert min(losses) < 0.5 * losses[0]
    assert fit.details["best_epoch"] == 1 + int(np.argmin(losses))


def test_early_stopping_counts_from_the_best_epoch():
    # nothing to learn at this rate: the first epoch stays the best
    stuck = problem(valid=molecules(2, seed=4), seed=0)
    fit = AdamW(epochs=50, patience=3, learning_rate=10.0, clip=None, ema=0.0).fit(stuck)
    assert len(fit.histories[0]) == fit.details["best_epoch"] + 3
    assert "3 epochs" in fit.finished


def test_weights_of_frames_count():
    """A frame of weight zero is as if it were not there; weight 2 is as if it came twice."""
    frames = molecules(4)
    import dataclasses

    silent = [*frames[:3], dataclasses.replace(frames[3], weight=0.0)]
    twice = [dataclasses.replace(frames[0], weight=2.0), *frames[1:3]]

    def gradient(chosen, size):
        task = problem(chosen)
        run = AdamWFit(AdamW(clip=None), task, None)
        run.step(run.train)
        return run.theta.grad * size

    plain = gradient(frames[:3], 3)
    assert torch.allclose(gradient(silent, 4), plain, rtol=1e-9, atol=1e-12)
    repeated = gradient([frames[0], *frames[:3]], 4)
    assert torch.allclose(gradient(twice, 3), repeated, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(repeated, plain, rtol=1e-3)


def test_gradient_of_the_loss_by_finite_differences():
    """Through energies, forces and stress together, in a random direction."""
    task = problem(molecules(2) + crystals(1))
    batch, targets = collate(task.potential, labelled(task))
    start = task.subspace.start(task.potential, torch.Generator())
    g = torch.Generator().manual_seed(0)
    way = {k: torch.randn(v.shape, generator=g, dtype=v.dtype) for k, v in start.items()}

    def loss(step, graph):
        moved = {k: (v + step * way[k]).requires_grad_(graph) for k, v in start.items()}
        weights = task.subspace.expand(task.potential.weights(), moved)
        out = task.potential.evaluate(weights, batch, stress=True, create_graph=graph)
        return task.loss(out, batch, targets), moved

    value, moved = loss(0.0, True)
    gradients = torch.autograd.grad(value, list(moved.values()))
    exact = sum(float((g * w).sum()) for g, w in zip(gradients, way.values(), strict=True))
    h = 1e-5
    numeric = (float(loss(h, False)[0]) - float(loss(-h, False)[0])) / (2 * h)
    assert exact == pytest.approx(numeric, rel=1e-5)


def test_divergence_is_said():
    with pytest.raises(TrainingError, match="learning_rate"):
        AdamW(epochs=50, learning_rate=1e9, clip=None).fit(problem(dtype=torch.float32))


def test_a_checkpoint_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(CheckpointError, match=r"state is missing; run the same command again\.$"):
        tensor_files.read(tmp_path / "state")
    with pytest.raises(CheckpointError, match=r"state is missing; restore it\.$"):
        tensor_files.read(tmp_path / "state", "restore it")


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    AdamW(epochs=1).fit(problem(), tmp_path)
    whole = bytearray(path.read_bytes())
    whole[-5] ^= 1
    path.write_bytes(bytes(whole))
    with pytest.raises(CheckpointError, match="damaged"):
        AdamW(epochs=2).fit(problem(), tmp_path)
    path.write_bytes(bytes(whole[: len(whole) // 2]))
    with pytest.raises(CheckpointError, match="damaged"):
        tensor_files.read(path)


def test_the_schedule():
    settings = AdamW(learning_rate=2.0, schedule="cosine", warmup_steps=3)
    assert settings.rate(0, 100) == pytest.approx(0.5)
    assert settings.rate(50, 100) == pytest.approx(1.0)
    assert settings.rate(100, 100) == pytest.approx(0.0, abs=1e-12)
    assert AdamW(learning_rate=2.0).rate(70, 100) == 2.0
