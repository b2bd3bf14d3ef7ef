"""Members on disk: one safetensors file, the base named by source and hash."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith import settings, tensor_files
from tunesmith.core import Base, E0s, Members, NoiseScale, Settings
from tunesmith.errors import CheckpointError, ConfigError, RunFolderError
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Potential

FILE = Path("members") / "members.safetensors"
#: what noise heads read: of the scalars of every interaction, as they are (1: as SevenNet's and
#: CHGNet's readouts saw them)
FEATURES = 2


def save(members: Members, run: Path) -> None:
    """Write members to a run folder. Raises `RunFolderError` where that is not possible."""
    tensors = {f"moved/{k}": v for k, v in members.moved.items()}
    tensors |= {f"replay/{k}": v for k, v in members.replay.items()}
    tensors |= {f"noise/{k}": v for k, v in members.noise.items()}
    info = {
        "base": asdict(members.base),
        "subspace": settings.plain(members.subspace),
        "noise_scale": None if members.noise_scale is None else asdict(members.noise_scale),
        "features": FEATURES,
        "calibration": {k: settings.plain(c) for k, c in members.calibration.items()},
        "e0s": {**asdict(members.e0s), "values": list(members.e0s.values.items())},
    }
    tensor_files.write(run / FILE, tensors, info)


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
    try:
        base = Base(**info["base"])
        e0s = e0s_of(info["e0s"])
        subspace: Any = settings.build(Settings, info["subspace"], "tune.subspace")
        scale = info.get("noise_scale")
        noise_scale = None if scale is None else NoiseScale(**scale)
        calibration = {
            quantity: settings.build(Settings, values, "calibrate")
            for quantity, values in info.get("calibration", {}).items()
        }
    except (KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{run / FILE} cannot be understood ({error}); {cure}.") from None
    potential = zoo.load(base.source, head=base.head, dtype=dtype, device=device)
    if potential.base.sha256 != base.sha256:
        raise RunFolderError(
            f"{base.source} has changed since {run} was tuned from it; restore the old file "
            "or use the run's final.model."
        )
    parts: dict[str, dict[str, Any]] = {"moved": {}, "replay": {}, "noise": {}}
    for name, tensor in tensors.items():
        part, _, key = name.partition("/")
        parts[part][key] = tensor.to(device=potential.device, dtype=potential.dtype)
    if parts["noise"] and info.get("features") != FEATURES and base.package != "mace":
        raise RunFolderError(
            f"{run} has noise heads on the features of an older version of tunesmith; tune again."
        )
    weights = potential.weights()
    return potential, Members(
        base,
        weights,
        subspace,
        parts["moved"],
        e0s,
        parts["replay"],
        parts["noise"],
        noise_scale,
        calibration,
    )


def e0s_of(info: dict[str, Any]) -> E0s:
    """E0s from what JSON holds of them: ``asdict``, values as pairs."""
    rows = info["compositions"]
    return E0s(
        values={int(z): float(e) for z, e in info["values"]},
        method=info["method"],
        reason=info["reason"],
        elements=tuple(info["elements"]),
        compositions=None if rows is None else tuple(tuple(row) for row in rows),
    )
