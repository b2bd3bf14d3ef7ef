"""One label update, part by part, and the same work written plainly on mace: are they the same, and
what does either take?"""

import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from ase.build import molecule
from torch.profiler import ProfilerActivity, profile

from bench.onthefly.plain_mace import Chain, atomic_data, collated, run_chain
from bench.runner.parts import Named, Options, Record
from bench.shared.clocks import Spent, Split, gradient_part
from bench.shared.structures import rattled
from bench.shared.training import untouched
from tunesmith.core import E0s, Frame, Label, Members, NoiseScale
from tunesmith.potentials import zoo
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.trust import trust
from tunesmith.tune import chains, sghmc
from tunesmith.tune import density as chain_tasks
from tunesmith.tune.anchor import GaussianPrior
from tunesmith.tune.likelihood import GaussianLikelihood
from tunesmith.tune.plans import Update
from tunesmith.tune.problem import Problem
from tunesmith.tune.subspace import All

#: largest relative difference of gradients, and of weights after `TRACK` steps in float64
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}
TRACK, _TRACK_TOLERANCE = 20, 1e-6
#: calls of each of mace's models before the clock starts; measured: 8 are slow
_WARM = 12
#: of a step; "once" is what an update does before its first
PARTS = ("data", "forward", "backward, forces", "backward, weights", "sampler")


@dataclass(frozen=True)
class Same(Named):
    """The two ways on one minibatch, in float64 also for some steps."""

    dtype: str
    device: str
    labels: int


@dataclass(frozen=True)
class Schedule(Named):
    """An update of which ``part`` steps are timed, in turns. members and later: of its sampler."""

    schedule: str
    device: str
    labels: int
    part: int
    turns: int
    members: int
    steps: int
    batch_size: int


@dataclass(frozen=True)
class Work:
    """One update: of which chains, on which labels, by which settings."""

    potential: Any
    native: Any
    sampler: chains.SGHMC
    problem: Problem
    members: Members
    device: str

    @property
    def frames(self) -> list[Frame]:
        return self.problem.train


def labelled(potential: Any, n: int) -> list[Frame]:
    """n bent structures of ethanol whose labels are a little off the potential."""
    rng, ensemble, frames = np.random.default_rng(0), untouched(potential), []
    for i in range(n):
        atoms = rattled(molecule("CH3CH2OH"), rng, 0.08)
        mean = ensemble.predict([atoms]).mean
        forces = mean.forces + 0.05 * rng.normal(size=mean.forces.shape)
        label = Label(float(mean.energy[0]) + 0.02 * rng.normal(), forces)
        frames.append(Frame(atoms, label, f"bent {i}"))
    return frames


def _native(potential: Any, dtype: str) -> Any:
    """mace's own model from the file that tunesmith exports, as a user of mace loads it."""
    with tempfile.TemporaryDirectory() as folder, mace_files.unsafe_loading(), mace_files.quiet():
        path = Path(folder) / "start.model"
        potential.export(path, potential.weights(), potential.e0s)
        trust(path)
        return torch.load(path, weights_only=False).to(getattr(torch, dtype))


def work(dtype: str, device: str, labels: int, sampler: dict[str, Any]) -> Work:
    """Everything an update needs."""
    torch.set_num_threads(1)
    mace_files.module("mace.modules")
    torch.set_default_dtype(getattr(torch, dtype))  # of mace's data
    potential = zoo.load("organic-xs", dtype=dtype, device=device)
    settings, frames = chains.SGHMC(**sampler), labelled(potential, labels)
    loss, zero = GaussianLikelihood(), E0s(potential.e0s)
    problem = Problem(potential, All(), GaussianPrior(), loss, frames, [], zero, seed=0)
    members = settings.start(problem)
    return Work(potential, _native(potential, dtype), settings, problem, members, device)


# ------------------------------------------------------------------------- the two ways


def ours(w: Work, split: Split, around: Any = None) -> Members:
    """`SGHMC.update`, here and one task after the other. around: a context for it."""
    with split, around or nullcontext():
        split.watch(chain_tasks, "examples", "once")
        split.watch(chain_tasks.Density, "__init__", "once")
        split.watch(sghmc, "draw", "data")
        split.watch(chain_tasks.Density, "_batch", "data")
        split.watch(chain_tasks.Density, "value", "forward")
        split.watch(torch.autograd, "grad", gradient_part)
        return w.sampler.update(w.members, w.problem, number=1)


def plain(w: Work, split: Split, around: Any = None) -> list[Chain]:
    """The same with mace, one chain after the other. around: a context for the steps alone."""
    with split.part("once"):
        data = atomic_data(w.frames, w.native)
        started = [_chain(w, i) for i in range(len(w.members))]
    with split.part("warm-up"):
        for chain in started:
            _warm(chain, data, w)
    # the generators that tunesmith uses for this update
    task = chain_tasks.task_of(w.sampler, w.members, w.problem, (0,), _plan(w), 1)
    with split, around or nullcontext():
        split.watch(torch.autograd, "grad", gradient_part)
        for i, chain in enumerate(started):
            draws = chain_tasks.generator_of(task, "batches")
            noise = chain_tasks.generator_of(task, "chain", i)
            run_chain(chain, data, w.sampler, draws, noise, split)
    return started


def _warm(chain: Chain, data: list[Any], w: Work) -> None:
    """TorchScript compiles in a model's first calls, on batches of several sizes: not counted,
    since a user keeps the models. It leaves the chain where it was."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(_WARM):
        chosen, weights = sghmc.draw(len(data), w.sampler.batch_size, generator)
        chain.gradient(collated(data, chosen, w.device), weights, len(data), Split())


def _chain(w: Work, i: int) -> Chain:
    """Chain i of the plain way, where tunesmith's stands."""
    names = list(w.members.moved)
    pretrained = {n: w.potential.weights()[n] for n in names}
    unit = w.problem.subspace.unit(w.potential, pretrained)[names[0]]
    prior = w.problem.anchor.std(unit)
    head = list(w.members.noise_of(i).values())
    scale: NoiseScale = w.problem.loss.scale
    return Chain(w.native, names, head, scale, float(prior), w.device)


# ----------------------------------------------------------------------- the same work?


def agree(it: Same, _: Options) -> Record:
    """Largest relative difference of the gradient on one minibatch; in float64 also of the
    weights after some steps without noise. Exits where it is more than rounding."""
    w = work(it.dtype, it.device, it.labels, {"members": 2, "steps": TRACK, "temperature": 0.0})
    generator = torch.Generator().manual_seed(1)
    chosen, weights = sghmc.draw(len(w.frames), w.sampler.batch_size, generator)
    density = chain_tasks.Density(_task(w))
    theta = density.theta
    # away from the start, where the prior's gradient and most of the noise head's are zero
    theta = theta + 0.01 * torch.randn(theta.shape, generator=generator).to(theta)
    moved, _, noise = density.split(density.gradient(theta, chosen, weights))
    chain = _chain(w, 0)
    with torch.no_grad():
        starts = [part[0] for pieces in density.split(theta) for part in pieces.values()]
        for t, value in zip(chain.theta, starts, strict=True):
            t.copy_(value)
    batch = collated(atomic_data(w.frames, w.native), chosen, it.device)
    gradient = chain.gradient(batch, weights, len(w.frames), Split())
    expected = [part[0] for pieces in (moved, noise) for part in pieces.values()]
    found = {"gradient": _difference(gradient, expected)}
    if found["gradient"] > TOLERANCE[it.dtype]:
        sys.exit(f"{it.dtype}: the gradients differ by {found['gradient']:.1g}; not the same work.")
    if it.dtype == "float64":
        updated, chain = ours(w, Split()), plain(w, Split())[0]
        ends = [v[0] for v in (*updated.moved.values(), *updated.noise.values())]
        begins = [v[0] for v in (*w.members.moved.values(), *w.members.noise.values())]
        way = [end - begin for end, begin in zip(ends, begins, strict=True)]
        other = [t - begin for t, begin in zip(chain.theta, begins, strict=True)]
        found["way"] = _difference(other, way)
        if found["way"] > _TRACK_TOLERANCE:
            sys.exit(f"after {TRACK} steps the chains differ by {found['way']:.1g}.")
    return found


def _task(w: Work) -> chain_tasks.ChainTask:
    every = tuple(range(len(w.members)))
    return chain_tasks.task_of(w.sampler, w.members, w.problem, every, _plan(w), 1)


def _plan(w: Work) -> Update:
    return w.sampler.plan(w.sampler.steps)


def _difference(found: list[Any], expected: list[Any]) -> float:
    """|found − expected| / |expected|, of everything as one vector."""
    a, b = (torch.cat([t.detach().double().reshape(-1) for t in x]) for x in (found, expected))
    return float((a - b).norm() / b.norm())


# ------------------------------------------------------------------------------- timing


def update(it: Schedule, _: Options) -> Record:
    """Milliseconds of one step of one chain by part, of both ways in turns; and their profiles."""
    sampler = {k: getattr(it, k) for k in ("members", "steps", "batch_size")}
    w = _short(work("float32", it.device, it.labels, sampler), it.part)
    warm = _short(work("float32", it.device, it.labels, sampler | {"members": 2}), 5)
    wait = torch.cuda.synchronize if it.device.startswith("cuda") else None
    ways = {"tunesmith": ours, "mace": plain}
    spent: dict[str, list[Spent]] = {way: [] for way in ways}
    for way in ways.values():
        way(warm, Split())
    for _ in range(it.turns):
        for name, way in ways.items():
            split = Split("sampler", wait)
            way(w, split)
            spent[name].append(split.read())
    found: Record = {name: _summary(runs, it) for name, runs in spent.items()}
    pairs = list(zip(spent["tunesmith"], spent["mace"], strict=True))
    found["ratio"] = {
        unit: median(_steps(theirs, k) / _steps(own, k) for own, theirs in pairs)
        for k, unit in enumerate(("clock", "cpu"))
    }
    # fewer steps than the settings allow: reading a profile takes longer than making it
    return found | {"profile": {name: _profile(way, _short(warm, 4)) for name, way in ways.items()}}


def _short(w: Work, steps: int) -> Work:
    """With so few steps, unchecked."""
    few = {"steps": steps, "first_steps": None}
    return replace(w, sampler=w.sampler.model_copy(update=few))


def _steps(run: Spent, k: int, parts: tuple[str, ...] = PARTS) -> float:
    """Seconds (k = 0) or CPU seconds (1) of a run's steps, by all parts or some."""
    return sum(run.get(part, (0.0, 0.0))[k] for part in parts)


def _summary(runs: list[Spent], it: Schedule) -> Record:
    """Medians: of a step of a chain in ms, and of the whole update in s."""
    clock, cpu = (median(_steps(run, k) for run in runs) / it.part for k in (0, 1))
    per = 1e3 / it.members
    parts = {p: median(_steps(run, 1, (p,)) for run in runs) / it.part for p in PARTS}
    return {
        "ms_per_step": per * clock,
        "cpu_ms_per_step": per * cpu,
        "parts_cpu_ms": {part: per * seconds for part, seconds in parts.items()},
        "once_s": median(_steps(run, 0, ("once",)) for run in runs),
        "update_s": clock * it.steps,
        "update_cpu_s": cpu * it.steps,
    }


def _profile(way: Any, w: Work) -> Record:
    """What torch does in a step of a chain: operations, and the shares of the largest."""
    way(w, Split(), found := profile(activities=[ProfilerActivity.CPU]))
    rows = found.key_averages()
    total = sum(r.self_cpu_time_total for r in rows)
    operations = sum(r.count for r in rows if r.key.startswith("aten::"))
    largest = sorted(rows, key=lambda r: -r.self_cpu_time_total)[:12]
    matmul = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm")
    return {
        "operations_per_step": operations / (w.sampler.steps * len(w.members)),
        "matrix_products": sum(r.self_cpu_time_total for r in rows if r.key in matmul) / total,
        "largest": {r.key: r.self_cpu_time_total / total for r in largest},
    }
