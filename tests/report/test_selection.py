"""The map of a selection: every point where it is, each kind told apart."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread
from sklearn.decomposition import PCA

from tunesmith.report import selection
from tunesmith.report.selection import selection_map


def _keep(monkeypatch):
    figures, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))
    )
    return figures


def test_every_point_is_where_its_principal_components_are(tmp_path, monkeypatch, rng):
    figures = _keep(monkeypatch)
    pool, labelled = rng.normal(size=(50, 4)) * [4, 2, 1, 1], rng.normal(size=(7, 4))
    pca = PCA(2).fit(np.concatenate([pool, labelled]))
    chosen, path = np.array([7, 3, 11]), tmp_path / "m.png"
    selection_map(pool, chosen, path, labelled=labelled, kernel="linear", rng=rng, title="t")
    ax = figures[0].axes[0]
    drawn = {c.get_label(): np.asarray(c.get_offsets()) for c in ax.collections}
    # only the order of the pool's points is the map's own affair
    sign = np.sign(np.sum(drawn["chosen"] * pca.transform(pool[chosen]), axis=0))
    for name, rows in (("pool", pool), ("labelled", labelled), ("chosen", pool[chosen])):
        np.testing.assert_allclose(drawn[name] * sign, pca.transform(rows), atol=1e-8)
    part = pca.explained_variance_ratio_
    assert f"{100 * part[0]:.0f} % of the variance" in ax.get_xlabel()
    assert f"{100 * part[1]:.0f} % of the variance" in ax.get_ylabel()
    assert imread(path).shape[0] > 300
    selection_map(pool, chosen, path, kernel="cosine", rng=rng)
    assert [c.get_label() for c in figures[1].axes[0].collections] == ["pool", "chosen"]


def test_of_a_large_pool_a_part_is_drawn_and_every_choice(tmp_path, monkeypatch, rng):
    figures = _keep(monkeypatch)
    monkeypatch.setattr(selection, "DRAWN", 30)
    pool = rng.normal(size=(200, 3))
    selection_map(pool, np.arange(150, 170), tmp_path / "m.png", kernel="linear", rng=rng)
    assert [len(c.get_offsets()) for c in figures[0].axes[0].collections] == [30, 20]
