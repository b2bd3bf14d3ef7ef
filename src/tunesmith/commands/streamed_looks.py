"""Candidates of files as a rule looks at them: features streamed, and kept on disk if asked."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from tunesmith.core import Frame
from tunesmith.doctor.candidates import Candidates
from tunesmith.features.compute_features import Representation, stream
from tunesmith.posterior.disagreement import disagreement
from tunesmith.posterior.ensemble import Ensemble

#: of candidates (n, d) and of labelled structures (m, d), None where there are none
Both = tuple[np.ndarray, np.ndarray | None]


class StreamedLooks:
    """`tunesmith.contracts.Candidates` of files of any length, beside labelled structures.

    posterior: None where no model is asked. cache: folder where features are kept.
    """

    def __init__(
        self,
        candidates: Candidates,
        labelled: list[Frame],
        posterior: Ensemble | None,
        bar: Progress,
        cache: Path | None = None,
    ) -> None:
        self._candidates, self._known, self._posterior = candidates, labelled, posterior
        self._bar, self._cache = bar, cache
        known = (f.atoms.numbers.tolist() for f in labelled)
        self._elements = candidates.elements.union(*known)
        self._features: dict[str, Both] = {}

    def __len__(self) -> int:
        return len(self._candidates)

    def features(self, representation: Any) -> np.ndarray:
        return self._both(representation)[0]

    def labelled(self, representation: Any) -> np.ndarray | None:
        return self._both(representation)[1]

    def disagreement(self, score: str) -> np.ndarray:
        assert self._posterior is not None
        frames = self._bar.track(self._candidates, total=len(self), description=score)
        return disagreement(self._posterior, (f.atoms for f in frames), score)

    def _both(self, representation: Representation) -> Both:
        """Columns are the same for both: for the elements of all structures."""
        own = representation.for_elements(self._elements)
        name = f"{own.kind} {own!r}"
        if name not in self._features:
            self._features[name] = self._computed(own)
        return self._features[name]

    def _computed(self, own: Representation) -> Both:
        asked = self._posterior if own.needs_model else None
        m, n = len(self._known), len(self)
        task = self._bar.add_task(own.kind, total=m + n)

        def done(count: int) -> None:
            self._bar.update(task, completed=count)

        known = None
        if self._known:
            known = stream(own, self._known, asked, cache=self._cache, progress=done)
        pool = stream(
            own, self._candidates, asked, cache=self._cache, progress=lambda i: done(m + i)
        )
        done(m + n)  # of features that were kept nothing is heard
        return pool, known
