"""Which weights a CHGNet's energy depends on, by part."""

from tunesmith.potentials.chgnet.chgnet_energy import EnergyPath
from tunesmith.potentials.potential import WeightNames

_EMBEDDING = (
    "atom_embedding.",
    "bond_basis_expansion.rbf_expansion_ag.",
    "bond_embedding.",
    "bond_weights_ag.",
)
#: those of the bond graph, which a network without bond convolutions has and does not use
_BONDS = (
    "bond_basis_expansion.rbf_expansion_bg.",
    "bond_weights_bg.",
    "angle_basis_expansion.",
    "angle_embedding.",
)


def weight_names(path: EnergyPath) -> WeightNames:
    """Names of all weights by part; a layer is its atom and bond convolutions and angle update."""
    parameters = [name for name, _ in path.named_parameters()]

    def under(*prefixes: str) -> tuple[str, ...]:
        return tuple(n for n in parameters if n.startswith(prefixes))

    layers = len(path.atom_conv_layers)
    kinds = ("atom_conv_layers", "bond_conv_layers", "angle_layers")
    return WeightNames(
        embedding=under(*_EMBEDDING, *(_BONDS if len(path.bond_conv_layers) else ())),
        interactions=tuple(under(*(f"{kind}.{i}." for kind in kinds)) for i in range(layers)),
        products=((),) * layers,
        readouts=under("readout_norm.", "mlp."),
        scale=(),
    )
