"""The bench strategies: which cells there are, that finished ones are kept, and what tables say."""

import itertools
import json
import math
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from bench.runner.cells import run_cells, selected
from bench.runner.lines import Lines
from bench.runner.parts import joined
from bench.runner.tables import into_docs, marks
from bench.shared.clocks import stopwatch
from bench.shared.training import BATCH, VALID, per_epoch, replay_head
from bench.strategies import strategies_cells
from bench.strategies.strategies_bench import told
from bench.strategies.strategies_findings import (
    OURS,
    TUNED,
    Finding,
    findings,
    table,
    verdicts,
)
from bench.strategies.strategies_plan import (
    BEST_E0,
    E0S,
    SCRATCH_E0,
    STRATEGIES,
    Cell,
    best_e0,
    grid,
    work,
)
from bench.strategies.strategies_tables import Cells, page
from tunesmith.core import E0s, Frame, Label, Members
from tunesmith.data import checks
from tunesmith.posterior import members_file
from tunesmith.posterior.ensemble import open_model
from tunesmith.potentials import zoo
from tunesmith.tune.subspace import All

SYSTEMS, SIZES, STEPS = ["acac", "3bpa"], [10, 50, 200], 800

# ------------------------------------------------------------------------------ the plan


def test_the_grid_is_whole_and_no_cell_stands_in_it_twice() -> None:
    cells = grid(SYSTEMS, SIZES, 2, STEPS)
    assert max(Counter(cells).values()) == 1
    every = [(s, n, seed) for s in SYSTEMS for n in SIZES for seed in (0, 1)]
    for system, n, seed in every:
        for strategy in STRATEGIES:
            assert Cell(system, n, strategy, best_e0(system, strategy), seed, STEPS) in cells
        for strategy in ("naive", "lora"):
            for e0 in E0S:
                assert Cell(system, n, strategy, e0, seed, STEPS) in cells
    assert len({c.name for c in cells}) == len(cells)


def test_the_first_seed_s_strategies_come_before_everything_else() -> None:
    cells = grid(SYSTEMS, SIZES, 2, STEPS)
    first = cells[: len(STRATEGIES) * len(SIZES) * len(SYSTEMS)]
    assert {c.seed for c in first} == {0}
    assert {c.strategy for c in first} == set(STRATEGIES)
    assert {c.e0 for c in first} == {*BEST_E0.values(), SCRATCH_E0}


def test_cells_are_selected_by_all_conditions() -> None:
    cells = grid(SYSTEMS, SIZES, 2, STEPS)
    chosen = selected(cells, ["strategy=lora,naive", "frames=10", "seed=1"], Cell)
    assert chosen
    assert chosen == [
        c for c in cells if c.strategy in ("lora", "naive") and c.frames == 10 and c.seed == 1
    ]
    for wrong in ("strategies=lora", "strategy", "strategy="):
        with pytest.raises(SystemExit, match="FIELD=VALUE"):
            selected(cells, [wrong], Cell)


@pytest.mark.parametrize("n", [10, 11, 15, 50, 200])
def test_steps_of_an_epoch_are_those_of_tunes_own_split(n: int) -> None:
    frames = [Frame(molecule("H2O"), None, str(i)) for i in range(n)]
    train, _ = checks.split(frames, VALID, np.random.default_rng(0))
    batches = [train[i : i + BATCH] for i in range(0, len(train), 5)]
    assert per_epoch(n) == len(batches)


# ------------------------------------------------------------------------------- the data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder like the reference data's, with 30 water molecules that all differ."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(30):
        atoms = molecule("H2O")
        atoms.rattle(0.05, rng=rng)
        results = {"energy": rng.normal(), "forces": rng.normal(size=(3, 3))}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    isolated = []
    for symbol, energy in (("H", -13.6), ("O", -2041.0)):
        atom = molecule(symbol)
        atom.set_initial_magnetic_moments(None)
        atom.calc = SinglePointCalculator(atom, energy=energy)
        isolated.append(atom)
    (tmp_path / "acac").mkdir()
    ase.io.write(tmp_path / "acac" / "train_300K.xyz", frames)
    ase.io.write(tmp_path / "acac" / "isolated_atoms.xyz", isolated)
    return tmp_path


def _energies(frames: list[Frame]) -> list[float]:
    return [f.label.energy for f in frames if f.label is not None]


def test_held_out_frames_are_never_trained_on_and_smaller_sets_are_part_of_larger(
    data: Path,
) -> None:
    _, test = strategies_cells.parts(data, "acac", 0, 0, 10)
    source = {round(a.get_potential_energy(), 8): a for a in _read(data)}
    held = _energies(test)
    assert len(set(held)) == 10
    sets = {}
    for seed in (0, 1):
        for n in (5, 12):
            found, again = strategies_cells.parts(data, "acac", n, seed, 10)
            assert _energies(again) == held, "the same for all"
            train, isolated = checks.separate_isolated(found)
            assert {
                f.atoms.get_chemical_formula(): f.label.energy for f in isolated if f.label
            } == {
                "H": -13.6,
                "O": -2041.0,
            }
            assert not set(_energies(train)) & set(held)
            sets[seed, n] = _energies(train)
            assert len(set(sets[seed, n])) == n
            for frame in train:
                assert frame.label is not None
                original = source[round(frame.label.energy, 8)]
                assert np.allclose(frame.label.forces, original.get_forces(), atol=1e-7)
                assert np.allclose(frame.atoms.positions, original.positions, atol=1e-7)
    assert set(sets[0, 5]) < set(sets[0, 12])
    assert set(sets[0, 12]) != set(sets[1, 12])


def _read(data: Path) -> list[Any]:
    return ase.io.read(data / "acac" / "train_300K.xyz", ":")


def test_more_frames_than_there_are_is_said(data: Path) -> None:
    with pytest.raises(SystemExit, match="30 frames"):
        strategies_cells.parts(data, "acac", 25, 0, 10)


# --------------------------------------------------------------------------- what is measured


def test_the_replay_head_s_error_is_that_of_its_own_readouts(tmp_path: Path) -> None:
    potential = zoo.load("organic-xs")
    own = potential.weights()
    moved = {name: own[name][None].clone() for name in potential.names.trainable()}
    readouts = [name for name in moved if name in potential.names.readouts]
    replay = {name: moved[name].clone() for name in readouts}
    for name in readouts:
        moved[name] *= 1.5
    zero = E0s(potential.e0s)
    rng = np.random.default_rng(0)
    frames = [
        Frame(molecule(name), Label(0.0, rng.normal(size=(len(molecule(name)), 3))), f"{name}{i}")
        for name in ("H2O", "CH4")
        for i in range(2)
    ]
    untouched = strategies_cells.force_rmse(open_model("organic-xs"), frames)
    for name, heads in (("with", replay), ("without", {})):
        out = tmp_path / name
        out.mkdir()
        members_file.save(Members(potential.base, own, All(), moved, zero, heads), out)
    assert replay_head(tmp_path / "without") is None
    found = strategies_cells.force_rmse(replay_head(tmp_path / "with"), frames)
    assert found == pytest.approx(untouched, rel=1e-6)
    assert strategies_cells.force_rmse(open_model(tmp_path / "with"), frames) != pytest.approx(
        untouched, rel=1e-3
    )


def test_a_stopwatch_sees_outer_calls_and_leaves_classes_as_they_were() -> None:
    class Sampler:
        def fit(self, x: int) -> int:
            return x + 1

    class Several(Sampler):
        pass

    class Own(Sampler):
        def fit(self, x: int) -> int:
            return sum(Sampler().fit(x) for _ in range(3))

    fits = {c: vars(c).get("fit") for c in (Sampler, Several, Own)}
    for sampler, answer in ((Sampler, 2), (Several, 2), (Own, 6)):
        with stopwatch(sampler) as spent:
            assert sampler().fit(1) == answer
        assert len(spent) == 1
        assert {c: vars(c).get("fit") for c in fits} == fits
    with pytest.raises(TypeError), stopwatch(Own):
        Own().fit()  # type: ignore[call-arg]
    assert vars(Own)["fit"] is fits[Own]


def test_the_forgetting_set_is_thinned_over_all_of_it() -> None:
    all_ = strategies_cells.forgetting_set(10_000)
    few = strategies_cells.forgetting_set(40)
    assert 20 < len(few) <= 40
    place = [next(i for i, f in enumerate(all_) if f.origin == g.origin) for g in few]
    assert place[0] < len(all_) / 10
    assert place[-1] > len(all_) * 0.9


# ---------------------------------------------------------------------------- finished cells

ALL = grid(["acac"], [10], 1, 40, quick=True)
RESULT = {"force_rmse": 1.0, "energy_rmse": 1.0, "forgetting": 1.0, "cpu": 1.0}


def test_finished_cells_are_kept_through_a_torn_line(tmp_path: Path) -> None:
    path, conditions = tmp_path / "cells.jsonl", {"held_out": 40}
    done: list[str] = []

    def one(cell: Cell) -> dict[str, Any] | str:
        done.append(cell.name)
        if cell == ALL[1]:
            return "broken"
        return {"failed": "the loss is nan."} if cell == ALL[2] else RESULT

    def nothing() -> None:
        pass

    lines = Lines(path, conditions, Cell)
    wrong = run_cells(ALL, lines, 2, one, nothing, work=work, told=told)
    assert sorted(done) == sorted(c.name for c in ALL)
    assert wrong == [f"{ALL[1].name}: broken"]
    with path.open("a") as out:
        out.write('{"cell": {"sys')
    again = Lines(path, conditions, Cell)
    assert again.found == {c: one(c) for c in ALL if c != ALL[1]}
    done.clear()
    run_cells(ALL, again, 1, one, nothing, work=work, told=told)
    assert done == [ALL[1].name]
    assert Lines(path, {"held_out": 41}, Cell).found == {}


def test_a_line_written_behind_a_torn_one_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    path.write_text('{"cell": {"sys')
    Lines(path, {}, Cell).add(ALL[0], RESULT)
    assert Lines(path, {}, Cell).found == {ALL[0]: RESULT}


# --------------------------------------------------------------------------------- tables

FORCE = {
    **{"naive": 60.0, "lora": 58.0, "scratch": 300.0, "pseudolabel": 70.0, "multihead": 72.0},
    **{"pseudolabel-lora": 80.0, "freeze-first": 65.0, "freeze-readout": 90.0},
}
E0_FACTOR = {"reestimate": 1.0, "isolated": 1.2, "average": 2.5, "foundation": 6.0}


def world() -> dict[str, Any]:
    """What the bench would write if all published findings held, with seeds 2 % apart."""
    made = []
    for cell in grid(SYSTEMS, SIZES, 2, STEPS):
        replay = cell.strategy in ("multihead", "pseudolabel", "pseudolabel-lora")
        force = (
            FORCE.get(cell.strategy, 50.0)
            * (1.0 if cell.strategy == "scratch" else E0_FACTOR[cell.e0])
            * (1.01 - 0.02 * cell.seed)
        )
        forgetting = 400.0 if cell.strategy == "naive" else 350.0
        result = {
            "force_rmse": force,
            "energy_rmse": force / 10,
            "energy_rmse_relative": force / 20,
            "forgetting": forgetting,
            "forgetting_replay_head": 110.0 if replay else None,
            "cpu": 30.0 + 10 * replay,
            "cpu_fit": 20.0 * (4 if replay else 1) * (1 + cell.seed),
            "steps": cell.steps + 2,
            "weights": 1000,
            "learning_rate": 1e-3,
        }
        made.append(joined(cell, result))
    cost = {"cpu_per_step": 0.1, "cpu_in_all": 9.0, "in_all_to_naive": 3.0, "steps": 100}
    ratio = {"naive": 1.0, "multihead": 4.0}
    return {
        "cells": made,
        "steps": STEPS,
        "best_e0": BEST_E0,
        "foundation": {"forgetting": 100.0, "acac": 480.0, "3bpa": 230.0},
        "machine": {"cpu": "a CPU"},
        "conditions": {"model": "m", "batch_size": 5, "valid_fraction": 0.1, "held_out": 200},
        "cost": {
            "system": "acac",
            "rounds": 5,
            "strategies": {
                k: {**cost, "weights": 7, "per_step_to_naive": v} for k, v in ratio.items()
            },
        },
    }


def test_seeds_are_averaged_and_their_range_is_shown() -> None:
    cells = Cells(world())
    assert cells.mean("force_rmse", "acac", 10, "naive") == pytest.approx(60.0)
    assert cells.mean("force_rmse", "acac", 10, "naive", e0="average") == pytest.approx(150.0)
    assert cells.shown("force_rmse", "acac", 10, "naive") == "60.0 ± 0.6"
    assert cells.forgotten("acac", 10, "naive") == pytest.approx(4.0)
    assert math.isnan(cells.forgotten("acac", 10, "naive", head="forgetting_replay_head"))
    assert cells.forgotten("acac", 10, "multihead", head="forgetting_replay_head") == 1.1
    assert math.isnan(cells.mean("force_rmse", "acac", 25, "naive"))
    # per step and in all, within a seed: seed 1 is twice as slow for both
    assert cells.costs("cpu_fit", "acac", 10, "multihead") == pytest.approx(4.0)
    assert cells.costs("cpu", "acac", 10, "multihead") == pytest.approx(4 / 3)


def test_longer_trainings_are_cells_of_their_own() -> None:
    found = world()
    for record in found["cells"]:
        if record["asked"]["steps"] == 4 * STEPS and record["strategy"] == "scratch":
            record["force_rmse"] = 123.4
    cells = Cells(found)
    assert cells.mean("force_rmse", "acac", 10, "scratch") == pytest.approx(300.0)
    assert cells.mean("force_rmse", "acac", 10, "scratch", times=4) == pytest.approx(123.4)
    assert "| scratch, 4 × the steps | 123.4" in page(found)


def test_a_training_that_ended_with_an_error_is_shown_and_not_averaged_over() -> None:
    found = world()
    broken = next(r for r in found["cells"] if r["strategy"] == "lora" and r["seed"] == 1)
    for key in ("force_rmse", "energy_rmse", "energy_rmse_relative", "cpu", "cpu_fit"):
        del broken[key]
    broken["failed"] = "the loss is nan."
    case = (broken["system"], broken["frames"], "lora", broken["e0"])
    assert Cells(found).shown("force_rmse", *case) == "failed"
    assert math.isnan(Cells(found).mean("force_rmse", *case))
    assert "failed" in page(found)


def test_tables_have_as_many_columns_in_every_row() -> None:
    lines = page(world()).splitlines()
    rows = [(i, line.count(" | ")) for i, line in enumerate(lines) if line.startswith("|")]
    assert len(rows) > 30
    for (i, a), (j, b) in itertools.pairwise(rows):
        if j == i + 1:
            assert a == b, lines[j]


def test_a_table_of_nothing_is_still_one() -> None:
    nothing = world() | {"cells": [], "cost": {}}
    assert "a CPU" in page(nothing)
    assert {f.within for f in findings(nothing)} == {"not measured"}


# ------------------------------------------------------------------------------- findings


def test_all_findings_hold_where_they_were_put_in() -> None:
    assert [f.text for f in findings(world()) if not f.holds] == []


@pytest.mark.parametrize(
    ("which", "strategy", "value", "text"),
    [
        ("force_rmse", "scratch", 50.0, "scratch over the fine-tuned's"),
        ("force_rmse", "lora", 70.0, "of LoRA over naive's"),
        ("force_rmse", "freeze-first", 20.0, "of the best"),
        ("force_rmse", "pseudolabel-lora", 50.0, "worse than either alone"),
        ("forgetting", "lora", 450.0, "LoRA forgets less"),
        ("forgetting", "multihead", 450.0, "Replay forgets less"),
        ("forgetting_replay_head", "pseudolabel", 150.0, "Error of the replay head"),
    ],
)
def test_a_finding_that_does_not_hold_is_found_out(
    which: str, strategy: str, value: float, text: str
) -> None:
    found = world()
    for record in found["cells"]:
        if record["strategy"] == strategy and record["asked"]["steps"] == STEPS:
            record[which] = value
    (finding,) = [f for f in findings(found) if text in f.text]
    assert not finding.holds


def test_e0s_that_matter_little_are_found_out() -> None:
    found = world()
    for record in found["cells"]:
        record["force_rmse"] /= E0_FACTOR[record["e0"]] ** 1.01
    of = {f.text: f.within for f in findings(found)}
    (averaged,) = [v for t, v in of.items() if t.startswith("Averaged E0s are worse")]
    (outweighs,) = [v for t, v in of.items() if "cost more than the range" in t]
    assert averaged == outweighs == "0 of 12"


def test_ratios_are_taken_within_a_seed() -> None:
    # one seed of the longer scratch must not be held against both of the others
    found = world()
    for record in found["cells"]:
        if record["strategy"] == "scratch" and record["asked"]["steps"] == 4 * STEPS:
            assert record["seed"] == 0
            record["force_rmse"] = 121.2  # twice naive's of seed 0
        if record["strategy"] == "lora" and record["seed"] == 1:
            record["force_rmse"] *= 1.1
    of = {f.text: f for f in findings(found)}
    (longer,) = [f for t, f in of.items() if "scratch alone" in t]
    assert longer.cases["acac 10 naive"] == pytest.approx(2.0)
    assert "acac 10 naive: 2.00;" in longer.measured
    (lora,) = [f for t, f in of.items() if "of LoRA over naive's" in t]
    assert lora.cases["acac 10 lora"] == pytest.approx(58 / 60 * 1.05)
    assert lora.halves["acac 10 lora"] == pytest.approx(58 / 60 * 0.05)
    assert "± 0.05; 3bpa 10 lora" in verdicts(found)


def test_cases_within_limits_are_counted_and_nothing_is_called_a_disagreement() -> None:
    some = Finding("", {"a": 1.0, "b": 3.0, "c": math.nan}, least=2)
    assert (some.within, some.holds, some.source) == ("1 of 2", False, OURS)
    assert replace(some, least=0).within == "2 of 2"
    assert replace(some, least=4).within == "0 of 2"
    unlimited = replace(some, least=-math.inf, source="nobody")
    assert (unlimited.within, unlimited.limits) == ("–", "")
    assert "nobody" not in table([unlimited])
    text = verdicts(world())
    assert "acac 10 naive: 5.00 ± 0.00" in text
    assert "agrees" not in text
    assert len(TUNED) == 7


def test_tables_stand_between_the_marks_of_a_page_however_often_written(tmp_path: Path) -> None:
    path, (first, last) = tmp_path / "page.md", marks("strategies")
    path.write_text(f"# Strategies\n\nbefore\n\n{first}\n{last}\n\nafter\n")
    into_docs(path, "## acac\n\n| a |\n", "strategies")
    once = path.read_text()
    assert "\n### acac\n" in once
    assert once.startswith("# Strategies\n\nbefore")
    assert once.endswith("\n\nafter\n")
    into_docs(path, "## acac\n\n| a |\n", "strategies")
    assert path.read_text() == once
    (tmp_path / "other.md").write_text("nothing")
    with pytest.raises(SystemExit, match="write between"):
        into_docs(tmp_path / "other.md", "x", "strategies")


def test_cells_travel_as_json() -> None:
    cell = ALL[0]
    assert Cell(**json.loads(json.dumps(asdict(cell)))) == cell
    assert torch.get_default_dtype() == torch.float32
