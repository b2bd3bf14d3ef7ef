"""What a choice rests on: features or scores of the candidates by the model of the last round."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tunesmith.acquire.greedy import Picks
from tunesmith.calibrate.scores import spearman
from tunesmith.core import Frame
from tunesmith.features.compute_features import compute
from tunesmith.posterior.disagreement import disagreement
from tunesmith.posterior.ensemble import Ensemble


class Choice:
    """One choice of ``acquire`` among candidates, beside what is labelled.

    posterior: of the last round. elements: of all structures that will ever be compared.
    """

    def __init__(
        self,
        acquire: Any,
        posterior: Ensemble,
        labelled: Sequence[Frame],
        elements: Iterable[int],
    ) -> None:
        self._acquire, self._posterior = acquire, posterior
        self._representation = acquire.representation
        self._labelled: np.ndarray | None = None
        if self._representation is not None:
            self._representation = self._representation.for_elements(elements)
            self._labelled = self._features(labelled) if labelled else None

    def picks(self, candidates: Sequence[Frame], n: int, rng: np.random.Generator) -> Picks:
        """``n`` candidates in the order of taking."""
        acquire, found = self._acquire, candidates
        picks: Picks
        if self._representation is not None:
            picks = acquire.choose(self._features(found), self._labelled, n)
        elif acquire.score is not None:
            picks = acquire.choose(self._disagreement(found), n)
        else:
            picks = acquire.choose(len(found), n, rng)
        return picks

    def ratings(self, structures: Sequence[Frame]) -> np.ndarray | None:
        """(n,) how much each of other structures would tell, by what the choice rests on; None
        where that rates nothing."""
        if self._acquire.score is not None:
            return self._disagreement(structures)
        if self._labelled is None:
            return None
        rated: np.ndarray = self._acquire.rate(self._features(structures), self._labelled)
        return rated

    def _features(self, structures: Sequence[Frame]) -> np.ndarray:
        return compute(self._representation, structures, self._posterior)

    def _disagreement(self, structures: Sequence[Frame]) -> np.ndarray:
        atoms = (f.atoms for f in structures)
        return disagreement(self._posterior, atoms, self._acquire.score)


def rank_correlations(
    ratings: np.ndarray | None, errors: dict[str, np.ndarray | None]
) -> dict[str, float | None]:
    """Spearman's, of ratings (n,) with |errors| (n,) by quantity; None where not defined."""
    found: dict[str, float | None] = {}
    for name, error in errors.items():
        found[name] = None
        if ratings is not None and error is not None:
            value = spearman(ratings, error)
            found[name] = value if np.isfinite(value) else None
    return found
