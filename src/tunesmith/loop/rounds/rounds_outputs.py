"""What rounds leave behind: the last model, labels, learning curves, a summary."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from tunesmith import files
from tunesmith.calibrate.recalibrate import facts_of
from tunesmith.commands.write_model import write_model
from tunesmith.core import Frame
from tunesmith.data.formats import write_frames
from tunesmith.loop.rounds.round_in_words import told
from tunesmith.loop.rounds.rounds_course import RoundsCourse
from tunesmith.loop.rounds.rounds_prepare import RoundsPrepared
from tunesmith.loop.rounds.rounds_standing import Round
from tunesmith.report import calibration_plot, chosen_errors
from tunesmith.report.curves import METRICS, Curve, curve, picture
from tunesmith.report.tables import number
from tunesmith.settings import plain

_PARTS = ("choose", "propose", "reference", "update", "measure", "store", "checkpoint", "other")


def write(course: RoundsCourse) -> dict[str, Any]:
    """Write everything into the run's folder; returns the summary."""
    out, ready, at = course.out, course.ready, course.at
    learnt = curve([asdict(r) for r in at.rounds])
    model = {"final_model": None, "final_model_is": "the untuned model, as nothing was learnt"}
    if at.members is not None:
        judges = [f.atoms for f in ready.valid or course.frames]
        chosen = write_model(out, ready.problem, at.members, judges)
        model = {"final_model": str(out / "final.model"), "final_model_is": chosen}
        if ready.test:
            picture({course.acquire.name: [learnt]}, out / "curves.png")
    chosen_errors.picture([asdict(r) for r in at.rounds], out / chosen_errors.NAME)
    numbers = labelled_in(at.rounds, len(ready.initial))
    if course.frames:
        write_frames(out / "labels.extxyz", of_round(course.frames, numbers))
    text = json.dumps(_summary(course, learnt) | model, indent=1, ensure_ascii=False)
    files.write_text(out / "summary.json", text + "\n")
    return dict(json.loads(text))  # as whoever reads it finds it


def labelled_in(rounds: Sequence[Round], initial: int) -> list[int]:
    """Of every label, in order, the round it was made in; 0 for the ``initial`` ones."""
    return [0] * initial + [r.round for r in rounds for c in r.chosen if c.learnt]


def of_round(frames: Sequence[Frame], rounds: Sequence[int]) -> list[Frame]:
    """Frames whose structures say in which round they were labelled."""
    said = []
    for frame, number_ in zip(frames, rounds, strict=True):
        atoms = frame.atoms.copy()
        atoms.info["round"] = number_
        said.append(replace(frame, atoms=atoms))
    return said


def _summary(course: RoundsCourse, learnt: Curve) -> dict[str, Any]:
    at, config, end = course.at, course.ready.config, course.end()
    assert end is not None
    seconds = course.tools.watch.read()
    last = at.rounds[-1]
    return {
        "model": config.model.source,
        "reference": config.reference.kind,
        "acquire": plain(config.acquire),
        "method": course.acquire.name,
        "strategy": config.strategy,
        "ended": end.reason,
        "as_asked": end.well,
        **_made(course),
        "labels": last.labels,
        "asked": sum(len(r.chosen) for r in at.rounds),
        "failed_calls": sum(r.failed for r in at.rounds),
        "labels_refused": sum(c.refused is not None for r in at.rounds for c in r.chosen),
        "reference_calls": course.labels.calls(),
        "judged_on": _judged_on(course.ready),
        "rounds": [asdict(r) for r in at.rounds],
        "auc": {m: _number(learnt.auc(m)) for m in METRICS} if course.ready.test else {},
        "final": last.test,
        "rest": _on_rest(at.rounds),
        "e0": last.e0,
        "members": 0 if at.members is None else len(at.members),
        "calibration": {} if at.members is None else facts_of(at.members.calibration),
        "wall_time_s": {name: round(seconds.get(name, 0.0), 2) for name in _PARTS},
        "seed": config.seed,
        "tunesmith": version("tunesmith"),
        "torch": torch.__version__,
    }


def _on_rest(rounds: Sequence[Round]) -> dict[str, Any]:
    """As ``auc`` and ``final``, on the candidates not yet asked for; empty where not measured."""
    if not rounds[-1].rest:
        return {}
    learnt = curve([asdict(r) for r in rounds], "rest")
    return {"auc": {m: _number(learnt.auc(m)) for m in METRICS}, "final": rounds[-1].rest}


def _made(course: RoundsCourse) -> dict[str, Any]:
    """How many candidates a pool had; or of what systems structures were made, and what for."""
    ready = course.ready
    if ready.pool:
        return {"candidates": len(ready.pool)}
    formulas = [atoms.get_chemical_formula() for atoms in ready.starts]
    return {"systems": formulas, "target": ready.config.target.forces}


def _judged_on(ready: RoundsPrepared) -> str | None:
    if not ready.test:
        return None
    return "validation" if ready.test is ready.valid else "test"


def _number(value: float) -> float | None:
    """JSON has no NaN: a curve with gaps has no area."""
    return value if value == value else None


def show(summary: dict[str, Any], screen: Console) -> None:
    """For people: the curve, what it sums up to, where the time went, what there is now."""
    for done in summary["rounds"]:
        said = "  ".join(part for part in (_errors(done), "; ".join(told(done["about"]))) if part)
        screen.print(f"round {done['round']:>3}  {done['labels']:>5} labels  {said}", markup=False)
    rows = [("labels", f"{summary['labels']} learnt")]
    if "candidates" in summary:
        rows.append(("candidates", f"{summary['asked']} of {summary['candidates']} asked for"))
    else:
        rows.append(("structures", f"{summary['asked']} of {', '.join(summary['systems'])}"))
    rows += [
        ("chosen by", summary["method"]),
        ("failed calls", str(summary["failed_calls"])),
    ]
    if summary["labels_refused"]:
        rows.append(("labels not learnt", str(summary["labels_refused"])))
    if summary["judged_on"] is not None:
        rows.append(("judged on", f"{summary['judged_on']} structures"))
    for metric, area in summary["auc"].items():
        name, unit = METRICS[metric]
        if area is not None and "RMSE" in name:
            rows.append((f"AUC of the {name}", f"{number(area)} {unit}"))
    if rest := summary.get("rest"):
        error = number(rest["final"]["force_rmse_meV_per_A"])
        n = rest["final"]["structures"]
        rows.append(("on the rest", f"force RMSE {error} meV/Å, of {n} candidates not asked for"))
    times = ", ".join(f"{k} {v:.0f} s" for k, v in summary["wall_time_s"].items())
    rows.append(("time", times))
    if summary["final_model"] is not None:
        folder = Path(summary["final_model"]).parent
        rows += [
            ("tuned model", f"{summary['final_model']} ({summary['final_model_is']})"),
            *([("picture", str(folder / "curves.png"))] if summary["judged_on"] else []),
            *chosen_errors.row(folder),
            *calibration_plot.row(folder),
        ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        screen.print(f"{name:<{width}}  {value}", markup=False)


def _errors(done: dict[str, Any]) -> str:
    shown = ("force_rmse_meV_per_A", "force_mae_meV_per_A", "energy_rmse_meV_per_atom")
    parts = []
    for metric in shown:
        if done["test"][metric] is not None:
            name, unit = METRICS[metric]
            parts.append(f"{name} {number(done['test'][metric])} {unit}")
    return "  ".join(parts)
