"""Which of MACE's interaction blocks the fast convolution stands in for, and how it gets there."""

from tunesmith.potentials.convolution import Convolution
from tunesmith.potentials.mace.mace_files import NativeModule, module


def fuse(model: NativeModule) -> NativeModule:
    """Give every interaction block of a MACE module the fast convolution, in place.

    mace calls it through its own hook for fused kernels (``conv_fusion``).
    """
    wigner = module("e3nn.o3").wigner_3j
    for block in model.interactions:
        block.conv_tp = Convolution(block.conv_tp, wigner)
        block.conv_fusion = True
    return model


#: blocks whose edge weights and densities are bias-free functions of the radial features alone,
#: so that a padded edge adds exactly nothing, whatever the weights
_PADDABLE = {
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
}


def can_fuse(model: NativeModule) -> bool:
    """Whether `fuse` and padded edges leave the function that a MACE module computes unchanged.

    All blocks must use e3nn tensor products of the known form and no fused kernel yet. A padded
    edge must count for nothing: its radial features vanish with the cutoff, or (``apply_cutoff``
    off) mace multiplies its weights and its density by the cutoff instead.
    """
    masked = not getattr(model.radial_embedding, "apply_cutoff", True)
    return all(
        not hasattr(block, "conv_fusion")
        and Convolution.fits(getattr(block, "conv_tp", None))
        and (masked or type(block).__name__ in _PADDABLE)
        for block in model.interactions
    )
