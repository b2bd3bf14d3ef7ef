"""Attack the structures of a file: what `tunesmith attack` does, step by step."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from tunesmith.attack.adversary import real_error
from tunesmith.attack.search import Attacked
from tunesmith.attack.strike import strike
from tunesmith.commands.attackers import drawn_members, law_of, opened
from tunesmith.config import AttackConfig
from tunesmith.contracts import Law
from tunesmith.core import Failure, Frame
from tunesmith.data.checks import check_structures
from tunesmith.data.formats import read_frames, write_frames
from tunesmith.data.store import LabelStore
from tunesmith.errors import DataError, MissingDependencyError, RunFolderError
from tunesmith.posterior.ensemble import Ensemble


@dataclass(frozen=True)
class AttackInputs:
    """What is attacked, by what, and where it goes.

    frames: with constraints. posterior: all members; attackers: numbers of those that attack where
    errors are to grow. store: of labels, None without a reference. notes: what people should know
    of how the structures were read.
    """

    config: AttackConfig
    frames: list[Frame]
    posterior: Ensemble
    attackers: tuple[int, ...]
    law: Law | None
    out: Path
    store: Path | None
    notes: tuple[str, ...] = ()


def prepare(config: AttackConfig, path: Path, out: Path, store: Path | None) -> AttackInputs:
    """Check everything that can be checked before anything is computed; writes nothing.

    store: None is beside ``out``, with the suffix .db. Raises `DataError`, `ConfigError`,
    `ModelError` or their kin, one sentence each.
    """
    if config.reference is None and store is not None:
        raise DataError("--store: without a reference there are no labels; leave it out.")
    store = (store or out.with_suffix(".db")) if config.reference is not None else None
    _check_files(path, out, store)
    frames, keys = read_frames(path, constraints=True)
    if config.reference is not None:
        config.reference.identity()  # an engine that is missing says so here
    posterior = opened(config)
    check_structures(frames, posterior.potential.elements)
    for frame in frames:
        try:
            config.attack.space(frame.atoms)
        except DataError as error:
            raise DataError(f"{frame.origin}: {error}") from None
    law = law_of(config, posterior)
    drawn = drawn_members(config, posterior)
    return AttackInputs(config, frames, posterior, drawn, law, out, store, keys.notes)


def _check_files(path: Path, out: Path, store: Path | None) -> None:
    if out.suffix not in (".xyz", ".extxyz"):
        raise DataError(f"--out {out}: structures are written as extxyz; end the name in .xyz.")
    targets = [out, *([store] if store else [])]
    if len({p.resolve() for p in (path, *targets)}) < 1 + len(targets):
        raise DataError(f"{path}, --out and --store must be different files; rename one.")
    for target in targets:
        if not target.parent.is_dir():
            raise RunFolderError(f"{target.parent}: there is no such folder; make it first.")
    # of an interrupted command with a reference its store is there, and it goes on
    if out.exists() and not (store is not None and store.exists()):
        raise RunFolderError(f"{out} exists; choose another --out or remove it.")


def run(given: AttackInputs, bar: Progress) -> dict[str, Any]:
    """Attack, write what came of it and, with a reference, label it; the summary."""
    for note in given.notes:
        bar.console.print(note, markup=False)
    settings = given.config.attack
    task = bar.add_task("attack", total=len(given.frames))
    struck = strike(
        given.posterior,
        [frame.atoms for frame in given.frames],
        settings,
        given.law,
        [given.attackers] * len(given.frames),
        ended=lambda number, one: bar.advance(task),
    )
    found = list(zip(given.frames, struck.results, struck.members, strict=True))
    rows = [
        _row(frame, one, settings.error) | {"members": members} for frame, one, members in found
    ]
    frames = [_marked(frame, one, row) for (frame, one, _), row in zip(found, rows, strict=True)]
    if given.store is not None:
        frames = _labelled(given, given.store, frames, rows, bar)
    if frames:
        write_frames(given.out, frames)
    return _summary(given, rows)


def _labelled(
    given: AttackInputs, store: Path, frames: list[Frame], rows: list[dict[str, Any]], bar: Progress
) -> list[Frame]:
    """Those the reference could label; its error, or why there is none, goes into the rows."""
    labels, found = LabelStore(store), []
    task = bar.add_task(given.config.reference.kind, total=len(frames))
    for frame, row in zip(frames, rows, strict=True):
        answer = labels.label(
            frame.atoms,
            given.config.reference,
            origin=frame.origin,
            config_type=frame.config_type,
            extra=_marks(row),
        )
        bar.advance(task)
        if isinstance(answer, Failure):
            if answer.kind == "engine-missing":
                raise MissingDependencyError(answer.reason)
            row["failure"] = {"kind": answer.kind, "reason": answer.reason}
            continue
        row["error"] = real_error(given.posterior, frame.atoms, answer)
        frame.atoms.info["attack_error"] = row["error"]
        found.append(replace(frame, label=answer))
    return found


# -------------------------------------------------------------------------- what comes out


def _row(frame: Frame, found: Attacked, target: float) -> dict[str, Any]:
    """Of one structure what is said about it, as JSON values; eV/Å, Å."""
    return {
        "origin": frame.origin,
        "target": target,
        "std_start": found.start_std,
        "std": found.std,
        "off": found.off,
        "std_largest": found.largest_std,
        "displacement": found.displacement,
        "strain": found.strain,
        "evaluations": found.evaluations,
        "reason": found.reason,
    }


def _marks(row: Mapping[str, Any]) -> dict[str, Any]:
    return {f"attack_{key}": value for key, value in row.items()}


def _marked(frame: Frame, found: Attacked, row: Mapping[str, Any]) -> Frame:
    """The structure reached, with what is said about it; marks of an earlier attack go."""
    atoms = found.atoms
    for key in [key for key in atoms.info if key.startswith("attack_")]:
        del atoms.info[key]
    atoms.info |= _marks(row)
    return replace(frame, atoms=atoms, label=None, origin=f"{frame.origin}, attacked")


def _summary(given: AttackInputs, rows: list[dict[str, Any]]) -> dict[str, Any]:
    errors = np.array([row["error"] for row in rows if "error" in row])
    return {
        "out": str(given.out),
        "store": None if given.store is None else str(given.store),
        "model": given.config.model.source,
        "calibration": None if given.law is None else given.law.kind,
        "n_members": len(given.posterior),
        "n_attacking": len(given.attackers),
        "target": given.config.attack.error,
        "std": float(np.sqrt(np.mean([row["std"] ** 2 for row in rows]))),
        "by_all": sum(row["members"] == len(given.posterior) for row in rows),
        "reasons": dict(Counter(row["reason"] for row in rows)),
        "evaluations": sum(row["evaluations"] for row in rows),
        "error": float(np.sqrt(np.mean(errors**2))) if len(errors) else None,
        "n_labelled": len(errors),
        "n_failed": sum("failure" in row for row in rows),
        "structures": rows,
    }


def show(summary: Mapping[str, Any], screen: Console) -> None:
    """A row for every structure, and what came of all in a few lines. meV/Å, Å."""
    labelled = summary["store"] is not None
    strained = any(row["strain"] for row in summary["structures"])
    names = ["start", "end", "off by", "largest", "moved"]
    names += [*["strain"] * strained, "calls", "stopped"]
    table = Table(Column("structure", overflow="fold"), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.title, table.title_justify = "force errors in meV/Å, distances moved in Å", "left"
    for name in [*names, *["real error"] * labelled]:
        table.add_column(name, no_wrap=True, min_width=len(name))
    for row in summary["structures"]:
        cells = [f"{1e3 * row[key]:.1f}" for key in ("std_start", "std", "off", "std_largest")]
        cells += [f"{row['displacement']:.2f}", *[f"{row['strain']:.3f}"] * strained]
        error = [f"{1e3 * row['error']:.1f}" if "error" in row else "none"] if labelled else []
        table.add_row(row["origin"], *cells, str(row["evaluations"]), row["reason"], *error)
    screen.print(table)
    counts = ", ".join(f"{n} {reason}" for reason, n in summary["reasons"].items())
    known = summary["calibration"] or "none: the spread as it is"
    members = f"{summary['n_attacking']} of {summary['n_members']} members"
    if summary["n_attacking"] < summary["n_members"] and summary["by_all"]:
        members += f" (all where the error had to fall: {summary['by_all']} structures)"
    screen.print(
        f"target {1e3 * summary['target']:.4g} meV/Å, reached {1e3 * summary['std']:.1f} (rms): "
        f"{counts}; {members}, calibration {known}; written to {summary['out']}",
        markup=False,
    )
    if labelled:
        _show_errors(summary, screen)


def _show_errors(summary: Mapping[str, Any], screen: Console) -> None:
    if summary["error"] is not None:
        share = summary["error"] / summary["target"] - 1
        screen.print(
            f"real error of the members (rms over {summary['n_labelled']} labelled structures): "
            f"{1e3 * summary['error']:.1f} meV/Å, {share:+.0%} of the target",
            markup=False,
        )
    for row in summary["structures"]:
        if "failure" in row:
            failure = row["failure"]
            screen.print(f"{row['origin']}: {failure['kind']}: {failure['reason']}", markup=False)
