"""Dynamics whose labelled structures are attacked by the posterior that asked."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.constraints import FixAtoms
from rich.console import Console

from small import config, results, start
from tunesmith import tensor_files, terminal
from tunesmith.attack.adversary import COST
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.cli import app
from tunesmith.config import RunConfig, template
from tunesmith.contracts import Posterior
from tunesmith.core import BY_MEMBERS, E0s, Label
from tunesmith.data.label_row import label_key
from tunesmith.data.store import LabelStore
from tunesmith.errors import CheckpointError, ConfigError, DataError
from tunesmith.loop.interrupts import Interrupts
from tunesmith.loop.labels import Labels
from tunesmith.loop.onthefly import adversaries
from tunesmith.loop.onthefly.onthefly_estimate import LABELS
from tunesmith.loop.onthefly.onthefly_outputs import show
from tunesmith.loop.onthefly.onthefly_prepare import prepare
from tunesmith.loop.onthefly.onthefly_standing import AttackRecord, OnTheFlyStanding, Record
from tunesmith.loop.run import estimate, run
from tunesmith.loop.screen import Screen
from tunesmith.loop.stopwatch import Stopwatch
from tunesmith.loop.tools import Tools
from tunesmith.posterior.ensemble import Ensemble, open_model
from tunesmith.posterior.spread_rules import ByTangentKernel
from tunesmith.posterior.tangent import Tangents
from tunesmith.potentials import zoo
from tunesmith.references.tblite import TBLite

ATTACK = "attack.target=500 meV/Å"
#: σ_cal = 1.32 σ̂
LAW = GammaCalibration(1.5, 0.5).update(0.1, 0.2)
SHORT = ("explore.time=1.5 fs", "acquire.max_gap=0.5 fs")


# ----------------------------------------------------------------------------- one attack


@pytest.fixture(scope="module")
def posterior() -> Ensemble:
    """Three random changes of organic-xs."""
    potential = zoo.load("organic-xs", dtype="float64")
    own, generator = potential.weights(), torch.Generator().manual_seed(1)
    weights = []
    for _ in range(3):
        moved = dict(own)
        for name in potential.names.trainable():
            draw = torch.randn(own[name].shape, generator=generator, dtype=torch.float64)
            moved[name] = own[name] + 0.02 * own[name].square().mean().sqrt() * draw
        weights.append(moved)
    return Ensemble(potential, weights, E0s(potential.e0s))


class Bench:
    """All that one attack needs, around a label store in a folder."""

    def __init__(self, folder: Path, posterior: Posterior, **reference: Any) -> None:
        self.folder, self.posterior = folder, posterior
        record = Record(
            **dict.fromkeys(("key", "why"), "x"), walker=0, time=7.5, clock=8.0, predicted=0.0,
            labelled=0.0, untuned=0.0, raw_std=1.0, std=1.0, probability=0.1, tail=0.5,
            threshold=None, force_rmse=0.1, untuned_force_rmse=0.1,
        )  # fmt: skip
        nothing: Any = None
        self.at = OnTheFlyStanding(
            nothing,
            (nothing, nothing),
            members=nothing,
            records=(record,),
            # another one of the whole spread, which noise heads widen
            calibration={"forces": GammaCalibration(3, 99), BY_MEMBERS: LAW},
        )
        console = Console(quiet=True)
        self.tools = Tools(Stopwatch(), Interrupts(), Screen(console))
        engine = TBLite(method="GFN1-xTB", **reference)
        self.labels = Labels(folder / "run", engine, self.tools.watch, folder / "none")
        self.files = start(folder)

    def attack(self, atoms: Atoms, target: str, *settings: str) -> adversaries.Beside:
        given = config(self.files, f"attack.target={target}", *settings)
        return adversaries.beside(
            given, self.at, self.posterior, atoms, "walker 0, 7.50 fs", self.labels, self.tools
        )


def rattled(seed: int = 0) -> Atoms:
    atoms = molecule("H2O")
    atoms.rattle(0.04, seed=seed)
    return atoms


def expected(posterior: Ensemble, atoms: Atoms, law: Any) -> float:
    """Rms over atoms of what members differ by, calibrated, eV/Å."""
    members = posterior.predict([atoms]).members
    assert members is not None
    raw = np.std([m.forces for m in members], axis=0, ddof=1)
    return float(np.sqrt((law.std(raw) ** 2).sum(1).mean()))


def test_an_adversary_is_where_the_error_is_expected_and_its_label_tells(
    tmp_path: Path, posterior: Ensemble
) -> None:
    bench, atoms = Bench(tmp_path, posterior), rattled()
    atoms.set_constraint(FixAtoms([0]))
    found = bench.attack(atoms, "200 meV/Å")
    [frame], record = found.frames, found.record
    assert (record.outcome, record.stopped, record.why) == ("learnt", "on target", "")
    assert (record.walker, record.time, record.clock) == (0, 7.5, 8.0)
    assert record.target == pytest.approx(0.2)
    assert record.start_std == pytest.approx(expected(posterior, atoms, LAW))
    assert record.std == pytest.approx(expected(posterior, frame.atoms, LAW))
    assert record.std == pytest.approx(0.2, rel=0.05)
    assert np.array_equal(frame.atoms.positions[0], atoms.positions[0]), "constraints hold"
    moved = np.linalg.norm(frame.atoms.positions - atoms.positions, axis=1).max()
    assert record.displacement == pytest.approx(moved) != 0
    # the label is the reference's own, and the errors are those of all members and of their mean
    truth = TBLite(method="GFN1-xTB").label(frame.atoms)
    assert isinstance(truth, Label)
    assert frame.label is not None
    assert np.allclose(frame.label.forces, truth.forces, atol=1e-8)
    members = posterior.predict([frame.atoms]).members
    assert members is not None
    off = np.array([m.forces for m in members]) - truth.forces
    assert record.error == pytest.approx(np.sqrt(np.mean(np.sum(off**2, axis=-1))), rel=1e-6)
    mean = np.sqrt(np.mean(np.sum(off.mean(0) ** 2, axis=-1)))
    assert record.mean_error == pytest.approx(mean, rel=1e-6)
    # and it is in the store by then, with its marks
    [entry] = bench.labels.store.entries()
    assert label_key(entry.frame.atoms, entry.identity) == record.key
    assert entry.frame.origin == "walker 0, 7.50 fs, attacked"
    assert entry.frame.atoms.info["attack_std"] == record.std
    assert entry.frame.atoms.info["attack_origin"] == "walker 0, 7.50 fs"
    assert entry.frame.atoms.info == frame.atoms.info


def test_what_is_uncertain_enough_already_costs_no_label(
    tmp_path: Path, posterior: Ensemble
) -> None:
    bench, atoms = Bench(tmp_path, posterior), rattled()
    there = 1e3 * expected(posterior, atoms, LAW)
    for target in (there, 0.7 * there):  # nothing to do, and towards less
        found = bench.attack(atoms, f"{target} meV/Å")
        assert (found.record.outcome, found.frames) == ("not labelled", ())
        assert found.record.why == "hardly more uncertain than the structure it began at"
    assert bench.labels.calls() == 0
    # a bias has another aim than uncertainty alone
    biased = "attack.bias=[{quantity: energy, value: 0 eV, width: 100 eV}]"
    assert bench.attack(atoms, f"{there} meV/Å", biased).record.labelled


def test_what_is_not_labelled_or_not_learnt_says_why(tmp_path: Path, posterior: Ensemble) -> None:
    def water(bond: float) -> Atoms:
        atoms = molecule("H2O")
        along = atoms.positions[1:] - atoms.positions[0]
        along /= np.linalg.norm(along, axis=1)[:, None]
        atoms.positions[1:] = atoms.positions[0] + bond * along
        return atoms

    bench = Bench(tmp_path, posterior)
    close = bench.attack(water(0.5), "2 eV/Å").record
    assert (close.stopped, close.std, close.outcome) == ("could not start", None, "not labelled")
    assert "to start with; mend it, or lower attack.min_distance" in close.why
    strong = bench.attack(water(0.68), "2 eV/Å").record
    assert (strong.outcome, strong.why) == ("not labelled", "force predicted")
    assert bench.labels.calls() == 0
    kept = bench.attack(water(0.74), "1.25 eV/Å")
    assert (kept.record.outcome, kept.frames) == ("not learnt", ())
    assert kept.record.labelled
    assert "eV/Å is over 30 eV/Å" in kept.record.why
    assert bench.labels.calls() == len(bench.labels.store) == 1, "the label is kept"


def test_a_reference_that_fails_is_a_result_and_is_not_asked_again(
    tmp_path: Path, posterior: Ensemble
) -> None:
    bench = Bench(tmp_path, posterior, max_force="0.1 eV/Å")
    for _ in range(2):
        found = bench.attack(rattled(), "200 meV/Å")
        assert (found.record.outcome, found.frames) == ("failed", ())
        assert found.record.why.startswith("unphysical: a force of")
        assert not found.record.labelled
    assert bench.labels.calls() == len(bench.labels.store.failures()) == 1


def test_the_law_is_that_of_the_members(tmp_path: Path, posterior: Ensemble) -> None:
    """The tangent kernel's has learnt nothing of forces."""
    bench = Bench(tmp_path, posterior)
    assert adversaries.law_of(posterior, bench.at) is LAW
    known = Tangents(ByTangentKernel(), np.zeros((0, 1)), np.zeros(0))
    bench.posterior = known.posterior(posterior)
    assert adversaries.law_of(bench.posterior, bench.at) is None
    record = bench.attack(rattled(), "200 meV/Å").record
    assert record.calibration == "none"
    assert record.start_std == pytest.approx(
        expected(posterior, rattled(), GammaCalibration(1.5, 0.5)), rel=1e-6
    ), "a belief of b = 0.5 is: as it is"


def test_labels_of_adversaries_count_towards_the_most() -> None:
    record = AttackRecord(0, 1.0, 1.0, 0.1, "learnt", error=0.2)
    nothing: Any = None
    at = OnTheFlyStanding(nothing, (nothing, nothing), members=nothing, keys=("a", "b", "c"))
    at = replace(at, records=(nothing,), attacks=(record,))
    assert (at.made, at.given) == (2, 1)
    kept = replace(record, outcome="not learnt")
    assert replace(at, keys=("a", "b"), attacks=(kept,)).made == 2
    assert replace(at, keys=("a", "b"), attacks=(kept,)).given == 1
    failed = replace(record, outcome="failed", error=None)
    assert replace(at, keys=("a", "b"), attacks=(failed,)).made == 1


def test_what_attacks_say_together() -> None:
    empty = {"stopped": "stalled", "error": None, "mean_error": None, "outcome": "failed"}
    two = [
        {"stopped": "on target", "error": e, "mean_error": m, "outcome": "learnt"}
        for e, m in ((0.3, 0.1), (0.4, 0.2))
    ]
    found = adversaries.totals([*two, empty])
    assert (found["attacked"], found["on_target"], found["labelled"]) == (3, 2, 2)
    assert found["failed"] == 1
    assert found["error"] == pytest.approx(np.sqrt((0.09 + 0.16) / 2))
    assert found["mean_error"] == pytest.approx(np.sqrt((0.01 + 0.04) / 2))
    assert adversaries.totals([])["error"] is None


# ---------------------------------------------------------------------------- a whole run


@pytest.fixture(scope="module")
def whole(water: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, run(config(water, *SHORT, ATTACK), out)


def test_both_labels_are_learnt_in_one_update(whole: tuple[Path, Any]) -> None:
    out, summary = whole
    learnt = [a for a in summary["attacks"] if a["outcome"] == "learnt"]
    assert len(learnt) >= 1
    assert len(summary["attacks"]) == summary["interventions"] >= 2
    assert summary["labels"] == 1 + summary["interventions"] + len(learnt)
    assert summary["reference_calls"] == summary["labels"]
    assert summary["updates"] == 1 + summary["interventions"]
    assert "attack" in summary["wall_time_s"]
    # the order in which they are learnt: what the dynamics was at comes last
    frames = ase.io.read(out / "labels.extxyz", ":")
    marked = ["attack_std" in f.info for f in frames]
    assert sum(marked) == len(learnt)
    assert not marked[0]
    assert not marked[-1]
    # errors of adversaries are no record of the calibration
    laws = open_model(out).calibration
    assert {law.records for law in laws.values()} == {summary["interventions"]}
    # and drive nothing: a labelled step has the forces of the structure itself
    steps = ase.io.read(out / "trajectory.extxyz", ":")
    assert sum(s.info["labelled"] for s in steps) == summary["interventions"]


def test_it_is_shown(whole: tuple[Path, Any], capsys: pytest.CaptureFixture[str]) -> None:
    show(json.loads((whole[0] / "summary.json").read_text()), Console(width=120))
    said = capsys.readouterr().out
    n, total = len(whole[1]["attacks"]), adversaries.totals(whole[1]["attacks"])
    counts = f"{n}, {total['on_target']} on target, {total['labelled']} labelled"
    assert [s for s in said.splitlines() if s.startswith("attacks on them") and counts in s]
    assert f"{1e3 * total['error']:.1f} meV/Å, of the mean" in said


def test_with_its_labels_a_run_is_repeated_without_a_call(
    whole: tuple[Path, Any], water: list[str], tmp_path: Path
) -> None:
    """The second label of each pair is found too: the attack is the same to the bit."""
    shutil.copytree(whole[0], tmp_path / "whole")
    (tmp_path / "run").mkdir()
    shutil.copy(whole[0] / "labels.db", tmp_path / "run")
    again = run(config(water, *SHORT, ATTACK), tmp_path / "run")
    assert results(tmp_path / "run") == results(whole[0])
    assert again["attacks"] == whole[1]["attacks"]
    assert again["reference_calls"] == whole[1]["reference_calls"]


def test_a_checkpoint_of_before_there_were_attacks_is_refused(
    whole: tuple[Path, Any], water: list[str], tmp_path: Path
) -> None:
    shutil.copytree(whole[0], tmp_path / "run")
    state = tmp_path / "run" / "checkpoint" / "state.safetensors"
    tensors, info = tensor_files.read(state)
    del info["state"]["attacks"]
    tensor_files.write(state, tensors, info)
    (tmp_path / "run" / "summary.json").unlink()
    with pytest.raises(CheckpointError, match=r"\('attacks'\), so it is of another version"):
        run(config(water, *SHORT, ATTACK), tmp_path / "run")


def test_its_folder_attacks(
    whole: tuple[Path, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`tunesmith attack --model` takes the posterior and the calibration that the run has left."""
    rattled().write(tmp_path / "f.xyz", format="extxyz")
    out, posterior = tmp_path / "a.xyz", open_model(whole[0])
    law = posterior.calibration[BY_MEMBERS]
    before = expected(posterior, rattled(), law)
    target = f"{2e3 * before} meV/Å"
    given = ["--model", str(whole[0]), "--target", target, "--out", str(out), "--json"]
    assert terminal.run(app, ["attack", str(tmp_path / "f.xyz"), *given]) == 0
    said = json.loads(capfd.readouterr().out)
    assert (said["n_members"], said["calibration"]) == (2, "gamma")
    after = expected(posterior, cast(Atoms, ase.io.read(out)), law)
    [found] = said["structures"]
    assert found["std_start"] == pytest.approx(before, rel=1e-3)
    assert found["std"] == pytest.approx(after, rel=1e-3)
    assert after > before


@pytest.mark.slow
def test_labels_run_out_in_the_midst_of_a_pair(water: list[str], tmp_path: Path) -> None:
    one = run(config(water, *SHORT, ATTACK, "loop.max_labels=1"), tmp_path / "one")
    assert (one["interventions"], one["attacks"], one["reference_calls"]) == (1, [], 2)
    two = run(config(water, *SHORT, ATTACK, "loop.max_labels=2"), tmp_path / "two")
    made = [a for a in two["attacks"] if a["error"] is not None]
    assert two["interventions"] + len(made) == 2


@pytest.mark.slow
def test_failures_on_adversaries_are_never_fatal(water: list[str], tmp_path: Path) -> None:
    """Of dynamics at 10 K forces are small; those of adversaries are over the reference's limit."""
    limit = "reference={kind: tblite, method: GFN1-xTB, max_force: 0.8 eV/Å}"
    cold = (limit, "explore.temperature=10 K", "attack.target=300 meV/Å")
    given = config(water, *SHORT, *cold)
    summary = run(given, tmp_path / "whole")
    failures = LabelStore(tmp_path / "whole" / "labels.db").failures()
    failed = [a for a in summary["attacks"] if a["outcome"] == "failed"]
    assert len(failed) == len(failures) >= 1
    assert summary["failed_calls"] == 0, "of those that the dynamics asked for"
    assert summary["as_asked"]
    (tmp_path / "run").mkdir()
    shutil.copy(tmp_path / "whole" / "labels.db", tmp_path / "run")
    again = run(given, tmp_path / "run")
    assert again["attacks"] == summary["attacks"]
    assert again["reference_calls"] == summary["reference_calls"]
    assert results(tmp_path / "run") == results(tmp_path / "whole")


@pytest.mark.slow
def test_a_dry_run_counts_attacks_and_second_labels(water: list[str], tmp_path: Path) -> None:
    given = config(water, ATTACK, "attack.evaluations=7")
    cost = estimate(given, tmp_path / "run", Console(quiet=True))
    assert cost["attack_s"] == pytest.approx(COST * 7 * cost["step_s"])
    each = 2 * cost["label_s"] + cost["update_s"] + cost["attack_s"]
    assert cost["total_s"][str(LABELS[0])] == pytest.approx(cost["md_s"] + LABELS[0] * each)


# ------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ("attack=force-error",),
            r"attack\.target: not given, but needed",
        ),
        (
            ("attack={}", "target={forces: {H: 50 meV/Å}, energy: 0.5 kcal/mol}"),
            r"attack\.target: not given, but needed",
        ),
        (
            (ATTACK, "tune.spread=ntk", "tune.sampler={kind: sghmc, members: 1, steps: 20}"),
            r"attack: one chain never disagrees with itself",
        ),
        (("attack=true",), r"attack: true was given, but a section"),
        (("attack.targets=1",), "did you mean 'target'"),
    ],
)
def test_settings_that_are_refused(settings: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        of_energy(*settings)


def of_energy(*settings: str) -> RunConfig:
    return config(["s.xyz"], *settings)


def test_the_target_is_that_of_the_forces_unless_it_is_given() -> None:
    forces = ("target={forces: 120 meV/Å}", "target.energy=")
    assert config(["s.xyz"], *forces).attack is None
    for on in ("attack=force-error", "attack={}", "attack.batch=8"):
        assert config(["s.xyz"], *forces, on).attack.target == "120 meV/Å"
    own = config(["s.xyz"], *forces, "attack.target=0.2 eV/Å")
    assert own.attack.error == pytest.approx(0.2)
    assert "\nattack: null  #" in template("run")
    assert "\n  target: 0.2 eV/Å  # needed" in template("run", [ATTACK.split("=")[0] + "=0.2 eV/Å"])


@pytest.mark.parametrize(
    ("periodic", "constraint", "said"),
    [
        (True, FixAtoms([0]), "the constraint FixAtoms, which a moving cell would break"),
        (False, None, "its cell cannot move without three periodic directions"),
    ],
)
def test_starts_that_an_attack_cannot_keep_are_refused(
    tmp_path: Path, periodic: bool, constraint: Any, said: str
) -> None:
    atoms = molecule("H2O", cell=[6, 6, 6] if periodic else None, pbc=periodic)
    atoms.set_constraint(constraint)
    atoms.write(tmp_path / "s.traj")
    given = config([str(tmp_path / "s.traj")], ATTACK, "attack.cell=true")
    with pytest.raises(DataError, match=said) as refused:
        prepare(given, print)
    assert str(refused.value).startswith("explore.start: ")
