"""Structures by their bonds alone: Morgan fingerprints, computed by RDKit.

Bonds are perceived from the geometry, as a pool has no others. All atoms are in the graph,
hydrogens too, since reactions move them.
"""

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tunesmith.core import Frame
from tunesmith.errors import DataError
from tunesmith.features.representation import Describe, Network, Representation
from tunesmith.kernels import Kernel

#: of RDKit's search for bond orders, which takes hours on some molecules where nothing stops it
_ITERATIONS = 100_000


class Morgan(Representation):
    """Which fragments of up to ``radius`` bonds a molecule holds, hashed to bits, 0 or 1.

    bonds: "orders" finds single, double and triple bonds and formal charges from the total charge
    (``charge`` in a frame's info, 0 where there is none; radicals need ``multiplicity``, 2S + 1).
    "connectivity" only finds which atoms are bonded: for transition states and whatever else has no
    Lewis structure.
    """

    kind: ClassVar[str] = "morgan"
    kernel: ClassVar[Kernel] = "tanimoto"
    packages: ClassVar[dict[str, str]] = {"rdkit": "pip install 'tunesmith[select]'"}

    radius: int = Field(3, ge=0, description="of the largest fragment, in bonds")
    bits: int = Field(2048, ge=1, description="columns")
    bonds: Literal["orders", "connectivity"] = Field(
        "orders", description="orders: a Lewis structure; connectivity: who is bonded to whom"
    )

    def describer(self, network: Network | None) -> Describe:
        from rdkit.Chem import rdFingerprintGenerator

        generator = rdFingerprintGenerator.GetMorganGenerator(radius=self.radius, fpSize=self.bits)

        def describe(frames: list[Frame]) -> np.ndarray:
            rows = [generator.GetFingerprintAsNumPy(molecule(f, self.bonds)) for f in frames]
            return np.stack(rows).astype(np.float32)

        return describe


def molecule(frame: Frame, bonds: Literal["orders", "connectivity"]) -> Any:
    """RDKit's molecule of a frame. Raises `DataError`, naming the frame, where there is none."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDetermineBonds

    atoms = frame.atoms
    if atoms.pbc.any():
        raise DataError(
            f"{frame.origin}: is periodic, and bonds are perceived in molecules only; use soap or "
            "activation, or switch pbc off if it is a molecule in a box."
        )
    found = Chem.RWMol()
    place = Chem.Conformer(len(atoms))
    for i, (z, position) in enumerate(zip(atoms.numbers, atoms.positions, strict=True)):
        atom = Chem.Atom(int(z))
        atom.SetNoImplicit(True)
        found.AddAtom(atom)
        place.SetAtomPosition(i, position.tolist())
    found.AddConformer(place)
    with rdBase.BlockLogs():
        try:
            if bonds == "connectivity":
                rdDetermineBonds.DetermineConnectivity(found)
                found.UpdatePropertyCache(strict=False)
                Chem.FastFindRings(found)
                return found
            rdDetermineBonds.DetermineBonds(
                found,
                charge=int(atoms.info.get("charge", 0)),
                # a radical's unpaired electrons stay where they are
                allowChargedFragments=int(atoms.info.get("multiplicity", 1)) == 1,
                embedChiral=False,
                maxIterations=_ITERATIONS,
            )
            Chem.SanitizeMol(found)
            return found
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:80]
            raise DataError(
                f"{frame.origin}: no Lewis structure of {atoms.symbols} fits its geometry and "
                f"charge {atoms.info.get('charge', 0)} ({reason}); for transition states set "
                "acquire.representation.bonds=connectivity, otherwise give charge and "
                "multiplicity."
            ) from None
