"""Pictures: that they are drawn, and that what they say is what was measured."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from matplotlib.figure import Figure
from matplotlib.image import imread

from planted import frame, plant
from tunesmith.errors import DataError
from tunesmith.report import plots
from tunesmith.report.evaluate import evaluate


@pytest.fixture
def drawn(monkeypatch):
    """The figures as saved, so that a test can read their axes; the files are written too."""
    figures, save = [], Figure.savefig

    def keep(self, *args, **kwargs):
        figures.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def _is_picture(path):
    pixels = imread(path)
    return pixels.shape[0] > 300 and pixels.shape[1] > 300 and pixels[..., :3].std() > 0.01


def _points(ax):
    return np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections])


def test_parity_shows_the_planted_errors(water_and_methane, tmp_path, drawn):
    energy = np.array([0.03, -0.03, 0.06, 0.0, 0.05, 0.0])
    evaluation = evaluate(plant(water_and_methane, energy, 0.1), water_and_methane)
    plots.parity(evaluation, tmp_path / "p.png", title="water and methane")
    assert _is_picture(tmp_path / "p.png")
    energies, forces = drawn[0].axes
    assert "MAE 8.33 meV/atom" in energies.get_title(loc="left")
    assert "MAE 100.0 meV/Å" in forces.get_title(loc="left")
    xy = _points(energies)
    error = sorted(xy[:, 1] - xy[:, 0])  # what is drawn off the line is the error, offset and all
    np.testing.assert_allclose(error, [-10, 0, 0, 10, 10, 20], atol=1e-6)
    xy = _points(forces)
    assert len(xy) == 66
    np.testing.assert_allclose(xy[:, 1] - xy[:, 0], 0.1)
    legend = energies.get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["cold", "warm"]


def test_error_bars_are_one_sigma(water_and_methane, tmp_path, drawn):
    evaluation = evaluate(plant(water_and_methane, 0.03, 0.1), water_and_methane)
    n, sigma = evaluation.n_atoms, np.array([0.3, 0.1, 0.2, 0.4, 0.5, 0.6])
    spread = replace(
        evaluation,
        energy=replace(evaluation.energy, std=sigma * n),
        forces=replace(evaluation.forces, std=np.full_like(evaluation.forces.reference, 0.7)),
    )
    plots.parity(spread, tmp_path / "p.png")
    energies, forces = drawn[0].axes
    for ax, expected in ((energies, 2e3 * np.sort(sigma)), (forces, np.full(66, 1.4))):
        [bars] = [c for c in ax.collections if hasattr(c, "get_segments")]
        lengths = sorted(end[1] - start[1] for start, end in bars.get_segments())
        np.testing.assert_allclose(lengths, expected)
        assert "bars: one σ" in ax.get_title(loc="left")


def test_an_offset_far_beyond_the_range_is_said_and_not_drawn(water_and_methane, tmp_path, drawn):
    evaluation = evaluate(plant(water_and_methane, 5000.0), water_and_methane)
    plots.parity(evaluation, tmp_path / "p.png")
    title = drawn[0].axes[0].get_title(loc="left")
    assert f"mean errors ({1e6 * (5 * 4 / 3 + 2) / 6:.2e} on average)" in title
    xy = _points(drawn[0].axes[0])
    np.testing.assert_allclose(xy[:, 1], xy[:, 0], atol=1e-4)


def test_compositions_that_never_repeat_show_absolute_energies(water_and_methane, tmp_path, drawn):
    frames = water_and_methane[3:5]
    plots.parity(evaluate(plant(frames, 0.0), frames), tmp_path / "p.png")
    x = np.sort(_points(drawn[0].axes[0])[:, 0])
    np.testing.assert_allclose(x, -2000.0, atol=1.5)  # eV/atom
    assert "eV/atom" in drawn[0].axes[0].get_xlabel()


def test_many_forces_become_a_density_that_counts_all(tmp_path, drawn, rng):
    n = 600
    frames = [
        frame(Atoms("H2", rng.normal(size=(2, 3))), 0.0, rng.normal(size=(2, 3)), str(i))
        for i in range(n)
    ]
    evaluation = evaluate(plant(frames, rng.normal(size=n), 0.2), frames)
    plots.parity(evaluation, tmp_path / "p.png")
    (density,) = drawn[0].axes[1].collections
    assert density.get_array().sum() == 6 * n


def test_many_config_types_share_grey_beyond_the_palette(tmp_path, drawn, rng):
    frames = [
        frame(Atoms("H", rng.normal(size=(1, 3))), 0.0, [[0, 0, 1]], str(i), config_type=f"t{i}")
        for i in range(10)
    ]
    evaluation = evaluate(plant(frames, rng.normal(size=10)), frames)
    plots.parity(evaluation, tmp_path / "p.png")
    texts = [t.get_text() for t in drawn[0].axes[0].get_legend().get_texts()]
    assert len(texts) == 7
    assert texts[-1] == "other"
    assert len(_points(drawn[0].axes[0])) == 10


def _history():
    losses = [1.0, 0.4, 0.2, 0.3]
    return [
        {
            "epoch": i + 1,
            "train_loss": loss * 0.9,
            "valid_loss": loss,
            "valid_energy_mae_meV_per_atom": 10 * loss,
            "valid_force_mae_meV_per_A": 100 * loss,
            "learning_rate": 1e-3,
        }
        for i, loss in enumerate(losses)
    ]


def test_learning_curves_mark_the_best_epoch(tmp_path, drawn):
    plots.learning_curves([_history()], tmp_path / "l.png")
    assert _is_picture(tmp_path / "l.png")
    loss, energy, force, rate = drawn[0].axes
    assert loss.get_title(loc="right") == "best epoch 3: 0.2"
    assert energy.get_title(loc="right") == "best epoch 3: 2"
    assert force.get_title(loc="right") == "best epoch 3: 20"
    assert loss.get_yscale() == "log"
    assert rate.get_yscale() == "linear"
    by_name = {line.get_label(): line.get_ydata() for line in loss.get_lines()}
    np.testing.assert_allclose(by_name["training"], [0.9, 0.36, 0.18, 0.27])


def test_learning_curves_of_members_are_a_line_each(tmp_path, drawn):
    plots.learning_curves([_history(), _history()[:3]], tmp_path / "l.png")
    loss, *_ = drawn[0].axes
    assert loss.get_title(loc="right") == "", "each member has a best epoch of its own"
    lengths = [len(line.get_xdata()) for line in loss.get_lines()]
    assert sorted(lengths) == [3, 3, 4, 4]
    shown = [text.get_text() for text in loss.get_legend().get_texts()]
    assert shown == ["training", "validation"]


def test_learning_curves_without_validation_have_no_best(tmp_path, drawn):
    history = [{"epoch": r["epoch"], "train_loss": r["train_loss"], "valid_loss": None} for r in
               _history()]  # fmt: skip
    plots.learning_curves([history], tmp_path / "l.png")
    (ax,) = drawn[0].axes
    assert ax.get_title(loc="right") == ""
    assert _is_picture(tmp_path / "l.png")


@pytest.mark.parametrize("history", [[], [{"epoch": 1, "train_loss": None}]])
def test_a_history_without_numbers_is_refused(history, tmp_path):
    with pytest.raises(DataError, match="no number to draw"):
        plots.learning_curves([history], tmp_path / "l.png")
    assert not (tmp_path / "l.png").exists()
