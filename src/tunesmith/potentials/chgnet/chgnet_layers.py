"""CHGNet's layers with less arithmetic: the same function of the same weights, to rounding.

chgnet repeats the features of atoms and bonds for every edge and angle, joins them, and multiplies
by a matrix. Here every feature is multiplied by its columns of that matrix once, and the products
are repeated and added. The two branches of a gate are multiplied together.
"""

import torch
from torch.nn.functional import linear

from tunesmith.core import Tensor
from tunesmith.potentials.chgnet.chgnet_files import NativeModule

#: features (n, c), and the row of every message (m,); None: one row each, in order
Part = tuple[Tensor, Tensor | None]


def gated(mlp: NativeModule, parts: list[Part]) -> Tensor:
    """A `GatedMLP` of joined features (m, sum of c): activation(core) × sigmoid(gate)."""
    # dropout does nothing outside of chgnet's own training
    core, gate = (
        [step for step in branch.layers if not isinstance(step, torch.nn.Dropout)]
        for branch in (mlp.mlp_core, mlp.mlp_gate)
    )
    columns = torch.cat([core[0].weight, gate[0].weight]).split([f.shape[1] for f, _ in parts], 1)
    products = []
    for (features, rows), matrix in zip(parts, columns, strict=True):
        product = linear(features, matrix)
        products.append(product if rows is None else product.index_select(0, rows))
    first = sum(products[1:], products[0])
    if core[0].bias is not None:
        first = first + torch.cat([core[0].bias, gate[0].bias])
    left, right = first.chunk(2, dim=1)
    for one, other in zip(core[1:], gate[1:], strict=True):
        left, right = one(left), other(right)
    if mlp.norm is not None:
        left, right = mlp.bn1(left), mlp.bn2(right)
    return mlp.activation(left) * mlp.sigmoid(right)


def atom_convolution(
    layer: NativeModule, atoms: Tensor, bonds: Tensor, weights: Tensor, edges: Tensor, of: Tensor
) -> Tensor:
    """An `AtomConv`: new atom features (A, c). weights (u, c); edges (2, e) sender and receiver;
    of (e,): the bond of every edge."""
    sender, centre = edges
    messages = gated(layer.twoBody_atom, [(atoms, centre), (bonds, of), (atoms, sender)])
    summed = torch.zeros_like(atoms).index_add(0, centre, messages * weights.index_select(0, of))
    found = layer.mlp_out(summed) + atoms
    return found if layer.atom_norm is None else layer.atom_norm(found)


def bond_convolution(
    layer: NativeModule,
    atoms: Tensor,
    bonds: Tensor,
    weights: Tensor,
    angles: Tensor,
    graph: Tensor,
) -> Tensor:
    """A `BondConv`: new bond features (u, c). angles (a, c); graph (3, a): atom and two bonds."""
    centre, one, other = graph
    messages = gated(
        layer.twoBody_bond, [(bonds, one), (bonds, other), (angles, None), (atoms, centre)]
    )
    summed = torch.zeros_like(bonds).index_add(0, one, messages * weights.index_select(0, other))
    # the first bond's weight is common to all it receives
    found = layer.mlp_out(summed * weights) + bonds
    return found if layer.bond_norm is None else layer.bond_norm(found)


def angle_update(
    layer: NativeModule, atoms: Tensor, bonds: Tensor, angles: Tensor, graph: Tensor
) -> Tensor:
    """An `AngleUpdate`: new angle features (a, c)."""
    centre, one, other = graph
    found = angles + gated(
        layer.twoBody_bond, [(bonds, one), (bonds, other), (angles, None), (atoms, centre)]
    )
    return found if layer.angle_norm is None else layer.angle_norm(found)
