"""Which candidates of a pool are labelled next: a batch, chosen by features, scores or chance."""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from tunesmith.acquire.greedy import Picks, choose
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.settings import OneOf

#: λ of the posterior variance, where none is given
NOISE = 1e-3
_BATCH = "candidates labelled in a round"


class Greedy(Settings):
    """The candidates that features say tell most beside what is labelled and each other."""

    kind: ClassVar[str] = "greedy"
    #: no score is asked of the posterior
    score: ClassVar[None] = None
    representation: Annotated[Any, OneOf("acquire.representation", "ntk")] = Field(
        default=None, validate_default=True, description="what structures are compared by"
    )
    rule: Literal["lcmd", "posterior_variance", "kcenter"] = Field(
        "lcmd", description="lcmd, posterior_variance or kcenter"
    )
    kernel: Literal["linear", "cosine", "tanimoto"] | None = Field(
        None, description="between features; null: the representation's own"
    )
    noise: float | None = Field(
        None, gt=0, description="λ of posterior_variance, in units of the kernel; null: 1e-3"
    )
    batch: int = Field(5, ge=1, description=_BATCH)

    @model_validator(mode="after")
    def _noise_is_used(self) -> "Greedy":
        if self.noise is not None and self.rule != "posterior_variance":
            raise ConfigError(
                f"acquire.noise: {self.rule} has none; leave it out, or set acquire.rule to "
                "posterior_variance."
            )
        return self

    @property
    def between(self) -> Any:
        """The kernel between features."""
        return self.kernel or self.representation.kernel

    def choose(
        self,
        n: int,
        *,
        pool: np.ndarray | None,
        labelled: np.ndarray | None,
        scores: np.ndarray | None,
        rng: np.random.Generator,
    ) -> Picks:
        """``n`` of the rows of pool (m, d), in the order of taking, beside labelled (k, d)."""
        assert pool is not None
        noise = self.noise or NOISE
        return choose(self.rule, pool, labelled, n, kernel=self.between, noise=noise, rng=rng)


class CommitteeScore(Settings):
    """The candidates on which the members disagree most."""

    kind: ClassVar[str] = "committee"
    representation: ClassVar[None] = None
    score: Literal["committee-energy", "committee-force", "committee-force-mean"] = Field(
        "committee-force", description="committee-energy, committee-force or committee-force-mean"
    )
    batch: int = Field(5, ge=1, description=_BATCH)

    def choose(
        self,
        n: int,
        *,
        pool: np.ndarray | None,
        labelled: np.ndarray | None,
        scores: np.ndarray | None,
        rng: np.random.Generator,
    ) -> Picks:
        """The ``n`` largest of scores (m,)."""
        assert scores is not None
        return choose("top", None, None, n, scores=scores, rng=rng)


class RandomChoice(Settings):
    """Candidates by chance, each as likely as any other: what every rule is held against."""

    kind: ClassVar[str] = "random"
    representation: ClassVar[None] = None
    score: ClassVar[None] = None
    batch: int = Field(5, ge=1, description=_BATCH)

    def choose(
        self,
        n: int,
        *,
        pool: np.ndarray | None,
        labelled: np.ndarray | None,
        scores: np.ndarray | None,
        rng: np.random.Generator,
    ) -> Picks:
        """``n`` of the rows of pool (m, d); d may be 0."""
        assert pool is not None
        return choose("random", pool, None, n, rng=rng)
