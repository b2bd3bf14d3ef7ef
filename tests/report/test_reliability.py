"""The reliability plot: what is drawn is what was found."""

import json

import numpy as np
import pytest
from ase import Atoms
from matplotlib.figure import Figure
from matplotlib.image import imread
from rich.console import Console
from scipy import stats

from planted import committee, frame
from tunesmith.commands import evaluate_model
from tunesmith.config import ModelSettings
from tunesmith.data.formats import write_frames
from tunesmith.errors import DataError
from tunesmith.report import reliability
from tunesmith.report.evaluate import evaluate


@pytest.fixture
def drawn(monkeypatch):
    figures, save = [], Figure.savefig

    def keep(self, *args, **kwargs):
        figures.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def _lines(figure):
    """Curves by name, without the diagonal."""
    return {line.get_label().split(":")[0]: line.get_xydata() for line in figure.axes[0].lines[1:]}


def test_bars_half_as_long_follow_the_closed_form(tmp_path, drawn, rng):
    error = rng.normal(size=40_000)
    spreads = {"honest": (error, np.ones(40_000)), "half": (error, np.full(40_000, 0.5))}
    reliability.reliability(spreads, tmp_path / "r.png", records=100, title="t")
    lines = _lines(drawn[0])
    p, found = lines["half"].T
    np.testing.assert_allclose(found, 2 * stats.norm.cdf(stats.norm.ppf(0.5 + p / 2) / 2) - 1,
                               atol=0.012)  # fmt: skip
    np.testing.assert_allclose(*lines["honest"].T, atol=0.012)
    texts = [t.get_text() for t in drawn[0].axes[0].get_legend().get_texts()]
    assert "100 structures" in texts[0]
    inside = 100 * np.mean(np.abs(error) < 0.5 * 1.6448536)
    assert texts[2].endswith(f"{inside:.1f} % in the 90 % interval")
    assert imread(tmp_path / "r.png").shape[0] > 300


def test_the_band_is_of_the_binomial(tmp_path, drawn, rng):
    """At 50 % of 100 structures: 1.96 · 0.05 to either side."""
    error = rng.normal(size=10)
    reliability.reliability({"x": (error, np.ones(10))}, tmp_path / "r.png", records=100)
    (band,) = drawn[0].axes[0].collections
    at_half = band.get_paths()[0].vertices
    at_half = at_half[np.isclose(at_half[:, 0], 0.5), 1]
    assert (at_half.min(), at_half.max()) == pytest.approx((0.5 - 0.098, 0.5 + 0.098))


def test_nothing_to_judge_is_refused(tmp_path):
    with pytest.raises(DataError, match="no spread"):
        reliability.reliability({}, tmp_path / "r.png")
    assert not (tmp_path / "r.png").exists()


def test_of_an_evaluation(tmp_path, drawn, rng):
    frames = [
        frame(Atoms("OH", rng.normal(size=(2, 3))), 0.0, rng.normal(size=(2, 3)), f"m.xyz#{i}")
        for i in range(40)
    ]
    evaluation = evaluate(committee(frames, rng), frames)
    reliability.of_evaluation(evaluation, tmp_path / "r.png")
    assert list(_lines(drawn[0])) == ["energy", "force"]
    assert drawn[0].axes[0].get_title(loc="left") == "error bars, raw, not calibrated"


def test_evaluate_draws_it_where_there_is_a_spread(tmp_path, monkeypatch, rng):
    frames = [
        frame(Atoms("OH", [[0, 0, 0], [0, 0, 0.9 + 0.01 * i]]), 0.0, rng.normal(size=(2, 3)), "")
        for i in range(8)
    ]
    write_frames(tmp_path / "t.xyz", frames)
    posterior = committee(frames, rng)
    monkeypatch.setattr(type(posterior), "potential", type("P", (), {"elements": (1, 8)}))
    monkeypatch.setattr("tunesmith.posterior.ensemble.open_model", lambda *_, **__: posterior)
    notes = Console(file=(tmp_path / "notes").open("w"))
    for n_members, pictures in ((4, {"parity.png", "reliability.png"}), (1, {"parity.png"})):
        posterior.energy, posterior.forces = (
            posterior.energy[:n_members],
            posterior.forces[:n_members],
        )
        folder = tmp_path / f"plots-{n_members}"
        summary = evaluate_model.assess(
            ModelSettings(), tmp_path / "t.xyz", (None,) * 3, {}, relative=False, plots=folder,
            notes=notes,
        )  # fmt: skip
        assert {p.name for p in folder.iterdir()} == pictures
        assert ("spread" in summary) == (n_members > 1)
        shown = Console(file=(tmp_path / "shown").open("w+"), width=100)
        evaluate_model.show(json.loads(json.dumps(summary)), shown)
        shown.file.seek(0)
        text = shown.file.read()
        assert all((name in text) == (n_members > 1) for name in ("ECE", "ENCE"))
