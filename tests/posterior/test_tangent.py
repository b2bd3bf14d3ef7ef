"""Variances by the tangent kernel in place of the members': a number worked out another way."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from tunesmith.core import Frame, Label
from tunesmith.features.compute_features import NTK, compute
from tunesmith.posterior.ensemble import Ensemble, open_model
from tunesmith.posterior.spread_rules import ByTangentKernel
from tunesmith.posterior.tangent import Tangent, Tangents, residuals


@pytest.fixture(scope="module")
def model() -> Ensemble:
    return open_model("organic-xs", dtype="float64")


@pytest.fixture(scope="module")
def frames(model: Ensemble) -> list[Frame]:
    """Rattled methanol, labelled by the model and an error of its own each."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(6):
        atoms = molecule("CH3OH")
        atoms.positions += rng.normal(0, 0.08, atoms.positions.shape)
        energy = float(model.predict([atoms]).mean.energy[0]) + rng.normal(0, 0.2)
        found.append(Frame(atoms, Label(energy, np.zeros((6, 3))), f"made#{i}"))
    return found


def tangent(model: Ensemble, learnt: list[Frame]) -> Tangent:
    rule = ByTangentKernel()
    features = compute(NTK(), learnt, model)
    return Tangent(model, Tangents(rule, features, residuals(model, learnt)))


def test_it_is_the_residual_processs(model: Ensemble, frames: list[Frame]) -> None:
    """γ̂ (k(x, x) − kᵀ (K + λI)⁻¹ k) by inverses, of gradients one by one."""
    learnt, asked = frames[:4], frames[4].atoms
    features = np.vstack([compute(NTK(), [f], model) for f in frames[:5]]).astype(float)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    kernel = features @ features.T
    residuals = np.array(
        [f.label.energy - model.predict([f.atoms]).mean.energy[0] for f in learnt if f.label]
    )
    residuals -= residuals.mean()
    inverse = np.linalg.inv(kernel[:4, :4] + 1e-3 * np.eye(4))
    k = kernel[4, :4]
    expected = residuals @ inverse @ residuals / 4 * (kernel[4, 4] - k @ inverse @ k)
    found = tangent(model, learnt).predict([asked])
    assert found.var_model is not None
    assert found.var_model.energy[0] == pytest.approx(expected, rel=1e-3)
    assert found.mean.energy[0] == pytest.approx(model.predict([asked]).mean.energy[0])
    assert np.isnan(found.var_model.forces).all()


def test_residuals_do_not_depend_on_what_they_are_asked_with(
    model: Ensemble, frames: list[Frame]
) -> None:
    together = residuals(model, frames)
    assert np.append(residuals(model, frames[:2]), residuals(model, frames[2:])).tobytes() == (
        together.tobytes()
    )


def test_a_labelled_structure_is_surer_than_another(model: Ensemble, frames: list[Frame]) -> None:
    found = tangent(model, frames[:4]).predict([frames[0].atoms, frames[5].atoms])
    assert found.var_model is not None
    assert found.var_model.energy[0] < found.var_model.energy[1]


def test_without_a_scale_of_errors_there_is_no_number(model: Ensemble, frames: list[Frame]) -> None:
    for learnt in (frames[:1], [frames[0], replace(frames[0], origin="again")]):
        std = tangent(model, learnt).predict([frames[1].atoms]).std()
        assert std is not None
        assert np.isnan(std.energy).all()


def test_what_cannot_be_represented_has_no_number(model: Ensemble, frames: list[Frame]) -> None:
    on_top = Atoms("HH", [[0, 0, 0], [0, 0, 0.01]])
    std = tangent(model, frames[:4]).predict([on_top]).std()
    assert std is not None
    assert np.isnan(std.energy).all()
