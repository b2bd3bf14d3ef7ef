"""Eq. 8 by its own words, and its slopes by finite differences."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tunesmith.attack.objective import Target
from tunesmith.attack.search import Attack
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.contracts import Law
from tunesmith.core import Quantities
from tunesmith.errors import ModelError

N, M, DELTA = 4, 3, 0.3


class Power:
    """σ_cal = 1.7 σ̂^0.8."""

    kind = "power"

    def std(self, raw: Any) -> Any:
        return 1.7 * np.asarray(raw) ** 0.8

    def derivative(self, raw: Any) -> Any:
        return 1.7 * 0.8 * np.asarray(raw) ** -0.2


class Bent(Power):
    """One that is not linear and does not say its slope."""

    derivative = Law.derivative


GAMMA = GammaCalibration().update(0.1, 0.3).update(0.2, 0.1)
LAWS: dict[str, Any] = {"none": None, "gamma": GAMMA, "power": Power()}
BIAS = {"force_bias": 0.4, "bias": [
    {"quantity": "pressure", "value": "2 GPa", "width": "5 GPa"},
    {"quantity": "energy", "value": "-1.5 eV", "width": "0.2 eV"},
    {"quantity": "force", "value": "0.5 eV/Å", "width": "2 eV/Å"},
]}  # fmt: skip


def said(seed: int = 0) -> Quantities:
    rng = np.random.default_rng(seed)
    return Quantities(
        rng.normal(size=M), rng.normal(size=(M, N, 3)), 0.05 * rng.normal(size=(M, 3, 3))
    )


def attack(**changes: Any) -> Attack:
    return Attack.model_validate({"target": f"{DELTA} eV/Å", **changes})


@pytest.mark.parametrize("law", LAWS)
def test_the_value_is_that_of_the_equation(law: str) -> None:
    """Atom by atom and component by component."""
    members = said()
    forces = members.forces
    expected, stds = 0.0, []
    for i in range(N):
        square = 0.0
        for c in range(3):
            mean = sum(forces[m, i, c] for m in range(M)) / M
            variance = sum((forces[m, i, c] - mean) ** 2 for m in range(M)) / (M - 1)
            raw = variance**0.5
            square += (raw if LAWS[law] is None else float(LAWS[law].std(raw))) ** 2
            expected += 0.4 * mean**2
        stds.append(square**0.5)
        expected += (stds[-1] - DELTA) ** 2
    found = attack(force_bias=0.4).objective(LAWS[law]).judge(members)
    assert found.value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(found.std, stds, rtol=1e-12)


def test_a_pull_of_its_width_costs_as_much_as_all_atoms_off_by_the_target() -> None:
    members = said()
    pressure = -np.trace(members.stress.mean(0)) / 3 * 160.21766208  # GPa
    plain = attack().objective(None).judge(members).value
    pull = {"quantity": "pressure", "value": f"{pressure + 7} GPa", "width": "7 GPa"}
    found = attack(bias=[pull]).objective(None).judge(members).value
    assert found - plain == pytest.approx(N * DELTA**2, rel=1e-9)


def slope(value: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences, one number at a time."""
    found = np.zeros_like(at)
    for i in np.ndindex(at.shape):
        ahead, behind = at.copy(), at.copy()
        ahead[i] += step
        behind[i] -= step
        found[i] = (value(ahead) - value(behind)) / (2 * step)
    return found


@pytest.mark.parametrize("law", LAWS)
def test_slopes_are_those_of_the_value(law: str) -> None:
    target, members = attack(**BIAS).objective(LAWS[law]), said(1)
    assert target.needs_stress
    found = target.judge(members)
    for name in ("energy", "forces", "stress"):
        expected = slope(
            lambda x, name=name: target.judge(replace(members, **{name: x})).value,
            getattr(members, name),
        )
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(getattr(found.slopes, name), expected, rtol=1e-6, atol=1e-8)


def test_members_that_agree_have_no_slope_but_the_bias() -> None:
    members = replace(said(), forces=np.ones((M, N, 3)))
    found = attack(force_bias=0.5).objective(GAMMA).judge(members)
    assert found.std.tolist() == [0.0] * N
    np.testing.assert_allclose(found.slopes.forces, 1 / M)
    assert found.value == pytest.approx(N * DELTA**2 + 0.5 * 3 * N)


def test_a_bent_law_must_say_its_slope() -> None:
    with pytest.raises(ModelError, match="not linear and has no derivative"):
        Target(DELTA, Bent()).judge(said())
