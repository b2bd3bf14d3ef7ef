"""The picture of a power law: what is drawn is what the points say."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from tunesmith.calibrate import GammaCalibration, PowerLaw
from tunesmith.calibrate.powerlaw import AGREEMENT
from tunesmith.errors import ConfigError
from tunesmith.report import calibration_plot


@pytest.fixture
def drawn(monkeypatch):
    figures, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))
    )
    return figures


@pytest.fixture(scope="module")
def points():
    """Spreads, and errors that no longer grow with them above 0.15."""
    rng = np.random.default_rng(3)
    std = 0.05 * np.exp(0.8 * rng.normal(size=20_000))
    return std, np.minimum(std, 0.15) ** 0.8 * rng.normal(size=std.size)


def _groups(ax):
    """x, y, ends of the bar (groups,) of those that agree and those that do not, by name."""
    found = {}
    for container in ax.containers:
        line, _, (bars,) = container.lines
        low, high = np.array(bars.get_segments())[:, :, 1].T
        found[container.get_label().split(" (")[0]] = *line.get_xydata().T, low, high
    return found


def _shaded(ax):
    """Ends of the range, or none."""
    return [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches]


def test_groups_stand_where_their_points_are(tmp_path, drawn, points):
    """In meV/Å, found anew from the points between two neighbours; the broken end told apart."""
    std, error = points
    law = PowerLaw.fit(std, error)
    calibration_plot.reliability_curves({"forces": law}, tmp_path / "c.png")
    (ax,) = drawn[0].axes
    groups = _groups(ax)
    assert list(groups) == ["agrees", "does not agree"]
    assert groups["agrees"][0].max() < groups["does not agree"][0].min()
    x, y, low, high = np.concatenate(list(groups.values()), axis=1)
    calibrated = 1e3 * law.std(std)
    for i in range(5, len(x) - 1):  # groups at the ends are of few points, far apart
        near = np.abs(np.log(calibrated / x[i])) < 0.07
        assert y[i] == pytest.approx(1e3 * np.sqrt(np.mean(error[near] ** 2)), rel=0.1)
    np.testing.assert_allclose(y**2, low * high, rtol=1e-9)  # even on a logarithmic axis
    np.testing.assert_allclose(high, y * np.exp(2 * law.reliability().uncertainty), rtol=1e-9)
    reached = (low < AGREEMENT * x) & (high > x / AGREEMENT)
    assert reached.tolist() == [True] * len(groups["agrees"][0]) + [False] * len(
        groups["does not agree"][0]
    )
    (ends,) = _shaded(ax)
    assert ends == pytest.approx(1e3 * law.std([law.low, law.high]))
    assert ax.get_xlabel() == "calibrated σ of a force component (meV/Å)"
    assert ax.get_ylabel() == "rms error (meV/Å)"
    assert imread(tmp_path / "c.png").shape[0] > 300


def test_the_legend_says_which_targets_are_taken(tmp_path, drawn, points):
    """To the four digits it says; just beyond them a target is refused."""
    law = PowerLaw.fit(*points)
    calibration_plot.reliability_curves({"forces": law}, tmp_path / "c.png")
    texts = " ".join(t.get_text() for t in drawn[0].axes[0].get_legend().get_texts())
    low, high = (float(x) for x in re.search(r"per atom: (\S+) to (\S+)\)", texts).groups())
    for target in (1.001 * low, 0.999 * high):
        law.check_target(1e-3 * target)
    for target in (0.999 * low, 1.001 * high):
        with pytest.raises(ConfigError, match="outside"):
            law.check_target(1e-3 * target)


def test_each_quantity_has_a_panel_in_its_unit(tmp_path, drawn, points):
    std, error = points
    energy, forces = PowerLaw.fit(std[:300], 2 * std[:300]), PowerLaw.fit(std, error)
    calibration_plot.reliability_curves({"energy": energy, "forces": forces}, tmp_path / "c.png")
    first, second = drawn[0].axes
    assert first.get_xlabel() == "calibrated σ of an energy (meV)"
    assert first.get_title(loc="left").startswith("energy: σ = 2 · spread^1 (eV)")
    assert second.get_title(loc="left").startswith("forces: ")
    assert "per atom" not in first.get_legend().get_texts()[1].get_text()


def test_what_has_no_curve_is_not_drawn(tmp_path, drawn, points):
    """And no picture of an earlier law is left beside a later one without."""
    std, error = points
    few, law = PowerLaw().update(std[:15], error[:15]), PowerLaw.fit(std, error)
    calibration_plot.reliability_curves({"energy": few, "forces": law}, tmp_path / "c.png")
    assert len(drawn[0].axes) == 1
    for laws in ({}, {"energy": GammaCalibration()}, {"energy": PowerLaw(), "forces": few}):
        (tmp_path / "c.png").touch()
        calibration_plot.reliability_curves(laws, tmp_path / "c.png")
        assert not (tmp_path / "c.png").exists()


def test_no_range_is_shaded_where_none_is_known(tmp_path, drawn, points):
    """Errors of one group far beyond its bars; nor does it agree."""
    std, error = np.full(40, 0.1) * np.exp(np.linspace(0, 0.5, 40)), np.full(40, 5.0)
    flat = PowerLaw(width=0.0, shape=1000, rate=1000).update(std, error)
    calibration_plot.reliability_curves({"forces": flat}, tmp_path / "c.png")
    assert (flat.low, flat.high) == (None, None)
    assert _shaded(drawn[0].axes[0]) == []
    assert list(_groups(drawn[0].axes[0])) == ["does not agree"]
