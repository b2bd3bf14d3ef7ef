"""Steps of `onthefly.py` about whole runs and memory: ``python onthefly_costs.py STEP JSON``."""

import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from split import Spent, Split

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "recipes" / "ethanol.yaml"


def recipe(*overrides: str) -> Any:
    """The demo's configuration with changes, wherever this is called from."""
    from tunesmith.config import RunConfig, load

    start = [str(ROOT / name) for name in load(RunConfig, RECIPE).explore.start]
    return load(RunConfig, RECIPE, overrides, {"explore.start": start})


def sampler() -> dict[str, Any]:
    """The demo's sampler."""
    return dict(recipe().tune.sampler.model_dump())


def loop(time: str, every: str) -> dict[str, Any]:
    """A run of the demo's MD in which nothing is ever uncertain: time of each part of the loop.

    every: between checkpoints, far more often than usual so that there are some to time.
    """
    from tunesmith.data.store import LabelStore
    from tunesmith.explore.md import MD
    from tunesmith.loop import run
    from tunesmith.loop.onthefly.onthefly_course import OnTheFlyCourse
    from tunesmith.posterior.ensemble import Ensemble
    from tunesmith.references.tblite import TBLite

    config = recipe(
        "reference={kind: tblite, method: GFN1-xTB}",
        "target.energy=1000000 kcal/mol",
        "tune.sampler.steps=20",
        f"explore.time={time}",
        f"loop.checkpoint_every={every}",
        "execute.processes=1",
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
    return _shares(spent, summary["steps"], saves, summary["members"])


def _shares(spent: Spent, steps: int, saves: int, members: int) -> dict[str, Any]:
    """Per step and per checkpoint, and the shares of MD's time at the usual interval."""
    from tunesmith import units

    usual = units.parse(recipe().loop.checkpoint_every, "wall time").value
    found: dict[str, Any] = {
        "steps": steps, "checkpoints": saves, "members": members, "checkpoint_every_s": usual
    }  # fmt: skip
    for k, unit in enumerate(("clock", "cpu")):
        md = spent["integrator"][k] + spent["model"][k]
        each = spent["checkpoint"][k] / saves
        shares = {part: spent[part][k] / md for part in ("loop", "store")}
        shares["checkpoint"] = each / usual
        found[unit] = {
            "model_ms": 1e3 * spent["model"][k] / steps,
            "integrator_ms": 1e3 * spent["integrator"][k] / steps,
            "loop_ms": 1e3 * spent["loop"][k] / steps,
            "store_ms": 1e3 * spent["store"][k] / steps,
            "checkpoint_ms": 1e3 * each,
            "checkpoint_with_members_ms": 1e3 * spent["first checkpoint"][k],
            "store_label_ms": 1e3 * spent["label store"][k],
            "shares_of_md": shares,
            "share_of_md": sum(shares.values()),
        }
    return found


def memory(what: str, dtype: str, device: str, members: int, steps: int) -> dict[str, float]:
    """Peak resident memory of this process in MB: with everything loaded, and in the end.

    what: "md" (of so many members) or an update by "tunesmith" or by "mace". On a GPU also the
    peak of what torch has allocated there.
    """
    import torch

    from onthefly_update import Split, ours, plain, work

    settings = sampler() | {"members": max(2, members), "steps": 20, "first_steps": None}
    w = work(dtype, device, 20, settings)
    loaded = _peak()
    if what == "md":
        from tunesmith.posterior.ensemble import Ensemble

        weights = [w.members.expand(i) for i in range(members)]
        ensemble = Ensemble(w.potential, weights, w.members.e0s)
        for frame in w.frames[:steps]:
            ensemble.predict([frame.atoms], spread="energy")
    else:
        {"tunesmith": ours, "mace": plain}[what](w, Split())
    found = {"loaded_mb": loaded, "peak_mb": _peak()}
    if device.startswith("cuda"):
        found["gpu_peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return found


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    step = {"sampler": sampler, "loop": loop, "memory": memory}[sys.argv[1]]
    print(json.dumps(step(**json.loads(sys.argv[2]))))
