"""The bench of features measures what it says it does."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mace")

from bench.runner.parts import joined
from bench.select import features_cost
from bench.select.features_cost import Kernels, Streamed


def test_the_pool_has_no_frame_twice(tmp_path: Path) -> None:
    from tunesmith.data.images import read_images

    features_cost.make_pool(str(tmp_path / "pool.xyz"), 120)
    found = read_images(tmp_path / "pool.xyz")
    assert {len(atoms) for atoms in found} == {9}
    assert len({atoms.positions.tobytes() for atoms in found}) == 120
    assert found[0].arrays["REF_forces"].shape == (9, 3)


def test_both_parts_in_small(tmp_path: Path) -> None:
    cell = Kernels("organic-xs", batch=2, rounds=1, structures=4)
    part = features_cost.kernels(cell, None)  # type: ignore[arg-type]
    # the ways agree, and gradients cost something beyond energies
    assert part["largest_difference"] < 1e-5
    assert part["dearer"] > 1
    assert all(cost["cpu_s"] > 0 for cost in part["cost_ms"].values())
    features_cost.make_pool(str(tmp_path / "pool.xyz"), 5)
    said = features_cost.stream_pool(
        str(tmp_path / "pool.xyz"), str(tmp_path / "cache"), "activation", "organic-xs"
    )
    assert said["shape"] == [5, 64]
    (kept,) = (tmp_path / "cache").iterdir()
    assert np.load(kept).shape == (5, 64)
    assert said["peak_mb"] >= said["loaded_mb"] > 0
    assert "4 rattled ethanols" in features_cost.kernel_table([joined(cell, part)], {})
    run = {**said, "peak_of_the_process_mb": 700.0}
    result = {"bytes": 9, "computed": run, "cached": run}
    text = features_cost.stream_table([joined(Streamed("activation", "m", 5), result)], {})
    assert "| activation | 5 | 0 | 64 | computed | 700 |" in text
