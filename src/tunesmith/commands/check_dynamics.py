"""Simulate with a model and its members and see what becomes of it: what `tunesmith check` does."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tunesmith import settings
from tunesmith.check.averages import share
from tunesmith.check.check_settings import Wanted, require_samples
from tunesmith.check.observables import DAMPED, observables, over_members
from tunesmith.check.replicas import Replica
from tunesmith.check.simulate_members import prepare, run_tasks
from tunesmith.engines.processes import executor, unbroken
from tunesmith.posterior.ensemble import open_model


def check(wanted: Wanted, notes: Console, bar: Progress) -> dict[str, Any]:
    """Every member's replicas, who is stable, and what the stable ones say; JSON values.

    Everything that can be refused is, before the first step: `ConfigError`, `DataError`,
    `ModelError`. bar: shown while steps are made.
    """
    stability, md, equilibration = wanted.check()
    model = wanted.model
    posterior = open_model(model.source, head=model.head, dtype=model.dtype, device=model.device)
    atoms = wanted.structure(posterior.potential.elements, notes.print)
    if atoms.pbc.all():
        require_samples(md, equilibration)
        if md.ensemble in DAMPED:
            notes.print(
                f"self-diffusion is not given: {md.ensemble} changes how far particles go; "
                "use bussi, npt or nve"
            )
    if wanted.processes > 1:
        torch.set_num_threads(1)
    tasks = prepare(posterior, md, stability, atoms, wanted.seed, mean=wanted.mean)
    with bar, executor(wanted.processes, 1) as pool, unbroken():
        task = bar.add_task("steps", total=len(tasks) * md.total_steps)
        members = run_tasks(tasks, pool, lambda steps: bar.advance(task, steps))
    rows: list[dict[str, Any]] = [
        {
            "member": i,
            "stable": all(r.stable for r in replicas),
            "replicas": [_replica(r) for r in replicas],
        }
        | observables(md, atoms, replicas, equilibration, wanted.species)
        for i, replicas in enumerate(members)
    ]
    stable = [row for row in rows if row["stable"]]
    return {
        "model": model.source,
        "start": str(wanted.start),
        "composition": atoms.get_chemical_formula("hill"),
        "driven_by": "mean" if wanted.mean else "members",
        "seed": wanted.seed,
        "md": _plain(md),
        "stability": settings.plain(stability),
        "equilibration_fs": equilibration,
        "stable_members": asdict(share([row["stable"] for row in rows])),
        "observables": over_members(stable),
        "members": rows,
    }


def _plain(md: Any) -> dict[str, Any]:
    own = ("start", "min_distance", "max_volume_change", "max_restarts")
    return {name: value for name, value in settings.plain(md).items() if name not in own}


def _replica(replica: Replica) -> dict[str, Any]:
    return {
        "stable": replica.stable,
        "wrong": replica.wrong,
        "time_fs": replica.time,
        "temperature_K": float(np.mean(replica.temperatures)),
    }


# ------------------------------------------------------------------------- on a screen


def show(summary: dict[str, Any], screen: Console) -> None:
    """Members, what the stable ones say, and the verdict in one line."""
    screen.print(_members(summary["members"]))
    if summary["observables"]:
        screen.print(_observables(summary["observables"]))
    screen.print(verdict(summary))


def verdict(summary: dict[str, Any]) -> str:
    """One line: how many are stable, and how sure that is."""
    of, md = summary["stable_members"], summary["md"]
    what = f"{md['walkers']} replicas of {md['time']} ({md['ensemble']}, {summary['composition']})"
    if of["n"] == 1:
        return f"{'Stable' if of['k'] else 'Not stable'} in {what}."
    share_ = f"{100 * of['share']:.0f} ± {100 * of['error']:.0f} %"
    between = f"{100 * of['low']:.0f} to {100 * of['high']:.0f} %"
    return f"{of['k']} of {of['n']} members are stable in {what}: {share_} (95 %: {between})."


def _members(rows: list[dict[str, Any]]) -> Table:
    table = Table("member", "stable replicas", "K", "what went wrong", box=box.SIMPLE_HEAD)
    for row in rows:
        replicas = row["replicas"]
        wrong = [f"{1e-3 * r['time_fs']:.3g} ps: {r['wrong']}" for r in replicas if not r["stable"]]
        kelvin = np.mean([r["temperature_K"] for r in replicas])
        stable = f"{sum(r['stable'] for r in replicas)} of {len(replicas)}"
        table.add_row(str(row["member"]), stable, f"{kelvin:.0f}", "\n".join(wrong))
    return table


def _observables(found: dict[str, Any]) -> Table:
    table = Table("", "mean", "error", "members' spread", box=box.SIMPLE_HEAD)

    def row(name: str, values: dict[str, Any]) -> None:
        cells = (values[k] for k in ("mean", "error", "spread"))
        table.add_row(name, *("–" if v is None else f"{v:.4g}" for v in cells))

    row("density (g/cm³)", found["density_g_per_cm3"])
    for name, values in found["diffusion"].items():
        row(f"self-diffusion of {name} (10⁻⁹ m²/s)", values)
    for name, values in found["shells"].items():
        row(f"first shell of {name} (atoms)", values)
    return table
