"""What a run leaves behind: the tuned model, its committee, labels, a summary, a picture."""

import json
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from rich.console import Console

from tunesmith import files
from tunesmith.commands.write_model import JUDGES, write_model
from tunesmith.data.formats import write_frames
from tunesmith.loop.onthefly import adversaries
from tunesmith.loop.onthefly.onthefly_course import OnTheFlyCourse
from tunesmith.loop.onthefly.onthefly_prepare import DynamicsPrepared
from tunesmith.loop.onthefly.records import statistics
from tunesmith.report import calibration_plot, onthefly_plot


def write(course: OnTheFlyCourse) -> dict[str, Any]:
    """Write everything into the run's folder; returns the summary."""
    ready, at, out = course.ready, course.at, course.out
    # a law of what nobody foretells has learnt nothing
    laws = {
        name: at.calibration[name] for name in course.posterior.judged if name in at.calibration
    }
    members = replace(at.members, calibration=laws)
    write_frames(out / "labels.extxyz", course.frames)
    judges = _frames(out / "trajectory.extxyz") or [f.atoms for f in course.frames]
    chosen = write_model(out, ready.problem, members, judges)
    summary = _summary(course, chosen)
    onthefly_plot.picture(at.records, out / "onthefly.png", simulated=at.clock, target=_k(ready))
    files.write_text(out / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    return summary


def _frames(path: Path) -> list[Atoms]:
    """Some of a trajectory, evenly spaced."""
    if path.stat().st_size == 0:
        return []
    images = ase.io.read(path, ":")
    wanted = np.unique(np.linspace(0, len(images) - 1, JUDGES).round().astype(int))
    return [_bare(images[i]) for i in wanted]


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


# --------------------------------------------------------------------------- summary


def _k(ready: DynamicsPrepared) -> float | None:
    """The energy target, eV; the largest, where structures differ."""
    found = [ready.config.target.energy_of(atoms) for atoms in ready.starts]
    return max((k for k in found if k is not None), default=None)


def _summary(course: OnTheFlyCourse, chosen: str) -> dict[str, Any]:
    ready, at, end = course.ready, course.at, course.end()
    assert end is not None
    config, seconds = ready.config, course.tools.watch.read()
    parts = ["reference", "update", "md", "store", "checkpoint", "other"]
    if adversaries.on(config):
        parts.insert(2, "attack")
    return {
        "model": config.model.source,
        "reference": config.reference.kind,
        "ended": end.reason,
        "as_asked": end.well,
        "md_time_ps": 1e-3 * at.clock,
        "steps": at.steps,
        "labels": len(at.keys),
        "threshold_eV": _k(ready),
        **statistics(at.records, config.target.probability),
        "attacks": [asdict(record) for record in at.attacks],
        "reference_calls": course.labels.calls(),
        "failed_calls": at.failed,
        "explosions": at.exploded,
        "updates": at.updates,
        "members": len(at.members),
        "calibration_energy": float(at.calibration["energy"].std(1.0)),
        "e0": {"method": at.members.e0s.method, "reason": at.members.e0s.reason},
        "final_model": str(course.out / "final.model"),
        "final_model_is": chosen,
        "wall_time_s": {name: round(seconds.get(name, 0.0), 2) for name in parts},
        "seed": config.seed,
        "tunesmith": version("tunesmith"),
        "torch": torch.__version__,
    }


def show(summary: dict[str, Any], screen: Console) -> None:
    """For people: what was done, how good it is, where the time went, what there is now."""
    rows = _rows(summary)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        screen.print(f"{name:<{width}}  {value}", markup=False)
    if not summary["as_asked"]:
        screen.print(f"stopped early: {summary['ended']}.", markup=False)


def _rows(s: dict[str, Any]) -> list[tuple[str, str]]:
    def meV(value: float | None, unit: str = "meV") -> str:
        return "–" if value is None else f"{value:.1f} {unit}"

    rows = [
        ("simulated", f"{s['md_time_ps']:.3f} ps, {s['steps']} steps"),
        ("labels", f"{s['labels']}, {s['interventions']} of them asked for on the way{_by(s)}"),
    ]
    if s["threshold_eV"] is not None:
        over, n = s["interventions_over_threshold"], s["interventions"]
        share = f"{over} of {n}" if n else "–"
        rows.append((f"energy errors over {1e3 * s['threshold_eV']:.4g} meV when asked", share))
    if (over := s["interventions_over_force_threshold"]) is not None:
        untuned = s["untuned_over_force_threshold"]
        share = f"{over} of {s['interventions']}; of the untuned model {untuned}"
        rows.append(("an atom's force error over its target when asked", share))
    rows += [
        ("energy RMSE when asked, tuned", meV(s["rmse_tuned_meV"])),
        ("the same, untuned", meV(s["rmse_untuned_meV"])),
        ("force RMSE when asked, tuned", meV(s["force_rmse_tuned_meV_per_A"], "meV/Å")),
        ("the same, untuned", meV(s["force_rmse_untuned_meV_per_A"], "meV/Å")),
    ]
    if s["coverage_95"] is not None:
        rows.append(("errors within the 95 % interval", f"{100 * s['coverage_95']:.0f} %"))
    if s.get("attacks"):
        rows += _attack_rows(s["attacks"])
    if s["explosions"] or s["failed_calls"]:
        rows.append(("explosions, failed calls", f"{s['explosions']}, {s['failed_calls']}"))
    times = ", ".join(f"{k} {v:.0f} s" for k, v in s["wall_time_s"].items())
    folder = Path(s["final_model"]).parent
    return [
        *rows,
        ("time", times),
        ("tuned model", f"{s['final_model']} ({s['final_model_is']})"),
        ("committee", f"{folder / 'members'}/*.model ({s['members']})"),
        ("picture", str(folder / "onthefly.png")),
        *calibration_plot.row(folder),
    ]


def _by(s: dict[str, Any]) -> str:
    """Which criteria asked, where forces are judged too."""
    if not s["interventions"] or s["interventions_over_force_threshold"] is None:
        return ""
    said = [f"{name} {n}" for name, n in sorted(s["interventions_by"].items(), key=lambda x: -x[1])]
    return f" (by {', '.join(said)})"


def _attack_rows(attacks: list[dict[str, Any]]) -> list[tuple[str, str]]:
    s = adversaries.totals(attacks)
    counts = f"{s['attacked']}, {s['on_target']} on target, {s['labelled']} labelled"
    rows = [("attacks on them", counts + (f", {s['failed']} failed" if s["failed"] else ""))]
    if s["error"] is not None:
        said = f"{1e3 * s['error']:.1f} meV/Å, of the mean {1e3 * s['mean_error']:.1f} meV/Å"
        rows.append((f"their force error, {1e3 * attacks[0]['target']:.4g} meV/Å wanted", said))
    return rows
