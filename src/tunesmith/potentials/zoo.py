"""Models known by name, and how any model argument becomes a potential."""

from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.errors import ModelError
from tunesmith.potentials.chgnet import chgnet_zoo
from tunesmith.potentials.entries import Backend, Compute, ZooEntry
from tunesmith.potentials.file_kind import package_of, require_model
from tunesmith.potentials.mace import mace_zoo
from tunesmith.potentials.potential import MAIN_HEAD, Potential
from tunesmith.potentials.sevennet import sevennet_zoo
from tunesmith.registry import nearest

if TYPE_CHECKING:
    import torch

#: in the order of the table
BACKENDS: tuple[Backend, ...] = (mace_zoo, sevennet_zoo, chgnet_zoo)


def known() -> list[ZooEntry]:
    """Every model that can be asked for by name, and whether it can be loaded here."""
    return [entry for backend in BACKENDS for entry in backend.entries()]


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
    compute = Compute(_dtype(dtype), _device(device))
    path = Path(source).expanduser()
    if not path.exists():
        for backend in BACKENDS:
            if backend.answers(source):
                return backend.named(source, head, compute)
    default = None
    if path.is_dir():
        path, default = path / "final.model", MAIN_HEAD
        if not path.is_file():
            raise ModelError(f"{source} holds no final.model; finish it with `tunesmith tune`.")
    if not path.is_file():
        if "/" in source:  # no model's name has one
            raise ModelError(
                f"{source}: there is no such model file or run folder; check the path."
            )
        names = [name for e in known() for name in e.names if name != "FILE"]
        raise ModelError(
            f"there is no model {source!r}, by name or as a file; {nearest(source, names)}"
        )
    require_model(path)
    kind = package_of(path)
    [backend] = [b for b in BACKENDS if kind == b.PACKAGE]
    return backend.from_file(path, head, default, compute)


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


def _dtype(name: str) -> "torch.dtype":
    import torch

    if name not in ("float32", "float64"):
        raise ModelError(f"there is no precision {name!r}; use float32 or float64.")
    return torch.float64 if name == "float64" else torch.float32


def _device(name: str) -> "torch.device":
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise ModelError(f"the device {name!r} is not here; use cpu.") from None
    return device
