"""Several heads in one MACE file: a shared body; readouts, scale, shift and E0s of each head.

A multi-head readout of mace is a single-head one with more channels. Hidden channels and outputs
are laid out head by head, those of other heads are masked before the next linear layer, and the
model picks the output of the structure's head: matrices between two heads have no effect, and are
zero here. e3nn divides by the root of the number of inputs, which are now those of all heads; the
weights make up for it. The body is copied as it is.
"""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch

from tunesmith.core import Tensor, Weights
from tunesmith.errors import ModelError
from tunesmith.potentials.mace.mace_files import (
    NativeModule,
    filled,
    module,
    probe,
    quiet,
    save,
    single_head,
)
from tunesmith.potentials.potential import MAIN_HEAD, REPLAY_HEAD, WeightNames

#: full weights of a head, and its E0s (eV)
Head = tuple[Weights, dict[int, float]]

_REFUSED = "its file cannot hold several heads; leave the other heads out."

#: linear layers of mace's readouts, and whether every head has inputs of its own
_LAYERS = {
    "LinearReadoutBlock": {"linear": False},
    "NonLinearReadoutBlock": {"linear_1": False, "linear_2": True},
    "NonLinearBiasReadoutBlock": {"linear_1": False, "linear_mid": True, "linear_2": True},
}


def write(
    source: NativeModule, names: WeightNames, path: Path, main: Head, others: Mapping[str, Head]
) -> None:
    """Save several heads as one float64 ``.model`` file, the main one last, as "Default".

    mace's calculator takes "Default" where no head is named, its LAMMPS exporter the last one.

    source: the single-head module that the weights belong to, with its weight names. Raises
    `ModelError` as `join` does.
    """
    if MAIN_HEAD in others:
        raise ModelError(f"{MAIN_HEAD!r} is the name of the main head; give the other one another.")
    save(join(source, names, {**others, MAIN_HEAD: main}), path)


def check(source: NativeModule, names: WeightNames) -> None:
    """Raise `ModelError` where `join` or what loads its file again would refuse any heads."""
    state = source.state_dict()
    weights = {name: state[name] for name in (*names.trainable(), *names.scale)}
    other = weights | {name: 2 * weights[name] for name in names.readouts}
    e0s = dict.fromkeys(source.atomic_numbers.tolist(), 0.0)
    whole = join(source, names, {REPLAY_HEAD: (other, e0s), MAIN_HEAD: (weights, e0s)})
    try:
        single_head(whole, MAIN_HEAD, "such a file")
    except ModelError as error:
        reason, _, _ = str(error).partition(";")
        raise ModelError(
            f"{reason}: this is a model that mace cannot split, so {_REFUSED}"
        ) from None


def join(source: NativeModule, names: WeightNames, heads: Mapping[str, Head]) -> NativeModule:
    """A float64 module with several heads, in the order of ``heads``.

    Raises `ModelError` where heads differ in more than readouts, scale and shift, and for an
    architecture of which the heads would not give the energies that they give alone.
    """
    _check_bodies(names, {name: weights for name, (weights, _) in heads.items()})
    elements = source.atomic_numbers.tolist()
    singles = [filled(source, w, [e0s[z] for z in elements]) for w, e0s in heads.values()]
    kinds = sorted({type(r).__name__ for r in source.readouts} - set(_LAYERS))
    if kinds:
        raise ModelError(f"the model has the readout {', '.join(kinds)}: {_REFUSED}")
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with quiet():
            whole = _joined(singles, list(heads))
            off = max(_difference(whole, single, i) for i, single in enumerate(singles))
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        # a relative of mace's blocks, or one rewritten by an accelerator
        reason = " ".join(str(error).split())[:80]
        raise ModelError(
            f"the model's readouts are not mace's own ({reason}): {_REFUSED}"
        ) from None
    finally:
        torch.set_default_dtype(default)
    if not off < 1e-8:
        raise ModelError(f"the model's heads do not stay what they are ({off:.1g} eV): {_REFUSED}")
    return whole


def _check_bodies(names: WeightNames, heads: dict[str, Weights]) -> None:
    """Refuse heads whose weights differ outside their readouts."""
    own = {*names.readouts, *names.scale}
    (first, body), *others = heads.items()
    for name, weights in others:
        wrong = sorted(
            key
            for key in (body.keys() | weights.keys()) - own
            if key not in body
            or key not in weights
            or not torch.equal(body[key].detach().cpu(), weights[key].detach().cpu())
        )
        if wrong:
            raise ModelError(
                f"the heads {first!r} and {name!r} differ in {wrong[0]}"
                f"{f' and {len(wrong) - 1} more' if wrong[1:] else ''}: one file holds heads of "
                "one body; export them as two files."
            )


def _joined(singles: list[NativeModule], names: list[str]) -> NativeModule:
    """The module of several heads from those of one each."""
    whole = copy.deepcopy(singles[0])
    whole.heads = names
    for i in range(len(whole.readouts)):
        whole.readouts[i] = _readout([s.readouts[i] for s in singles])
    e0s = [s.atomic_energies_fn.atomic_energies.reshape(-1) for s in singles]
    whole.atomic_energies_fn.atomic_energies = torch.stack(e0s)
    if hasattr(whole, "scale_shift"):
        for key in ("scale", "shift"):
            values = [getattr(s.scale_shift, key).reshape(()) for s in singles]
            setattr(whole.scale_shift, key, torch.stack(values))
    return whole


def _readout(blocks: list[NativeModule]) -> NativeModule:
    """One readout block of mace for several heads from the blocks of each."""
    first, count = blocks[0], len(blocks)
    irreps = module("e3nn.o3").Irreps
    outputs = irreps(f"{count}x0e")
    layers = _LAYERS[type(first).__name__]
    if "linear" in layers:
        wide = type(first)(first.linear.irreps_in, outputs)
    else:
        hidden = (count * irreps(first.hidden_irreps)).simplify()
        gate = first.non_linearity.acts[0].f
        wide = type(first)(first.linear_1.irreps_in, hidden, gate, outputs, count)
    for name, apart in layers.items():
        _fill(getattr(wide, name), [getattr(b, name) for b in blocks], apart)
    return wide


def _fill(wide: NativeModule, narrow: list[NativeModule], apart: bool) -> None:
    """Set an e3nn linear layer so that it computes what several narrow ones do, side by side.

    apart: each has inputs of its own, one head's after the other's, instead of the same.
    """
    with torch.no_grad():
        for k, path in enumerate(wide.instructions):
            if path.i_in < 0:
                wide.bias.copy_(torch.cat([layer.bias for layer in narrow]))
                continue
            parts: list[Tensor] = [
                layer.weight_view_for_instruction(k)
                * (layer.instructions[k].path_weight / path.path_weight)
                for layer in narrow
            ]
            matrix = torch.block_diag(*parts) if apart else torch.cat(parts, dim=1)
            wide.weight_view_for_instruction(k).copy_(matrix)


def _difference(whole: NativeModule, single: NativeModule, head: int) -> float:
    """Largest difference of atomic energies (eV) of a head and of the head alone."""
    batch = probe(single)
    found = whole({**batch, "head": torch.tensor([head])}, compute_force=False)["node_energy"]
    expected = single(dict(batch), compute_force=False)["node_energy"]
    return float((found - expected).detach().abs().max())
