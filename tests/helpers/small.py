"""The smallest real run: water, organic-xs, GFN1-xTB, two chains of twenty steps."""

from pathlib import Path
from typing import Any

from ase.build import molecule

from tunesmith.config import RunConfig, load
from tunesmith.core import Frame
from tunesmith.data.formats import write_frames

#: a label every other femtosecond, whatever the error
SETTINGS = (
    "reference={kind: tblite, method: GFN1-xTB}",
    "target.energy=0.5 kcal/mol",
    "explore.time=6 fs",
    "explore.write_every=0.5 fs",
    "acquire.max_gap=2 fs",
    "tune.sampler={kind: sghmc, members: 2, steps: 20}",
    "execute.processes=1",
    "loop.checkpoint_every=0.001 s",
)


def start(folder: Path, *names: str) -> list[str]:
    """Files of start structures."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name in names or ("H2O",):
        path = folder / f"{name}.xyz"
        write_frames(path, [Frame(molecule(name), None, name)])
        files.append(str(path))
    return files


def config(files: list[str], *overrides: str, **shortcuts: Any) -> RunConfig:
    """Overrides win over `SETTINGS`, path by path."""
    given = {text.partition("=")[0] for text in overrides}
    defaults = [s for s in SETTINGS if s.partition("=")[0] not in given]
    return load(RunConfig, None, [*defaults, *overrides], {"explore.start": files, **shortcuts})


def results(run: Path) -> dict[str, bytes]:
    """What must be the same, byte by byte, however a run came to its end."""
    names = ("trajectory.extxyz", "labels.extxyz", "members/members.safetensors")
    return {name: (run / name).read_bytes() for name in names}
