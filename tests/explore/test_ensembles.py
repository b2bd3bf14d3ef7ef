"""The statistics each ensemble promises, in units of their own standard error."""

from typing import Any

import numpy as np
import pytest
from ase import units as u

import argon
from tunesmith.explore.integrators import ENSEMBLES
from tunesmith.explore.md import MD, DynamicsState

KELVIN = 30.0


def explorer(ensemble: str, **more: Any) -> MD:
    settings = {"start": "argon", "timestep": "5 fs", "time": "1 ns", "write_every": "5 ps"}
    times = {"friction": "0.01 /fs", "thermostat_time": "200 fs", "barostat_time": "1 ps"}
    taken = {k: v for k, v in times.items() if k in ENSEMBLES[ensemble].settings}
    settings |= {"ensemble": ensemble, "temperature": f"{KELVIN} K"}
    return MD.model_validate(settings | taken | more)


def trace(md: MD, state: DynamicsState, steps: int, value: Any) -> tuple[DynamicsState, np.ndarray]:
    """``value`` of the only walker after every step."""
    seen = []
    for _ in range(steps):
        state = md.step(state, argon.answer)
        seen.append(value(state.walkers[0]))
    return state, np.array(seen)


def mean_and_error(values: np.ndarray, blocks: int = 12) -> tuple[float, float]:
    """Mean, and its standard error from means of blocks."""
    means = np.array([b.mean() for b in np.array_split(values, blocks)])
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(blocks))


def test_nve_conserves_the_energy_to_second_order() -> None:
    def spread(timestep: float) -> float:
        md = explorer("nve", timestep=f"{timestep} fs", write_every=f"{timestep} fs")

        def total(walker: Any) -> float:
            return walker.energy + 0.5 * np.sum(walker.momenta**2 / walker.masses[:, None])

        return float(trace(md, md.init([argon.cluster()], 2), int(1500 / timestep), total)[1].std())

    assert spread(5.0) / spread(2.5) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("ensemble", ["langevin", "bussi", "nose-hoover"])
def test_the_mean_temperature_of_few_atoms(ensemble: str) -> None:
    """With 3N instead of 3N-3 degrees of freedom, 7 atoms would be 7/6 too hot."""
    md = explorer(ensemble, temperature="15 K")
    state, _ = trace(md, md.init([argon.cluster()], 4), 200, md.temperature_of)
    state, kelvin = trace(md, state, 3000, md.temperature_of)
    mean, error = mean_and_error(kelvin)
    assert error < 0.7
    assert abs(mean - 15.0) < 3.5 * error
    np.testing.assert_allclose(state.walkers[0].momenta.sum(0), 0, atol=1e-10)


@pytest.mark.parametrize("ensemble", ["langevin", "bussi", "nose-hoover"])
def test_kinetic_energy_fluctuates_as_in_the_canonical_ensemble(ensemble: str) -> None:
    """var(K) = f (kT)²/2, which a thermostat that samples no ensemble would fall short of."""
    md = explorer(ensemble)
    _, kelvin = trace(md, md.init([argon.solid()], 5), 2400, md.temperature_of)
    kelvin = kelvin[400:]
    squares, error = mean_and_error((kelvin - kelvin.mean()) ** 2)
    assert abs(squares - 2 * KELVIN**2 / 93) < 3.5 * error


def pressure_of(walker: Any) -> float:
    volume = abs(np.linalg.det(walker.cell))
    kinetic = np.sum(walker.momenta**2 / walker.masses[:, None])
    return float(kinetic / (3 * volume) - np.trace(walker.stress) / 3)


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", ["npt", "npt-flexible"])
def test_npt_meets_pressure_and_temperature(ensemble: str) -> None:
    target = 100e-3 * u.GPa
    md = explorer(ensemble, pressure="100 MPa")
    start = md.init([argon.solid()], 6)

    def pressure_and_more(walker: Any) -> tuple[float, float, float, float]:
        momenta = walker.variables.get("_p_g", np.zeros(1))
        volume = abs(np.linalg.det(walker.cell))
        return pressure_of(walker), volume, md.temperature_of(walker), np.sum(momenta**2)

    state, _ = trace(md, start, 400, pressure_and_more)
    state, seen = trace(md, state, 2000, pressure_and_more)
    pressure, error = mean_and_error(seen[:, 0])
    assert error < 0.15 * target
    assert abs(pressure - target) < 3.5 * error + KELVIN * u.kB / seen[:, 1].mean()
    kelvin, error = mean_and_error(seen[:, 2])
    assert abs(kelvin - KELVIN) < 3.5 * error
    if ensemble == "npt-flexible":  # ASE by itself gives 9 kT to these six components
        mass = 33 * KELVIN * u.kB * (1000 * u.fs) ** 2
        mean, error = mean_and_error(seen[:, 3] / (mass * KELVIN * u.kB))
        assert error < 0.8
        assert abs(mean - 6) < 3.5 * error
    cell = state.walkers[0].cell
    cubic = np.allclose(cell, cell[0, 0] * np.eye(3))
    assert cubic == (ensemble == "npt")


@pytest.mark.slow
def test_the_volume_of_npt_has_its_pressure_in_another_ensemble() -> None:
    md = explorer("npt", pressure="150 MPa", barostat_time="500 fs")
    state, _ = trace(md, md.init([argon.solid()], 6), 600, lambda w: 0.0)
    state, volume = trace(md, state, 2000, lambda w: abs(np.linalg.det(w.cell)))
    fixed = state.walkers[0].atoms()
    fixed.set_cell(np.eye(3) * volume.mean() ** (1 / 3), scale_atoms=True)
    langevin = explorer("langevin")
    state, _ = trace(langevin, langevin.init([fixed], 6), 400, lambda w: 0.0)
    mean, error = mean_and_error(trace(langevin, state, 1600, pressure_of)[1])
    # dP/dV of the two runs' mean volume adds to the error: 10 % covers both
    assert abs(mean - 150e-3 * u.GPa) < 3.5 * error + 0.1 * 150e-3 * u.GPa


@pytest.mark.slow
def test_a_ramp_of_temperature_and_pressure_is_followed() -> None:
    md = explorer(
        "npt",
        temperature=(("5 ps", "10 K"), ("10 ps", "40 K")),
        pressure=(("8 ps", "1 bar"), ("8 ps", "300 MPa")),
        barostat_time="500 fs",
    )

    def kelvin_and_volume(walker: Any) -> tuple[float, float, float]:
        return (
            md.temperature_of(walker),
            abs(np.linalg.det(walker.cell)),
            md.target_temperature(walker),
        )

    state, seen = trace(md, md.init([argon.solid()], 7), 3000, kelvin_and_volume)
    assert md.time_of(state.walkers[0]) == pytest.approx(15_000)
    kelvin, volume, target = seen.T
    for part in (slice(400, 1000), slice(1000, 2000), slice(2200, 3000)):
        mean, error = mean_and_error((kelvin - target)[part], 6)
        assert abs(mean) < 4 * error + 0.5
    assert volume[2200:].mean() < 0.97 * volume[1000:1500].mean()
