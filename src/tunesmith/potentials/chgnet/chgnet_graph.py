"""CHGNet's two graphs from one neighbour list: atoms joined by bonds, bonds joined by angles.

A bond is an undirected edge: an edge of the list and its reverse, of one length, share one vector
of features. An angle is an ordered pair of different directed edges at one atom, both shorter than
the bond graph's cutoff (Deng et al. 2023, https://doi.org/10.1038/s42256-023-00716-3, Methods).
"""

from dataclasses import dataclass, fields

import numpy as np
import torch

from tunesmith.core import Tensor
from tunesmith.potentials.potential import Batch, Graph


@dataclass(frozen=True)
class BondGraph(Graph):
    """A graph with u bonds and a angles; an edge's atom is its receiver.

    bond_of (e,): the bond of every edge. edge_of (u,): one of the two edges of every bond. angles
    (2, a): the edges of every angle; they are listed as far as ``reach`` demands, see
    `bond_graph_of`.
    """

    bond_of: Tensor
    edge_of: Tensor
    angles: Tensor


@dataclass(frozen=True)
class BondBatch(Batch):
    """Several `BondGraph` as one."""

    bond_of: Tensor
    edge_of: Tensor
    angles: Tensor


def bond_graph_of(graph: Graph, reach: float) -> BondGraph:
    """The bonds and angles of a graph. reach: Å, up to which edges take part in angles."""
    edges, shifts = graph.edges.numpy(), graph.unit_shifts.numpy()
    bond_of, edge_of = bonds(edges, shifts, len(graph))
    ends = graph.positions.numpy()[edges]
    vectors = ends[1] + shifts @ graph.cell.numpy() - ends[0]
    short = np.linalg.norm(vectors, axis=1) < reach
    angles = pairs(edges[1], np.flatnonzero(short))
    return BondGraph(
        **{f.name: getattr(graph, f.name) for f in fields(Graph)},
        bond_of=torch.from_numpy(bond_of).long(),
        edge_of=torch.from_numpy(edge_of).long(),
        angles=torch.from_numpy(angles).long(),
    )


def bonds(edges: np.ndarray, shifts: np.ndarray, atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """The bond of every edge (e,), and an edge of every bond (u,).

    An edge and its reverse, with sender and receiver exchanged and the opposite image, are one.
    """
    shifts = np.rint(shifts).astype(np.int64)
    # one integer for an edge: its ends and its image as the digits of a number
    base = 2 * int(np.abs(shifts).max(initial=0)) + 1

    def number(edges: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        found = edges[0] * atoms + edges[1]
        for image in shifts.T:
            found = found * base + image + base // 2
        return found

    both = np.minimum(number(edges, shifts), number(edges[::-1], -shifts))
    _, edge_of, bond_of = np.unique(both, return_index=True, return_inverse=True)
    return bond_of, edge_of


def pairs(centres: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """All ordered pairs (2, a) of different edges, out of the ``chosen``, at one centre.

    centres (e,): ascending, as neighbour lists are sorted by receiver.
    """
    _, first, counts = np.unique(centres[chosen], return_index=True, return_counts=True)
    first, counts = np.repeat(first, counts), np.repeat(counts, counts)
    one = np.repeat(np.arange(len(chosen)), counts)
    start = np.cumsum(counts) - counts
    other = np.arange(len(one)) - np.repeat(start - first, counts)
    different = one != other
    return np.stack([chosen[one[different]], chosen[other[different]]])


def bond_batch_of(batch: Batch, graphs: list[BondGraph]) -> BondBatch:
    """A batch of such graphs, from the plain batch of them."""
    edges = np.cumsum([0] + [len(g.bond_of) for g in graphs]).tolist()[:-1]
    bonds = np.cumsum([0] + [len(g.edge_of) for g in graphs]).tolist()[:-1]
    device = batch.edges.device
    return BondBatch(
        **{f.name: getattr(batch, f.name) for f in fields(Batch)},
        bond_of=torch.cat([g.bond_of + o for g, o in zip(graphs, bonds, strict=True)]).to(device),
        edge_of=torch.cat([g.edge_of + o for g, o in zip(graphs, edges, strict=True)]).to(device),
        angles=torch.cat([g.angles + o for g, o in zip(graphs, edges, strict=True)], 1).to(device),
    )
