"""The pools and the small arithmetic of `python -m bench select`."""

from pathlib import Path

import numpy as np
import pytest

from bench.select import one_selection, pools, select_bench


def test_first_difference() -> None:
    assert select_bench.first_difference([4, 5, 6], [4, 5, 6]) == 3
    assert select_bench.first_difference([4, 5, 6], [4, 6, 5]) == 1


def test_neighbour_distance_of_a_lattice() -> None:
    line = np.column_stack([np.arange(30) * 0.5, np.zeros(30)])
    assert one_selection.neighbour_distance(line) == pytest.approx(0.5)


def test_a_real_pool_holds_each_frame_and_copies_as_far_away_as_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.random.default_rng(0).standard_normal((60, 24)).astype(np.float32)
    monkeypatch.setattr(one_selection, "real", lambda work, kind, n: frames[:n])
    rows = np.load(one_selection.pool_file(tmp_path, "ntk", 550, 60))
    assert rows.shape == (600, 24)
    distance = np.linalg.norm(rows[:, None] - frames, axis=2).min(1)
    assert (np.sort(distance)[:60] == 0).all()
    near = one_selection.neighbour_distance(frames)
    assert np.median(np.sort(distance)[60:]) == pytest.approx(near, rel=0.1)


def test_molecules_are_those_the_model_knows() -> None:
    found = pools.molecules()
    assert len(found) > 40
    assert {s for atoms in found for s in atoms.get_chemical_symbols()} == {*"HCNO"}


def test_both_packages_choose_the_same_in_a_run(tmp_path: Path) -> None:
    file = str(one_selection.pool_file(tmp_path, "random", 500, 0))
    for rule in select_bench.RULES:
        ours, theirs = (
            one_selection.chosen(file, rule, package, wide=True, mapped=False)
            for package in ("tunesmith", "bmdal_reg")
        )
        assert ours["picks"] == theirs["picks"]
        assert len(set(ours["picks"])) == one_selection.PICKS
        assert ours["wall_s"] > 0
