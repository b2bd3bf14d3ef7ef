"""Which weights a MACE module has: by part, and the irrep blocks of its linear layers."""

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
            blocks, start = [], 0
            for path in layer.instructions:
                if path.i_in < 0:  # a bias, kept in another tensor
                    continue
                rows, columns = path.path_shape
                irrep = str(layer.irreps_in[path.i_in].ir)
                blocks.append(Block(start, (rows, columns), irrep))
                start += rows * columns
            found.append(Linear(f"{name}.weight", tuple(blocks)))
        elif kind == "_Layer":
            shape = tuple(layer.weight.shape)
            found.append(Linear(f"{name}.weight", (Block(0, shape, "0e"),)))
    return found
