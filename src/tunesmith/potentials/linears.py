"""Linear layers of networks of e3nn's and torch's modules, and the matrices in their weights."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from tunesmith.potentials.potential import Block, Linear


def linears(module: torch.nn.Module) -> Iterator[Linear]:
    """Equivariant, radial and plain linear layers, in the module's order."""
    for name, layer in module.named_modules():
        kind = type(layer).__name__
        if kind == "Linear" and hasattr(layer, "instructions"):
            yield Linear(f"{name}.weight", _irreps(layer))
        elif kind == "_Layer":
            yield Linear(f"{name}.weight", (Block(0, tuple(layer.weight.shape), "0e"),))
        elif isinstance(layer, torch.nn.Linear):
            outputs, inputs = layer.weight.shape
            block = Block(0, (inputs, outputs), "0e", transposed=True)
            yield Linear(f"{name}.weight", (block,))


def _irreps(layer: Any) -> tuple[Block, ...]:
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
