"""The weights that move, as one flat vector, and every head's full weights from it."""

import torch

from tunesmith.core import Subspace, Tensor, Weights, derived_seed
from tunesmith.errors import ConfigError
from tunesmith.potentials.potential import Potential
from tunesmith.tune.subspace import weight_of
from tunesmith.tune.vector import Vector

#: in the flat vector, what the replay head has of its own
REPLAY = "replay/"


def pretrained(potential: Potential, subspace: Subspace, seed: int) -> Weights:
    """All coordinates of the untouched model; random ones are a function of the seed."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "subspace"))
    return subspace.start(potential, generator)


class Coordinates:
    """Names ↔ flat vector of what moves: the target's coordinates, then the replay head's.

    start: all coordinates by name, as `Subspace.start` gives them. replay: whether there is a
    second head; it has its own copy of those coordinates that belong to a readout, and shares the
    others (fine-tuning strategies, eq. 3). Raises `ConfigError` where there is nothing to share.
    """

    def __init__(
        self, potential: Potential, subspace: Subspace, start: Weights, *, replay: bool
    ) -> None:
        self.subspace = subspace
        self.weights = potential.weights()
        self.fixed = {n: w for n, w in start.items() if not subspace.moves(n)}
        moving = {n: w for n, w in start.items() if subspace.moves(n)}
        own = set(potential.names.readouts) if replay else set()
        if replay and {weight_of(n) for n in moving} <= own:
            raise ConfigError(
                "tune.anchor: replay would hold nothing, as each head has readouts of its own and "
                "nothing else moves; set tune.anchor to none, or let more move in tune.subspace."
            )
        second = {REPLAY + n: w.clone() for n, w in moving.items() if weight_of(n) in own}
        self._vector = Vector({**moving, **second})
        #: (d,) where the pretrained model stands
        self.start = self._vector.flat
        unit = subspace.unit(potential, start)
        of = {n: unit[n.removeprefix(REPLAY)] for n in self._vector.shapes}
        #: (d,) size of the pretrained weights that each coordinate moves
        self.unit = torch.cat(
            [of[n].to(self.start).expand(s).reshape(-1) for n, s in self._vector.shapes.items()]
        )

    def __len__(self) -> int:
        return len(self.start)

    def split(self, flat: Tensor) -> tuple[Weights, Weights]:
        """The target's coordinates (fixed ones included) and the replay head's own, by name.

        flat: (d,), or (M, d) for names → (M, …).
        """
        named = self._vector.split(flat)
        lead = flat.shape[:-1]
        fixed = {n: w.expand(*lead, *w.shape) for n, w in self.fixed.items()}
        own = {n.removeprefix(REPLAY): w for n, w in named.items() if n.startswith(REPLAY)}
        target = {n: w for n, w in named.items() if not n.startswith(REPLAY)}
        return {**fixed, **target}, own

    def join(self, moved: Weights, replay: Weights) -> Tensor:
        """The flat vectors (M, d) of what `split` gave, with a leading member axis."""
        named = {**moved, **{REPLAY + n: w for n, w in replay.items()}}
        return torch.cat([named[n].flatten(1) for n in self._vector.shapes], dim=1)

    def target(self, flat: Tensor) -> Weights:
        """Full weights of the target's head; flat (d,)."""
        moved, _ = self.split(flat)
        return self.subspace.expand(self.weights, moved)

    def replay(self, flat: Tensor) -> Weights:
        """Full weights of the replay head; flat (d,)."""
        moved, own = self.split(flat)
        return self.subspace.expand(self.weights, {**moved, **own})
