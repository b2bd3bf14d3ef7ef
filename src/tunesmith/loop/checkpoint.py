"""The checkpoint of a run, of any recipe: small, and enough to go on to the bit.

``checkpoint/state.safetensors`` holds all but the members; those stand beside it in
``members-N.safetensors``, written once for every N. The small file names the large one and is
replaced atomically, after it: a kill leaves one good pair.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tunesmith import tensor_files
from tunesmith.core import Members, Tensor
from tunesmith.errors import CheckpointError
from tunesmith.posterior import members_file
from tunesmith.potentials.potential import Potential

FOLDER = "checkpoint"
STATE = "state.safetensors"

S = TypeVar("S")


@dataclass(frozen=True)
class Packed:
    """Where a run stands: the members, None while nothing is learnt, and tensors and JSON beside.

    number: of the members; those of the same number are the same.
    """

    number: int
    members: Members | None
    tensors: dict[str, Tensor]
    info: dict[str, Any]


def state(run: Path) -> Path:
    """The file without which a run begins anew."""
    return run / FOLDER / STATE


def exists(run: Path) -> bool:
    return state(run).exists()


def anew(run: Path) -> str:
    """The way out where a checkpoint is of no use: labels are in their store."""
    return (
        f"delete {state(run)} and run the same command again: it begins anew, and asks for no "
        "label that it has"
    )


def save(run: Path, packed: Packed, seconds: dict[str, float]) -> None:
    """Write where a run stands. seconds: wall time by part."""
    heavy = _heavy(run, packed.number)
    # one that is there without the other is of a run that begins anew
    if packed.members is not None and not (heavy.exists() and exists(run)):
        members_file.write(heavy, packed.members)
    info = {
        "number": packed.number,
        "learnt": packed.members is not None,
        "state": packed.info,
        "seconds": seconds,
    }
    tensor_files.write(state(run), packed.tensors, info)
    _clean(heavy)


def load(
    run: Path, potential: Potential, unpack: Callable[[Packed], S]
) -> tuple[S, dict[str, float]]:
    """Where a run stands, and its wall time by part until then.

    unpack: raises `KeyError`, `TypeError` or `IndexError` for what it cannot understand. Raises
    `CheckpointError` for a checkpoint that is damaged or of another version.
    """
    tensors, info = tensor_files.read(state(run), anew(run))
    try:
        heavy = _heavy(run, info["number"])
        members = members_file.read(heavy, potential, anew(run)) if info["learnt"] else None
        standing = unpack(Packed(info["number"], members, tensors, info["state"]))
        seconds = {k: float(v) for k, v in info["seconds"].items()}
    except (KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"{state(run)} cannot be understood ({error}), so it is of another version of "
            f"tunesmith; {anew(run)}."
        ) from None
    _clean(heavy)  # of an update that will be repeated, perhaps with other settings
    return standing, seconds


def _heavy(run: Path, number: int) -> Path:
    return run / FOLDER / f"members-{number}.safetensors"


def _clean(heavy: Path) -> None:
    """Remove members of other numbers."""
    for old in heavy.parent.glob("members-*.safetensors"):
        if old != heavy:
            with contextlib.suppress(OSError):
                old.unlink()
