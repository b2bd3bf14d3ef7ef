"""The map of a selection: every point where it is, each kind told apart."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread

from tunesmith.report.selection import selection_map


def test_all_points_are_drawn_where_they_are(tmp_path, monkeypatch, rng):
    figures, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))
    )
    pool, labelled = rng.normal(size=(50, 2)), rng.normal(size=(7, 2))
    explained = np.array([0.5, 0.25])
    path = tmp_path / "m.png"
    selection_map(pool, pool[:5], path, labelled=labelled, explained=explained, title="t")
    ax = figures[0].axes[0]
    drawn = {c.get_label(): np.asarray(c.get_offsets()) for c in ax.collections}
    np.testing.assert_allclose(drawn["pool"], pool)
    np.testing.assert_allclose(drawn["labelled"], labelled)
    np.testing.assert_allclose(drawn["chosen"], pool[:5])
    assert "50 % of the variance" in ax.get_xlabel()
    assert "25 % of the variance" in ax.get_ylabel()
    assert imread(path).shape[0] > 300
    selection_map(pool, pool[:1], path, explained=explained)
    assert [c.get_label() for c in figures[1].axes[0].collections] == ["pool", "chosen"]
