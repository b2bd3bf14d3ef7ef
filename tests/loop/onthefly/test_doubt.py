"""Labels that are plausible to nobody but their reference."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from rich.console import Console

from small import config, results, start
from tunesmith.core import Frame, Label
from tunesmith.data.store import LabelStore
from tunesmith.errors import LabellingError
from tunesmith.loop.onthefly import doubt
from tunesmith.loop.run import run
from tunesmith.references.tblite import TBLite

Change = Callable[[Label], Label]


def higher(label: Label) -> Label:
    return replace(label, energy=label.energy + 50.0)


def a_little_higher(label: Label) -> Label:
    return replace(label, energy=label.energy + 3.0)


def turned(label: Label) -> Label:
    return replace(label, forces=-5 * label.forces)


def spoil(monkeypatch: pytest.MonkeyPatch, change: Change, calls: set[int]) -> list[int]:
    """From now on GFN1 answers otherwise at these calls, counted from 1; the list of its calls."""
    real, asked = TBLite.label, []

    def label(self: TBLite, atoms: Any) -> Any:
        asked.append(len(asked) + 1)
        answer = real(self, atoms)
        return change(answer) if asked[-1] in calls else answer

    monkeypatch.setattr(TBLite, "label", label)
    return asked


def failures(out: Path) -> list[str]:
    return [failure.kind for _, failure in LabelStore(out / "labels.db").failures()]


@pytest.mark.parametrize("change", [higher, turned])
def test_a_label_that_is_not_said_twice_is_a_failure(
    change: Change,
    smallest: tuple[Path, Any],
    water: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files, out = water, tmp_path / "run"
    calls = spoil(monkeypatch, change, {3})
    with pytest.raises(LabellingError, match=r"not-reproducible: .*two calls differ by"):
        run(config(files), out)
    assert len(calls) == 4
    assert failures(out) == ["not-reproducible"]
    entry = next(e for e in LabelStore(out / "labels.db").entries() if "energy" in (e.extra or {}))
    assert np.shape(entry.extra["forces"]) == (3, 3), "what was said first is kept"
    # the same command asks again, for the right answer this time
    run(config(files), out)
    assert results(out) == results(smallest[0]), "as where every answer is sound"


@pytest.mark.parametrize("change", [higher, turned])
def test_a_label_that_does_not_fit_the_last_is_a_failure(
    change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said twice, but its forces are not the gradient of the energies."""
    out = tmp_path / "run"
    calls = spoil(monkeypatch, change, {3, 4})
    skip = ("loop.on_failure=skip", "loop.retry_after=1 fs")
    summary = run(config(start(tmp_path), *skip), out)
    assert failures(out) == ["inconsistent"]
    assert summary["failed_calls"] == 1
    assert summary["reference_calls"] == len(calls)
    right = [abs(f.label.energy + 155) < 5 for f in LabelStore(out / "labels.db").labels()]
    assert all(right)


def test_what_is_said_twice_is_learnt_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels too far apart to be compared; the run goes on from any kill as it did."""
    files = start(tmp_path)
    far = ("acquire.max_gap=8 fs", "explore.time=9 fs", "explore.temperature=1500 K")
    calls = spoil(monkeypatch, a_little_higher, set(range(2, 1000)))
    console = Console(record=True, width=200, file=io.StringIO())
    summary = run(config(files, *far), tmp_path / "run", console)
    assert summary["reference_calls"] == len(calls), "second calls count"
    assert "the reference says the same" in console.export_text()
    kept = [e.extra for e in LabelStore(tmp_path / "run" / "labels.db").entries() if e.extra]
    assert sum("asked_again" in extra for extra in kept) >= 1
    before = len(calls)
    (tmp_path / "run" / "checkpoint" / "state.safetensors").unlink()
    right = results(tmp_path / "run")
    run(config(files, *far), tmp_path / "run", console)
    assert results(tmp_path / "run") == right
    assert len(calls) == before


def test_sound_labels_are_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = start(tmp_path, "H2O", "NH3")
    hot = ("explore.time=2 fs", "explore.temperature=1500 K", "acquire.max_gap=1 fs")
    calls = spoil(monkeypatch, higher, set())
    run(config(files, *hot), tmp_path / "run")
    assert len(calls) == len(LabelStore(tmp_path / "run" / "labels.db"))
    run(config(files, *hot, "loop.doubt=0"), tmp_path / "never")
    assert results(tmp_path / "run") == results(tmp_path / "never")


@pytest.mark.parametrize("kick", [0.002, 0.01, 0.05])
def test_the_gap_of_sound_labels_is_small(kick: float) -> None:
    """Of many pairs of structures none is doubted by its gradient, whatever the model; with other
    forces nearly all are."""
    from tunesmith.posterior.ensemble import open_model

    model, reference = open_model("organic-xs"), TBLite(method="GFN1-xTB")
    rng = np.random.default_rng(0)
    wrong = {"sound": 0, "turned": 0}
    for _ in range(20):
        atoms = molecule(["H2O", "CH3CH2OH", "CH4"][int(rng.integers(3))])
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        first = reference.label(atoms)
        moved = atoms.copy()
        step = rng.normal(0, kick, atoms.positions.shape)
        moved.positions += np.clip(step, -0.055, 0.055)
        second = reference.label(moved)
        assert isinstance(first, Label)
        assert isinstance(second, Label)
        frames = [Frame(atoms, first, "a")]
        for name, label in (("sound", second), ("turned", turned(second))):
            wrong[name] += doubt.gradient_gap(frames, moved, label, model, 3e-5) is not None
    assert wrong["sound"] == 0
    assert wrong["turned"] > (8 if kick > 0.005 else 0)
