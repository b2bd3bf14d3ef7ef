"""What the settings and the start structures are refused for, each in one sentence."""

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixBondLengths

from tunesmith.errors import ConfigError, DataError
from tunesmith.explore.integrators import ENSEMBLES, REFUSED
from tunesmith.explore.md import MD
from tunesmith.settings import build, plain


def made(**settings: Any) -> MD:
    return build(MD, {"start": "x.xyz"} | settings)


def test_defaults_are_written_out_for_the_ensemble() -> None:
    langevin = plain(made())
    assert langevin["start"] == ["x.xyz"]
    assert langevin["friction"] == "0.01 /fs"
    assert langevin["thermostat_time"] is langevin["pressure"] is None
    npt = plain(made(ensemble="npt"))
    assert npt["friction"] is None
    values = (npt["thermostat_time"], npt["barostat_time"], npt["pressure"])
    assert values == ("100 fs", "1 ps", "1 bar")
    assert made(time="1 ps", timestep="0.3 fs", write_every="0.3 fs").total_steps == 3334
    assert made(time="1 ps", timestep="0.1 fs").total_steps == 10_000
    assert made().write_steps == 20
    assert [made(ensemble=e).needs_stress for e in ENSEMBLES] == [False] * 4 + [True] * 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"timestep": "0.5"}, "timestep: '0.5' needs a number and a unit"),
        ({"timestep": "6 fs", "write_every": "6 fs"}, "timestep: 6 fs is too long"),
        ({"timestep": "-1 fs"}, "timestep: -1 fs was given, but must be positive"),
        ({"time": "0.2 fs"}, "time: 0.2 fs is shorter than one timestep"),
        ({"write_every": "0.7 fs"}, "write_every: 0.7 fs is no whole number of timesteps"),
        ({"write_every": "0.1 fs"}, "write_every: 0.1 fs is shorter"),
        ({"friction": "100 fs"}, "friction: unknown unit 'fs' of rate"),
        ({"friction": "3 /fs"}, "friction: 3 /fs damps all motion"),
        ({"ensemble": "nve", "friction": "0.1 /fs"}, "friction: ensemble 'nve' has no use for it"),
        ({"max_volume_change": 2}, "max_volume_change: ensemble 'langevin' has no use for it"),
        ({"pressure": "1 bar"}, "pressure: ensemble 'langevin' has no use"),
        ({"ensemble": "npt", "pressure": "300 K"}, "pressure: unknown unit 'K'"),
        ({"ensemble": "npt", "barostat_time": "1 fs"}, "barostat_time: 1 fs is under 10 timesteps"),
        ({"temperature": "0 K"}, "temperature: every temperature must be over 0 K"),
        ({"temperature": [["1 ps", "1 K"], ["0 ps", "2 K"]]}, "temperature: its times go backward"),
        ({"temperature": "3000 K"}, "max_temperature: 5000 K is under twice the hottest target"),
        ({"ensemble": "nve", "temperature": [["0 ps", "1 K"]]}, "temperature: 'nve' has no therm"),
        ({"ensemble": "nvt"}, "ensemble: there is no 'nvt'; use one of nve, langevin"),
        ({"min_distance": 0}, "min_distance: 0 was given, but a value greater than 0"),
        ({"start": []}, "start: [] was given, but a list of at least 1 is needed"),
        ({"max_separation": "5 fs"}, "max_separation: unknown unit 'fs'"),
    ],
)
def test_settings_refused(settings: dict, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(**settings)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", REFUSED)
def test_integrators_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{name}' is not offered: it .*; use '\w+'"):
        made(ensemble=name)
    assert REFUSED[name][1] in ENSEMBLES


def _two(distance: float, **more: Any) -> Atoms:
    return Atoms("Ar2", [[0, 0, 0], [0, 0, distance]], **more)


def _held(atoms: Atoms, constraint: Any) -> Atoms:
    atoms.set_constraint(constraint)
    return atoms


ETHANOL = molecule("CH3CH2OH")


@pytest.mark.parametrize(
    ("atoms", "settings", "says"),
    [
        (ETHANOL, {"timestep": "2.5 fs"}, "explore.timestep: 2.5 fs is too long for its lightest"),
        (Atoms("Ar"), {}, "at least two atoms"),
        (_two(0.5), {}, r"atoms 0 \(Ar\) and 1 \(Ar\) are 0.5 Å apart"),
        (_two(30.0), {}, "1 of 2 atoms are over 10 Å from the others"),
        (_two(np.nan), {}, "not a finite number"),
        (_two(3.0, pbc=True), {}, "periodic along a cell vector that is zero"),
        (ETHANOL, {"ensemble": "npt"}, "'npt' needs three periodic directions"),
        (_two(3.0, cell=[9, 9, 9], pbc=(1, 1, 0)), {"ensemble": "npt-flexible"}, "needs three"),
        (_held(_two(3.0), FixAtoms([0, 1])), {}, "all its atoms are fixed"),
        (_held(_two(3.0), FixBondLengths([[0, 1]])), {}, "FixBondLengths is not offered"),
        (_held(_two(3.0), FixAtoms([0])), {"ensemble": "nose-hoover"}, "FixAtoms, which ensemble"),
        (bulk("Ar", "fcc", a=0.5, cubic=True), {}, "apart; mend it"),
    ],
)
def test_structures_refused(atoms: Atoms, settings: dict, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        made(**settings).init([_two(3.0, cell=[9, 9, 9], pbc=True), atoms], 1)
    assert str(caught.value).startswith("explore.start, structure 1: ")
    assert "\n" not in str(caught.value)


def test_a_long_step_is_fine_for_heavy_or_fixed_atoms() -> None:
    made(timestep="2 fs").init([ETHANOL], 1)
    made(timestep="5 fs").init([_two(3.0)], 1)
    hydrogens = [i for i, z in enumerate(ETHANOL.numbers) if z == 1]
    made(timestep="5 fs").init([_held(ETHANOL.copy(), FixAtoms(hydrogens))], 1)
    heavy = ETHANOL.copy()
    heavy.set_masses([2.014 if z == 1 else None for z in heavy.numbers])
    made(timestep="2.5 fs").init([heavy], 1)
