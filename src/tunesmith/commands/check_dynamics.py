"""Ask a model what it is worth, most of it by simulating with it: what `tunesmith check` does."""

from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from tunesmith import settings
from tunesmith.check.check_settings import (
    Start,
    parts_of,
    require_samples,
    simulation_of,
    species_of,
)
from tunesmith.check.examination import Examination, Simulated
from tunesmith.check.observables import DAMPED, show_observables
from tunesmith.check.simulate_members import ReplicaTask, prepare, run_tasks
from tunesmith.config import CheckConfig
from tunesmith.config.check_config import USUAL
from tunesmith.contracts import Check, Health
from tunesmith.engines.processes import executor, unbroken
from tunesmith.errors import ConfigError
from tunesmith.posterior.ensemble import open_model

#: the checks that were made, and what each has found
Found = list[tuple[Check, Health]]


def check(
    config: CheckConfig, start: Start, notes: Console, bar: Progress
) -> tuple[dict[str, Any], Found]:
    """What every check has found: JSON values, and check by check.

    Everything that can be refused is, before the first step: `ConfigError`, `DataError`,
    `ModelError`. bar: shown while steps are made.
    """
    asked, model = simulation_of(config), config.model
    stability, md, equilibration = asked.stability, asked.md, asked.equilibration
    parts = parts_of(config, stability)
    posterior = open_model(model.source, head=model.head, dtype=model.dtype, device=model.device)
    atoms = start.read(species_of(config), posterior.potential.elements, notes.print)
    moves = any("dynamics" in part.needs for part in parts)
    tasks: list[ReplicaTask] = []
    if moves:
        if atoms.pbc.all():
            require_samples(md, equilibration)
            if md.ensemble in DAMPED:
                notes.print(
                    f"self-diffusion is not given: {md.ensemble} changes how far particles go; "
                    "use bussi, npt or nve"
                )
        if config.processes > 1:
            torch.set_num_threads(1)
        tasks = prepare(posterior, md, stability, atoms, config.seed, mean=config.mean)

    def simulate() -> Simulated:
        if not tasks:
            raise ConfigError(
                "checks: one of them looks at dynamics and does not say so; its class must name "
                "them in `needs`."
            )
        with bar, executor(config.processes, 1) as pool, unbroken():
            task = bar.add_task("steps", total=len(tasks) * md.total_steps)
            members = run_tasks(tasks, pool, lambda steps: bar.advance(task, steps))
        return Simulated(md, equilibration, members)

    examined = Examination(posterior, atoms, config.seed, simulate)
    found = [(part, part.run(examined)) for part in parts]
    summary: dict[str, Any] = {
        "model": model.source,
        "start": str(start.path),
        "composition": atoms.get_chemical_formula("hill"),
        "driven_by": "mean" if config.mean else "members",
        "seed": config.seed,
    }
    if moves:
        summary |= {
            "md": _plain(md),
            "stability": settings.plain(stability),
            "equilibration_fs": equilibration,
        }
        summary |= _of_dynamics(found, examined.dynamics.stable)
    if others := {part.kind: health for part, health in found if part.kind not in USUAL}:
        summary["checks"] = {
            kind: {"well": h.well, "verdict": h.verdict, **h.values} for kind, h in others.items()
        }
    return summary, found


def well(found: Found) -> bool:
    """Whether no check has found the model out of order."""
    return all(health.well is not False for _, health in found)


def _of_dynamics(found: Found, stable: list[bool]) -> dict[str, Any]:
    """Who is stable, what is observed, and both member by member."""
    values = {part.kind: health.values for part, health in found if part.kind in USUAL}
    rows: list[dict[str, Any]] = [{"member": i, "stable": s} for i, s in enumerate(stable)]
    for part in values.values():
        rows = [row | more for row, more in zip(rows, part["members"], strict=True)]
    judged = values.get("stability", {}).get("stable_members")
    result = {} if judged is None else {"stable_members": judged}
    return result | {"observables": _observed(found), "members": rows}


def _observed(found: Found) -> dict[str, Any]:
    each = {part.kind: health.values.get("observables", {}) for part, health in found}
    return {k: v for kind in USUAL for k, v in each.get(kind, {}).items()}


def _plain(md: Any) -> dict[str, Any]:
    own = ("start", "min_distance", "max_volume_change", "max_restarts")
    return {name: value for name, value in settings.plain(md).items() if name not in own}


# ------------------------------------------------------------------------- on a screen


def show(found: Found, screen: Console) -> None:
    """What each check shows, averages of all in one table, and the verdicts."""
    for part, health in found:
        part.show(health, screen)
    show_observables(_observed(found), screen)
    for part, health in found:
        if part.kind not in USUAL:
            screen.print(f"{part.kind}: {health.verdict}", markup=False)
        elif health.well is not None:
            screen.print(health.verdict)
