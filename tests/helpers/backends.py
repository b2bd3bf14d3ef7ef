"""One list of backends for all cells: what is asked of one method is asked of every backend."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from tunesmith.core import Frame, Label
from tunesmith.data.formats import write_frames
from tunesmith.potentials import zoo
from tunesmith.potentials.entries import installed
from tunesmith.potentials.potential import Potential

#: of H, C, O, about those of GFN1-xTB, so that the network is left what binds
E0S = {1: -10.5, 6: -48.5, 8: -106.0}


def _mace() -> Potential:
    import networks

    return networks.potential(networks.build(hidden_irreps="4x0e+4x1o", max_ell=1))


def _sevennet() -> Potential:
    import sevennets

    return sevennets.potential(sevennets.checkpoint())


def _chgnet() -> Potential:
    from tunesmith.core import Base
    from tunesmith.potentials.chgnet import chgnet_files
    from tunesmith.potentials.chgnet.chgnet_potential import CHGNetPotential

    torch.manual_seed(7)
    sizes = dict.fromkeys(("atom_fea_dim", "bond_fea_dim", "angle_fea_dim"), 8)
    sizes |= {"atom_conv_hidden_dim": 8, "bond_conv_hidden_dim": 8, "n_conv": 2}
    sizes |= {"num_radial": 5, "num_angular": 5, "atom_graph_cutoff": 4}
    args = {**sizes, "mlp_hidden_dims": (8, 8)}
    module = chgnet_files.build(args)
    found = chgnet_files.Checkpoint(args, module, torch.zeros(94))
    return CHGNetPotential(found, Base("a test", "0" * 64, "chgnet"), dtype=torch.float64)


@dataclass(frozen=True)
class Backend:
    """A backend's model. package: of Python. small: makes a random network; None: a public one."""

    package: str
    small: Callable[[], Potential] | None = None


BACKENDS = {
    "mace": Backend("mace", _mace),
    "sevennet": Backend("sevenn", _sevennet),
    "chgnet": Backend("chgnet", _chgnet),
    "7net-0": Backend("sevenn"),
    "chgnet:0.3.0": Backend("chgnet"),
}
SMALL = tuple(name for name, backend in BACKENDS.items() if backend.small)


def cells(*axes: Collection[str], slow: Callable[..., bool] = lambda *_: False) -> Any:
    """Parametrises a test over backends and what else there is, as ``backend`` and ``method``.

    Only over backends whose package is here: the environments together have them all.

    axes: names of backends, and of methods. slow: which cells are marked so.
    """
    names = [name for name in axes[0] if installed(BACKENDS[name].package)]
    methods = axes[1] if len(axes) > 1 else None
    rows = [(n,) if methods is None else (n, m) for n in names for m in methods or ("",)]
    found = []
    for row in rows:
        marks = [pytest.mark.slow] if slow(*row) else []
        found.append(pytest.param(*row, marks=marks, id="-".join(row)))
    return pytest.mark.parametrize("backend" if methods is None else ("backend", "method"), found)


@cache
def _made(name: str) -> Potential:
    small = BACKENDS[name].small
    assert small is not None
    return small()


def model(name: str, folder: Path, e0s: dict[int, float] = E0S) -> str:
    """What a user gives as ``--model``: an exported file of a random network, or a known name."""
    if BACKENDS[name].small is None:
        return name
    made = _made(name)
    path = folder / f"{name}.model"
    made.export(path, made.weights(), {z: e0s.get(z, 0.0) for z in made.elements})
    return str(path)


def load(name: str, folder: Path, dtype: str = "float64") -> Potential:
    """The same, loaded."""
    return zoo.load(model(name, folder), dtype=dtype)


# ------------------------------------------------------------------------------- structures


def structures(n: int, seed: int = 0) -> list[Atoms]:
    """Shaken water, methanol and methane."""
    rng, found = np.random.default_rng(seed), []
    for i in range(n):
        atoms = molecule(("H2O", "CH3OH", "CH4")[i % 3])
        atoms.rattle(0.05, rng=rng)
        found.append(atoms)
    return found


def frames(n: int, seed: int = 0, offsets: dict[int, float] | None = None) -> list[Frame]:
    """Shaken molecules labelled by GFN1-xTB; offsets: eV, added for every atom."""
    tblite = pytest.importorskip("tblite.ase", reason="labels need tblite")
    found = []
    for i, atoms in enumerate(structures(n, seed)):
        atoms.calc = tblite.TBLite(method="GFN1-xTB", verbosity=0)
        more = sum((offsets or {}).get(int(z), 0.0) for z in atoms.numbers)
        label = Label(atoms.get_potential_energy() + more, atoms.get_forces())
        found.append(Frame(atoms.copy(), label, f"made#{i}"))
    return found


def labelled(folder: Path, n: int = 8) -> dict[str, str]:
    """Files of training and validation structures, as settings take them."""
    write_frames(folder / "train.xyz", frames(n))
    write_frames(folder / "valid.xyz", frames(4, seed=1))
    return {f"data.{part}": str(folder / f"{part}.xyz") for part in ("train", "valid")}
