"""When a trajectory has left the world of structures: too close, too hot, flown apart."""

from ase import Atoms

from tunesmith.errors import TunesmithError


class ExplosionError(TunesmithError):
    """A walker's next structure makes no sense. walker: its index; reason: one clause for people;
    atoms: that structure (the loop may want to label it)."""

    def __init__(self, walker: int, reason: str, atoms: Atoms) -> None:
        super().__init__(f"walker {walker}: {reason}.")
        self.walker, self.reason, self.atoms = walker, reason, atoms
