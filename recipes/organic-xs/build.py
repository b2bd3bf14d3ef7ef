"""Starting geometries: relaxed conformers, clusters, and the two ends of a path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import minimize_rotation_and_translation
from ase.calculators.calculator import CalculationFailed
from ase.constraints import Hookean
from ase.data import covalent_radii, vdw_radii
from ase.optimize import BFGS
from rdkit import Chem
from rdkit.Chem import AllChem
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from labels import bond_matrix, calculator


def parse(smiles: str) -> Chem.Mol:
    """Molecule with every hydrogen; mapped atoms come first, in the order of their numbers.

    The other hydrogens follow in the order of their parents, so that two mapped SMILES whose
    unmapped hydrogens stay with their parents give the same atom order.
    """
    params = Chem.SmilesParserParams()
    params.removeHs = False
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles, params))
    if not any(atom.GetAtomMapNum() for atom in mol.GetAtoms()):
        return mol

    def key(atom: Chem.Atom) -> tuple[int, int, int]:
        if number := atom.GetAtomMapNum():
            return 0, number, 0
        return 1, atom.GetNeighbors()[0].GetAtomMapNum(), atom.GetIdx()

    order = [atom.GetIdx() for atom in sorted(mol.GetAtoms(), key=key)]
    return Chem.RenumberAtoms(mol, order)


def to_atoms(mol: Chem.Mol, conformer: int = -1) -> Atoms:
    """ASE atoms with the coordinates of one conformer."""
    numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    return Atoms(numbers, mol.GetConformer(conformer).GetPositions())


def intended_bonds(mol: Chem.Mol) -> np.ndarray:
    """Boolean adjacency the SMILES asks for."""
    return Chem.GetAdjacencyMatrix(mol).astype(bool)


def relax(atoms: Atoms, fmax: float = 0.02, steps: int = 300) -> bool:
    """Relax in place with GFN2-xTB (fmax in eV/Å); False when the SCF fails on the way."""
    atoms.calc = calculator()
    try:
        BFGS(atoms, logfile=None, maxstep=0.1).run(fmax=fmax, steps=steps)
        atoms.info["energy_relaxed"] = atoms.get_potential_energy()
    except CalculationFailed:
        return False
    finally:
        atoms.calc = None
    return True


def conformers(smiles: str, count: int, seed: int, rejected: Counter) -> list[Atoms]:
    """Up to `count` different relaxed conformers, lowest energy first.

    A conformer that relaxes to other bonds than the SMILES has is dropped.
    """
    mol = parse(smiles)
    params = AllChem.ETKDGv3()
    params.randomSeed = seed
    ids = list(AllChem.EmbedMultipleConfs(mol, 2 * count, params))
    energies = np.zeros(len(ids))
    if AllChem.UFFHasAllMoleculeParams(mol):
        energies = np.array([e for _, e in AllChem.UFFOptimizeMoleculeConfs(mol, maxIters=500)])
    # Relaxing costs more than anything else here, so do not relax the same minimum again.
    new = [i for i, e in enumerate(energies) if (abs(energies[:i] - e) > 0.1).all()]
    ids = [ids[i] for i in new][: count + 1]
    found: list[Atoms] = []
    for conformer in ids:
        atoms = to_atoms(mol, conformer)
        if not relax(atoms):
            rejected["relax_scf_failed"] += 1
        elif (bond_matrix(atoms) != intended_bonds(mol)).any():
            rejected["relax_bonds_changed"] += 1
        elif is_new(atoms, found):
            found.append(atoms)
    return sorted(found, key=lambda atoms: atoms.info["energy_relaxed"])[:count]


def is_new(atoms: Atoms, found: list[Atoms]) -> bool:
    """Whether no conformer found so far has this energy, to 2 meV."""
    energy = atoms.info["energy_relaxed"]
    return all(abs(energy - other.info["energy_relaxed"]) > 2e-3 for other in found)


def closeness(first: Atoms, second: Atoms) -> float:
    """Shortest distance between two molecules, in sums of van der Waals radii."""
    reach = vdw_radii[first.numbers][:, None] + vdw_radii[second.numbers][None, :]
    return float((cdist(first.positions, second.positions) / reach).min())


def turned(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Centred copy with a random orientation."""
    copy = Atoms(atoms.numbers, atoms.positions - atoms.positions.mean(axis=0))
    copy.positions = Rotation.random(rng=rng).apply(copy.positions)
    return copy


def place(members: Sequence[Atoms], gap: float, rng: np.random.Generator) -> Atoms:
    """Cluster of randomly turned molecules, each `gap` van der Waals contacts from the others."""
    cluster = turned(members[0], rng)
    for member in members[1:]:
        guest = turned(member, rng)
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        start = guest.positions.copy()
        # Come in from outside in small steps, for the first contact and not one further in.
        for distance in np.arange(25.0, 0.0, -0.02):
            guest.positions = start + distance * direction
            if closeness(cluster, guest) <= gap:
                break
        cluster += guest
        cluster.positions -= cluster.positions.mean(axis=0)
    return cluster


def path_start(mol: Chem.Mol, target: Chem.Mol, rng: np.random.Generator) -> Atoms | None:
    """Relaxed first end; of several arrangements of its molecules, the one nearest the target."""
    bonds = intended_bonds(mol)
    made = np.argwhere(np.triu(intended_bonds(target) & ~bonds))
    pieces = [list(piece) for piece in Chem.GetMolFrags(mol)]
    best, best_length = None, np.inf
    for _ in range(12 if len(pieces) > 1 else 3):
        copy = Chem.Mol(mol)
        if AllChem.EmbedMolecule(copy, randomSeed=int(rng.integers(2**31 - 1))) != 0:
            continue
        atoms = to_atoms(copy)
        if len(pieces) > 1:
            placed = place([atoms[piece] for piece in pieces], 0.9, rng)
            atoms.positions[np.concatenate(pieces)] = placed.positions
        if not relax(atoms, fmax=0.03, steps=120) or (bond_matrix(atoms) != bonds).any():
            continue
        length = sum(atoms.get_distance(i, j) for i, j in made)
        if length < best_length:
            best, best_length = atoms, length
    return best


def pulled(start: Atoms, made: np.ndarray) -> Atoms | None:
    """Copy of a molecule relaxed with springs (20 eV/Å²) that close the bonds to be made."""
    atoms = Atoms(start.numbers, start.positions)
    lengths = covalent_radii[atoms.numbers[made]].sum(axis=1)
    atoms.set_constraint(
        [Hookean(int(i), int(j), k=20.0, rt=rt) for (i, j), rt in zip(made, lengths, strict=True)]
    )
    held = relax(atoms, fmax=0.1, steps=150)
    atoms.set_constraint()
    return atoms if held else None


def path_end(start: Atoms, mol: Chem.Mol, made: np.ndarray) -> Atoms | None:
    """Relaxed molecule with the bonds of `mol`, reached from the coordinates of the first end.

    Springs bring the new partners together before a force field that knows the new bonds takes
    over; on its own that one drags atoms through each other. Hydrogens that take no part stay
    where they are, which an independent embedding would not give.
    """
    assert list(start.numbers) == [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    near = pulled(start, made)
    if near is None:
        return None
    conformer = Chem.Conformer(len(near))
    for index, position in enumerate(near.positions):
        conformer.SetAtomPosition(index, position.tolist())
    mol = Chem.Mol(mol)
    mol.RemoveAllConformers()
    mol.AddConformer(conformer)
    Chem.GetSSSR(mol)
    AllChem.UFFOptimizeMolecule(mol, maxIters=500, ignoreInterfragInteractions=False)
    end = to_atoms(mol)
    if not relax(end, fmax=0.03, steps=200) or (bond_matrix(end) != intended_bonds(mol)).any():
        return None
    return end


def path_ends(
    first: str, second: str, rng: np.random.Generator, rejected: Counter
) -> tuple[Atoms, Atoms] | None:
    """Relaxed ends of a path in the same atom order, or None when no attempt gave both.

    Every other attempt starts from the second end.
    """
    mols = parse(first), parse(second)
    for attempt in range(4):
        mol, target = mols if attempt % 2 == 0 else mols[::-1]
        start = path_start(mol, target, rng)
        made = np.argwhere(np.triu(intended_bonds(target) & ~intended_bonds(mol)))
        end = None if start is None else path_end(start, target, made)
        if end is not None:
            minimize_rotation_and_translation(start, end)
            # A longer way means that the pieces drifted apart, most of it through empty space.
            if np.abs(start.positions - end.positions).max() < 4.0:
                return start, end
        rejected["path_attempt_failed"] += 1
    return None
