"""What backends share: neighbour lists, batches, strain, and the bookkeeping of derivatives."""

import functools
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

from tunesmith.core import Tensor
from tunesmith.errors import DataError, MissingDependencyError
from tunesmith.potentials.potential import Batch, Evaluation, Graph

#: edges (2, e) sender and receiver, unit shifts (e, 3), and the cell (3, 3) Å that they refer to
Neighbours = tuple[np.ndarray, np.ndarray, np.ndarray]


def neighbours(atoms: Atoms, cutoff: float) -> Neighbours:
    """All pairs closer than the cutoff, both ways, sorted by receiver; an atom's own images too.

    Cell vectors of non-periodic directions are replaced by long ones, perpendicular to the others.
    """
    cell = np.array(atoms.cell.array)
    cell[~atoms.pbc] = 0.0
    span = float(np.ptp(atoms.positions, axis=0).max()) + 2.0 * cutoff + 1.0
    complete = atoms.cell.new(cell).complete().array
    # completed by unit vectors
    complete[~atoms.pbc] *= span
    sender, receiver, shifts = _matscipy().neighbour_list(
        "ijS", positions=atoms.positions, cell=complete, pbc=atoms.pbc, cutoff=float(cutoff)
    )
    order = np.argsort(receiver, kind="stable")
    return np.stack([sender[order], receiver[order]]), shifts[order].astype(float), complete


@functools.cache
def _matscipy() -> ModuleType:
    try:
        from matscipy import neighbours as found
    except ImportError as error:
        raise MissingDependencyError(
            f"neighbour lists need matscipy ({error}); install it with `pip install matscipy`."
        ) from None
    module: ModuleType = found
    return module


def graph_of(
    atoms: Atoms,
    *,
    elements: tuple[int, ...],
    source: str,
    reach: float,
    dtype: torch.dtype,
    find: Callable[[Atoms, float], Neighbours] = neighbours,
) -> Graph:
    """One structure with its neighbour list. Raises `DataError` for an element that is not among
    ``elements``, naming ``source``.

    reach: Å, up to which edges are listed. dtype: of the unit shifts.
    """
    numbers = atoms.get_atomic_numbers()
    if unknown := sorted(set(numbers.tolist()) - set(elements)):
        raise DataError(unknown_elements(unknown, elements, source))
    edges, unit_shifts, cell = find(atoms, reach)
    place = {z: i for i, z in enumerate(elements)}
    # float64 until the batch is formed: float32 coordinates far from the origin lose digits
    return Graph(
        positions=torch.from_numpy(np.array(atoms.positions, float)),
        species=torch.tensor([place[int(z)] for z in numbers]),
        edges=torch.from_numpy(edges).long(),
        unit_shifts=torch.from_numpy(unit_shifts).to(dtype),
        cell=torch.from_numpy(cell),
        periodic=bool(atoms.pbc.all()),
        numbers=numbers,
        reach=reach,
    )


def joined(graphs: list[Graph]) -> tuple[Tensor, Tensor, Tensor]:
    """Edges (2, e) and unit shifts (e, 3) of several graphs as one, and atoms per graph (B,)."""
    counts = torch.tensor([len(g) for g in graphs])
    offsets = (counts.cumsum(0) - counts).tolist()
    edges = torch.cat([g.edges + o for g, o in zip(graphs, offsets, strict=True)], dim=1)
    return edges, torch.cat([g.unit_shifts for g in graphs]), counts


def batch_of(
    graphs: list[Graph],
    device: torch.device,
    dtype: torch.dtype,
    layout: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor]] | None = None,
) -> Batch:
    """Several graphs as one. layout: edges, unit shifts and number of atoms → those with padding,
    and which are padding; None: as they are."""
    edges, unit_shifts, counts = joined(graphs)
    padding = torch.zeros(len(unit_shifts), dtype=dtype)
    if layout is not None:
        edges, unit_shifts, padding = layout(edges, unit_shifts, int(counts.sum()))
    return Batch(
        positions=torch.cat([g.positions for g in graphs]).to(device, dtype),
        species=torch.cat([g.species for g in graphs]).to(device),
        edges=edges.to(device),
        unit_shifts=unit_shifts.to(device),
        padding=padding.to(device),
        cell=torch.stack([g.cell for g in graphs]).to(device, dtype),
        index=torch.repeat_interleave(torch.arange(len(graphs)), counts).to(device),
        counts=counts.to(device),
        periodic=torch.tensor([g.periodic for g in graphs], device=device),
    )


def moving(batch: Batch, create_graph: bool) -> Tensor:
    """Positions that energies are differentiated in; with a graph, what they came from stays."""
    if create_graph and batch.positions.requires_grad:
        return batch.positions
    return batch.positions.detach().requires_grad_()


def placed(batch: Batch, positions: Tensor, strain: Tensor | None) -> tuple[Tensor, Tensor]:
    """Positions (A, 3), and what is added to the receiver's place for every edge's image (e, 3),
    both after a strain (B, 3, 3), of which the symmetric part counts."""
    cell = batch.cell
    if strain is not None:
        symmetric = 0.5 * (strain + strain.transpose(1, 2))
        positions = positions + (positions[:, None] @ symmetric[batch.index])[:, 0]
        cell = cell + cell @ symmetric
    images = (batch.unit_shifts[:, None] @ cell[batch.index[batch.edges[0]]])[:, 0]
    return positions, images


def stress_of(gradient: Tensor, batch: Batch) -> Tensor:
    """dE/d(strain) (…, B, 3, 3) over volume, eV/Å³; NaN where the structure is not periodic."""
    volume = torch.linalg.det(batch.cell).abs()[..., None, None]
    # molecules live in a box of the backend's own choosing: no stress there
    return torch.where(batch.periodic[:, None, None], gradient / volume, torch.nan)


#: positions (A, 3) and strain (B, 3, 3) → energies (B,) and, if asked for, features (A, d)
Energies = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]


def evaluated(
    energies: Energies, batch: Batch, *, forces: bool, stress: bool, create_graph: bool
) -> Evaluation:
    """Energies, and what of their derivatives is asked for, by one backward pass."""
    with torch.enable_grad():
        positions = moving(batch, create_graph)
        strain = torch.zeros_like(batch.cell).requires_grad_() if stress else None
        energy, described = energies(positions, strain)
        wanted = [positions] * forces + ([strain] if strain is not None else [])
        gradients = (
            torch.autograd.grad(
                energy.sum(), wanted, create_graph=create_graph, materialize_grads=True
            )
            if wanted
            else ()
        )
    if not create_graph and wanted:
        energy = energy.detach()
        described = None if described is None else described.detach()
    tensor = None if strain is None else stress_of(gradients[-1], batch)
    return Evaluation(energy, -gradients[0] if forces else None, tensor, described)


def unknown_elements(unknown: list[int], known: tuple[int, ...], source: str) -> str:
    """The sentence for elements a model was not made for."""
    names = ", ".join(chemical_symbols[z] for z in unknown)
    have = ", ".join(chemical_symbols[z] for z in known)
    return (
        f"{source} does not know {names}; it covers {have}: "
        "choose a foundation model that covers your elements."
    )
