"""An objective of a committee's forces, and its exact gradient in positions and cell.

The forces of every member are differentiated once more. With v_m = ∂L/∂F_m the gradient is

    ∂L/∂x = Σ_m v_m · ∂F_m/∂x,

one backward pass through the graph of each member's forces, whatever the number of atoms. All
members share one neighbour list. It reaches a skin beyond the cutoff and is kept until a pair that
it lacks may have come within the cutoff; edges beyond count for nothing, so that the objective does
not change when a list is made anew.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms

from tunesmith.contracts import Law, Posterior
from tunesmith.core import Judged, Label, Objective, Point, Quantities, Tensor
from tunesmith.errors import ModelError
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.potentials.potential import Graph

#: Å; every edge within it costs as much as another, and a list only a hundredth of an evaluation
SKIN = 0.2
#: atoms × members differentiated in one pass: each takes 2.5 MB in float64 by a small MACE; beyond,
#: structures are taken in turn
AT_ONCE = 600
#: of an objective with its gradient, in units of the members' forces (python -m bench attack)
COST = 3.5


_ALONE = (
    "a committee of one never disagrees, so there is nothing to attack; give a run folder with "
    "several members (tunesmith tune --strategy committee)."
)


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
            raise ModelError(_ALONE)
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

    drawn: by the structures' numbers, which members. at_once: how many structures are under way at
    the same time; the members of so many are kept together, and no more.
    """

    def __init__(
        self,
        posterior: Ensemble,
        objective: Objective,
        drawn: Sequence[Sequence[int]],
        at_once: int,
    ) -> None:
        self.posterior, self.objective = posterior, objective
        self.drawn = [tuple(members) for members in drawn]
        self._most = max(1, at_once)
        self._known: OrderedDict[tuple[int, ...], Adversary] = OrderedDict()

    @property
    def members(self) -> list[int]:
        """How many attack each structure."""
        return [len(members) for members in self.drawn]

    def evaluate(self, frames: Mapping[int, Atoms]) -> dict[int, Point]:
        """As `Adversary.evaluate`; those that the same members attack are evaluated together."""
        shares: dict[tuple[int, ...], dict[int, Atoms]] = {}
        for number, atoms in frames.items():
            shares.setdefault(self.drawn[number], {})[number] = atoms
        points: dict[int, Point] = {}
        for members, share in shares.items():
            points |= self._adversary(members).evaluate(share)
        return points

    def _adversary(self, members: tuple[int, ...]) -> Adversary:
        found = self._known.pop(members, None)
        if found is None:
            every = len(members) == len(self.posterior)
            found = Adversary(
                self.posterior if every else self.posterior.few(members), self.objective
            )
        self._known[members] = found
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return found


def attackers(
    forces: Sequence[np.ndarray],
    law: Law | None,
    target: float,
    drawn: Sequence[Sequence[int]],
) -> list[tuple[int, ...]]:
    """Who attacks every structure: some members where its error is to grow, all where it is not.

    forces: as of `member_forces`; target: eV/Å; drawn: of every structure the members that attack
    it, if nothing speaks against it: what all expect, or what these few do, being over the target.
    A few members can be brought to agree where the others, and the truth, are elsewhere: attacked
    for half of what plain structures err by, the error ended at 1.7 times the target by three of
    twenty and at 1.1 by all (docs/measurements/chosen-error.md).
    """
    found = []
    for said, some in zip(forces, drawn, strict=True):
        most = max(expected_error(said, law), expected_error(said[list(some)], law))
        found.append(tuple(range(len(said))) if most > target else tuple(some))
    return found


def member_forces(posterior: Ensemble, frames: Sequence[Atoms]) -> list[np.ndarray]:
    """Of every structure the forces of all members (M, n, 3), eV/Å. Raises `ModelError` for a
    single member."""
    found = []
    for atoms in frames:
        members = posterior.predict([atoms]).members
        if members is None:
            raise ModelError(_ALONE)
        found.append(np.array([m.forces for m in members]))
    return found


def expected_error(forces: np.ndarray, law: Law | None) -> float:
    """The force error that what members differ by foretells, eV/Å, rms over atoms.

    forces: (M, n, 3). law: of that spread; None: taken as it is.
    """
    raw = forces.std(axis=0, ddof=1)
    std = raw if law is None else law.std(raw)
    return float(np.sqrt(np.mean((std**2).sum(1))))


def real_error(posterior: Posterior, atoms: Atoms, label: Label) -> float:
    """RMS over members m and atoms i of |F_mi − F_ref,i|, eV/Å: what a target foretold."""
    members = posterior.members.predict([atoms]).members
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
