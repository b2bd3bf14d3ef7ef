"""What a run refuses: one sentence, before anything is written."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from small import SETTINGS, config, start
from tunesmith import terminal
from tunesmith.cli import app
from tunesmith.config import RunConfig, template
from tunesmith.core import Frame
from tunesmith.data.formats import write_frames
from tunesmith.loop.onthefly.onthefly_estimate import LABELS, whole_update
from tunesmith.loop.onthefly.onthefly_prepare import prepare
from tunesmith.loop.run import estimate, run

REFUSED = [
    (
        ("target.energy=0.5",),
        "target.energy: 0.5 was given, but a text (a quantity with its unit",
    ),
    (
        ("target.energy=2 meV per atom",),
        "'2 meV per atom' is per atom, but the criterion is of the whole structure; for these 3 "
        "atoms write '6 meV per structure'",
    ),
    (("target.energy=0.01 meV",), "single precision resolves the 14 eV of H2O only to"),
    (("target.energy=0.1 meV",), "less than the 0.027 meV to which tblite converges"),
    (("target={}",), "nothing of H2O is judged"),
    (("explore.timestep=4 fs", "explore.write_every=8 fs"), "timestep"),
    (("explore.ensemble=berendsen",), "berendsen"),
    (("explore.ensemble=npt",), "start"),
    (("tune.sampler=adamw",), "tune.sampler: 'adamw' gives no posterior"),
    (("tune.loss=huber",), "tune.loss: 'huber' gives no posterior"),
    (("data.energy_key=e",), "data: energy_key is given but no initial file"),
    (("loop.rare=2",), "loop.rare: 2 was given, but a text (a quantity with its unit"),
    (("loop.on_failure=ignore",), "loop.on_failure: 'ignore' was given, but one of"),
    (("loop.retry_after=-5 fs",), "loop.retry_after: '-5 fs' must be over zero"),
    (("loop.max_label=3",), "loop.max_label: no such setting; did you mean 'max_labels'?"),
    (("execute.processes=0",), "execute.processes: 0 was given"),
    (("reference=",), "reference.kind: not given"),
]


def said(capfd: pytest.CaptureFixture[str], folder: Path, *overrides: str) -> str:
    """The one sentence the command line ends with, code 2; nothing is written."""
    given = {text.partition("=")[0].partition(".")[0] for text in overrides}
    rest = [
        s for s in SETTINGS if s.partition("=")[0] not in {o.partition("=")[0] for o in overrides}
    ]
    rest = [s for s in rest if not ("target={}" in overrides and s.startswith("target."))]
    assert given
    (folder / "c.yaml").write_text(f"explore: {{start: {folder / 'H2O.xyz'}}}\n")
    arguments = ["run", str(folder / "c.yaml"), "--out", str(folder / "run")]
    for text in (*rest, *overrides):
        arguments += ["--set", text]
    code = terminal.run(app, arguments)
    out, err = capfd.readouterr()
    assert (code, out) == (2, "")
    assert not (folder / "run").exists()
    [sentence] = [line for line in err.splitlines() if line.startswith("error: ")]
    return sentence


@pytest.mark.parametrize(("overrides", "says"), REFUSED, ids=[o[0] for o, _ in REFUSED])
def test_bad_settings(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, overrides: tuple[str, ...], says: str
) -> None:
    start(tmp_path, "H2O")
    assert says in said(capfd, tmp_path, *overrides)


@pytest.mark.parametrize(
    ("atoms", "says"),
    [
        (Atoms("FeO", [[0, 0, 0], [0, 0, 1.6]]), "Fe"),
        (Atoms("OH", [[0, 0, 0], [0, 0, 0.4]]), "0.4 Å"),
        (Atoms("OH", [[0, 0, 0], [0, 0, np.nan]]), "H2O.xyz"),
    ],
    ids=["unknown element", "too close", "no number"],
)
def test_bad_starts(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, atoms: Atoms, says: str
) -> None:
    atoms.write(tmp_path / "H2O.xyz", format="extxyz")
    assert says in said(capfd, tmp_path, "seed=1")


def test_constraints_of_the_start_file_are_kept(tmp_path: Path) -> None:
    atoms = molecule("H2O")
    from ase.constraints import FixAtoms

    atoms.set_constraint(FixAtoms([0]))
    atoms.write(tmp_path / "fixed.xyz", format="extxyz")
    ready = prepare(config([str(tmp_path / "fixed.xyz")]), print)
    assert ready.starts[0].constraints[0].index.tolist() == [0]
    assert ready.state.walkers[0].constraints


def test_the_template_is_a_configuration(tmp_path: Path) -> None:
    text = template("run", ["reference.kind=tblite"])
    (tmp_path / "c.yaml").write_text(text)
    from tunesmith.config import load

    loaded = load(RunConfig, tmp_path / "c.yaml")
    assert loaded.tune.sampler.kind == "sghmc"
    assert loaded.target.energy == "0.5 kcal/mol"
    assert "target:\n  energy:" in text, "a target has one kind, which is not shown"


@pytest.mark.parametrize(
    ("steps", "start", "each", "workers"),
    [
        *((2000, 0.5, 0.02, 3.0), (60, 0.3, 0.1, 3.0), (30, 0.0, 0.1, 0.0), (400, 2.0, 7.0, 0.0)),
        (250, 0.5, 0.08, 16.0),  # a first import on a busy machine
    ],
)
def test_a_dry_run_times_no_more_than_an_update_has_or_a_minute_takes(
    steps: int, start: float, each: float, workers: float
) -> None:
    asked: list[int] = []

    def seconds(n: int) -> float:
        asked.append(n)
        return workers * (len(asked) == 1) + start + n * each

    found = whole_update(seconds, steps)
    assert sum(asked) <= min(steps, 120)
    assert sum(start + n * each for n in asked[1:]) <= 60
    assert all(n >= 10 for n in asked)  # schedules are of so many steps
    truth = start + steps * each
    assert truth * 0.99 <= found <= truth * (1.01 if each < 1 else 1.3)


def test_a_dry_run_estimates_and_keeps_its_label(tmp_path: Path) -> None:
    files = start(tmp_path, "H2O")
    from rich.console import Console

    cost = estimate(config(files), tmp_path / "run", Console(quiet=True))
    assert cost["md_s"] == pytest.approx(12 * cost["step_s"])
    each = cost["label_s"] + cost["update_s"]
    assert cost["total_s"][str(LABELS[0])] == pytest.approx(cost["md_s"] + LABELS[0] * each)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["labels.db"]
    # and other settings may be chosen after it
    summary = run(config(files, "explore.time=0.5 fs", "seed=3"), tmp_path / "run")
    assert summary["reference_calls"] == summary["labels"]


def test_a_frame_that_is_labelled_may_start(tmp_path: Path) -> None:
    """Its label is not used: it may be of another level."""
    write_frames(tmp_path / "f.xyz", [Frame(molecule("H2O"), None, "f")])
    assert prepare(config([str(tmp_path / "f.xyz")]), print).initial == []
