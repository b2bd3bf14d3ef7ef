"""The replayed structures of a training, batch by batch."""

import torch

from tunesmith.core import Tensor, Weights, derived_seed
from tunesmith.potentials.potential import Batch, Potential
from tunesmith.tune.examples import Targets, collate, examples
from tunesmith.tune.replay import Replay


class ReplayBatches:
    """One batch for every step.

    Every pass over the structures is in a new order; which batch a step has is a function of the
    seed and the step alone, so that a restart finds the same one. size: structures per step.
    """

    def __init__(self, potential: Potential, replay: Replay, size: int, *seed: object) -> None:
        self.loss, self.weight = replay.loss, replay.weight
        self._potential, self._seed = potential, seed
        self._data = examples(potential, replay.frames, replay.e0s)
        self._size = min(replay.batch_size or size, len(self._data))
        self.stress = self.loss.wants_stress and any(e.stress is not None for e in self._data)

    def batch(self, step: int) -> tuple[Batch, Targets]:
        """Graph and targets of a step (from 0)."""
        passes, place = divmod(step, -(-len(self._data) // self._size))
        generator = torch.Generator().manual_seed(derived_seed(0, *self._seed, "replay", passes))
        order = torch.randperm(len(self._data), generator=generator).tolist()
        chosen = order[place * self._size : (place + 1) * self._size]
        return collate(self._potential, [self._data[i] for i in chosen])

    def value(self, weights: Weights, step: int) -> Tensor:
        """weight · loss of the replay head's full weights on the batch of a step, to be
        differentiated."""
        batch, targets = self.batch(step)
        out = self._potential.evaluate(weights, batch, stress=self.stress, create_graph=True)
        value: Tensor = self.weight * self.loss(out, batch, targets)
        return value
