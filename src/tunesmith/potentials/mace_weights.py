"""Which weights a MACE module has: by part, and the irrep blocks of its linear layers."""

from dataclasses import replace

import torch

from tunesmith.potentials.base import Block, Linear, WeightNames
from tunesmith.potentials.mace_files import NativeModule


def weight_names(module: NativeModule) -> WeightNames:
    """Names of all weights by part."""
    parameters = [name for name, p in module.named_parameters() if p.numel()]
    state = module.state_dict()

    def under(*prefixes: str) -> tuple[str, ...]:
        return tuple(n for n in parameters if n.startswith(prefixes))

    layers = range(len(module.interactions))
    return WeightNames(
        embedding=under("node_embedding.", "radial_embedding."),
        interactions=tuple(under(f"interactions.{i}.") for i in layers),
        products=tuple(under(f"products.{i}.") for i in layers),
        readouts=under("readouts."),
        scale=tuple(n for n in ("scale_shift.scale", "scale_shift.shift") if n in state),
    )


def linears(module: NativeModule) -> list[Linear]:
    """Equivariant and radial linear layers, with their blocks."""
    found = []
    for name, layer in module.named_modules():
        kind = type(layer).__name__
        if kind == "Linear" and hasattr(layer, "instructions"):
            found.append(Linear(f"{name}.weight", _irreps(layer)))
        elif kind == "_Layer":
            block = Block(0, tuple(layer.weight.shape), "0e")
            found.append(Linear(f"{name}.weight", (block,)))
        elif isinstance(layer, torch.nn.Linear):
            outputs, inputs = layer.weight.shape
            block = Block(0, (inputs, outputs), "0e", transposed=True)
            found.append(Linear(f"{name}.weight", (block,)))
    return found


def _irreps(layer: NativeModule) -> tuple[Block, ...]:
    """Blocks of an e3nn ``Linear``.

    Where an irrep's channels come in several pieces (a convolution gives one per path), their
    matrices follow each other in the weight, and are one matrix over all of its channels.
    """
    blocks: list[Block] = []
    start, before = 0, -1
    for path in layer.instructions:
        if path.i_in < 0:  # a bias, kept in another tensor
            continue
        inputs, outputs = path.path_shape
        if path.i_out == before:
            first = blocks.pop()
            inputs += first.shape[0]
        else:
            first = Block(start, (0, 0), str(layer.irreps_in[path.i_in].ir))
        blocks.append(replace(first, shape=(inputs, outputs)))
        start += path.path_shape[0] * outputs
        before = path.i_out
    return tuple(blocks)
