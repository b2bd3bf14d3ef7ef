"""The laws of `tunesmith.contracts`, for any package that brings a part of its own.

A part's test file is a few lines::

    @pytest.mark.parametrize("seed", range(3))
    def test_my_rule(seed):
        parts_contract.check_acquirer(MyRule(), seed)

Every check is a plain function that raises AssertionError.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from tunesmith.contracts import (
    Acquirer,
    Anchor,
    Check,
    Criterion,
    Dynamics,
    Examined,
    Law,
    Loss,
    PoolExplorer,
    Posterior,
    Sampler,
    Spread,
    SubspaceRule,
)
from tunesmith.core import Frame, Label, Members, Prediction, Quantities, Reference
from tunesmith.posterior import members_file
from tunesmith.posterior.ensemble import posterior_of
from tunesmith.potentials.potential import Potential
from tunesmith.testing.compute import OFFSETS, close, slope


class Planted:
    """`Candidates` drawn at random: features in a few dimensions, scores all different."""

    def __init__(self, seed: int, n: int = 40, known: int = 5) -> None:
        rng = np.random.default_rng(seed)
        self.x, self.known = rng.normal(size=(n, 6)), rng.normal(size=(known, 6))
        self.scores = rng.permutation(n) + 1.0

    def __len__(self) -> int:
        return len(self.x)

    def features(self, representation: Any) -> np.ndarray:
        return self.x

    def labelled(self, representation: Any) -> np.ndarray | None:
        return self.known if len(self.known) else None

    def disagreement(self, score: str) -> np.ndarray:
        return self.scores

    def reordered(self, order: np.ndarray) -> "Planted":
        """The same candidates, standing in another order."""
        other = Planted(0, len(self), len(self.known))
        other.x, other.known, other.scores = self.x[order], self.known, self.scores[order]
        return other


def check_acquirer(rule: Acquirer, seed: int, *, by_chance: bool = False) -> None:
    """n different candidates, a function of the generator's state, in whatever order they stand.

    by_chance: the rule draws by lot, so that another order draws others.
    """
    given = Planted(seed)
    for n in (1, 7, len(given)):
        picks = rule.choose(given, n, np.random.default_rng(seed))
        again = rule.choose(given, n, np.random.default_rng(seed))
        assert len(set(picks.indices.tolist())) == len(picks.indices) == n
        assert set(picks.indices.tolist()) <= set(range(len(given)))
        assert len(picks.scores) == len(picks.nearest) == n
        np.testing.assert_array_equal(picks.indices, again.indices)
        if not by_chance:
            order = np.random.default_rng(seed + 1).permutation(len(given))
            other = rule.choose(given.reordered(order), n, np.random.default_rng(seed))
            assert order[other.indices].tolist() == picks.indices.tolist()
    rated = rule.rate(given)
    assert rated is None or (rated.shape == (len(given),) and np.isfinite(rated).all())
    assert rule.name


def check_subspace(rule: SubspaceRule, potential: Potential, seed: int) -> None:
    """What it starts from expands to the model itself, and `linear` is true."""
    generator = torch.Generator().manual_seed(seed)
    own, start = potential.weights(), rule.start(potential, generator)
    if not rule.fresh:
        _same(rule.expand(own, start), own)
    units = rule.unit(potential, start)
    assert units.keys() == start.keys()
    assert all(bool((unit > 0).all()) for unit in units.values())
    assert any(rule.moves(name) for name in start)

    def moved(seed: int) -> dict[str, torch.Tensor]:
        drawn = torch.Generator().manual_seed(seed)
        return {
            name: value + 0.1 * torch.randn(value.shape, generator=drawn).to(value)
            if rule.moves(name)
            else value
            for name, value in start.items()
        }

    a, b = moved(seed), moved(seed + 1)
    middle = rule.expand(own, {name: (a[name] + b[name]) / 2 for name in a})
    ends = rule.expand(own, a), rule.expand(own, b)
    apart = max(float((middle[n] - (ends[0][n] + ends[1][n]) / 2).abs().max()) for n in own)
    size = max(float((ends[0][n] - ends[1][n]).abs().max()) for n in own)
    assert size > 0, "nothing moves"
    assert (apart < 1e-5 * size) == rule.linear


def check_anchor(anchor: Anchor, seed: int) -> None:
    """A penalty is the negative log of the Gaussian that `std` tells, over n, or there is none."""
    rng = np.random.default_rng(seed)
    start, unit = (torch.from_numpy(rng.normal(size=12)).abs() + 0.1 for _ in range(2))
    std, n = anchor.std(unit), 7
    if std is None:
        assert anchor.penalty(start + 1, start, unit, n) is None
        return
    wider = anchor.wider(3.0).std(unit)
    assert wider is not None
    torch.testing.assert_close(wider, 3 * std)
    place, step = start + torch.from_numpy(rng.normal(size=12)), 0.3
    for i in range(len(start)):
        along = torch.zeros(12, dtype=torch.float64)
        along[i] = step
        ends = [anchor.penalty(place + s * along, start, unit, n) for s in (-1, 0, 1)]
        assert all(end is not None for end in ends)
        low, here, high = (float(end) for end in ends if end is not None)
        bend = (low - 2 * here + high) / step**2
        assert abs(bend * n * float(std[i]) ** 2 - 1) < 1e-6


def check_law(law: Law, seed: int) -> None:
    """The calibrated spread rises with the raw one; `derivative` is its slope; tails fall."""
    raw = np.sort(np.random.default_rng(seed).uniform(0.02, 2.0, 30))
    std = np.asarray(law.std(raw))
    assert (np.diff(std) > 0).all()
    slope = (np.asarray(law.std(raw * 1.0001)) - np.asarray(law.std(raw * 0.9999))) / (2e-4 * raw)
    np.testing.assert_allclose(law.derivative(raw), slope, rtol=1e-4)
    over = np.array([law.exceedance(raw, x) for x in (0.01, 0.1, 1.0)])
    assert ((over >= 0) & (over <= 1)).all()
    assert (np.diff(over, axis=0) < 0).all()
    assert (np.diff(over, axis=1) > 0).all()


def check_loss(loss: Loss, evaluation: Any, batch: Any, targets: Any, seed: int) -> None:
    """Smallest where predictions are the labels, a scalar, and rising on every side of them.

    evaluation: energies, forces and stress of a batch, taken for what the labels are; targets: with
    a weight for each structure.
    """
    said = {"energy": evaluation.energy, "forces": evaluation.forces, "stress": evaluation.stress}
    labels = replace(targets, **said)
    least = loss(evaluation, batch, labels)
    assert least.shape == ()
    generator = torch.Generator().manual_seed(seed)
    for name, value in said.items():
        wanted = {"energy": loss.wants_energy, "stress": loss.wants_stress}.get(name, True)
        for size in (1e-3, 0.1):
            off = size * torch.randn(value.shape, generator=generator).to(value)
            more = loss(replace(evaluation, **{name: value + off}), batch, labels)
            assert (more > least) if wanted else (more == least), name


def check_sampler(sampler: Sampler, problem: Any, place: Path) -> None:
    """As many members as it says, the same to the bit again, on an executor, from checkpoints."""
    first, again = sampler.fit(problem), sampler.fit(problem)
    kept = sampler.fit(problem, place / "fit")
    whole = sampler.fit(problem, place / "fit")  # from what is there
    with ThreadPoolExecutor(1) as executor:
        there = sampler.fit(problem, executor=executor)
    assert {len(value) for value in first.moved.values()} == {sampler.count}
    for other in (again, kept, whole, there):
        _same(other.moved, first.moved)


def check_check(check: Check, examined: Examined) -> None:
    """Finds the same again, says it in one sentence and in JSON, and changes nothing."""
    start, weights = examined.start.copy(), [dict(w) for w in examined.posterior.members.weights]
    kept = [{name: value.clone() for name, value in own.items()} for own in weights]
    first, again = check.run(examined), check.run(examined)
    assert first == again, "it finds something else when it looks again"
    json.dumps(first.values, allow_nan=False)
    assert first.verdict.endswith(".")
    assert "\n" not in first.verdict, "a verdict is one sentence"
    assert first.well in (True, False, None)
    assert examined.start == start, "the structure is changed"
    for own, before in zip(examined.posterior.members.weights, kept, strict=True):
        _same(own, before)


def check_reference(reference: Reference, atoms: Atoms, seed: int) -> None:
    """Says who it is in JSON, labels again alike, and its forces are the energy's own slopes.

    atoms: a structure that it can label. Along random directions, by five-point differences.
    """
    json.dumps(reference.identity(), allow_nan=False)

    def label(structure: Atoms) -> Label:
        outcome = reference.label(structure)
        assert isinstance(outcome, Label), outcome
        return outcome

    first, again = label(atoms), label(atoms)
    assert first.energy == again.energy
    np.testing.assert_array_equal(first.forces, again.forces)
    step = 2e-3
    for direction in np.random.default_rng(seed).normal(size=(2, len(atoms), 3)):
        energies = []
        for offset in OFFSETS:
            moved = atoms.copy()
            moved.positions += offset * step * direction
            energies.append(label(moved).energy)
        along = -float((first.forces * direction).sum())
        close(along, slope(np.array(energies), step), 1e-4, "forces along a direction")


def check_posterior(posterior: Posterior, frames: Sequence[Frame]) -> None:
    """The same mean whatever spread is asked for, alone or together; spreads of what is judged,
    none of anything else, and none negative."""
    structures = [frame.atoms for frame in frames]
    whole = posterior.predict(structures, spread="all")
    energies = posterior.predict(structures, spread="energy")
    alone = [posterior.predict([atoms], spread="all") for atoms in structures]
    for other in (energies.mean.energy, np.concatenate([p.mean.energy for p in alone])):
        np.testing.assert_allclose(other, whole.mean.energy, rtol=1e-6)
    for other in (energies.mean.forces, np.concatenate([p.mean.forces for p in alone])):
        np.testing.assert_allclose(other, whole.mean.forces, rtol=1e-4, atol=1e-5)
    std = whole.std()
    assert (std is None) == (not posterior.judged)
    if std is None:
        return
    for name in ("energy", "forces"):
        values = getattr(std, name)
        if name in posterior.judged:
            assert (values >= 0).all(), name
            together = np.concatenate([getattr(p.std(), name) for p in alone])
            np.testing.assert_allclose(together, values, rtol=1e-3, atol=1e-6)
        else:
            assert np.isnan(values).all(), f"{name}: a spread that nobody answers for"


def check_spread(
    rule: Spread, potential: Potential, members: Members, frames: Sequence[Frame], place: Path
) -> None:
    """The mean stays the members'; saved and opened it says the same, to the bit; a posterior that
    has learnt some of the labels before says what one does that learns them at once."""
    learnt, asked = list(frames[:-2]), frames[-2:]

    def of(found: Members) -> Posterior:
        return posterior_of(potential, found)

    whole = replace(members, closed=rule.fitted(potential, members, learnt))
    check_posterior(of(whole), asked)
    structures = [frame.atoms for frame in asked]
    said, own = of(whole).predict(structures), of(members).predict(structures)
    np.testing.assert_array_equal(said.mean.energy, own.mean.energy)
    some = replace(members, closed=rule.fitted(potential, members, learnt[:-1]))
    later = replace(some, closed=rule.fitted(potential, some, learnt))
    members_file.write(place / "members.safetensors", whole)
    opened = members_file.read(place / "members.safetensors", potential, "write it again")
    for other in (opened, later):
        again = of(other).predict(structures).std()
        assert (again is None) == (said.std() is None)
        if again is not None:
            np.testing.assert_array_equal(again.energy, said.std().energy)  # type: ignore[union-attr]


def check_dynamics(explorer: Dynamics, structures: list[Atoms], answer: Any) -> None:
    """A state is a value: the same step from it is the same, also after it was packed."""
    state = explorer.init(structures, 3)
    assert not explorer.finished(state)
    state = explorer.step(state, answer)
    arrays, info = explorer.pack(state)
    kept = {name: np.array(value) for name, value in arrays.items()}
    first, again = explorer.step(state, answer), explorer.step(state, answer)
    opened = explorer.step(explorer.unpack(kept, json.loads(json.dumps(info))), answer)
    for other in (again, opened):
        _equal(explorer.pack(first), explorer.pack(other))
    _equal((kept, info), explorer.pack(state))
    assert explorer.time_of(first.walkers[0]) >= explorer.time_of(state.walkers[0])


def check_pool_explorer(explorer: PoolExplorer, candidates: int, batch: int, seed: int) -> None:
    """No candidate twice; as many rounds as it says; a state is a value, and the lot the seed's."""
    explorer.check(candidates, batch)
    state, again = (explorer.begin(candidates, np.random.default_rng(seed)) for _ in range(2))
    assert state == again
    for done in range(10_000):
        left = explorer.left(state, candidates)
        assert len({*left.tolist(), *state.taken}) == candidates == len(left) + len(state.taken)
        if explorer.finished(state):
            break
        later = explorer.step(state, left[:batch].tolist())
        assert later == explorer.step(state, left[:batch].tolist())
        assert later.rounds == state.rounds + 1 == done + 1
        assert list(later.taken) == [*state.taken, *left[:batch].tolist()], "it forgets"
        state = later
    assert explorer.finished(state)


def check_criterion(rule: Criterion, target: Any, atoms: Atoms, law: Law) -> None:
    """Whoever is more uncertain is likelier to be labelled; what is no number always is."""
    limits, n = rule.limits(target, atoms, 0), len(atoms)
    mean = Quantities(np.zeros(1), np.zeros((n, 3)))
    laws = {"energy": law, "forces": law}
    found = []
    for size in (1e-4, 1e-2, 1.0, np.nan):
        variance = Quantities(np.full(1, size**2), np.full((n, 3), size**2))
        prediction = Prediction(mean, np.array([n]), var_model=variance)
        found.append(rule.decide(limits, prediction, laws))
    assert [d.probability for d in found[:3]] == sorted(d.probability for d in found[:3])
    assert not found[0].label
    assert found[2].label
    assert found[3].label


def _equal(a: tuple[dict[str, Any], Any], b: tuple[dict[str, Any], Any]) -> None:
    assert a[0].keys() == b[0].keys()
    for name, value in a[0].items():
        assert np.asarray(value).tobytes() == np.asarray(b[0][name]).tobytes(), name
    assert json.dumps(a[1]) == json.dumps(b[1])


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name
