"""Structures by what a network computes inside: its scalar features, averaged over atoms."""

from typing import ClassVar

import numpy as np

from tunesmith.core import Frame
from tunesmith.features.representation import Describe, Network, Representation


class Activation(Representation):
    """Scalar channels after each interaction layer, their mean over atoms, layers side by side.

    (layers × channels) columns; one forward pass (A.2 of the paper on pretrained representations).
    """

    kind: ClassVar[str] = "activation"
    needs_model: ClassVar[bool] = True

    def describer(self, network: Network | None) -> Describe:
        assert network is not None
        potential, weights = network.potential, network.weights

        def describe(frames: list[Frame]) -> np.ndarray:
            batch = potential.batch([potential.graph(f.atoms) for f in frames])
            atoms = potential.features(weights, batch)
            sums = atoms.new_zeros(len(frames), atoms.shape[1]).index_add(0, batch.index, atoms)
            return (sums / batch.counts[:, None]).cpu().numpy()

        return describe
