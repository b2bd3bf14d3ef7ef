"""The bench of features measures what it says it does."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mace")

import select_features as bench


def test_the_pool_has_no_frame_twice(tmp_path: Path) -> None:
    from tunesmith.data.images import read_images

    bench.make_pool(str(tmp_path / "pool.xyz"), 120)
    found = read_images(tmp_path / "pool.xyz")
    assert {len(atoms) for atoms in found} == {9}
    assert len({atoms.positions.tobytes() for atoms in found}) == 120
    assert found[0].arrays["REF_forces"].shape == (9, 3)


def test_both_parts_in_small(tmp_path: Path) -> None:
    part = bench.ntk("organic-xs", batch=2, structures=4, rounds=1)
    # the ways agree, and gradients cost something beyond energies
    assert part["largest_difference"] < 1e-5
    assert part["times_the_energies"] > 1
    assert all(cost["cpu_ms"] > 0 for cost in part["cost"].values())
    bench.make_pool(str(tmp_path / "pool.xyz"), 5)
    said = bench.stream_pool(
        str(tmp_path / "pool.xyz"), str(tmp_path / "cache"), "activation", "organic-xs"
    )
    assert said["shape"] == [5, 64]
    (kept,) = (tmp_path / "cache").iterdir()
    assert np.load(kept).shape == (5, 64)
    assert said["peak_mb"] >= said["loaded_mb"] > 0
    run = {**said, "peak_of_the_process_mb": 700.0}
    text = bench.table(
        {
            "machine": {"cpu": "x"},
            "ntk": [part],
            "stream": [
                {"kind": "activation", "frames": 5, "bytes": 9, "computed": run, "cached": run}
            ],
        }
    )
    assert "| activation | 5 | 0 | 64 | computed | 700 |" in text
