"""Choose from files of candidates what to label: what `tunesmith select` does, step by step."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from tunesmith.acquire import RULES, choose
from tunesmith.core import Frame, derived_seed
from tunesmith.data.checks import check_structures, separate_isolated
from tunesmith.data.formats import read_frames, write_frames
from tunesmith.data.stream import Stream
from tunesmith.doctor.candidates import Candidates, look
from tunesmith.errors import ConfigError, DataError, ModelError, RunFolderError
from tunesmith.registry import REPRESENTATIONS, nearest
from tunesmith.report.selection import selection_map, selection_table
from tunesmith.uncertainty.ensemble import Ensemble, open_model
from tunesmith.uncertainty.features import Representation, stream
from tunesmith.uncertainty.kernels import committee_scores

#: what `top` can be the top of
SCORES = ("committee-energy", "committee-force", "committee-force-mean")
_BATCH = 16  # structures whose members' spread is predicted together


@dataclass(frozen=True)
class Wanted:
    """What is asked for; None: not given.

    model, head, device: of what represents or scores the structures. score: of `SCORES`, for the
    rule top. noise: λ of posterior-variance. skip_labelled: leave out candidates that are labelled
    already. new_elements: elements that no labelled structure has are meant. cache: folder where
    features are kept.
    """

    pool: tuple[Path, ...]
    out: Path
    n: int
    labelled: tuple[Path, ...] = ()
    representation: str = "ntk"
    rule: str = "lcmd"
    score: str | None = None
    noise: float | None = None
    model: str | None = None
    head: str | None = None
    device: str | None = None
    skip_labelled: bool = False
    new_elements: bool = False
    cache: Path | None = None
    seed: int = 0

    @property
    def picture(self) -> Path:
        return self.out.with_suffix(".png")


def select(wanted: Wanted, notes: Console, bar: Progress) -> dict[str, Any]:
    """Choose, write the chosen structures and the map; the summary.

    Everything that can be refused is, before anything is computed; nothing is written but at the
    end. Raises `ConfigError`, `DataError`, `ModelError`, `RunFolderError`.
    """
    started = time.monotonic()
    representation = _representation(wanted)
    _check_files(wanted)
    structures = Stream(wanted.pool)
    _require_enough(wanted, structures.total)
    labelled = _labelled(wanted, notes)
    posterior = _open(wanted, representation)
    known = None if posterior is None else frozenset(posterior.potential.elements)
    if labelled:
        check_structures(labelled, known)
    task = bar.add_task("reading", total=structures.total)
    candidates = look(
        structures,
        labelled,
        known,
        skip_labelled=wanted.skip_labelled,
        new_elements=wanted.new_elements,
        seen=lambda: bar.advance(task),
    )
    _say(candidates, notes)
    _require_enough(wanted, len(candidates))
    score = (wanted.score or SCORES[1]) if wanted.rule == "top" else None
    scores = None
    if score is not None and posterior is not None:
        scores = _scores(score, posterior, candidates, bar)
    pool, theirs = _features(wanted, representation, posterior, candidates, labelled, bar)
    picks = choose(
        wanted.rule,
        pool,
        theirs,
        wanted.n,
        kernel=representation.kernel,
        noise=1e-3 if wanted.noise is None else wanted.noise,
        scores=scores,
        rng=np.random.default_rng(wanted.seed),
    )
    chosen = candidates.read(picks.indices)
    origins = [labelled[i].origin if i >= 0 else None for i in picks.nearest]
    rows = [
        {
            "order": i + 1,
            "origin": frame.origin,
            "composition": frame.atoms.get_chemical_formula("hill"),
            "score": float(score) if np.isfinite(score) else None,
            "nearest": origin,
        }
        for i, (frame, score, origin) in enumerate(zip(chosen, picks.scores, origins, strict=True))
    ]
    write_frames(wanted.out, [_marked(f, row) for f, row in zip(chosen, rows, strict=True)])
    selection_map(
        pool,
        picks.indices,
        wanted.picture,
        labelled=theirs,
        kernel=representation.kernel,
        rng=np.random.default_rng(derived_seed(wanted.seed, "map")),
        title=_title(wanted, representation, len(candidates), len(labelled)),
    )
    return {
        "out": str(wanted.out),
        "picture": str(wanted.picture),
        "rule": wanted.rule,
        "score": score,
        "representation": wanted.representation,
        "kernel": representation.kernel,
        "model": None if posterior is None else _source(wanted),
        "seed": wanted.seed,
        "n_candidates": len(candidates),
        "n_labelled": len(labelled),
        "n_copies": candidates.copies,
        "n_left_out": {"labelled": candidates.labelled, "isolated_atoms": candidates.isolated},
        "n_chosen": len(chosen),
        "n_chosen_with_label": sum(f.label is not None for f in chosen),
        "chosen": rows,
        "seconds": round(time.monotonic() - started, 1),
    }


# -------------------------------------------------------------------- before anything is done


def _representation(wanted: Wanted) -> Representation:
    """The representation, with every option that contradicts another refused."""
    for option, name, names in (
        ("rule", wanted.rule, list(RULES)),
        ("representation", wanted.representation, REPRESENTATIONS.names()),
        ("score", wanted.score or SCORES[1], list(SCORES)),
    ):
        if name not in names:
            raise ConfigError(f"--{option}: there is no {name!r}; {nearest(name, names)}")
    if wanted.n < 1:
        raise ConfigError(f"--n {wanted.n}: choose at least one structure.")
    if wanted.score is not None and wanted.rule != "top":
        raise ConfigError(f"--score: {wanted.rule} has none; leave it out, or give --rule top.")
    if wanted.noise is not None and wanted.rule != "posterior-variance":
        raise ConfigError(
            f"--noise: {wanted.rule} has none; leave it out, or give --rule posterior-variance."
        )
    if wanted.noise is not None and not (np.isfinite(wanted.noise) and wanted.noise > 0):
        raise ConfigError(f"--noise {wanted.noise}: give a positive number, as 1e-3.")
    for option, given in (
        ("skip-labelled", wanted.skip_labelled),
        ("new-elements", wanted.new_elements),
    ):
        if given and not wanted.labelled:
            raise ConfigError(f"--{option} needs --labelled; leave it out, or give that.")
    representation: Representation = REPRESENTATIONS.get(wanted.representation)()
    if not representation.needs_model and wanted.rule != "top":
        for option in ("model", "head", "device"):
            if getattr(wanted, option) is not None:
                raise ConfigError(
                    f"--{option}: {wanted.rule} on {wanted.representation} asks no model; leave it "
                    "out."
                )
    return representation


def _check_files(wanted: Wanted) -> None:
    out = wanted.out
    if out.suffix not in (".xyz", ".extxyz"):
        raise DataError(f"--out {out}: structures are written as extxyz; end the name in .xyz.")
    if not out.parent.is_dir():
        raise RunFolderError(f"{out.parent}: there is no such folder; make it first.")
    for target in (out, wanted.picture):
        if target.exists():
            raise RunFolderError(f"{target} exists; choose another --out or remove it.")
    inputs = {path.resolve() for path in wanted.pool}
    for path in wanted.labelled:
        if path.resolve() in inputs:
            raise DataError(f"{path}: named as pool and as labelled; name it once.")


def _require_enough(wanted: Wanted, there: int | None) -> None:
    if there is not None and there < wanted.n:
        raise DataError(
            f"the pool has {there} candidates, fewer than the {wanted.n} asked for; ask for at "
            f"most --n {there}, or give more files."
        )


def _labelled(wanted: Wanted, notes: Console) -> list[Frame]:
    """The labelled structures of all files; their labels are not looked at."""
    frames: list[Frame] = []
    for path in wanted.labelled:
        here, isolated = separate_isolated(read_frames(path)[0])
        if isolated:
            notes.print(f"{path.name}: {len(isolated)} isolated atoms are not compared")
        frames += here
    if wanted.labelled and not frames:
        raise DataError("--labelled: the files hold isolated atoms only; leave the option out.")
    return frames


def _source(wanted: Wanted) -> str:
    return wanted.model or "organic-xs"


def _open(wanted: Wanted, representation: Representation) -> Ensemble | None:
    """The model that is needed, asked whether it has what is wanted of it."""
    if not representation.needs_model and wanted.rule != "top":
        return None
    posterior = open_model(_source(wanted), head=wanted.head, device=wanted.device or "cpu")
    if wanted.rule == "top" and len(posterior) < 2:
        raise ModelError(
            f"{_source(wanted)} has one member, whose disagreement is nothing; give a run folder "
            "with several (tunesmith tune --strategy committee), or another --rule."
        )
    representation.prepare(posterior)
    return posterior


def _say(candidates: Candidates, notes: Console) -> None:
    for n, text in (
        (candidates.isolated, "isolated atoms, which are no candidates"),
        (candidates.labelled, "structures that are labelled already, left out"),
        (candidates.copies, "copies of other candidates, which no rule takes twice for good"),
    ):
        if n:
            notes.print(f"the pool has {n} {text}")


# ---------------------------------------------------------------------------- what is computed


def _features(
    wanted: Wanted,
    representation: Representation,
    posterior: Ensemble | None,
    candidates: Candidates,
    labelled: list[Frame],
    bar: Progress,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Of candidates (n, d) and of labelled structures (m, d)."""
    elements = candidates.elements.union(*(f.atoms.numbers.tolist() for f in labelled))
    own = representation.for_elements(elements)
    asked = posterior if representation.needs_model else None
    task = bar.add_task(wanted.representation, total=len(candidates) + len(labelled))

    def done(n: int) -> None:
        bar.update(task, completed=n)

    theirs = None
    if labelled:
        theirs = stream(own, labelled, asked, cache=wanted.cache, progress=done)
    pool = stream(
        own,
        candidates,
        asked,
        cache=wanted.cache,
        progress=lambda n: done(n + len(labelled)),
    )
    done(len(candidates) + len(labelled))
    return pool, theirs


def _scores(name: str, posterior: Ensemble, candidates: Candidates, bar: Progress) -> np.ndarray:
    """How far members disagree about every candidate: (n,)."""
    found = []
    frames = iter(bar.track(candidates, total=len(candidates), description=name))
    while batch := [f.atoms for f in islice(frames, _BATCH)]:
        found.append(committee_scores(posterior.predict(batch))[name])
    return np.concatenate(found)


# -------------------------------------------------------------------------- what comes out


def _marked(frame: Frame, row: Mapping[str, Any]) -> Frame:
    """The structure with why it was chosen; marks of an earlier choice go."""
    atoms = frame.atoms.copy()
    for key in [key for key in atoms.info if key.startswith("select_")]:
        del atoms.info[key]
    marks = {f"select_{key}": row[key] for key in ("order", "origin", "score", "nearest")}
    atoms.info |= {key: value for key, value in marks.items() if value is not None}
    return replace(frame, atoms=atoms)


def _title(wanted: Wanted, representation: Representation, n: int, labelled: int) -> str:
    given = f" beside {labelled} labelled" if labelled else ""
    return (
        f"{wanted.n} of {n} candidates by {wanted.rule}{given}\n"
        f"representation {wanted.representation}, {representation.kernel} kernel"
    )


def show(summary: Mapping[str, Any], screen: Console) -> None:
    """The first of the chosen as a table, and what was done in a line."""
    screen.print(selection_table(summary))
    of = f" of {summary['model']}" if summary["model"] else ""
    screen.print(
        f"{summary['n_chosen']} of {summary['n_candidates']} candidates by {summary['rule']} "
        f"({summary['representation']}{of}) in {summary['out']}; map: {summary['picture']}",
        markup=False,
    )
