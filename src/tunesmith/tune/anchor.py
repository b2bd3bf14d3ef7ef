"""What holds the weights near the foundation model; replay is in `replay`."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from tunesmith.core import Frame, Settings, Tensor
from tunesmith.errors import ConfigError
from tunesmith.potentials.potential import Potential


class Anchored(Settings):
    """What an anchor does unless it says otherwise: nothing."""

    #: whether the foundation's knowledge has a head of its own, which `select` gives frames to
    has_head: ClassVar[bool] = False

    def std(self, unit: Tensor) -> Tensor | None:
        """(d,) standard deviation of the prior of every coordinate; None for a flat one.

        unit: (d,), size of the pretrained weights that each coordinate moves.
        """
        return None

    def penalty(self, moved: Tensor, start: Tensor, unit: Tensor, n: int) -> Tensor | None:
        """What is added to the loss of a step; None for nothing.

        moved, start, unit: (d,) coordinates, those of the foundation, and their size. n: training
        structures.
        """
        return None

    def wider(self, factor: float) -> Self:
        """The anchor with a prior of ``factor`` times the standard deviation."""
        return self

    def select(self, potential: Potential, frames: list[Frame], seed: int) -> list[Frame]:
        """The structures to replay while ``frames`` are learnt; none without a head of its own."""
        return []


class NoAnchor(Anchored):
    """Nothing: the naive fine-tuning of the literature; for a posterior, a flat prior."""

    kind: ClassVar[str] = "none"


class GaussianPrior(Anchored):
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
