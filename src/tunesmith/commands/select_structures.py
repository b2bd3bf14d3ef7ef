"""Choose from files of candidates what to label: what `tunesmith select` does, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from tunesmith.acquire import Picks, choose
from tunesmith.commands.selection_settings import SCORE, Wanted
from tunesmith.core import KERNEL_NOISE, Frame, derived_seed
from tunesmith.data import databases
from tunesmith.data.checks import check_structures, separate_isolated
from tunesmith.data.formats import read_frames, write_frames
from tunesmith.data.stream import Stream
from tunesmith.doctor.candidates import LABELLED, Candidates, look
from tunesmith.errors import DataError, ModelError
from tunesmith.features.compute_features import Representation, stream
from tunesmith.posterior.disagreement import disagreement
from tunesmith.posterior.ensemble import Ensemble, open_model
from tunesmith.report.selection import selection_map, selection_table
from tunesmith.words import counted

#: what structures are left out as
_FAILED, _EXCLUDED = "failed to be labelled before", "named by --exclude"


@dataclass(frozen=True)
class Job:
    """What to choose from and by what: representation with columns for all elements, the posterior
    where one is asked, labelled structures and candidates."""

    wanted: Wanted
    representation: Representation
    posterior: Ensemble | None
    labelled: list[Frame]
    candidates: Candidates


def select(wanted: Wanted, notes: Console, bar: Progress) -> dict[str, Any]:
    """Choose, write the chosen structures and the map; the summary.

    bar: shown once there is something to wait for. Everything that can be refused is, before
    anything is computed: `ConfigError`, `DataError`, `ModelError`, `RunFolderError`, and nothing is
    written then.
    """
    representation = wanted.check()
    structures = Stream(wanted.pool, wanted.how)
    wanted.require_enough(structures.total)
    labelled = _labelled(wanted, notes)
    posterior = _open(wanted, representation)
    with bar:
        candidates = _look(wanted, structures, labelled, posterior, bar)
        elements = candidates.elements.union(*(f.atoms.numbers.tolist() for f in labelled))
        own = representation.for_elements(elements)
        job = Job(wanted, own, posterior, labelled, candidates)
        scores = _scores(job, bar) if wanted.rule == "top" else None
        pool, theirs = _features(job, bar)
        picks = _choose(job, pool, theirs, scores, bar)
    chosen = job.candidates.read(picks.indices.tolist())
    rows = _rows(job, picks, chosen)
    write_frames(wanted.out, [_marked(f, row) for f, row in zip(chosen, rows, strict=True)])
    selection_map(
        pool,
        picks.indices,
        wanted.picture,
        labelled=theirs,
        kernel=representation.kernel,
        rng=np.random.default_rng(derived_seed(wanted.seed, "map")),
        title=_title(job),
    )
    return _summary(job, chosen) | {"chosen": rows}


def _labelled(wanted: Wanted, notes: Console) -> list[Frame]:
    """The labelled structures of all files; their labels are not looked at."""
    frames: list[Frame] = []
    for path in wanted.labelled:
        here, isolated = separate_isolated(read_frames(path)[0])
        if isolated:
            notes.print(f"{path.name}: {counted(len(isolated), 'isolated atom')} not compared")
        frames += here
    if wanted.labelled and not frames:
        raise DataError("--labelled: the files hold isolated atoms only; leave the option out.")
    return frames


def _others(wanted: Wanted) -> dict[str, list[Frame]]:
    """What is not chosen again, by why: what a reference could not label, by the stores beside the
    labelled files, and what --exclude names."""
    stores = {path if path.suffix == ".db" else path.with_suffix(".db") for path in wanted.labelled}
    failed = [
        Frame(atoms, None, path.name)
        for path in sorted(stores)
        if path.is_file()
        for atoms in databases.not_labelled(path)
    ]
    named = list(Stream(wanted.exclude, wanted.how)) if wanted.exclude else []
    return {_FAILED: failed, _EXCLUDED: named}


def _open(wanted: Wanted, representation: Representation) -> Ensemble | None:
    """The model that is needed, asked whether it has what is wanted of it."""
    posterior = None
    if representation.needs_model or wanted.rule == "top":
        opened = open_model(wanted.source, head=wanted.head, device=wanted.device or "cpu")
        posterior = opened.members
    if wanted.rule == "top" and posterior is not None and len(posterior) < 2:
        raise ModelError(
            f"{wanted.source} has one member, whose disagreement is nothing; give a run folder "
            "with several (tunesmith tune --strategy committee), or another --rule."
        )
    if representation.needs_model:
        representation.prepare(None if posterior is None else posterior.network())
    else:
        representation.versions()
    return posterior


def _look(
    wanted: Wanted,
    structures: Stream,
    labelled: list[Frame],
    posterior: Ensemble | None,
    bar: Progress,
) -> Candidates:
    """The candidates; every structure is read once."""
    known = None if posterior is None else frozenset(posterior.potential.elements)
    if labelled:
        check_structures(labelled, known)
    task = bar.add_task("reading", total=structures.total)
    found = look(
        structures,
        labelled,
        known,
        others=_others(wanted),
        new_elements=wanted.new_elements,
        seen=lambda: bar.advance(task),
    )
    for name, remarks in structures.notes.items():
        for remark in remarks:
            bar.console.print(f"{name}: {remark}", markup=False)
    said = {"isolated atoms": found.isolated} | dict(found.left_out)
    lines = [f"{n} of the pool left out: {name}" for name, n in said.items() if n]
    if n := found.copies:
        lines.append(f"the pool has {n} cop{'y' if n == 1 else 'ies'} of other candidates")
    for line in lines:
        bar.console.print(line, markup=False)
    wanted.require_enough(len(found))
    return found


# ---------------------------------------------------------------------------- what is computed


def _features(job: Job, bar: Progress) -> tuple[np.ndarray, np.ndarray | None]:
    """Of candidates (n, d) and of labelled structures (m, d)."""
    own, cache = job.representation, job.wanted.cache
    asked = job.posterior if own.needs_model else None
    m, n = len(job.labelled), len(job.candidates)
    task = bar.add_task(own.kind, total=m + n)

    def done(count: int) -> None:
        bar.update(task, completed=count)

    labelled = None
    if job.labelled:
        labelled = stream(own, job.labelled, asked, cache=cache, progress=done)
    pool = stream(own, job.candidates, asked, cache=cache, progress=lambda i: done(m + i))
    done(m + n)  # of features that were kept nothing is heard
    return pool, labelled


def _scores(job: Job, bar: Progress) -> np.ndarray:
    """How far members disagree about every candidate: (n,)."""
    assert job.posterior is not None
    name = job.wanted.score or SCORE
    frames = bar.track(job.candidates, total=len(job.candidates), description=name)
    return disagreement(job.posterior, (f.atoms for f in frames), name)


def _choose(
    job: Job,
    pool: np.ndarray,
    labelled: np.ndarray | None,
    scores: np.ndarray | None,
    bar: Progress,
) -> Picks:
    wanted = job.wanted
    task = bar.add_task(wanted.rule, total=wanted.n)
    picks = choose(
        wanted.rule,
        pool,
        labelled,
        wanted.n,
        kernel=job.representation.kernel,
        noise=wanted.noise or KERNEL_NOISE,
        scores=scores,
        rng=np.random.default_rng(derived_seed(wanted.seed, "select")),
    )
    bar.update(task, completed=wanted.n)
    return picks


# -------------------------------------------------------------------------- what comes out


def _rows(job: Job, picks: Picks, chosen: list[Frame]) -> list[dict[str, Any]]:
    """Of every choice what is said about it, as JSON values."""
    near = [job.labelled[i].origin if i >= 0 else None for i in picks.nearest]
    return [
        {
            "order": i + 1,
            "origin": frame.origin,
            "composition": frame.atoms.get_chemical_formula("hill"),
            "score": float(picks.scores[i]) if np.isfinite(picks.scores[i]) else None,
            "nearest": near[i],
        }
        for i, frame in enumerate(chosen)
    ]


def _marked(frame: Frame, row: Mapping[str, Any]) -> Frame:
    """The structure with why it was chosen; marks of an earlier choice go."""
    atoms = frame.atoms.copy()
    for key in [key for key in atoms.info if key.startswith("select_")]:
        del atoms.info[key]
    marks = {f"select_{key}": row[key] for key in ("order", "origin", "score", "nearest")}
    atoms.info |= {key: value for key, value in marks.items() if value is not None}
    return replace(frame, atoms=atoms)


def _title(job: Job) -> str:
    wanted, kernel = job.wanted, job.representation.kernel
    beside = f" beside {len(job.labelled)} labelled" if job.labelled else ""
    return (
        f"{wanted.n} of {len(job.candidates)} candidates by {wanted.rule}{beside}\n"
        f"representation {wanted.representation}, {kernel} kernel"
    )


def _summary(job: Job, chosen: list[Frame]) -> dict[str, Any]:
    wanted, candidates = job.wanted, job.candidates
    return {
        "out": str(wanted.out),
        "picture": str(wanted.picture),
        "rule": wanted.rule,
        "score": (wanted.score or SCORE) if wanted.rule == "top" else None,
        "representation": wanted.representation,
        "kernel": job.representation.kernel,
        "model": None if job.posterior is None else wanted.source,
        "seed": wanted.seed,
        "n_candidates": len(candidates),
        "n_labelled": len(job.labelled),
        "n_copies": candidates.copies,
        "n_left_out": {
            "labelled": candidates.left_out[LABELLED],
            "failed": candidates.left_out[_FAILED],
            "excluded": candidates.left_out[_EXCLUDED],
            "isolated_atoms": candidates.isolated,
        },
        "n_chosen": len(chosen),
        "n_chosen_with_label": sum(f.label is not None for f in chosen),
    }


def show(summary: Mapping[str, Any], screen: Console) -> None:
    """The first of the chosen as a table, and what was done in a line."""
    screen.print(selection_table(summary))
    of = f" of {summary['model']}" if summary["model"] else ""
    screen.print(
        f"{summary['n_chosen']} of {summary['n_candidates']} candidates by {summary['rule']} "
        f"({summary['representation']}{of}) in {summary['out']}; map: {summary['picture']}",
        markup=False,
    )
