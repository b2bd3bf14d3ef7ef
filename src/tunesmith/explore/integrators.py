"""ASE's integrators: which are offered, and what each carries from one step to the next.

An integrator is built anew for every step from the walker's state; ASE's classes are used as they
are. Offered are those whose whole state is the structure, a generator and a few named arrays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase import units as u
from ase.constraints import FixCom
from ase.md import nose_hoover_chain
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.nose_hoover_chain import (
    MTKNPT,
    IsotropicMTKNPT,
    NoseHooverChainNVT,
    NoseHooverChainThermostat,
)
from ase.md.verlet import VelocityVerlet

from tunesmith.errors import ConfigError, MissingDependencyError


@dataclass(frozen=True)
class Bath:
    """What acts on a walker during one step. fs, 1/fs, K, eV/Å³; what an ensemble lacks is NaN."""

    timestep: float
    temperature: float
    pressure: float = np.nan
    friction: float = np.nan
    thermostat_time: float = np.nan
    barostat_time: float = np.nan


@dataclass(frozen=True)
class ThermalEnsemble:
    """build: (atoms, bath, generator) → ASE's integrator. settings: those of `MD` it takes, with
    their defaults. variables: attributes of the integrator that live on between steps."""

    build: Callable[[Atoms, Bath, np.random.Generator], Any]
    settings: dict[str, Any]
    variables: tuple[str, ...] = ()
    stress: bool = False
    constraints: bool = True


def _nve(atoms: Atoms, bath: Bath, rng: np.random.Generator) -> Any:
    return VelocityVerlet(atoms, bath.timestep * u.fs)


def _langevin(atoms: Atoms, bath: Bath, rng: np.random.Generator) -> Any:
    # fixcm=True does not sample the canonical ensemble (ASE); the constraint FixCom does
    return Langevin(
        atoms,
        bath.timestep * u.fs,
        temperature_K=bath.temperature,
        friction=bath.friction / u.fs,
        fixcm=False,
        rng=rng,
    )


def _bussi(atoms: Atoms, bath: Bath, rng: np.random.Generator) -> Any:
    time = bath.thermostat_time * u.fs
    return Bussi(atoms, bath.timestep * u.fs, bath.temperature, time, rng=rng)


def _chain(atoms: Atoms, bath: Bath) -> NoseHooverChainThermostat:
    # ASE couples 3N degrees of freedom, but the total momentum never changes: with 3N the other
    # 3N-3 would be N/(N-1) too hot, 12 % for ethanol. The thermostat uses N only as 3N.
    atoms_coupled: Any = degrees_of_freedom(atoms) / 3
    return NoseHooverChainThermostat(
        num_atoms_global=atoms_coupled,
        masses=atoms.get_masses()[:, None],
        temperature_K=bath.temperature,
        tdamp=bath.thermostat_time * u.fs,
    )


def _nose_hoover(atoms: Atoms, bath: Bath, rng: np.random.Generator) -> Any:
    time = bath.thermostat_time * u.fs
    dynamics = NoseHooverChainNVT(atoms, bath.timestep * u.fs, bath.temperature, time)
    dynamics._thermostat = _chain(atoms, bath)
    return dynamics


def _npt(kind: type) -> Callable[[Atoms, Bath, np.random.Generator], Any]:
    def build(atoms: Atoms, bath: Bath, rng: np.random.Generator) -> Any:
        dynamics = kind(
            atoms,
            bath.timestep * u.fs,
            temperature_K=bath.temperature,
            pressure_au=bath.pressure,
            tdamp=bath.thermostat_time * u.fs,
            pdamp=bath.barostat_time * u.fs,
        )
        dynamics._thermostat = _chain(atoms, bath)
        if kind is MTKNPT:
            # ASE gives 9 kT to a symmetric cell velocity, which has six components: the cell is
            # then half as hot again
            dynamics._barostat._cell_dof = 6
            dynamics._barostat._R[0] *= 6 / 9
        return dynamics

    return build


_CHAIN = ("_thermostat._eta", "_thermostat._p_eta")
_BAROSTAT = ("_barostat._xi", "_barostat._p_xi")
_FRICTION = {"friction": "0.01 /fs"}
_THERMOSTAT = {"thermostat_time": "100 fs"}
_PRESSURE: dict[str, Any] = {**_THERMOSTAT, "barostat_time": "1 ps", "pressure": "1 bar"}
_PRESSURE["max_volume_change"] = 3.0
ENSEMBLES = {
    "nve": ThermalEnsemble(_nve, {}),
    "langevin": ThermalEnsemble(_langevin, _FRICTION),
    "bussi": ThermalEnsemble(_bussi, _THERMOSTAT),
    "nose-hoover": ThermalEnsemble(_nose_hoover, _THERMOSTAT, _CHAIN, constraints=False),
    "npt": ThermalEnsemble(
        _npt(IsotropicMTKNPT),
        _PRESSURE,
        (*_CHAIN, *_BAROSTAT, "_eps", "_p_eps", "_cell0", "_volume0"),
        stress=True,
        constraints=False,
    ),
    "npt-flexible": ThermalEnsemble(
        _npt(MTKNPT), _PRESSURE, (*_CHAIN, *_BAROSTAT, "_p_g"), stress=True, constraints=False
    ),
}
_NO_ENSEMBLE = "samples no known ensemble (it suppresses fluctuations)"
#: ASE's other integrators: why not, and what instead
REFUSED = {
    "berendsen": (_NO_ENSEMBLE, "bussi"),
    "nvt-berendsen": (_NO_ENSEMBLE, "bussi"),
    "npt-berendsen": (_NO_ENSEMBLE, "npt"),
    "andersen": ("cuts trajectories at every collision", "langevin"),
    "npt-nose-hoover": ("keeps hidden values of earlier steps (ASE's Melchionna NPT)", "npt"),
    "melchionna": ("keeps hidden values of earlier steps", "npt"),
    "langevin-baoab": ("asks for forces while it is being built, outside any step", "langevin"),
    "switch-langevin": ("changes the potential on the way", "langevin"),
    "contour-exploration": ("keeps a history of earlier steps", "nve"),
}


def ensemble(name: str) -> ThermalEnsemble:
    """The ensemble of that name.

    Raises `ConfigError` that says why not and what to use, `MissingDependencyError` where the
    installed ASE is too old.
    """
    if name == "npt-flexible" and not hasattr(nose_hoover_chain, "MaskedMTKNPT"):
        # earlier versions have the cell's degrees of freedom written into their equations
        raise MissingDependencyError(
            "ensemble: 'npt-flexible' needs ASE 3.28 or later; run: pip install 'ase>=3.28'."
        )
    if name in ENSEMBLES:
        return ENSEMBLES[name]
    if name in REFUSED:
        reason, instead = REFUSED[name]
        raise ConfigError(f"ensemble: {name!r} is not offered: it {reason}; use {instead!r}.")
    raise ConfigError(f"ensemble: there is no {name!r}; use one of {', '.join(ENSEMBLES)}.")


# ------------------------------------------------------------------ constraints and state


def constrain(atoms: Atoms, name: str) -> None:
    """Hold the centre of mass where nothing else holds the structure (in place)."""
    if ENSEMBLES[name].constraints and not atoms.constraints:
        atoms.set_constraint(FixCom())


def degrees_of_freedom(atoms: Atoms) -> int:
    """3N less what constraints hold; less the total momentum where there are none."""
    free: int = atoms.get_number_of_degrees_of_freedom()
    return free if atoms.constraints else free - 3


def variables(dynamics: Any, name: str) -> dict[str, np.ndarray]:
    """Copies of what the integrator carries to its next step, by attribute."""
    found = {}
    for path in ENSEMBLES[name].variables:
        value = dynamics
        for part in path.split("."):
            value = getattr(value, part)
        found[path] = np.array(value, float)
    return found


def restore(dynamics: Any, values: dict[str, np.ndarray]) -> None:
    """Put back what `variables` took."""
    for path, value in values.items():
        *owners, last = path.split(".")
        owner = dynamics
        for part in owners:
            owner = getattr(owner, part)
        setattr(owner, last, value.copy() if value.ndim else float(value))
