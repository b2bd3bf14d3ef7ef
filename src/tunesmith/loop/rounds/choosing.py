"""What a choice rests on: features or scores of the candidates by the model of the last round."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from tunesmith.acquire.batch import NOISE
from tunesmith.acquire.greedy import Picks
from tunesmith.calibrate import scores as agreement
from tunesmith.core import Frame
from tunesmith.uncertainty.ensemble import Ensemble
from tunesmith.uncertainty.features import compute
from tunesmith.uncertainty.kernels import committee_scores
from tunesmith.uncertainty.novelty import Variance, distance

_BATCH = 16  # structures computed together


class Choice:
    """One choice of ``acquire`` among candidates, beside what is labelled.

    posterior: of the last round. elements: of all structures that will ever be compared. The
    score of a structure is how much the rule, or the committee, thinks it would tell now: its
    posterior variance, its squared distance to the nearest labelled one, the members' disagreement.
    """

    def __init__(
        self,
        acquire: Any,
        posterior: Ensemble,
        candidates: Sequence[Frame],
        labelled: Sequence[Frame],
        elements: Iterable[int],
    ) -> None:
        self._acquire, self._posterior = acquire, posterior
        if acquire.representation is not None:
            self._representation = acquire.representation.for_elements(elements)
        self._pool: np.ndarray | None = None
        self._labelled: np.ndarray | None = None
        self._scores: np.ndarray | None = None
        if acquire.score is not None:
            self._scores = self._disagreement(candidates)
        elif acquire.representation is not None:
            self._pool = self._features(candidates)
            self._labelled = self._features(labelled) if labelled else None
        else:
            self._pool = np.empty((len(candidates), 0))

    def picks(self, n: int, rng: np.random.Generator) -> Picks:
        """``n`` candidates in the order of taking."""
        picks: Picks = self._acquire.choose(
            n, pool=self._pool, labelled=self._labelled, scores=self._scores, rng=rng
        )
        return picks

    def score(self, structures: Sequence[Frame]) -> np.ndarray | None:
        """(n,) scores of other structures; None where there is nothing to rank by."""
        if self._acquire.score is not None:
            return self._disagreement(structures)
        if self._labelled is None:
            return None
        x, kernel = self._features(structures), self._acquire.between
        if self._acquire.rule == "posterior_variance":
            noise = self._acquire.noise or NOISE
            return Variance(self._labelled, noise=noise, kernel=kernel).of(x)
        return distance(x, self._labelled, kernel)

    def _features(self, structures: Sequence[Frame]) -> np.ndarray:
        return compute(self._representation, structures, self._posterior, batch_size=_BATCH)

    def _disagreement(self, structures: Sequence[Frame]) -> np.ndarray:
        name = self._acquire.score
        spread: Literal["energy", "all"] = "energy" if name == "committee-energy" else "all"
        parts = [
            committee_scores(
                self._posterior.predict(
                    [f.atoms for f in structures[i : i + _BATCH]], spread=spread
                )
            )[name]
            for i in range(0, len(structures), _BATCH)
        ]
        return np.concatenate(parts)


def rank_correlations(
    score: np.ndarray | None, errors: dict[str, np.ndarray | None]
) -> dict[str, float | None]:
    """Spearman's, of a score (n,) with |errors| (n,) by quantity; None where not defined."""
    found: dict[str, float | None] = {}
    for name, error in errors.items():
        found[name] = None
        if score is not None and error is not None:
            value = agreement.spearman(score, error)
            found[name] = value if np.isfinite(value) else None
    return found
