"""The contract itself: what is broken on purpose is seen by the check meant for it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

import networks
from tunesmith.core import Weights
from tunesmith.potentials.potential import Batch, Capabilities, Evaluation, Graph, Potential
from tunesmith.testing import contract, interface, physics, second_order, weights


@pytest.fixture(scope="module")
def sound() -> Potential:
    return networks.potential(networks.build(hidden_irreps="4x0e+4x1o"))


class Broken:
    """A potential whose one method is replaced by a faulty one."""

    def __init__(self, sound: Potential, **faults: Callable[..., Any]) -> None:
        self.sound, self.faults = sound, faults

    def __getattr__(self, name: str) -> Any:
        if name in self.faults:
            return lambda *args, **options: self.faults[name](self.sound, *args, **options)
        return getattr(self.sound, name)


def changed(change: Callable[[Evaluation, Batch], Evaluation]) -> dict[str, Any]:
    def evaluate(sound: Potential, weights: Weights, batch: Batch, **options: Any) -> Evaluation:
        return change(sound.evaluate(weights, batch, **options), batch)

    return {"evaluate": evaluate}


def per_structure(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    return torch.zeros(len(batch), dtype=values.dtype).index_add(0, batch.index, values)


def stress(change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Any]:
    return changed(lambda o, b: o if o.stress is None else replace(o, stress=change(o.stress)))


def nearest_image_only(sound: Potential, atoms: Atoms) -> Graph:
    graph = sound.graph(atoms)
    _, first = np.unique(graph.edges.numpy(), axis=1, return_index=True)
    keep = torch.from_numpy(np.sort(first))
    return replace(graph, edges=graph.edges[:, keep], unit_shifts=graph.unit_shifts[keep])


def wrong_e0s(sound: Potential, path: Path, weights: Weights, e0s: dict[int, float]) -> None:
    sound.export(path, weights, {z: e + 1e-3 for z, e in e0s.items()})


def rounded(sound: Potential, path: Path, weights: Weights, e0s: dict[int, float]) -> None:
    sound.export(path, {k: w.half().double() for k, w in weights.items()}, e0s)


def own_weights(sound: Potential, weights: Weights, batch: Batch, **options: Any) -> Evaluation:
    return sound.evaluate(sound.weights(), batch, **options)


def detached(o: Evaluation, batch: Batch) -> Evaluation:
    # half of the force has lost its dependence on the weights
    assert o.forces is not None
    return replace(o, forces=0.5 * (o.forces + o.forces.detach()))


def shuffled(o: Evaluation, batch: Batch) -> Evaluation:
    order = torch.arange(len(batch.index), dtype=o.energy.dtype)
    return replace(o, energy=o.energy + 1e-4 * per_structure(order, batch))


def seen_far(o: Evaluation, batch: Batch) -> Evaluation:
    return replace(o, energy=o.energy + 1e-4 * batch.positions.std())


def leaning(o: Evaluation, batch: Batch) -> Evaluation:
    return replace(o, energy=o.energy + 1e-4 * per_structure(batch.positions[:, 0], batch))


def crowded(o: Evaluation, batch: Batch) -> Evaluation:
    return replace(o, energy=o.energy + 1e-4 * len(batch))


def boxless(o: Evaluation, batch: Batch) -> Evaluation:
    return o if o.stress is None else replace(o, stress=o.stress.nan_to_num())


def stale_features(sound: Potential, weights: Weights, batch: Batch, **options: Any) -> Evaluation:
    out = sound.evaluate(weights, batch, **options)
    old = sound.evaluate(sound.weights(), batch, **options).features
    return replace(out, features=old)


def columns(kept: slice) -> dict[str, Any]:
    # the network below has two interactions of four channels
    return {"features": lambda p, *args: p.features(*args)[:, kept]}


def half_features(o: Evaluation, batch: Batch) -> Evaluation:
    f = o.features
    return o if f is None else replace(o, features=0.5 * (f + f.detach()))


def gradient(change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Any]:
    return {"embedding_gradient": lambda p, *args: change(p.embedding_gradient(*args))}


def first_only(stacked: Weights) -> Weights:
    return {k: v[:1].expand_as(v) for k, v in stacked.items()}


def first_forces(sound: Potential, *args: Any, each: bool = True, **options: Any) -> Evaluation:
    out = sound.evaluate_members(*args, **options)
    assert out.forces is not None
    assert out.stress is not None
    return out if each else replace(out, forces=out.forces[0], stress=out.stress.mean(0))


def half_weights(
    sound: Potential, shared: Weights, stacked: Weights, batch: Batch, **options: Any
) -> Evaluation:
    fixed = {k: 0.5 * (w + w.detach()) for k, w in stacked.items()}
    return sound.evaluate_members(shared, fixed, batch, **options)


def swapped(
    sound: Potential, shared: Weights, stacked: Weights, batch: Batch, **options: Any
) -> Evaluation:
    # the values are each member's own, the gradients the other's
    turned = {k: w.detach() + w.flip(0) - w.flip(0).detach() for k, w in stacked.items()}
    return sound.evaluate_members(shared, turned, batch, **options)


def half_places(
    sound: Potential, shared: Weights, stacked: Weights, batch: Batch, **options: Any
) -> Evaluation:
    x = batch.positions
    return sound.evaluate_members(
        shared, stacked, replace(batch, positions=0.5 * (x + x.detach())), **options
    )


def still_cell(
    sound: Potential, shared: Weights, stacked: Weights, batch: Batch, **options: Any
) -> Evaluation:
    fixed = replace(batch, cell=batch.cell.detach())
    return sound.evaluate_members(shared, stacked, fixed, **options)


def no_skin(sound: Potential, atoms: Atoms, skin: float = 0.0) -> Graph:
    return replace(sound.graph(atoms), reach=sound.cutoff + skin)


def global_chance(sound: Potential, generator: torch.Generator) -> Weights:
    return sound.untaught(torch.Generator().manual_seed(int(torch.randint(1000, ()))))


def one_start(sound: Potential, generator: torch.Generator) -> Weights:
    return sound.untaught(torch.Generator().manual_seed(0))


def fresh_scale(sound: Potential, generator: torch.Generator) -> Weights:
    fresh = sound.untaught(generator)
    return fresh | {k: torch.ones_like(fresh[k]) for k in sound.names.scale}


def wild(sound: Potential, generator: torch.Generator) -> Weights:
    return {k: 1e3 * w for k, w in sound.untaught(generator).items()} | {
        k: w for k, w in sound.weights().items() if k in sound.names.scale
    }


def bad_names(sound: Potential) -> Weights:
    return dict(list(sound.weights().items())[1:])


FAULTS: dict[str, tuple[Callable[..., None], dict[str, Any]]] = {
    "forces 0.1 % off": (
        physics.check_forces,
        changed(lambda o, b: replace(o, forces=1.001 * o.forces)),
    ),
    "stress of the wrong sign": (physics.check_stress, stress(lambda s: -s)),
    "stress without shear": (physics.check_stress, stress(lambda s: s * torch.eye(3))),
    "features that turn": (
        physics.check_rotation,
        {"features": lambda p, w, b: p.features(w, b) + 1e-4 * b.positions[:, :1]},
    ),
    "an energy that leans": (physics.check_rotation, changed(leaning)),
    "an energy that leans, moved": (physics.check_translation, changed(leaning)),
    "the first atom's element": (
        physics.check_permutation,
        changed(lambda o, b: replace(o, energy=o.energy + 1e-4 * b.species[0])),
    ),
    "energy of the image": (physics.check_wrapping, changed(leaning)),
    "nearest images only": (physics.check_small_cells, {"graph": nearest_image_only}),
    "sight without end": (physics.check_fragments, changed(seen_far)),
    "an atom that knows its place": (physics.check_one_atom, changed(leaning)),
    "neighbours in the batch": (interface.check_batches, changed(crowded)),
    "batch order": (interface.check_batches, changed(shuffled)),
    "a molecule's stress": (interface.check_no_stress_without_cell, changed(boxless)),
    "weights not used": (interface.check_pure, {"evaluate": own_weights}),
    "features of the last interaction alone": (physics.check_layers, columns(slice(4, None))),
    "features of the first interaction alone": (physics.check_layers, columns(slice(4))),
    "features that the readout has been at": (
        physics.check_layers,
        {"features": lambda p, w, b: p.features(w, b) * w[p.names.readouts[0]].norm()},
    ),
    "features of other weights": (interface.check_features, {"evaluate": stale_features}),
    "half a gradient of features": (interface.check_weight_gradients, changed(half_features)),
    "members that share all weights": (
        interface.check_members,
        {"evaluate_members": lambda p, w, s, b, **o: p.evaluate_members(w, first_only(s), b, **o)},
    ),
    "forces of the first member": (interface.check_members, {"evaluate_members": first_forces}),
    "half a gradient of members": (
        interface.check_member_gradients,
        {"evaluate_members": half_weights},
    ),
    "members with each other's gradients": (
        interface.check_member_gradients,
        {"evaluate_members": swapped},
    ),
    "half a second derivative": (
        second_order.check_place_gradients,
        {"evaluate_members": half_places},
    ),
    "a cell that is not differentiated": (
        second_order.check_place_gradients,
        {"evaluate_members": still_cell},
    ),
    "a skin that is promised": (second_order.check_skin, {"graph": no_skin}),
    "weights without a name": (weights.check_names, {"weights": bad_names}),
    "fresh weights that are not": (
        weights.check_untaught,
        {"untaught": lambda p, generator: p.weights()},
    ),
    "fresh weights from torch's own chance": (weights.check_untaught, {"untaught": global_chance}),
    "the same fresh weights for all": (weights.check_untaught, {"untaught": one_start}),
    "a scale of its own": (weights.check_untaught, {"untaught": fresh_scale}),
    "fresh weights that explode": (weights.check_untaught, {"untaught": wild}),
    "weights rounded in the file": (interface.check_functional_weights, {"export": rounded}),
    "half a gradient": (interface.check_weight_gradients, changed(detached)),
    "E0s off in the file": (interface.check_native, {"export": wrong_e0s}),
    "a gradient twice as large": (interface.check_embedding_gradient, gradient(lambda g: 2 * g)),
    "gradients of a neighbour": (
        interface.check_embedding_gradient,
        gradient(lambda g: g.roll(1, 0)),
    ),
    "a gradient of all that knows elements": (
        interface.check_embedding_gradient,
        gradient(lambda g: g + 1e-3 * g.sum(1, keepdim=True)),
    ),
    "any element will do": (
        interface.check_unknown_element,
        {"graph": lambda p, atoms: p.graph(Atoms([p.elements[0]]))},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen(sound: Potential, name: str) -> None:
    check, faults = FAULTS[name]
    check(sound)
    with pytest.raises(AssertionError):
        check(Broken(sound, **faults))


@pytest.mark.parametrize("layers", [1, 3])
def test_layers_are_told_apart_by_how_far_they_see(layers: int) -> None:
    """Also where there is one, or one between others; each alone is missed."""
    network = networks.build(num_interactions=layers, hidden_irreps="4x0e+4x1o")
    potential = networks.potential(network)
    physics.check_layers(potential)
    for i in range(layers):
        kept = [c for c in range(4 * layers) if c // 4 != i]
        short = Broken(potential, features=lambda p, *args, kept=kept: p.features(*args)[:, kept])
        with pytest.raises(AssertionError, match=f"interaction {i + 1}:"):
            physics.check_layers(short)


def test_every_check_has_a_fault() -> None:
    tried = {check for check, _ in FAULTS.values()}
    assert {c.run for c in contract.CHECKS} == tried


def test_skips_are_listed_with_their_reason() -> None:
    poor = Capabilities(
        float64=False, stress=False, needs_cell=True, embedding=False, native_float64=False
    )
    listed = contract.checks(poor)
    assert len(listed) == len(contract.CHECKS)
    reasons = {p.id: p.marks[0].kwargs["reason"] for p in listed if p.marks}
    assert set(reasons) == {"stress", "no_stress_without_cell", "embedding_gradient"}
    assert "no stress" in reasons["stress"]
    rich = Capabilities(
        float64=True, stress=True, needs_cell=False, embedding=True, native_float64=True
    )
    assert not any(p.marks for p in contract.checks(rich))
