"""What holds the weights near the foundation model."""

from typing import ClassVar

from pydantic import Field

from tunesmith.core import Settings, Tensor


class NoAnchor(Settings):
    """Nothing: the naive fine-tuning of the literature; for a posterior, a flat prior."""

    kind: ClassVar[str] = "none"

    def std(self, start: Tensor) -> float | None:
        """Standard deviation of the prior of every moved weight; None for a flat one."""
        return None

    def penalty(self, moved: Tensor, start: Tensor, n: int) -> Tensor | None:
        """What is added to the loss of a step; None for nothing.

        moved, start: the moved weights and the foundation's, flat (d,). n: training structures.
        """
        return None


class GaussianPrior(Settings):
    """θ ~ N(θ_pretrained, σ_TL² I) over every moved weight (on-the-fly paper, B.3).

    σ_TL = scale · rms(pretrained values of the moved weights): it follows the size of the
    weights, which differs by model family (0.5 for MACE-MP, 0.2 for NequIP in the paper). Weights
    of a noise head have mean 0 and the same σ_TL.
    """

    kind: ClassVar[str] = "gaussian"
    scale: float = Field(0.5, gt=0, description="σ_TL as a fraction of the weights' rms")

    def std(self, start: Tensor) -> float | None:
        """σ_TL from the foundation's values of the moved weights (d,)."""
        return self.scale * float(start.double().square().mean().sqrt())

    def penalty(self, moved: Tensor, start: Tensor, n: int) -> Tensor | None:
        """−(1/n) log prior up to a constant: |θ − θ_pretrained|² / (2 n σ_TL²)."""
        std = self.std(start)
        assert std is not None
        return (moved - start).square().sum() / (2 * n * std**2)
