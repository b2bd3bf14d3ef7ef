"""Which candidates of a pool are labelled next: a batch, chosen by features, scores or chance."""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from tunesmith.acquire.greedy import Picks, choose, random, top
from tunesmith.acquire.points import Points, closest
from tunesmith.acquire.variance import PosteriorVariance
from tunesmith.core import KERNEL_NOISE, Settings
from tunesmith.errors import ConfigError
from tunesmith.kernels import Kernel
from tunesmith.settings import OneOf

_BY_VARIANCE = "posterior-variance"
_BATCH = "candidates labelled in a round"


class Greedy(Settings):
    """The candidates that features say tell most beside what is labelled and each other."""

    kind: ClassVar[str] = "greedy"
    #: nothing is asked of the members
    score: ClassVar[None] = None

    representation: Annotated[Any, OneOf("acquire.representation", "ntk")] = Field(
        default=None, validate_default=True, description="what structures are compared by"
    )
    rule: Literal["lcmd", "posterior-variance", "kcenter"] = Field(
        "lcmd", description="lcmd, posterior-variance or kcenter"
    )
    kernel: Kernel | None = Field(
        None, description="linear, cosine or tanimoto; null: the representation's own"
    )
    noise: float | None = Field(
        None, gt=0, description="λ of posterior-variance, in units of the kernel; null: 1e-3"
    )
    batch: int = Field(5, ge=1, description=_BATCH)

    @model_validator(mode="after")
    def _noise_is_used(self) -> "Greedy":
        if self.noise is not None and self.rule != _BY_VARIANCE:
            raise ConfigError(
                f"acquire.noise: {self.rule} has none; leave it out, or set acquire.rule to "
                f"{_BY_VARIANCE}."
            )
        return self

    @property
    def name(self) -> str:
        """Of the method, for people."""
        return f"{self.representation.kind} {self.rule}"

    @property
    def _kernel(self) -> Kernel:
        return self.kernel or self.representation.kernel

    def choose(self, pool: np.ndarray, labelled: np.ndarray | None, n: int) -> Picks:
        """``n`` of the rows of pool (p, d), in the order of taking, beside labelled (m, d)."""
        noise = self.noise or KERNEL_NOISE
        return choose(self.rule, pool, labelled, n, kernel=self._kernel, noise=noise)

    def rate(self, x: np.ndarray, labelled: np.ndarray) -> np.ndarray:
        """What the rule makes large, of any rows x (n, d) beside labelled (m, d): (n,) posterior
        variances, or distances to the nearest labelled one."""
        points, known = Points(x, self._kernel), Points(labelled, self._kernel, "labelled")
        rows = slice(None)
        if self.rule != _BY_VARIANCE:
            nearest = closest(points.vectors(rows), known.vectors(rows), self._kernel)[1]
            return np.sqrt(nearest)
        process = PosteriorVariance(self._kernel, self.noise or KERNEL_NOISE, points.width)
        process.add_all(known.vectors(rows), known.diagonal(rows))
        return process.of(points.vectors(rows), points.diagonal(rows))


class CommitteeScore(Settings):
    """The candidates on which the members disagree most."""

    kind: ClassVar[str] = "committee"
    representation: ClassVar[None] = None

    score: Literal["committee-energy", "committee-force", "committee-force-mean"] = Field(
        "committee-force", description="committee-energy, committee-force or committee-force-mean"
    )
    batch: int = Field(5, ge=1, description=_BATCH)

    @property
    def name(self) -> str:
        """Of the method, for people."""
        return self.score

    def choose(self, scores: np.ndarray, n: int) -> Picks:
        """The ``n`` largest of scores (p,)."""
        found = top(scores, n)
        return Picks(found, scores[found], np.full(n, -1))


class RandomChoice(Settings):
    """Candidates by chance, each as likely as any other: what every rule is held against."""

    kind: ClassVar[str] = "random"
    representation: ClassVar[None] = None
    score: ClassVar[None] = None

    batch: int = Field(5, ge=1, description=_BATCH)

    @property
    def name(self) -> str:
        """Of the method, for people."""
        return self.kind

    def choose(self, size: int, n: int, rng: np.random.Generator) -> Picks:
        """``n`` of so many candidates."""
        return Picks(random(size, n, rng), np.full(n, np.nan), np.full(n, -1))
