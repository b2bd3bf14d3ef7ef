"""The package's own calculator, which takes crystals only, for molecules and slabs too."""

import warnings
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from tunesmith.potentials.chgnet.chgnet_files import Checkpoint, module, quiet


class BoxedCalculator(Calculator):
    """`CHGNetCalculator`, float32, of structures that are put into a wide periodic box where they
    are not periodic; those have no stress.

    checkpoint: read by `chgnet_files.load`. The calculator itself is ``native``.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress", "magmoms"]  # noqa: RUF012

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        dynamics = module("chgnet.model.dynamics")
        with quiet():
            # an atom that sees no other is nothing to warn of: molecules have them
            self.native = dynamics.CHGNetCalculator(
                checkpoint.module.float(), use_device="cpu", on_isolated_atoms="ignore"
            )
        self._span = 2.0 * float(checkpoint.module.graph_converter.atom_graph_cutoff) + 1.0

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        with warnings.catch_warnings():
            # of torch, on how chgnet reads the volume
            warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad")
            self.native.calculate(boxed(self.atoms, self._span))
        results: dict[str, Any] = dict(self.native.results)
        if not self.atoms.pbc.all():
            results.pop("stress", None)
        self.results = {k: results[k] for k in self.implemented_properties if k in results}


def boxed(atoms: Atoms, gap: float) -> Atoms:
    """A periodic copy: ``gap`` (Å) of vacuum along every direction that was not periodic."""
    atoms = atoms.copy()
    free = ~atoms.pbc
    if free.any():
        cell = np.array(atoms.cell.array)
        cell[free] = 0.0
        complete = atoms.cell.new(cell).complete().array
        # completed by unit vectors
        complete[free] *= float(np.ptp(atoms.positions, axis=0).max()) + gap
        atoms.set_cell(complete)
        atoms.pbc = True
    return atoms
