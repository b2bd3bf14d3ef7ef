"""What the loop costs around MD that is never uncertain; and what memory MD and updates take."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.onthefly.update_cost import ours, plain, work
from bench.runner.parts import Named, Options, Record
from bench.shared.clocks import Spent, Split, peak_mb
from bench.shared.structures import ROOT
from tunesmith import units
from tunesmith.config import RunConfig, load
from tunesmith.data.store import LabelStore
from tunesmith.explore.md import MD
from tunesmith.loop import run
from tunesmith.loop.onthefly.onthefly_course import OnTheFlyCourse
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.references.tblite import TBLite

RECIPE = ROOT / "recipes" / "ethanol.yaml"
GFN1 = "reference={kind: tblite, method: GFN1-xTB}"


def recipe(*overrides: str) -> RunConfig:
    """The demo's configuration with changes, wherever this is called from."""
    start = [str(ROOT / name) for name in load(RunConfig, RECIPE).explore.start]
    return load(RunConfig, RECIPE, overrides, {"explore.start": start})


@dataclass(frozen=True)
class Loop(Named):
    """A run in which nothing is uncertain. every: between checkpoints, far more often than usual
    so that there are some to time."""

    time: str
    every: str


@dataclass(frozen=True)
class Peak(Named):
    """Memory of "md", or of an update by "tunesmith" or by "mace"."""

    what: str
    members: int
    device: str
    dtype: str = "float32"
    steps: int = 20


def loop(it: Loop, _: Options) -> Record:
    """A run of the demo's MD in which nothing is ever uncertain: time of each part of the loop."""
    config = recipe(
        *(GFN1, "target.energy=1000000 kcal/mol", "tune.sampler.steps=20"),
        *(f"explore.time={it.time}", f"loop.checkpoint_every={it.every}", "execute.processes=1"),
    )
    with tempfile.TemporaryDirectory() as folder, Split("start") as split:

        def inside(part: str, otherwise: str = "start") -> Any:
            return lambda *_, **__: part if split.within("loop") else otherwise

        split.watch(OnTheFlyCourse, "run", "loop")
        split.watch(OnTheFlyCourse, "answer", "loop")
        split.watch(MD, "step", "integrator")
        split.watch(Ensemble, "predict", inside("model"))
        split.watch(OnTheFlyCourse, "_write", "store")
        split.watch(OnTheFlyCourse, "save", inside("checkpoint", "first checkpoint"))
        split.watch(LabelStore, "label", "label store")
        split.watch(TBLite, "label", "reference")
        summary = run.run(config, Path(folder) / "run")
        spent, saves = split.read(), split.counts["checkpoint"]
    if summary["interventions"]:
        sys.exit("the loop asked for labels although it was told that no error matters.")
    about = {"steps": summary["steps"], "members": summary["members"], "checkpoints": saves}
    return about | _shares(spent, summary["steps"], saves)


def _shares(spent: Spent, steps: int, saves: int) -> Record:
    """Per step and per checkpoint, and the shares of MD's time at the usual interval."""
    usual = units.parse(recipe().loop.checkpoint_every, "wall time").value
    found: Record = {"checkpoint_every_s": usual}
    for k, unit in enumerate(("clock", "cpu")):
        ms = {part: 1e3 * seconds[k] for part, seconds in spent.items()}
        md = ms["integrator"] + ms["model"]
        each = ms["checkpoint"] / saves
        found[f"{unit}_ms"] = {
            **{p: ms[p] / steps for p in ("model", "integrator", "loop", "store")},
            "checkpoint": each,
            **{p: ms[p] for p in ("first checkpoint", "label store")},
        }
        found[f"{unit}_share"] = (ms["loop"] + ms["store"]) / md + each / (1e3 * usual)
    return found


def memory(it: Peak, _: Options) -> Record:
    """Peak resident memory of this process in MB: with everything loaded, and in the end. On a GPU
    also the peak of what torch has allocated there."""
    settings: dict[str, Any] = recipe().tune.sampler.model_dump()
    settings |= {"members": max(2, it.members), "steps": 20, "first_steps": None}
    w = work(it.dtype, it.device, 20, settings)
    loaded = peak_mb()
    if it.what == "md":
        weights = [w.members.expand(i) for i in range(it.members)]
        ensemble = Ensemble(w.potential, weights, w.members.e0s)
        for frame in w.frames[: it.steps]:
            ensemble.predict([frame.atoms], spread="energy")
    else:
        {"tunesmith": ours, "mace": plain}[it.what](w, Split())
    gpu = torch.cuda.max_memory_allocated() / 2**20 if it.device.startswith("cuda") else None
    return {"loaded_mb": loaded, "peak_mb": peak_mb(), "gpu_peak_mb": gpu}
