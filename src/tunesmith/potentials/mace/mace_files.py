"""Reading and writing MACE's own files, and an embedded one's network.

Three habits of mace-torch 0.3.16 are contained here. Importing mace switches torch's safe loading
off for the whole process (an environment variable): it is put back after the import. Its model
files are pickles: `load` refuses those nobody vouched for. And it fills the terminal with remarks
on TorchScript and on packages it can do without: `quiet` drops those, and only those.
"""

import contextlib
import copy
import functools
import importlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from ase import Atoms

from tunesmith.core import Weights
from tunesmith.errors import MissingDependencyError, ModelError
from tunesmith.potentials import late, saving
from tunesmith.potentials.file_kind import unreadable
from tunesmith.potentials.graphs import neighbours
from tunesmith.potentials.trust import trust, trusted

#: a torch.nn.Module of mace or e3nn, whose attributes torch's types do not know
NativeModule = Any

#: MACE pins another e3nn than SevenNet
INSTALL = "`make env`, or `pip install 'tunesmith[mace]'` in an environment without sevenn"
_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
#: beginnings of warnings, and of a printed line, that tell a user of tunesmith nothing
_REMARKS = (
    "The TorchScript type system doesn't support instance-level annotations",
    r"`torch\.jit\.",
    f"Environment variable {_UNSAFE} detected",
    "To copy construct from a tensor, it is recommended",
)
#: what takes two seconds to import and no model needs → what mace.modules takes from it, and where
_POSTPONED = {
    "mace.tools": {"to_numpy": "torch_tools", "TensorDict": "torch_tools"},
    "e3nn.io": {"CartesianTensor": "_cartesian_tensor"},
    "torch._dynamo": {},
}
_PRINTED = "cuequivariance or cuequivariance_torch is not available"


@contextmanager
def unsafe_loading() -> Iterator[None]:
    """torch.load as mace expects it (no weights_only), for the length of the block."""
    before = os.environ.get(_UNSAFE)
    os.environ[_UNSAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_UNSAFE, None)
        else:
            os.environ[_UNSAFE] = before


@contextmanager
def quiet() -> Iterator[None]:
    """Drop mace's and TorchScript's remarks for the length of the block; let all else through."""
    printed = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
            for remark in _REMARKS:
                warnings.filterwarnings("ignore", message=remark)
            yield
    finally:
        lines = printed.getvalue().splitlines(keepends=True)
        sys.stdout.writelines(line for line in lines if not line.startswith(_PRINTED))


def module(name: str) -> ModuleType:
    """Import a module of mace (or e3nn, which must come after mace) without its side effects."""
    with unsafe_loading(), quiet():
        try:
            importlib.import_module("mace")
            for package, homes in _POSTPONED.items():
                late.postpone(package, homes)
            return importlib.import_module(name)
        except ImportError as error:
            raise MissingDependencyError(
                f"MACE models need mace-torch ({error}); use {INSTALL}, or name another model of "
                "`tunesmith models`."
            ) from None


def build(config: dict[str, Any]) -> NativeModule:
    """A ScaleShiftMACE from a JSON-able description, weights drawn from torch's generator.

    Keys: r_max (Å), num_bessel, num_polynomial_cutoff, max_ell, hidden_irreps, MLP_irreps,
    correlation, num_interactions, radial_MLP, elements, e0s (eV), avg_num_neighbors,
    scale, shift (eV). float64.
    """
    modules, o3 = module("mace.modules"), module("e3nn.o3")
    blocks = modules.interaction_classes
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with quiet():
            return modules.ScaleShiftMACE(
                r_max=config["r_max"],
                num_bessel=config["num_bessel"],
                num_polynomial_cutoff=config["num_polynomial_cutoff"],
                max_ell=config["max_ell"],
                interaction_cls=blocks["RealAgnosticResidualInteractionBlock"],
                interaction_cls_first=blocks["RealAgnosticInteractionBlock"],
                num_interactions=config["num_interactions"],
                num_elements=len(config["elements"]),
                hidden_irreps=o3.Irreps(config["hidden_irreps"]),
                MLP_irreps=o3.Irreps(config["MLP_irreps"]),
                atomic_energies=np.array(config["e0s"], float),
                avg_num_neighbors=config["avg_num_neighbors"],
                atomic_numbers=list(config["elements"]),
                correlation=config["correlation"],
                gate=torch.nn.functional.silu,
                radial_MLP=list(config["radial_MLP"]),
                atomic_inter_scale=config["scale"],
                atomic_inter_shift=config["shift"],
            )
    finally:
        torch.set_default_dtype(default)


def load(
    path: Path, head: str | None, default: str | None = None
) -> tuple[NativeModule, str, str | None]:
    """A trusted ``.model`` file as a single-head module, its sha256, and the head's name or None.

    default: which of several heads is meant when ``head`` names none; None: one must be named.
    Raises `TrustError` for an untrusted file, `ModelError` for one that is no MACE model or whose
    head is not named although there are several.
    """
    module("mace.modules")
    try:
        with trusted(path) as (copied, digest), unsafe_loading(), quiet():
            model = torch.load(copied, map_location="cpu", weights_only=False)
    except ModelError:
        raise
    except Exception as error:  # a pickle can fail in any way
        why = unreadable(error)
        raise ModelError(
            f"{path} is not a readable MACE model ({why}); give a file saved by "
            "mace-torch or tunesmith."
        ) from None
    # by name: relatives (dipoles, long-range charges, …) share the attributes, not the physics
    if type(model).__name__ not in ("MACE", "ScaleShiftMACE"):
        raise ModelError(
            f"{path} holds a {type(model).__name__}; give a MACE or ScaleShiftMACE energy model."
        )
    if hasattr(model, "joint_embedding"):
        raise ModelError(
            f"{path} takes extra inputs ({', '.join(model.embedding_specs)}), which tunesmith "
            "does not support; use a MACE model without them."
        )
    heads = list(getattr(model, "heads", None) or ["Default"])
    if len(heads) == 1:
        if head not in (None, heads[0]):
            raise ModelError(f"{path} has one head, {heads[0]!r}; leave head out.")
        return model, digest, None
    head = default if head is None and default in heads else head
    if head is None or head not in heads:
        problem = "has several heads" if head is None else f"has no head {head!r}"
        raise ModelError(f"{path} {problem}; set model.head to one of {', '.join(heads)}.")
    return single_head(model, head, path), digest, head


def single_head(model: NativeModule, head: str, path: Path | str) -> NativeModule:
    """One head of a multi-head model as a model of its own, checked to give the same energy."""
    tools = module("mace.tools.scripts_utils")
    default = torch.get_default_dtype()
    torch.set_default_dtype(next(model.parameters()).dtype)
    try:
        with quiet():
            single = tools.remove_pt_head(model, head)
        batch = probe(model)
        index = torch.tensor([model.heads.index(head)])
        whole = model({**batch, "head": index}, compute_force=False)["energy"]
        part = single(dict(batch), compute_force=False)["energy"]
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        # mace knows how to do it for its common architectures only
        reason = " ".join(str(error).split())[:80]
        raise ModelError(
            f"the head {head!r} of {path} could not be taken out ({reason}); give a single-head "
            "model."
        ) from None
    finally:
        torch.set_default_dtype(default)
    if not torch.allclose(whole, part, rtol=1e-5, atol=1e-4):
        raise ModelError(
            f"the head {head!r} of {path} could not be taken out unchanged (energies differ by "
            f"{float((whole - part).abs().max()):.2g} eV); export it with mace_select_head."
        )
    return single


def probe(model: NativeModule) -> dict[str, torch.Tensor]:
    """Two atoms of each of the first four elements on a line, as a batch of one structure."""
    dtype = next(model.parameters()).dtype
    species = [int(z) for z in model.atomic_numbers[:4]] * 2
    n = len(species)
    atoms = Atoms(species, positions=[[1.3 * i, 0.3 * (i % 2), 0.1 * i] for i in range(n)])
    edges, unit_shifts, cell = neighbours(atoms, float(model.r_max))
    kinds = torch.tensor([list(model.atomic_numbers).index(z) for z in species])
    return {
        "positions": torch.from_numpy(atoms.positions).to(dtype),
        "node_attrs": torch.nn.functional.one_hot(kinds, len(model.atomic_numbers)).to(dtype),
        "edge_index": torch.from_numpy(edges).long(),
        "shifts": torch.zeros(len(unit_shifts), 3, dtype=dtype),
        "unit_shifts": torch.from_numpy(unit_shifts).to(dtype),
        "cell": torch.from_numpy(cell).to(dtype),
        "batch": torch.zeros(n, dtype=torch.long),
        "ptr": torch.tensor([0, n]),
    }


def write(source: NativeModule, path: Path, weights: Weights, e0s: list[float]) -> None:
    """Save a copy of ``source`` with other weights and E0s as a float64 ``.model`` file."""
    save(filled(source, weights, e0s), path)


def filled(source: NativeModule, weights: Weights, e0s: list[float]) -> NativeModule:
    """A float64 copy of ``source`` with other weights and E0s (eV, in its order of elements)."""
    with quiet():
        model = copy.deepcopy(source).to(device="cpu", dtype=torch.float64)
    state = model.state_dict()
    for name, value in weights.items():
        state[name].copy_(value.detach().cpu().double())
    state["atomic_energies_fn.atomic_energies"].copy_(
        torch.tensor(e0s, dtype=torch.float64).reshape(
            model.atomic_energies_fn.atomic_energies.shape
        )
    )
    return model


def save(model: NativeModule, path: Path) -> None:
    """A whole file, remembered as trusted, since it is ours."""
    with quiet():
        saving.save(model, path)
    trust(path)


@functools.cache
def _calculators() -> ModuleType:
    """mace.calculators for our own use.

    It is taken off the list of imported modules again: a user's own import of it must run as if we
    had not been there, since it switches on what its calculators need to load a file.
    """
    before = set(sys.modules)
    found = module("mace.calculators")
    for name in set(sys.modules) - before:
        if name.startswith("mace.calculators"):
            del sys.modules[name]
    return found


def foundations() -> ModuleType:
    """mace-torch's table of models and its download."""
    _calculators()
    return module("mace.calculators.foundations_models")


def calculator(path: Path, device: str = "cpu") -> Any:
    """mace's own ASE calculator for a file tunesmith wrote (float64)."""
    native = _calculators()
    with trusted(path) as (copied, _), unsafe_loading(), quiet():
        return native.MACECalculator(
            model_paths=str(copied), device=device, default_dtype="float64"
        )
