"""Models known by name, and how any model argument becomes a potential."""

import json
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from tunesmith import files
from tunesmith.core import Base
from tunesmith.errors import ModelError
from tunesmith.potentials.base import MAIN_HEAD, Potential
from tunesmith.potentials.trust import sha256
from tunesmith.registry import nearest


@dataclass(frozen=True)
class ZooEntry:
    """What is known of a model before it is loaded, in words for a table."""

    name: str
    package: str
    elements: str
    domain: str
    licence: str
    available: bool
    how_to_get: str


def known() -> list[ZooEntry]:
    """Every model that can be asked for by name, and whether it can be loaded here."""
    mace = find_spec("mace") is not None
    return [
        ZooEntry(
            name="organic-xs",
            package="mace",
            elements="H C N O",
            domain="small closed-shell molecules, GFN2-xTB; embedded",
            licence="MIT",
            available=mace,
            how_to_get="" if mace else "pip install 'tunesmith[mace]'",
        ),
        ZooEntry(
            name="FILE.model",
            package="mace",
            elements="the file's",
            domain="any MACE energy model, after `tunesmith trust FILE`",
            licence="the file's",
            available=mace,
            how_to_get="" if mace else "pip install 'tunesmith[mace]'",
        ),
    ]


def load(
    source: str,
    *,
    head: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
) -> Potential:
    """A potential from a name, a model file or a run folder (its final.model).

    Of several heads one is named, but for a run folder, whose "Default" is the tuned one.

    Raises `ModelError` (unknown name, missing or unreadable file, head not named), `TrustError`
    for a pickle nobody vouched for, `MissingDependencyError` without the model's package.
    """
    if source == "organic-xs":
        if head is not None:
            raise ModelError("organic-xs has a single head; leave model.head out.")
        return embedded("organic_xs", source, dtype=dtype, device=device)
    path = Path(source).expanduser()
    default = None
    if path.is_dir():
        path, default = path / "final.model", MAIN_HEAD
        if not path.is_file():
            raise ModelError(f"{source} holds no final.model; finish it with `tunesmith tune`.")
    if not path.is_file():
        names = [e.name for e in known() if "." not in e.name]
        raise ModelError(
            f"there is no model {source!r}, by name or as a file; {nearest(source, names)}"
        )
    from tunesmith.potentials import mace_files
    from tunesmith.potentials.mace import MACEPotential

    module, digest, named = mace_files.load(path, head, default)
    base = Base(str(path.resolve()), digest, "mace", named)
    return MACEPotential(module, base, dtype=_dtype(dtype), device=_device(device))


def embedded(folder: str, name: str, *, dtype: str, device: str) -> Potential:
    """A MACE model shipped inside the package: JSON description and safetensors, no pickle."""
    from tunesmith.potentials import mace_files
    from tunesmith.potentials.mace import MACEPotential

    place = resources.files("tunesmith.potentials") / folder
    with resources.as_file(place) as path:
        description: dict[str, Any] = json.loads((path / "model.json").read_text())
        weights, _ = files.read_tensors(path / "weights.safetensors")
        digest = sha256(path / "weights.safetensors")
    module = mace_files.build(description["network"])
    state = module.state_dict()
    for key, value in weights.items():
        state[key].copy_(value)
    base = Base(name, digest, "mace")
    return MACEPotential(module, base, dtype=_dtype(dtype), device=_device(device))


def shipped_frames(model: str, which: str) -> Path:
    """A file of labelled frames shipped with an embedded model.

    which: "replay" (drawn from its training molecules) or "forgetting" (other molecules of the
    same kind, to measure what fine-tuning forgot). Raises `ModelError` where there is none.
    """
    path = Path(__file__).parent / model.replace("-", "_") / f"{which}.xyz"
    if which not in ("replay", "forgetting") or not path.is_file():
        raise ModelError(
            f"{model} ships no {which!r} frames; organic-xs has replay and forgetting."
        )
    return path


def _dtype(name: str) -> torch.dtype:
    if name not in ("float32", "float64"):
        raise ModelError(f"there is no precision {name!r}; use float32 or float64.")
    return torch.float64 if name == "float64" else torch.float32


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise ModelError(f"the device {name!r} is not here; use cpu.") from None
    return device
