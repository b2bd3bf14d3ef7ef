"""The checkpoint of a run: small, and enough to go on to the bit.

``checkpoint/state.safetensors`` holds the `Standing` without members; those stand beside it in
``members-N.safetensors``, N the number of updates, written only when they have changed. The small
file names the large one and is replaced atomically, after it: a kill leaves one good pair.
"""

import contextlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunesmith import tensor_files
from tunesmith.core import BY_MEMBERS, Members, Settings
from tunesmith.errors import CheckpointError
from tunesmith.loop.onthefly.onthefly_standing import PLAIN, AttackRecord, Record, Standing
from tunesmith.posterior import members_file
from tunesmith.settings import build, plain

FOLDER = "checkpoint"
STATE = "state.safetensors"


def save(run: Path, at: Standing, explorer: Any, seconds: dict[str, float]) -> None:
    """Write where a run stands. explorer: packs its own states. seconds: wall time by part."""
    folder = run / FOLDER
    heavy = folder / f"members-{at.updates}.safetensors"
    if not heavy.exists() or not (folder / STATE).exists():  # one of a run that begins anew
        moved = {f"moved/{k}": v for k, v in at.members.moved.items()}
        replay = {f"replay/{k}": v for k, v in at.members.replay.items()}
        noise = {f"noise/{k}": v for k, v in at.members.noise.items()}
        tensor_files.write(heavy, moved | replay | noise, {"updates": at.updates})
    tensors: dict[str, torch.Tensor] = {}
    infos = []
    for i, state in enumerate((at.explorer, *at.good)):
        arrays, info = explorer.pack(state)
        # ascontiguousarray would turn numbers into vectors
        tensors |= {f"{i}/{k}": torch.from_numpy(np.array(v)) for k, v in arrays.items()}
        infos.append(info)
    info = {
        **{name: getattr(at, name) for name in PLAIN},
        "e0s": {**asdict(at.members.e0s), "values": list(at.members.e0s.values.items())},
        "explorer": infos,
        "calibration": plain(at.calibration),
        "records": [asdict(record) for record in at.records],
        "attacks": [asdict(record) for record in at.attacks],
        "seconds": seconds,
    }
    tensor_files.write(folder / STATE, tensors, info)
    _clean(folder, heavy)


def _clean(folder: Path, heavy: Path) -> None:
    """Remove members of other updates."""
    for old in folder.glob("members-*.safetensors"):
        if old != heavy:
            with contextlib.suppress(OSError):
                old.unlink()


def anew(run: Path) -> str:
    """The way out where a checkpoint is of no use: labels are in their store."""
    return (
        f"delete {run / FOLDER / STATE} and run the same command again: it begins anew, and asks "
        "for no label that it has"
    )


def state(run: Path) -> Path:
    """The file without which a run begins anew."""
    return run / FOLDER / STATE


def exists(run: Path) -> bool:
    return state(run).exists()


def load(run: Path, explorer: Any, start: Members) -> tuple[Standing, dict[str, float]]:
    """Where a run stands, and its wall time by part until then.

    start: the members before the first update, whose E0s are replaced by the run's. Raises
    `CheckpointError` for a damaged one.
    """
    tensors, info = tensor_files.read(run / FOLDER / STATE, anew(run))
    try:
        path = run / FOLDER / f"members-{info['updates']}.safetensors"
        heavy, _ = tensor_files.read(path, anew(run))
        e0s = members_file.e0s_of(info["e0s"])
        states = [
            explorer.unpack(
                {k[2:]: v.numpy() for k, v in tensors.items() if k.startswith(f"{i}/")}, packed
            )
            for i, packed in enumerate(info["explorer"])
        ]
        values: dict[str, Any] = {k: info[k] for k in PLAIN} | {"keys": tuple(info["keys"])}
        standing = Standing(
            explorer=states[0],
            good=(states[1], states[2]),
            members=replace(
                start,
                e0s=e0s,
                moved={k: heavy[f"moved/{k}"].to(v) for k, v in start.moved.items()},
                replay={k: heavy[f"replay/{k}"].to(v) for k, v in start.replay.items()},
                noise={k: heavy[f"noise/{k}"].to(v) for k, v in start.noise.items()},
            ),
            calibration={
                name: build(Settings, value, "calibrate")
                for name, value in info["calibration"].items()
            },
            records=tuple(Record(**record) for record in info["records"]),
            attacks=tuple(AttackRecord(**record) for record in info.get("attacks", ())),
            **values,
        )
        if BY_MEMBERS not in standing.calibration:
            raise KeyError(BY_MEMBERS)  # what attacks follow, and noise heads of all layers
        seconds = {k: float(v) for k, v in info["seconds"].items()}
    except (KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"{run / FOLDER / STATE} cannot be understood ({error}), so it is of another version "
            f"of tunesmith; {anew(run)}."
        ) from None
    _clean(run / FOLDER, path)  # of an update that will be repeated, perhaps with other settings
    return standing, seconds
