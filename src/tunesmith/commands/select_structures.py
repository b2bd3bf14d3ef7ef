"""Choose from files of candidates what to label: what `tunesmith select` does, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from tunesmith.acquire import Picks
from tunesmith.acquire.points import Points, closest
from tunesmith.commands.selection_files import SelectFiles
from tunesmith.commands.streamed_looks import StreamedLooks
from tunesmith.config import SelectConfig
from tunesmith.core import Frame, derived_seed
from tunesmith.data import databases
from tunesmith.data.checks import check_structures, separate_isolated
from tunesmith.data.formats import read_frames, write_frames
from tunesmith.data.stream import Stream
from tunesmith.doctor.candidates import LABELLED, Candidates, look
from tunesmith.errors import ConfigError, DataError, ModelError
from tunesmith.posterior.ensemble import Ensemble, open_model
from tunesmith.report.selection import selection_map, selection_table
from tunesmith.words import counted

#: what structures are left out as
_FAILED, _EXCLUDED = "failed to be labelled before", "named by --exclude"


@dataclass(frozen=True)
class SelectionInputs:
    """What to choose from and by what: the posterior where one is asked, labelled structures and
    candidates."""

    config: SelectConfig
    files: SelectFiles
    posterior: Ensemble | None
    labelled: list[Frame]
    candidates: Candidates


def select(
    config: SelectConfig, files: SelectFiles, notes: Console, bar: Progress
) -> dict[str, Any]:
    """Choose, write the chosen structures and the map; the summary.

    bar: shown once there is something to wait for. Everything that can be refused is, before
    anything is computed: `ConfigError`, `DataError`, `ModelError`, `RunFolderError`, and nothing is
    written then.
    """
    if config.new_elements and not files.labelled:
        raise ConfigError("--new-elements needs --labelled; leave it out, or give that.")
    files.check()
    structures = Stream(files.pool, files.how)
    _require_enough(config, structures.total)
    labelled = _labelled(files, notes)
    posterior = _open(config)
    drawn, kernel = config.drawn_by
    with bar:
        candidates = _look(config, files, structures, labelled, posterior, bar)
        given = SelectionInputs(config, files, posterior, labelled, candidates)
        looks = StreamedLooks(candidates, labelled, posterior, bar, files.cache)
        pool, known = looks.features(drawn), looks.labelled(drawn)
        picks = _choose(config, looks, bar)
    chosen = candidates.read(picks.indices.tolist())
    rows = _rows(given, picks, chosen, _nearest(config, picks, pool, known))
    write_frames(files.out, [_marked(f, row) for f, row in zip(chosen, rows, strict=True)])
    selection_map(
        pool,
        picks.indices,
        files.picture,
        labelled=known,
        kernel=kernel,
        rng=np.random.default_rng(derived_seed(config.seed, "map")),
        title=_title(given),
    )
    return _summary(given, chosen) | {"chosen": rows}


def _require_enough(config: SelectConfig, there: int | None) -> None:
    """Raise `DataError` where there are fewer candidates than asked for; None: not known."""
    n = config.acquire.batch
    if there is not None and there < n:
        raise DataError(
            f"the pool has {there} candidates, fewer than the {n} asked for; ask for at most --n "
            f"{there}, or give more files."
        )


def _labelled(files: SelectFiles, notes: Console) -> list[Frame]:
    """The labelled structures of all files; their labels are not looked at."""
    frames: list[Frame] = []
    for path in files.labelled:
        here, isolated = separate_isolated(read_frames(path)[0])
        if isolated:
            notes.print(f"{path.name}: {counted(len(isolated), 'isolated atom')} not compared")
        frames += here
    if files.labelled and not frames:
        raise DataError("--labelled: the files hold isolated atoms only; leave the option out.")
    return frames


def _others(files: SelectFiles) -> dict[str, list[Frame]]:
    """What is not chosen again, by why: what a reference could not label, by the stores beside the
    labelled files, and what --exclude names."""
    stores = {path if path.suffix == ".db" else path.with_suffix(".db") for path in files.labelled}
    failed = [
        Frame(atoms, None, path.name)
        for path in sorted(stores)
        if path.is_file()
        for atoms in databases.not_labelled(path)
    ]
    named = list(Stream(files.exclude, files.how)) if files.exclude else []
    return {_FAILED: failed, _EXCLUDED: named}


def _open(config: SelectConfig) -> Ensemble | None:
    """The model that is needed, asked whether it has what is wanted of it."""
    posterior, model = None, config.model
    if config.asks_model:
        posterior = open_model(
            model.source, head=model.head, dtype=model.dtype, device=model.device
        ).members
    if config.acquire.asks_members and posterior is not None and len(posterior) < 2:
        raise ModelError(
            f"{model.source} has one member, whose disagreement is nothing; give a run folder "
            "with several (tunesmith tune --strategy committee), or another --rule."
        )
    for representation, _ in (config.compared_by, config.drawn_by):
        if representation.needs_model:
            representation.prepare(None if posterior is None else posterior.network())
        else:
            representation.versions()
    return posterior


def _look(
    config: SelectConfig,
    files: SelectFiles,
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
        others=_others(files),
        new_elements=config.new_elements,
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
    _require_enough(config, len(found))
    return found


# ---------------------------------------------------------------------------- what is computed


def _choose(config: SelectConfig, looks: StreamedLooks, bar: Progress) -> Picks:
    n = config.acquire.batch
    task = bar.add_task(config.rule, total=n)
    rng = np.random.default_rng(derived_seed(config.seed, "select"))
    picks: Picks = config.acquire.choose(looks, n, rng)
    bar.update(task, completed=n)
    return picks


def _nearest(
    config: SelectConfig, picks: Picks, pool: np.ndarray, known: np.ndarray | None
) -> np.ndarray:
    """Index of the nearest labelled structure of every choice, (n,), −1 without any: by the map
    where the rule compares by nothing. pool: (p, d) and known: (m, d) of the map."""
    if known is None or config.acquire.compares_by is not None:
        return picks.nearest
    kernel = config.drawn_by[1]
    points, labelled = Points(pool, kernel), Points(known, kernel, "labelled")
    return closest(points.vectors(picks.indices), labelled.vectors(slice(None)), kernel)[0]


# -------------------------------------------------------------------------- what comes out


def _rows(
    given: SelectionInputs, picks: Picks, chosen: list[Frame], nearest: np.ndarray
) -> list[dict[str, Any]]:
    """Of every choice what is said about it, as JSON values."""
    near = [given.labelled[i].origin if i >= 0 else None for i in nearest]
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


def _title(given: SelectionInputs) -> str:
    config = given.config
    drawn, kernel = config.drawn_by
    beside = f" beside {len(given.labelled)} labelled" if given.labelled else ""
    return (
        f"{config.acquire.batch} of {len(given.candidates)} candidates by {config.rule}{beside}\n"
        f"representation {drawn.kind}, {kernel} kernel"
    )


def _summary(given: SelectionInputs, chosen: list[Frame]) -> dict[str, Any]:
    config, candidates = given.config, given.candidates
    representation, kernel = config.compared_by
    return {
        "out": str(given.files.out),
        "picture": str(given.files.picture),
        "rule": config.rule,
        "score": config.acquire.name if config.acquire.asks_members else None,
        "representation": representation.kind,
        "kernel": kernel,
        "model": None if given.posterior is None else config.model.source,
        "seed": config.seed,
        "n_candidates": len(candidates),
        "n_labelled": len(given.labelled),
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
