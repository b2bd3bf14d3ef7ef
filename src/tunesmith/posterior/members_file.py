"""Members on disk: one safetensors file, the base named by source and hash."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from tunesmith import settings, tensor_files
from tunesmith.contracts import ClosedForm
from tunesmith.core import Base, E0s, Members, NoiseScale, Settings, Tensor
from tunesmith.errors import CheckpointError, ConfigError, RunFolderError
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Potential

FILE = Path("members") / "members.safetensors"
#: what noise heads read: of the scalars of every interaction, as they are (1: as SevenNet's and
#: CHGNet's readouts saw them)
FEATURES = 2
#: tensors that are weights, of the potential's precision; those of a closed form have their own
_WEIGHTS = ("moved", "replay", "noise")


def save(members: Members, run: Path) -> None:
    """Write members to a run folder. Raises `RunFolderError` where that is not possible."""
    write(run / FILE, members)


def load(
    run: Path, cure: str | None = None, *, dtype: str = "float32", device: str = "cpu"
) -> tuple[Potential, Members]:
    """The base potential and members of a run folder.

    cure: what helps where the members are damaged; None: what helps where the folder is a finished
    run's. Raises `RunFolderError` for a folder without members or whose base has changed or gone.
    """
    if not (run / FILE).is_file():
        raise RunFolderError(
            f"{run} holds no finished fit; finish it with `tunesmith tune` or `run`."
        )
    again = "the command that made it, run again, writes it anew"
    cure = cure or (again if (run / "checkpoint").is_dir() else "restore a copy of it")
    tensors, info = tensor_files.read(run / FILE, cure)
    base: Base = _understood(run / FILE, cure, tensors, info)["base"]
    potential = zoo.load(base.source, head=base.head, dtype=dtype, device=device)
    if potential.base.sha256 != base.sha256:
        raise RunFolderError(
            f"{base.source} has changed since {run} was tuned from it; restore the old file "
            "or use the run's final.model."
        )
    members = _members(run / FILE, cure, tensors, info, potential, potential.dtype)
    if members.noise and info.get("features") != FEATURES and base.package != "mace":
        raise RunFolderError(
            f"{run} has noise heads on the features of an older version of tunesmith; tune again."
        )
    return potential, members


def write(path: Path, members: Members) -> None:
    """Write members to a file. Raises `RunFolderError` where that is not possible."""
    closed: ClosedForm | None = members.closed
    parts = {name: getattr(members, name) for name in _WEIGHTS}
    parts["closed"] = {} if closed is None else closed.tensors()
    tensors = {f"{part}/{k}": v for part, own in parts.items() for k, v in own.items()}
    scale = members.noise_scale
    info = {
        "base": asdict(members.base),
        "subspace": settings.plain(members.subspace),
        "noise_scale": None if scale is None else asdict(scale),
        "features": FEATURES,
        "calibration": {k: settings.plain(c) for k, c in members.calibration.items()},
        "e0s": {**asdict(members.e0s), "values": list(members.e0s.values.items())},
        "spread": None if closed is None else settings.plain(closed.rule),
        # a file sorts its tensors, and a sampler goes through them in their order
        "names": list(tensors),
    }
    tensor_files.write(path, tensors, info)


def read(path: Path, potential: Potential, cure: str) -> Members:
    """Members of this potential that `write` wrote, in the precision they were written in.

    The file of the potential may have another name by now. Raises `CheckpointError` for a damaged
    file.
    """
    members = _members(path, cure, *tensor_files.read(path, cure), potential)
    return replace(members, base=potential.base)


def _members(
    path: Path,
    cure: str,
    tensors: dict[str, Tensor],
    info: dict[str, Any],
    potential: Potential,
    dtype: torch.dtype | None = None,
) -> Members:
    """dtype: of weights; None: as they are."""
    known = _understood(path, cure, tensors, info)
    weights: dict[str, dict[str, Tensor]] = {part: {} for part in _WEIGHTS}
    for name in info.get("names", tensors):
        part, _, key = name.partition("/")
        if part in weights:
            weights[part][key] = tensors[name].to(device=potential.device, dtype=dtype)
    parts: dict[str, Any] = known | weights
    return Members(weights=potential.weights(), **parts)


def _understood(
    path: Path, cure: str, tensors: dict[str, Tensor], info: dict[str, Any]
) -> dict[str, Any]:
    """The fields of members that need no potential."""
    try:
        scale, rule = info["noise_scale"], info.get("spread")
        spread: Any = None
        if rule is not None:
            spread = settings.build(Settings, rule, "tune.spread")
        closed = {k.removeprefix("closed/"): t for k, t in tensors.items() if k[:7] == "closed/"}
        return {
            "base": Base(**info["base"]),
            "subspace": settings.build(Settings, info["subspace"], "tune.subspace"),
            "noise_scale": None if scale is None else NoiseScale(**scale),
            "calibration": {
                quantity: settings.build(Settings, values, "calibrate")
                for quantity, values in info["calibration"].items()
            },
            "e0s": _e0s(info["e0s"]),
            "closed": None if spread is None else spread.opened(closed),
        }
    except ConfigError as error:
        raise CheckpointError(
            f"{path} rests on a part that is not here: {error} Install its package again."
        ) from None
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be understood ({error}), so it is of another version of tunesmith; "
            f"{cure}."
        ) from None


def _e0s(info: dict[str, Any]) -> E0s:
    """E0s from what JSON holds of them: ``asdict``, values as pairs."""
    rows = info["compositions"]
    return E0s(
        values={int(z): float(e) for z, e in info["values"]},
        method=info["method"],
        reason=info["reason"],
        elements=tuple(info["elements"]),
        compositions=None if rows is None else tuple(tuple(row) for row in rows),
    )
