"""What checks look at: a model, a structure, and its dynamics, simulated when it is asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ase import Atoms

from tunesmith.check.replicas import Replica
from tunesmith.contracts import Posterior
from tunesmith.explore.md import MD


@dataclass(frozen=True)
class Simulated:
    """Replicas of every member. equilibration: fs left out of averages."""

    md: MD
    equilibration: float
    members: Sequence[tuple[Replica, ...]]

    @property
    def stable(self) -> list[bool]:
        """Of every member, whether all its replicas are."""
        return [all(replica.stable for replica in replicas) for replicas in self.members]


@dataclass(frozen=True)
class Examination:
    """`tunesmith.contracts.Examined`. simulate: called once, by the first check that looks."""

    posterior: Posterior
    start: Atoms
    seed: int
    simulate: Callable[[], Simulated]

    @cached_property
    def dynamics(self) -> Simulated:
        return self.simulate()
