"""Which weights a MACE module has, by part."""

from tunesmith.potentials.mace.mace_files import NativeModule
from tunesmith.potentials.potential import WeightNames


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
