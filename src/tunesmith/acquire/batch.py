"""Which candidates of a pool are labelled next: a batch, chosen by features, scores or chance."""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from tunesmith.acquire.greedy import Picks, choose, random, top
from tunesmith.acquire.points import Points, closest
from tunesmith.acquire.variance import PosteriorVariance
from tunesmith.contracts import Acquirer, Candidates
from tunesmith.core import KERNEL_NOISE
from tunesmith.errors import ConfigError
from tunesmith.kernels import Kernel
from tunesmith.settings import OneOf

_BY_VARIANCE = "posterior-variance"
_BATCH = "candidates labelled in a round"


class Greedy(Acquirer):
    """The candidates that features say tell most beside what is labelled and each other."""

    kind: ClassVar[str] = "greedy"

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
        return f"{self.representation.kind} {self.rule}"

    @property
    def compares_by(self) -> tuple[Any, Kernel]:
        return self.representation, self._kernel

    @property
    def _kernel(self) -> Kernel:
        return self.kernel or self.representation.kernel

    def choose(self, candidates: Candidates, n: int, rng: np.random.Generator) -> Picks:
        """By the rule on features of the candidates, beside those of what is labelled."""
        labelled = candidates.labelled(self.representation)
        pool = candidates.features(self.representation)
        noise = self.noise or KERNEL_NOISE
        return choose(self.rule, pool, labelled, n, kernel=self._kernel, noise=noise)

    def rate(self, structures: Candidates) -> np.ndarray | None:
        """What the rule makes large: (n,) posterior variances, or distances to the nearest labelled
        one; None where nothing is labelled."""
        if (labelled := structures.labelled(self.representation)) is None:
            return None
        x = structures.features(self.representation)
        points, known = Points(x, self._kernel), Points(labelled, self._kernel, "labelled")
        rows = slice(None)
        if self.rule != _BY_VARIANCE:
            nearest = closest(points.vectors(rows), known.vectors(rows), self._kernel)[1]
            return np.sqrt(nearest)
        process = PosteriorVariance(self._kernel, self.noise or KERNEL_NOISE, points.width)
        process.add_all(known.vectors(rows), known.diagonal(rows))
        return process.of(points.vectors(rows), points.diagonal(rows))


class CommitteeScore(Acquirer):
    """The candidates on which the members disagree most."""

    kind: ClassVar[str] = "committee"
    score: Literal["committee-energy", "committee-force", "committee-force-mean"] = Field(
        "committee-force", description="committee-energy, committee-force or committee-force-mean"
    )
    batch: int = Field(5, ge=1, description=_BATCH)

    @property
    def name(self) -> str:
        return self.score

    @property
    def asks_members(self) -> bool:
        return True

    def choose(self, candidates: Candidates, n: int, rng: np.random.Generator) -> Picks:
        """The ``n`` of the largest scores."""
        scores = candidates.disagreement(self.score)
        found = top(scores, n)
        return Picks(found, scores[found], np.full(n, -1))

    def rate(self, structures: Candidates) -> np.ndarray | None:
        """Their scores."""
        return structures.disagreement(self.score)


class RandomChoice(Acquirer):
    """Candidates by chance, each as likely as any other: what every rule is held against."""

    kind: ClassVar[str] = "random"
    batch: int = Field(5, ge=1, description=_BATCH)

    def choose(self, candidates: Candidates, n: int, rng: np.random.Generator) -> Picks:
        return Picks(random(len(candidates), n, rng), np.full(n, np.nan), np.full(n, -1))
