"""Small SevenNets with random weights, one per thing that may differ."""

from typing import Any

import torch

from tunesmith.core import Base
from tunesmith.potentials.sevennet import sevennet_files
from tunesmith.potentials.sevennet.sevennet_files import Checkpoint
from tunesmith.potentials.sevennet.sevennet_potential import SevenNetPotential

#: of H, C, O: two equal E0s or zeros would hide a mix-up; exact in float32
E0S = [-13.5, -1030.25, -2040.125]
SPECIES = ["H", "C", "O"]


def checkpoint(seed: int = 0, **changes: Any) -> Checkpoint:
    """A small network of sevenn's own making, with other settings."""
    const = sevennet_files.module("sevenn._const")
    config = {
        **const.DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG,
        "version": "0.13.0",
        "cutoff": 3.5,
        "channel": 8,
        "num_convolution_layer": 2,
        "weight_nn_hidden_neurons": [8],
        "conv_denominator": 3.0,
        # sevenn forgets its defaults of these once it has read a checkpoint without them
        "readout_fcn_hidden_neurons": [8],
        "readout_fcn_activation": "silu",
        "chemical_species": SPECIES,
        "_number_of_species": 3,
        "_type_map": {1: 0, 6: 1, 8: 2},
        "shift": E0S,
        "scale": [1.5, 1.25, 2.0],
        **changes,
    }
    torch.manual_seed(seed)
    bare = Checkpoint(config, {}, None)
    return Checkpoint(config, dict(bare.build().state_dict()), None)


def two_heads() -> Checkpoint:
    """Two levels of theory, told apart where 7net-mf-0 does."""
    return checkpoint(
        use_modality=True,
        _number_of_modalities=2,
        _modal_map={"one": 0, "two": 1},
        use_modal_self_inter_intro=True,
        use_modal_self_inter_outro=True,
        use_modal_output_block=True,
        use_modal_wise_shift=True,
        use_modal_wise_scale=False,
        shift=[E0S, [e + 0.5 for e in E0S]],
    )


def potential(
    made: Checkpoint, head: str | None = None, dtype: torch.dtype = torch.float64
) -> SevenNetPotential:
    return SevenNetPotential(made, head, Base("a test", "0" * 64, "sevennet"), dtype=dtype)
