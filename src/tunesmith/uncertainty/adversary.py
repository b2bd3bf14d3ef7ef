"""An objective of a committee's forces, and its exact gradient in positions and cell.

The forces of every member are differentiated once more. With v_m = ∂L/∂F_m the gradient is

    ∂L/∂x = Σ_m v_m · ∂F_m/∂x,

one backward pass through the graph of each member's forces, whatever the number of atoms. All
members share one neighbour list. It reaches a skin beyond the cutoff and is kept until a pair that
it lacks may have come within the cutoff; edges beyond count for nothing, so that the objective does
not change when a list is made anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms

from tunesmith.core import Calibration, Judged, Label, Objective, Point, Quantities, Tensor
from tunesmith.errors import ModelError
from tunesmith.potentials.base import Graph
from tunesmith.uncertainty.ensemble import Ensemble

#: Å; every edge within it costs as much as another, and a list only a hundredth of an evaluation
SKIN = 0.2
#: atoms × members differentiated in one pass: each takes 2.5 MB in float64 by a small MACE; beyond,
#: structures are taken in turn
AT_ONCE = 600
#: of an objective with its gradient, in units of the members' forces (bench/attack.py)
COST = 3.5


@dataclass(frozen=True)
class _List:
    """A neighbour list, and the structure it was made for."""

    graph: Graph
    positions: np.ndarray
    cell: np.ndarray


class Adversary:
    """`Objective` and its gradient by a posterior of two members or more.

    skin: Å, of the neighbour lists, which are kept for every structure by its number. rebuilt: how
    many were made so far. Raises `ModelError` for a single member.
    """

    def __init__(self, posterior: Ensemble, objective: Objective, *, skin: float = SKIN) -> None:
        if len(posterior) < 2:
            raise ModelError(
                "a committee of one never disagrees, so there is nothing to attack; give a run "
                "folder with several members (tunesmith tune --strategy committee)."
            )
        self.posterior, self.objective, self.skin = posterior, objective, skin
        self.rebuilt = 0
        self._lists: dict[int, _List] = {}

    def evaluate(self, frames: Mapping[int, Atoms]) -> dict[int, Point]:
        """The objective at every structure, in as few batches as memory allows.

        The key says which structure it is: the same one moves on under the same number.
        """
        points: dict[int, Point] = {}
        part: dict[int, Atoms] = {}
        size = 0
        for number, atoms in frames.items():
            size += len(atoms) * len(self.posterior)
            if part and size > AT_ONCE:
                points |= self._together(part)
                part, size = {}, len(atoms) * len(self.posterior)
            part[number] = atoms
        return points | (self._together(part) if part else {})

    def _together(self, frames: Mapping[int, Atoms]) -> dict[int, Point]:
        """The objective at every structure, in one batch."""
        potential, stress = self.posterior.potential, self.objective.needs_stress
        graphs = [self._graph(number, atoms) for number, atoms in frames.items()]
        still = potential.batch(graphs)
        with torch.enable_grad():
            x = still.positions.requires_grad_()
            strain = torch.zeros_like(still.cell).requires_grad_()
            moved = replace(
                still,
                positions=x + (x[:, None] @ strain[still.index])[:, 0],
                cell=still.cell + still.cell @ strain,
            )
            out = self.posterior.evaluate(moved, stress=stress, create_graph=True)
        zero = np.array([self.posterior.e0s.total(g.numbers) for g in graphs])
        parts = (out.energy, out.forces, out.stress)
        values = [None if part is None else _array(part) for part in parts]
        ends = np.cumsum([len(g) for g in graphs])
        judged = [
            self._judge(values, zero, b, slice(end - len(g), end))
            for b, (g, end) in enumerate(zip(graphs, ends, strict=True))
        ]
        by_x, by_strain = _pulled_back(parts, judged, (x, strain))
        return {
            number: Point(j.value, j.std, by_x[end - len(g) : end], by_strain[b])
            for b, (number, j, g, end) in enumerate(zip(frames, judged, graphs, ends, strict=True))
        }

    def _judge(
        self,
        values: list[np.ndarray | None],
        zero: np.ndarray,
        b: int,
        atoms: slice,
    ) -> Judged:
        """The objective of the batch's b-th structure."""
        energy, forces, stress = values
        assert energy is not None
        assert forces is not None
        members = Quantities(
            energy[:, b] + zero[b], forces[:, atoms], None if stress is None else stress[:, b]
        )
        return self.objective.judge(members)

    def _graph(self, number: int, atoms: Atoms) -> Graph:
        """A structure's graph, by the list it has where that still serves."""
        known = self._lists.get(number)
        if known is None or not _serves(known, atoms, self.posterior.potential.cutoff):
            graph = self.posterior.potential.graph(atoms, self.skin)
            known = _List(graph, atoms.positions.copy(), atoms.cell.array.copy())
            self._lists[number] = known
            self.rebuilt += 1
        # molecules have a cell of the backend's own making
        cell = torch.from_numpy(atoms.cell.array.copy()) if atoms.pbc.all() else known.graph.cell
        return replace(known.graph, positions=torch.from_numpy(atoms.positions.copy()), cell=cell)


class PerStructure:
    """The objective where every structure is attacked by members of its own.

    adversaries: by the structures' numbers; those that share one are evaluated together.
    """

    def __init__(self, adversaries: Sequence[Adversary]) -> None:
        self.adversaries = adversaries

    @property
    def members(self) -> list[int]:
        """How many attack each structure."""
        return [len(adversary.posterior) for adversary in self.adversaries]

    def evaluate(self, frames: Mapping[int, Atoms]) -> dict[int, Point]:
        """As `Adversary.evaluate`."""
        shares: dict[int, dict[int, Atoms]] = {}
        for number, atoms in frames.items():
            shares.setdefault(id(self.adversaries[number]), {})[number] = atoms
        points: dict[int, Point] = {}
        for share in shares.values():
            points |= self.adversaries[next(iter(share))].evaluate(share)
        return points


def by_structure(
    posterior: Ensemble,
    objective: Objective,
    target: float,
    foretold: np.ndarray,
    drawn: Sequence[Sequence[int]],
) -> PerStructure:
    """Some members for every structure that is to become less certain, all for one that is not.

    target: eV/Å; foretold: as by `foretold`; drawn: of every structure the members that attack it.
    A few members can be brought to agree where the others, and the truth, are elsewhere: attacked
    for less than plain structures err by, by three of twenty, the error ended at twice the target
    (docs/chosen-error.md).
    """
    known: dict[tuple[int, ...], Adversary] = {}
    found = []
    for expected, some in zip(foretold, drawn, strict=True):
        members = tuple(range(len(posterior)) if expected > target else some)
        if members not in known:
            known[members] = Adversary(posterior.few(members), objective)
        found.append(known[members])
    return PerStructure(found)


def foretold(posterior: Ensemble, frames: Sequence[Atoms], law: Calibration | None) -> np.ndarray:
    """Of every structure the force error that all members' spread foretells, (B,) eV/Å, rms over
    atoms. law: of that spread; None: taken as it is."""
    found = []
    for atoms in frames:
        variance = posterior.predict([atoms]).var_model
        assert variance is not None
        raw = np.sqrt(variance.forces)
        std = raw if law is None else law.std(raw)
        found.append(np.sqrt(np.mean((std**2).sum(1))))
    return np.array(found)


def real_error(posterior: Ensemble, atoms: Atoms, label: Label) -> float:
    """RMS over members m and atoms i of |F_mi − F_ref,i|, eV/Å: what a target foretold."""
    members = posterior.predict([atoms]).members
    assert members is not None
    off = np.array([m.forces for m in members]) - label.forces
    return float(np.sqrt(np.mean((off**2).sum(-1))))


def _serves(known: _List, atoms: Atoms, cutoff: float) -> bool:
    """Whether a list holds all pairs within the cutoff.

    With the cell strained by D and atoms displaced by up to u beside that, a pair r apart was at
    most |D⁻¹| (r + 2u) apart when the list was made.
    """
    if known.positions.shape != atoms.positions.shape:
        return False
    if atoms.pbc.all():
        deformation = np.linalg.solve(known.cell, atoms.cell.array)
        stretch = float(np.linalg.norm(np.linalg.inv(deformation), 2))
    elif np.array_equal(known.cell, atoms.cell.array):
        deformation, stretch = np.eye(3), 1.0
    else:
        return False
    moved = np.linalg.norm(atoms.positions - known.positions @ deformation, axis=1).max()
    return bool(stretch * (cutoff + 2 * moved) <= known.graph.reach)


def _pulled_back(
    outputs: tuple[Tensor | None, ...], judged: list[Judged], inputs: tuple[Tensor, Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes of the objectives by what the members say, as slopes by positions and strain."""
    columns = (
        np.stack([j.slopes.energy for j in judged], axis=1),
        np.concatenate([j.slopes.forces for j in judged], axis=1),
        _stacked([j.slopes.stress for j in judged]),
    )
    used = [
        (output, torch.from_numpy(column).to(output))
        for output, column in zip(outputs, columns, strict=True)
        if output is not None and column is not None and output.requires_grad
    ]
    heads, slopes = [u[0] for u in used], [u[1] for u in used]
    found = torch.autograd.grad(heads, inputs, slopes, materialize_grads=True)
    return _array(found[0]), _array(found[1])


def _stacked(parts: list[np.ndarray | None]) -> np.ndarray | None:
    given = [p for p in parts if p is not None]
    return np.stack(given, axis=1) if given else None


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
