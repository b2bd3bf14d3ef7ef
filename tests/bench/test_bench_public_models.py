"""What of the bench public-models can be wrong without running it: its grid, crystals and table."""

import argparse
from dataclasses import asdict
from typing import Any

import numpy as np

from bench.models import public_bench
from bench.models.crystals import prototypes
from bench.models.models_cells import ZERO_SHOT, Cell


def options(**changes: Any) -> argparse.Namespace:
    given = {"models": ["a", "b:1"], "systems": ["ethanol", "acac"], "sizes": [100, 20]}
    given |= {"strategies": ["naive", "lora"], "steps": 500}
    return argparse.Namespace(**given | changes)


def test_every_cell_is_there_once_and_the_untouched_models_first() -> None:
    cells = public_bench.grid(options())
    assert len(cells) == len(set(cells)) == 2 * 2 + 2 * 2 * 2 * 2
    assert {c.strategy for c in cells[:4]} == {ZERO_SHOT}
    assert len({c.name for c in cells}) == len(cells)
    assert all("/" not in c.name and ":" not in c.name for c in cells)


def test_prototypes_are_crystals_of_different_compositions() -> None:
    found = prototypes()
    formulas = [atoms.get_chemical_formula() for atoms in found]
    assert len(set(formulas)) == len(formulas)
    for atoms in found:
        assert atoms.pbc.all()
        assert len(atoms) > 1
        distances = atoms.get_all_distances(mic=True) + 9 * np.eye(len(atoms))
        assert 1.2 < distances.min() < 4.5, atoms.get_chemical_formula()


def test_the_table_shows_what_was_measured() -> None:
    measured = {"force_mae": 40.25, "force_rmse": 56.0, "energy_mae": 2.24, "forgetting_mae": 21.0}
    spent = {"steps_done": 504, "cpu_epoch": 2.47, "cpu": 76.7}
    cells = [
        asdict(Cell("a", "ethanol", 100, "pseudolabel", 500))
        | measured
        | spent
        | {"forgetting_mae_replay_head": 3.0},
        asdict(Cell("a", "ethanol", 0, ZERO_SHOT, 0)) | measured | {"force_mae": 254.0},
        asdict(Cell("b", "acac", 20, "naive", 500)) | measured | spent,
    ]
    found = {"machine": {"cpu": "X"}, "conditions": {"batch_size": 5}, "cells": cells}
    page = public_bench.page(found)
    rows = [line for line in page.splitlines() if line.startswith("| ethanol")]
    assert rows == [
        "| ethanol | – | zero-shot | 254.0 | 56.0 | 2.24 | 21 | – | – | – |",
        "| ethanol | 100 | pseudolabel | 40.2 | 56.0 | 2.24 | 21 (replay head 3) | 504 | 2.5 "
        "| 77 |",
    ]
    assert page.index("## a") < page.index("## b")
