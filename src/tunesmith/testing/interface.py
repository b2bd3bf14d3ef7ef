"""Checks of what tunesmith's own protocol promises: batches, weights, files, purity."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from tunesmith.core import Weights
from tunesmith.errors import DataError
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Evaluation, Potential, stack, unstack, unstack_evaluation
from tunesmith.testing.compute import (
    OFFSETS,
    array,
    close,
    features,
    file_tolerance,
    move,
    predict,
    random_direction,
    slope,
    tolerance,
)
from tunesmith.testing.example_structures import boxed, crystal, molecule, samples


def _mixed(potential: Potential, rng: np.random.Generator) -> list[Atoms]:
    """Large and small, periodic and not, many neighbours and none."""
    return [
        molecule(potential, 7, rng),
        crystal(potential, rng),
        molecule(potential, 1, rng),
        crystal(potential, rng, n=1, triclinic=True),
        molecule(potential, 2, rng),
    ]


def check_batches(potential: Potential, seed: int = 0) -> None:
    """Structures in one batch get what each gets alone, in any order."""
    rng = np.random.default_rng(seed)
    allowed = tolerance(potential).same
    frames = _mixed(potential, rng)
    stress = potential.capabilities.stress
    together = predict(potential, frames, stress=stress)
    described = features(potential, frames)
    start = 0
    for i, atoms in enumerate(frames):
        alone = predict(potential, [atoms], stress=stress)
        part = slice(start, start + len(atoms))
        close(together.energy[[i]], alone.energy, allowed, "energy in a batch")
        close(together.forces[part], alone.forces, allowed, "forces in a batch")
        close(described[part], features(potential, [atoms]), allowed, "features in a batch")
        if together.stress is not None and alone.stress is not None and atoms.pbc.all():
            close(together.stress[[i]], alone.stress, allowed, "stress in a batch")
        start += len(atoms)


def check_no_stress_without_cell(potential: Potential, seed: int = 0) -> None:
    """The stress of a molecule is NaN, also beside a crystal, which has one."""
    rng = np.random.default_rng(seed)
    frames = [molecule(potential, 4, rng), crystal(potential, rng)]
    stress = predict(potential, frames, stress=True).stress
    assert stress is not None
    assert np.all(np.isnan(stress[0])), "a molecule has a stress"
    assert np.all(np.isfinite(stress[1])), "the crystal beside a molecule has no stress"


def check_pure(potential: Potential, seed: int = 0) -> None:
    """Asking changes neither weights nor batch nor structure, and asking again gives the same."""
    rng = np.random.default_rng(seed)
    frames = samples(potential, rng)
    before = [(a.positions.copy(), a.cell.array.copy()) for a in frames]
    batch = potential.batch([potential.graph(atoms) for atoms in frames])
    positions = batch.positions.clone()
    weights, kept = potential.weights(), potential.weights()
    stress = potential.capabilities.stress
    first = potential.evaluate(weights, batch, stress=stress)
    potential.features(weights, batch)
    second = potential.evaluate(weights, batch, stress=stress)
    assert torch.equal(first.energy, second.energy), "a second evaluation differs"
    assert not batch.positions.requires_grad, "the batch has been marked for gradients"
    assert torch.equal(batch.positions, positions), "the batch has been changed"
    assert all(torch.equal(w, kept[k]) for k, w in weights.items()), "weights have been changed"
    for atoms, (places, cell) in zip(frames, before, strict=True):
        assert np.array_equal(atoms.positions, places), "the structure has been changed"
        assert np.array_equal(atoms.cell.array, cell), "the cell has been changed"
    bent = move(weights, random_direction(potential, seed), 0.05)
    changed = potential.evaluate(bent, batch)
    assert not torch.equal(changed.energy, first.energy), "the weights passed in are not used"
    again = potential.evaluate(potential.weights(), batch)
    assert torch.equal(again.energy, first.energy), "weights passed in have stuck"


def check_features(potential: Potential, seed: int = 0) -> None:
    """Features of the same pass as energy and forces are those asked for alone, (A, d)."""
    frames = _mixed(potential, np.random.default_rng(seed))
    batch = potential.batch([potential.graph(atoms) for atoms in frames])
    weights, allowed = _bent(potential, seed), tolerance(potential).same
    alone = potential.features(weights, batch)
    without = potential.evaluate(weights, batch)
    assert without.features is None, "features come unasked"
    for graph in (False, True):
        out = potential.evaluate(weights, batch, features=True, create_graph=graph)
        assert out.features is not None, "features are not given"
        assert out.features.shape == (sum(map(len, frames)), alone.shape[1]), "not (A, d)"
        assert out.features.requires_grad == graph, "gradients are kept where not asked for"
        close(array(out.features), array(alone), allowed, "features of the same pass")
        close(array(out.energy), array(without.energy), allowed, "energy beside features")


def check_embedding_gradient(potential: Potential, seed: int = 0) -> None:
    """Per structure, against finite differences in the one embedding weight it is of, in a batch as
    alone; zero for elements that a structure lacks."""
    frames = _mixed(potential, np.random.default_rng(seed))
    graphs = [potential.graph(atoms) for atoms in frames]
    batch = potential.batch(graphs)
    weights, allowed = _bent(potential, seed), tolerance(potential)
    found = potential.embedding_gradient(weights, batch)
    assert found.shape[:2] == (len(frames), len(potential.elements)), "not (B, Z, c)"
    assert not found.requires_grad, "gradients are kept where not asked for"
    for atoms, graph, own in zip(frames, graphs, found, strict=True):
        alone = potential.embedding_gradient(weights, potential.batch([graph]))[0]
        close(array(own), array(alone), allowed.same, "embedding gradient in a batch")
        absent = [i for i, z in enumerate(potential.elements) if z not in atoms.numbers]
        assert not own[absent].any(), "an element that is not there has a gradient"
    known = [n for n in potential.names.embedding if weights[n].numel() == found[0].numel()]
    assert known, "no embedding weight has a number for every element and channel"
    directions = random_direction(potential, seed)
    misses = []
    for name in known:
        moves = [move(weights, {name: directions[name]}, o * allowed.step) for o in OFFSETS]
        values = [array(potential.evaluate(w, batch, forces=False).energy) for w in moves]
        rates = array(found.flatten(1)) @ array(directions[name].flatten())
        try:
            expected = slope(np.stack(values), allowed.step)
            close(rates, expected, allowed.derivative, f"dE / d {name}")
            return
        except AssertionError as error:
            misses.append(str(error))
    raise AssertionError("; ".join(misses))


def check_functional_weights(potential: Potential, seed: int = 0) -> None:
    """Evaluating with other weights is the same as loading a file that holds them."""
    rng = np.random.default_rng(seed)
    allowed = file_tolerance(potential).same
    frames = samples(potential, rng)
    bent = _bent(potential, seed)
    e0s = {z: e - 0.25 * i for i, (z, e) in enumerate(potential.e0s.items())}
    stress = potential.capabilities.stress
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bent.model"
        potential.export(path, bent, e0s)
        precision = "float64" if potential.dtype == torch.float64 else "float32"
        copy = zoo.load(str(path), dtype=precision)
    expected = predict(potential, frames, weights=bent, stress=stress)
    found = predict(copy, frames, stress=stress)
    close(found.energy, expected.energy, allowed, "energy of a loaded copy")
    close(found.forces, expected.forces, allowed, "forces of a loaded copy")
    if found.stress is not None and expected.stress is not None:
        close(found.stress[1:], expected.stress[1:], allowed, "stress of a loaded copy")
    exact = 1e-12 if potential.capabilities.native_float64 else 1e-6
    close(list(copy.e0s.values()), list(e0s.values()), exact, "E0s of a loaded copy")
    untouched = predict(potential, frames)
    assert np.abs(untouched.forces - expected.forces).max() > 1e-4, "bent weights change nothing"


def check_native(potential: Potential, seed: int = 0) -> None:
    """The package's own calculator of an exported file: absolute energy, forces, stress."""
    rng = np.random.default_rng(seed)
    allowed = file_tolerance(potential).same
    bent = _bent(potential, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bent.model"
        potential.export(path, bent, potential.e0s)
        native = potential.native(path)
    for atoms in [*samples(potential, rng), molecule(potential, 1, rng)]:
        ours = predict(potential, [atoms], weights=bent, stress=potential.capabilities.stress)
        total = ours.energy + sum(potential.e0s[int(z)] for z in atoms.numbers)
        atoms.calc = native
        close(total, np.array([atoms.get_potential_energy()]), allowed, "energy of the package")
        close(ours.forces, atoms.get_forces(), allowed, "forces of the package")
        if ours.stress is not None and atoms.pbc.all():
            close(ours.stress[0], atoms.get_stress(voigt=False), allowed, "its stress")


def _bent(potential: Potential, seed: int) -> Weights:
    return move(potential.weights(), random_direction(potential, seed), 0.1)


def check_weight_gradients(potential: Potential, seed: int = 0) -> None:
    """d/dθ of functions of energy, forces, stress and features against finite differences in θ."""
    rng = np.random.default_rng(seed)
    allowed = tolerance(potential)
    frames = samples(potential, rng)
    batch = potential.batch([potential.graph(atoms) for atoms in frames])
    crystals = [i for i, atoms in enumerate(frames) if atoms.pbc.all()]
    shapes = {"energy": (len(frames),), "forces": (sum(map(len, frames)), 3)}
    if potential.capabilities.stress:
        shapes["stress"] = (len(crystals), 3, 3)
    shapes["features"] = tuple(potential.features(potential.weights(), batch).shape)
    parts = {
        name: torch.from_numpy(rng.normal(size=shape)).to(potential.device, potential.dtype)
        for name, shape in shapes.items()
    }

    def projected(weights: Weights, part: str, create_graph: bool = False) -> torch.Tensor:
        asked = {key: part == key for key in ("stress", "features")}
        out = potential.evaluate(weights, batch, **asked, create_graph=create_graph)
        value = getattr(out, part)
        # volumes bring the stress to the size of an energy
        value = 100 * value[crystals] if part == "stress" else value
        return (parts[part] * value.square() if part == "forces" else parts[part] * value).sum()

    start, direction = potential.weights(), random_direction(potential, seed)
    for part in parts:
        leaves = {k: start[k].clone().requires_grad_() for k in direction}
        result = projected({**start, **leaves}, part, create_graph=True)
        gradients = torch.autograd.grad(result, list(leaves.values()), allow_unused=True)
        found = sum(
            (g * direction[k]).sum()
            for k, g in zip(leaves, gradients, strict=True)
            if g is not None
        )
        values = [projected(move(start, direction, o * allowed.step), part) for o in OFFSETS]
        rate = slope(array(torch.stack(values)), allowed.step)
        assert abs(rate) > 1e-4, f"the {part} do not depend on the weights"
        close(array(torch.as_tensor(found)), rate, allowed.derivative, f"d {part} / d weights")


def check_members(potential: Potential, seed: int = 0) -> None:
    """Several sets of weights at once give what each gives alone, or the mean of their forces."""
    rng = np.random.default_rng(seed)
    frames = samples(potential, rng)
    batch = potential.batch([potential.graph(atoms) for atoms in frames])
    start = potential.weights()
    bent = [_bent(potential, seed + i) for i in range(3)]
    # one weight in common, as where only a part of the model is sampled
    common = next(iter(start))
    shared, stacked = stack([{**b, common: start[common]} for b in bent])
    assert common in shared, "a common weight is not seen"
    options = {"stress": potential.capabilities.stress, "features": True}
    alone = [potential.evaluate({**shared, **own}, batch, **options) for own in unstack(stacked)]
    together = potential.evaluate_members(shared, stacked, batch, **options)
    mean = potential.evaluate_members(shared, stacked, batch, each=False, **options)
    allowed = tolerance(potential).same
    for part in ("energy", "forces", "stress", "features"):
        found = getattr(together, part)
        if found is None:
            assert part == "stress", f"members have no {part}"
            continue
        expected = np.stack([array(getattr(o, part)) for o in alone])
        close(np.nan_to_num(array(found)), np.nan_to_num(expected), allowed, f"{part} of members")
        averaged = expected if part in ("energy", "features") else expected.mean(0)
        found = np.nan_to_num(array(getattr(mean, part)))
        close(found, np.nan_to_num(averaged), allowed, f"mean {part} of members")
        assert not getattr(together, part).requires_grad, f"{part} of members keep a graph"


def check_member_gradients(potential: Potential, seed: int = 0) -> None:
    """Gradients of every member's own weights, of all members at once, as of each alone."""
    rng = np.random.default_rng(seed)
    allowed = tolerance(potential).same
    weights = [_bent(potential, seed + i) for i in range(2)]
    options = {"stress": potential.capabilities.stress, "features": True, "create_graph": True}

    def loss(out: Evaluation) -> torch.Tensor:
        parts = (out.energy, out.forces, out.stress, out.features)
        return torch.stack([p.nan_to_num().square().mean() for p in parts if p is not None]).sum()

    # small and large batches, which a backend may compute in different ways
    for frames in (samples(potential, rng), _mixed(potential, rng)):
        batch = potential.batch([potential.graph(a) for a in frames])
        stacked = {k: torch.stack([w[k] for w in weights]) for k in random_direction(potential, 0)}
        shared = {k: w for k, w in weights[0].items() if k not in stacked}
        leaves = {k: w.requires_grad_() for k, w in stacked.items()}
        outs = unstack_evaluation(potential.evaluate_members(shared, leaves, batch, **options))
        total = torch.stack([loss(o) for o in outs]).sum()
        found = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
        for i, own in enumerate(unstack(stacked)):
            mine = {k: w.detach().requires_grad_() for k, w in own.items()}
            alone = loss(potential.evaluate({**shared, **mine}, batch, **options))
            expected = torch.autograd.grad(alone, list(mine.values()), materialize_grads=True)
            for gradient, right in zip(found, expected, strict=True):
                close(array(gradient[i]), array(right), 10 * allowed, "gradient of a member")


def check_unknown_element(potential: Potential, seed: int = 0) -> None:
    """An element the model was not made for is refused by name."""
    z = next((z for z in range(1, 119) if z not in potential.elements), None)
    if z is None:
        return
    stranger = boxed(potential, Atoms([z]))
    message = None
    try:
        potential.graph(stranger)
    except DataError as error:
        message = str(error)
    assert message is not None, "an unknown element is accepted"
    assert stranger.symbols[0] in message, "the message does not name the element"
