"""What a choice rests on: features or scores of the candidates by the model of the last round."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tunesmith.calibrate.scores import spearman
from tunesmith.contracts import Posterior
from tunesmith.core import Frame
from tunesmith.features.compute_features import compute
from tunesmith.posterior.disagreement import disagreement


class SeenBy:
    """`Candidates`: structures as a posterior sees them, beside what is labelled.

    posterior: of the last round. elements: of all structures that will ever be compared.
    """

    def __init__(
        self,
        structures: Sequence[Frame],
        posterior: Posterior,
        labelled: Sequence[Frame],
        elements: Iterable[int],
    ) -> None:
        self._structures, self._posterior = structures, posterior
        self._known, self._elements = labelled, tuple(elements)
        self._labelled: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._structures)

    def of(self, structures: Sequence[Frame]) -> "SeenBy":
        """Others, seen the same way; what is labelled is not looked at again."""
        other = SeenBy(structures, self._posterior, self._known, self._elements)
        other._labelled = self._labelled
        return other

    def features(self, representation: Any) -> np.ndarray:
        return self._features(representation, self._structures)

    def labelled(self, representation: Any) -> np.ndarray | None:
        if not self._known:
            return None
        name = repr(representation)
        if name not in self._labelled:
            self._labelled[name] = self._features(representation, self._known)
        return self._labelled[name]

    def disagreement(self, score: str) -> np.ndarray:
        return disagreement(self._posterior, (f.atoms for f in self._structures), score)

    def _features(self, representation: Any, structures: Sequence[Frame]) -> np.ndarray:
        own = representation.for_elements(self._elements)
        return compute(own, structures, self._posterior)


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
