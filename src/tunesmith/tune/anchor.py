"""What holds the weights near the foundation model; replay is in `replay`."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from tunesmith.contracts import Anchor
from tunesmith.core import Tensor
from tunesmith.errors import ConfigError


class NoAnchor(Anchor):
    """Nothing: the naive fine-tuning of the literature; for a posterior, a flat prior."""

    kind: ClassVar[str] = "none"


class GaussianPrior(Anchor):
    """θ ~ N(θ_pretrained, σ_TL²) over every coordinate (on-the-fly paper, B.3), or N(0, σ²).

    σ_TL = scale · rms(pretrained values of the moved weights): it follows the size of the
    weights, which differs by model family (0.5 for MACE-MP, 0.2 for NequIP in the paper). Weights
    of a noise head have mean 0 and the same σ_TL.
    """

    kind: ClassVar[str] = "gaussian"
    scale: float = Field(0.5, gt=0, description="σ_TL as a fraction of the weights' rms")
    sigma: float | None = Field(
        None, gt=0, description="σ_TL itself, of every weight, instead; 1 with mean zero: N(0, I)"
    )
    mean: Literal["pretrained", "zero"] = Field(
        "pretrained", description="pretrained or zero (the uninformed prior of training anew)"
    )

    def model_post_init(self, context: Any) -> None:
        if self.sigma is not None and "scale" in self.model_fields_set and self.scale != 0.5:
            raise ConfigError("scale and sigma both say how wide the prior is; keep one.")

    def std(self, unit: Tensor) -> Tensor:
        """(d,) σ_TL from the size of the foundation's weights."""
        if self.sigma is not None:
            return unit.new_full(unit.shape, self.sigma)
        return self.scale * unit

    def penalty(self, moved: Tensor, start: Tensor, unit: Tensor, n: int) -> Tensor:
        """−(1/n) log prior up to a constant: Σ (θ − θ_mean)² / (2 n σ_TL²)."""
        away = moved - start if self.mean == "pretrained" else moved
        return (away / self.std(unit)).square().sum() / (2 * n)

    def wider(self, factor: float) -> Self:
        if self.sigma is not None:
            return self.model_copy(update={"sigma": self.sigma * factor})
        return self.model_copy(update={"scale": self.scale * factor})
