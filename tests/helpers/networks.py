"""Small MACE networks with random weights, one per thing that may differ."""

import copy
from functools import cache
from typing import Any

import numpy as np
import torch

from tunesmith.core import Base
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.mace.mace_potential import MACEPotential

#: of H, C, O: two equal E0s or zeros would hide a mix-up
E0S = [-13.5, -1030.25, -2040.125]
SMALL: dict[str, Any] = {
    "r_max": 3.5,
    "num_bessel": 4,
    "num_polynomial_cutoff": 5,
    "max_ell": 2,
    "hidden_irreps": "8x0e+8x1o",
    "MLP_irreps": "4x0e",
    "correlation": 2,
    "num_interactions": 2,
    "radial_MLP": [8],
    "elements": [1, 6, 8],
    "e0s": E0S,
    "avg_num_neighbors": 6.0,
    "scale": 1.5,
    "shift": -0.5,
}


@cache
def build(seed: int = 0, **changes: Any) -> torch.nn.Module:
    """What tunesmith itself builds, with other settings; shared, as nothing changes a module."""
    torch.manual_seed(seed)
    return mace_files.build(SMALL | changes)


#: what was asked for → the module
_NATIVE: dict[str, torch.nn.Module] = {}


def native(kind: str = "ScaleShiftMACE", seed: int = 0, **changes: Any) -> torch.nn.Module:
    """Any class and option of mace-torch, float64; a copy of one's own of what is made once."""
    asked = repr((kind, seed, sorted(changes.items())))
    if asked not in _NATIVE:
        _NATIVE[asked] = _native(kind, seed, **changes)
    with mace_files.quiet():
        return copy.deepcopy(_NATIVE[asked])


def _native(kind: str, seed: int, **changes: Any) -> torch.nn.Module:
    modules, o3 = mace_files.module("mace.modules"), mace_files.module("e3nn.o3")
    first = changes.pop("first", "RealAgnosticInteractionBlock")
    block = changes.pop("block", "RealAgnosticResidualInteractionBlock")
    scaling = {"atomic_inter_scale": 1.5, "atomic_inter_shift": -0.5}
    settings: dict[str, Any] = {
        "r_max": 3.5,
        "num_bessel": 4,
        "num_polynomial_cutoff": 5,
        "max_ell": 2,
        "interaction_cls": modules.interaction_classes[block],
        "interaction_cls_first": modules.interaction_classes[first],
        "num_interactions": 2,
        "num_elements": 3,
        "hidden_irreps": "4x0e+4x1o",
        "MLP_irreps": "4x0e",
        "atomic_energies": np.array(E0S),
        "avg_num_neighbors": 6.0,
        "atomic_numbers": [1, 6, 8],
        "correlation": 2,
        "gate": torch.nn.functional.silu,
        "radial_MLP": [8],
        **(scaling if kind == "ScaleShiftMACE" else {}),
        **changes,
    }
    for key in ("hidden_irreps", "MLP_irreps"):
        settings[key] = o3.Irreps(settings[key])
    torch.manual_seed(seed)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with mace_files.quiet():
            return getattr(modules, kind)(**settings)
    finally:
        torch.set_default_dtype(default)


DENSITY = {
    "first": "RealAgnosticDensityInteractionBlock",
    "block": "RealAgnosticDensityResidualInteractionBlock",
}
NONLINEAR = dict.fromkeys(("first", "block"), "RealAgnosticResidualNonLinearInteractionBlock")
ATTENTION = dict.fromkeys(("first", "block"), "RealAgnosticAttResidualInteractionBlock")


def potential(module: torch.nn.Module, dtype: torch.dtype = torch.float64) -> MACEPotential:
    return MACEPotential(module, Base("a test", "0" * 64, "mace"), dtype=dtype)
