"""Are these structures and labels fit to learn from? And the split into training and validation."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.geometry import complete_cell, minkowski_reduce

from tunesmith.core import Frame
from tunesmith.data.keys import Beside
from tunesmith.errors import DataError
from tunesmith.words import counted

#: a pair closer than this times the sum of its covalent radii is no chemistry
OVERLAP = 0.3
#: and one farther apart than this may feel nothing of each other: references have cutoffs
APART = 1.5
_THIN = 1.0  # Å, of a cell that may be thin only because it is skew
_FLAT = 1e-6  # volume of a cell over the product of its edges, below which it is none
_FARTHEST = 1e6  # Å, a tenth of a millimetre: no structure of atoms is larger
_BATCH = 1_000_000  # pairs of atoms looked at together


def require_labels(
    frames: Sequence[Frame],
    elements: Iterable[int] | None = None,
    beside: Mapping[str, Beside] | None = None,
    *,
    energies: bool = True,
    zeros: bool = False,
) -> None:
    """Raise `DataError`, naming the frame, unless every frame can be learned from.

    elements: atomic numbers the model knows; None: any. beside: what else the file says of each
    frame, by origin, for a message that names it. energies: whether they are needed; else one that
    is not there is NaN. zeros: whether forces may all be zero without symmetry, as those of relaxed
    structures written to few digits; else they are placeholders. Frames of one atom are fine, and
    so are duplicates.
    """
    check_structures(frames, elements)
    for frame in frames:
        if frame.label is None:
            raise DataError(no_label(frame, (beside or {}).get(frame.origin)))
        label = frame.label
        known = (beside or {}).get(frame.origin)
        absent = not energies and known is not None and not known.energy
        energy = None if absent else label.energy
        _check_finite(frame, {"energy": energy, "forces": label.forces, "stress": label.stress})
        _check_forces(frame, label.forces, zeros)
    if nothing_said(frames):
        raise DataError(
            f"{frames[0].origin}: the forces of this and all other frames are zero, and energies "
            "of one composition are equal; read the reference's labels, not placeholders."
        )


def require_some_labels(
    frames: Sequence[Frame], beside: Mapping[str, Beside], elements: Iterable[int] | None = None
) -> None:
    """As `require_labels`, of frames that may have energy or forces alone (NaN for the other).

    beside: what the file says of each frame, which tells what is not there from what is not finite.
    """
    check_structures(frames, elements)
    for frame in frames:
        known = beside[frame.origin]
        if frame.label is None:
            raise DataError(no_label(frame, known))
        label = frame.label
        energy = label.energy if known.energy else None
        forces = label.forces if known.forces else None
        _check_finite(frame, {"energy": energy, "forces": forces, "stress": label.stress})
        if forces is not None:
            _check_forces(frame, forces)


def no_label(frame: Frame, known: Beside | None) -> str:
    """A sentence on what a frame lacks, and what the file has that could be it."""
    cure = "remove it, or say how the labels are called with energy_key and forces_key"
    if known is None or (known.any_energy and known.forces):
        return f"{frame.origin}: has no label (energy and forces are both needed); {cure}."
    lacking, keys = [], []
    for what, there, others in (
        ("energy", known.any_energy, [] if known.energy else sorted(known.energies)),
        ("forces", known.forces, sorted(known.names)),
    ):
        if not there:
            lacking.append(what)
            keys += [f"--{what}-key {others[0]}"] if others else []
    if keys:
        cure = f"say what they are called ({' '.join(keys)}; {what_setting(keys)}), or remove it"
    return f"{frame.origin}: has no {' and no '.join(lacking)} under the usual names; {cure}."


def what_setting(options: Sequence[str]) -> str:
    """As a configuration says what options say: data.energy_key=dft_energy."""
    pairs = (option.removeprefix("--").split() for option in options)
    return " ".join(f"data.{name.replace('-', '_')}={value}" for name, value in pairs)


def check_structures(frames: Sequence[Frame], elements: Iterable[int] | None = None) -> None:
    """Raise `DataError`, naming the frame, for structures no model or reference can take."""
    if not frames:
        raise DataError("there is no structure to work on; check the files named as data.")
    known = None if elements is None else set(elements)
    for frame in frames:
        _check_atoms(frame, known)
    check_overlaps(frames)


def is_isolated(frame: Frame) -> bool:
    """Whether a frame is an isolated atom by its ``config_type`` (IsolatedAtom, isolated_atom)."""
    return frame.config_type.replace("_", "").lower() == "isolatedatom"


def separate_isolated(frames: Sequence[Frame]) -> tuple[list[Frame], list[Frame]]:
    """The other frames, and the isolated atoms that only fix E0s."""
    rest = [f for f in frames if not is_isolated(f)]
    return rest, [f for f in frames if is_isolated(f)]


def split(
    frames: Sequence[Frame], fraction: float, rng: np.random.Generator
) -> tuple[list[Frame], list[Frame]]:
    """Training and validation frames in their original order; isolated atoms in neither.

    fraction: of the frames that go to validation, 0 ≤ fraction < 1; at least one does when it is
    not 0. Raises `DataError` where that leaves nothing to train on.
    """
    if not 0 <= fraction < 1:
        raise DataError(f"the validation fraction is {fraction}; give one from 0 up to below 1.")
    rest, _ = separate_isolated(frames)
    n_valid = max(1, round(fraction * len(rest))) if fraction else 0
    if n_valid >= len(rest):
        raise DataError(
            f"{counted(len(rest), 'frame')} cannot be split into training and validation; give "
            "more frames or a file of validation frames."
        )
    chosen = set(rng.permutation(len(rest))[:n_valid].tolist())
    train = [f for i, f in enumerate(rest) if i not in chosen]
    return train, [f for i, f in enumerate(rest) if i in chosen]


def symbols(numbers: Iterable[int]) -> str:
    """'H, C and O' of atomic numbers, in their order in the periodic table."""
    names = [chemical_symbols[z] for z in sorted(numbers)]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


# --------------------------------------------------------------------------- labels


def nothing_said(frames: Sequence[Frame]) -> bool:
    """Whether no frame has a force or a stress, and all of a composition one energy: labels of
    nothing. Perfect crystals of several volumes have no force, and different energies."""
    energies: dict[str, set[float]] = {}
    for frame in frames:
        label = frame.label
        if label is None or len(frame.atoms) == 1:
            continue
        if label.forces.any() or (label.stress is not None and label.stress.any()):
            return False
        energies.setdefault(frame.atoms.get_chemical_formula(), set()).add(label.energy)
    return bool(energies) and all(len(values) == 1 for values in energies.values())


def _check_finite(frame: Frame, parts: Mapping[str, Any]) -> None:
    for name, value in parts.items():
        if value is not None and not np.isfinite(value).all():
            raise DataError(
                f"{frame.origin}: its {name} is not finite; remove the frame or label it again."
            )


def _check_forces(frame: Frame, forces: np.ndarray, zeros: bool = False) -> None:
    n = len(frame.atoms)
    if forces.shape != (n, 3):
        raise DataError(f"{frame.origin}: forces have shape {forces.shape}, not ({n}, 3).")
    if n == 1 or (forces != forces[0]).any():
        return
    if forces.any():
        raise DataError(
            f"{frame.origin}: the same force {forces[0]} on every atom cannot be; check where its "
            "forces come from."
        )
    if not zeros and not balanced(frame.atoms):
        raise DataError(
            f"{frame.origin}: all forces are exactly zero though nothing in its symmetry asks for "
            "that; read the reference's forces, not placeholders."
        )


def balanced(atoms: Atoms) -> bool:
    """Whether every force may well be exactly zero: by symmetry, or since no atom is near another.

    Where symmetry alone makes every force vanish those of any pair potential do, too. Positions are
    often written to few digits: what a thousandth of an Å disturbs is symmetric still.
    """
    from ase.neighborlist import neighbor_list  # takes a fifth of a second to import

    i, j, d, bonds = neighbor_list("ijdD", atoms, 6.0)
    radii = covalent_radii[atoms.numbers]
    if not (d < APART * (radii[i] + radii[j])).any():
        return True
    strength = np.exp(-d) * (1 + 0.1 * radii[j]) * (6.0 - d) ** 2
    pull = np.zeros((len(atoms), 3))
    np.add.at(pull, i, (strength / d)[:, None] * bonds)
    largest = float(strength.max(initial=0.0))
    return bool(np.abs(pull).max() <= 3e-3 * largest)


# ----------------------------------------------------------------------- structures


def _check_atoms(frame: Frame, known: set[int] | None) -> None:
    atoms, origin = frame.atoms, frame.origin
    if len(atoms) == 0:
        raise DataError(f"{origin}: has no atoms; remove the frame.")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise DataError(f"{origin}: positions or cell are not finite; remove the frame.")
    reach = max(np.abs(atoms.positions).max(), np.abs(atoms.cell.array).max())
    if reach > _FARTHEST:
        raise DataError(
            f"{origin}: positions or cell reach {reach:.1e} Å, which is no structure; correct or "
            "remove the frame."
        )
    elements = set(atoms.numbers.tolist())
    if known is not None and not elements <= known:
        raise DataError(
            f"{origin}: contains {symbols(elements - known)}, which the model does not know (it "
            f"knows {symbols(known)}); remove such frames or choose another model."
        )
    if 0 in elements:
        raise DataError(f"{origin}: contains an atom without element (X); name its element.")
    if atoms.pbc.any():
        check_cell(atoms, origin)
    if is_isolated(frame) and len(atoms) != 1:
        raise DataError(
            f"{origin}: is marked as an isolated atom and has {len(atoms)} atoms; correct its "
            "config_type."
        )


def check_cell(atoms: Atoms, origin: str) -> None:
    """Raise `DataError` where a periodic structure has no cell to speak of."""
    lengths = np.linalg.norm(atoms.cell.array, axis=1)
    cure = "set the cell, or pbc to False"
    if (lengths[atoms.pbc] == 0).any():
        raise DataError(f"{origin}: is periodic along a cell vector of zero length; {cure}.")
    cell = complete_cell(atoms.cell.array)
    if abs(np.linalg.det(cell)) < _FLAT * np.prod(np.linalg.norm(cell, axis=1)):
        raise DataError(f"{origin}: its cell has no volume; {cure}.")
    own = _nearest_image(atoms) if _heights(atoms).min() < _THIN else np.inf
    if own < OVERLAP * 2 * covalent_radii[atoms.numbers].min():  # or images would have no end
        raise DataError(f"{origin}: every atom is {own:.2g} Å from its own image; {cure}.")


def check_overlaps(frames: Sequence[Frame]) -> None:
    """Raise `DataError` for a pair of atoms closer than `OVERLAP` allows, periodic images too.

    Frames of one size together, in batches; those with tiny cells one at a time.
    """
    by_size: dict[int, list[Frame]] = {}
    for frame in frames:
        n = len(frame.atoms)
        if n * n > _BATCH or (frame.atoms.pbc.any() and _is_tiny(frame.atoms)):
            _check_overlap_slowly(frame)
        else:
            by_size.setdefault(n, []).append(frame)
    for n, group in by_size.items():
        step = max(1, _BATCH // n**2)
        for start in range(0, len(group) if n > 1 else 0, step):
            _check_batch(group[start : start + step])


def _heights(atoms: Atoms) -> np.ndarray:
    """Of the cell along its periodic directions, Å."""
    inverse = np.linalg.inv(complete_cell(atoms.cell.array))
    return np.asarray(1 / np.linalg.norm(inverse, axis=0)[atoms.pbc])


def _nearest_image(atoms: Atoms) -> float:
    """How far an atom is from its nearest image, Å: the shortest vector of the lattice."""
    reduced, _ = minkowski_reduce(complete_cell(atoms.cell.array), atoms.pbc)
    return float(np.linalg.norm(reduced[atoms.pbc], axis=1).min())


def _is_tiny(atoms: Atoms) -> bool:
    """Whether an overlap could be with another image than the one that wrapping finds."""
    reach = OVERLAP * 2 * covalent_radii[atoms.numbers].max()
    return bool(_heights(atoms).min() < 2 * reach)


def _check_batch(group: list[Frame]) -> None:
    """Every pair at its wrapped separation; exact below half the smallest height of the cell."""
    positions = np.array([f.atoms.positions for f in group])  # (B, n, 3)
    radii = covalent_radii[np.array([f.atoms.numbers for f in group])]  # (B, n)
    i, j = np.triu_indices(positions.shape[1], 1)
    apart = positions[:, i] - positions[:, j]
    pbc = np.array([f.atoms.pbc for f in group])  # (B, 3)
    if pbc.any():
        cells = np.array([_cell(f.atoms) for f in group])
        turns = np.round(apart @ np.linalg.inv(cells)) * pbc[:, None]
        apart = apart - turns @ cells
    ratio = np.sqrt(np.einsum("bpx,bpx->bp", apart, apart)) / (radii[:, i] + radii[:, j])
    close = np.argwhere(ratio < OVERLAP)
    if len(close):
        b, p = close[0]
        _raise_overlap(group[b], int(i[p]), int(j[p]), float(np.linalg.norm(apart[b, p])))


def _cell(atoms: Atoms) -> np.ndarray:
    return complete_cell(atoms.cell.array) if atoms.pbc.any() else np.eye(3)


def _check_overlap_slowly(frame: Frame) -> None:
    from ase.neighborlist import neighbor_list

    reach = OVERLAP * covalent_radii[frame.atoms.numbers]
    atoms = frame.atoms
    if atoms.pbc.any() and _heights(atoms).min() < _THIN:  # the same lattice, in few images
        reduced, _ = minkowski_reduce(complete_cell(atoms.cell.array), atoms.pbc)
        atoms = Atoms(atoms.numbers, atoms.positions, cell=reduced, pbc=atoms.pbc)
    i, j, d = neighbor_list("ijd", atoms, reach)
    if len(i):
        _raise_overlap(frame, int(i[0]), int(j[0]), float(d[0]))


def _raise_overlap(frame: Frame, i: int, j: int, distance: float) -> None:
    names = frame.atoms.symbols
    raise DataError(
        f"{frame.origin}: atoms {i} ({names[i]}) and {j} ({names[j]}) are {distance:.3f} Å apart, "
        "which is no structure; remove the frame."
    )
