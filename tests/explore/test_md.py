"""Steps against ASE's own runs, to the bit; saving and restoring; the order of walkers."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase import units as u
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixCartesian, FixCom
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.verlet import VelocityVerlet

import argon
from tunesmith import tensor_files
from tunesmith.explore import integrators
from tunesmith.explore.explosion import ExplosionError
from tunesmith.explore.integrators import ENSEMBLES
from tunesmith.explore.md import MD, Answer, DynamicsState
from tunesmith.explore.state import generator
from tunesmith.settings import build, plain

SETTINGS = {"start": "argon.xyz", "timestep": "4 fs", "temperature": "40 K", "time": "1 ns"}


def md(ensemble: str, **more: Any) -> MD:
    more.setdefault("write_every", "40 fs")
    if "pressure" in ENSEMBLES[ensemble].settings:
        more.setdefault("pressure", "50 MPa")
    return MD.model_validate(SETTINGS | {"ensemble": ensemble} | more)


def run(
    explorer: MD, state: DynamicsState, steps: int, answer: Any = argon.answer
) -> DynamicsState:
    for _ in range(steps):
        state = explorer.step(state, answer)
    return state


def same(one: DynamicsState, other: DynamicsState) -> bool:
    (a, i), (b, j) = MD.pack(md("nve"), one), MD.pack(md("nve"), other)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a) and i == j


def emt(walker: int, atoms: Atoms) -> Answer:
    atoms.calc = EMT()  # a new one: its neighbour list remembers earlier structures
    stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
    return Answer(atoms.get_potential_energy(), atoms.get_forces(), stress)


def test_the_argon_of_these_tests() -> None:
    argon.check_against_ase()


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_saved_and_restored_to_the_bit(ensemble: str, tmp_path: Path) -> None:
    ramp = {} if ensemble == "nve" else {"temperature": (("0 ps", "30 K"), ("0.2 ps", "60 K"))}
    explorer = md(ensemble, walkers=2, **ramp)
    start = explorer.init([argon.solid()], 3)
    whole = run(explorer, start, 50)
    arrays, info = explorer.pack(run(explorer, start, 20))
    tensor_files.write(
        tmp_path / "a", {k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}, info
    )
    tensors, info = tensor_files.read(tmp_path / "a")
    back = explorer.unpack({k: v.numpy() for k, v in tensors.items()}, info)
    assert same(run(explorer, back, 30), whole)
    np.savez(tmp_path / "b.npz", **arrays)
    with np.load(tmp_path / "b.npz") as loaded:
        back = explorer.unpack(dict(loaded), json.loads(json.dumps(info)))
    assert same(run(explorer, back, 30), whole)


@pytest.mark.parametrize("ensemble", ["langevin", "nose-hoover"])
def test_to_the_bit_with_forces_of_emt_and_a_molecule(ensemble: str) -> None:
    explorer = md(ensemble, timestep="0.5 fs", temperature="300 K")
    start = explorer.init([molecule("CH3CH2OH")], 3)
    whole = run(explorer, start, 50, emt)
    back = explorer.unpack(*explorer.pack(run(explorer, start, 20, emt)))
    assert same(run(explorer, back, 30, emt), whole)


def by_ase(ensemble: str, atoms: Atoms, rng: np.random.Generator) -> Any:
    """ASE's integrator, built by hand as its documentation says."""
    dt, kelvin, tau, press = 4 * u.fs, 40.0, 100 * u.fs, 50e-3 * u.GPa
    if ensemble in ("nve", "langevin", "bussi"):
        atoms.set_constraint(FixCom())
    made = {
        "nve": lambda: VelocityVerlet(atoms, dt),
        "langevin": lambda: Langevin(
            atoms, dt, temperature_K=kelvin, friction=0.01 / u.fs, fixcm=False, rng=rng
        ),
        "bussi": lambda: Bussi(atoms, dt, kelvin, tau, rng=rng),
        "nose-hoover": lambda: NoseHooverChainNVT(atoms, dt, kelvin, tau),
        "npt": lambda: IsotropicMTKNPT(atoms, dt, kelvin, press, tau, 1000 * u.fs),
        "npt-flexible": lambda: MTKNPT(atoms, dt, kelvin, press, tau, 1000 * u.fs),
    }[ensemble]()
    if hasattr(made, "_thermostat"):  # changed: 3N - 3 degrees of freedom
        chain, n = made._thermostat, len(atoms)
        chain._num_atoms_global = (3 * n - 3) / 3
        chain._Q[0] = 3 * chain._num_atoms_global * chain._kT * tau**2
    if ensemble == "npt-flexible":  # and six of a symmetric cell velocity
        made._barostat._cell_dof = 6
        made._barostat._R[0] = 6 * made._kT * (1000 * u.fs) ** 2
    return made


class Stateless:
    def get_forces(self, atoms: Atoms) -> np.ndarray:
        return argon.answer(0, atoms).forces

    def get_stress(self, atoms: Atoms) -> Any:
        return argon.answer(0, atoms).stress

    def get_potential_energy(self, atoms: Atoms, force_consistent: bool = False) -> float:
        return argon.answer(0, atoms).energy


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_the_trajectory_is_that_of_ase(ensemble: str) -> None:
    explorer = md(ensemble)
    start = explorer.init([argon.solid()], 8)
    walker = start.walkers[0]
    atoms = walker.atoms()
    atoms.calc = Stateless()
    by_ase(ensemble, atoms, generator(walker.rng)).run(50)
    ours = run(explorer, start, 50).walkers[0]
    assert np.array_equal(ours.positions, atoms.positions)
    assert np.array_equal(ours.momenta, atoms.get_momenta())
    assert np.array_equal(ours.cell, atoms.cell.array)


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every number an integrator holds, by path."""
    if isinstance(value, np.ndarray | float | int | bool) or value is None:
        return {path: copy.copy(value)}
    inside = vars(value) if hasattr(value, "__dict__") else {}
    skipped = ("atoms", "rng", "comm", "logfile")
    return {
        k: v for name, part in inside.items() if name not in skipped
        for k, v in leaves(part, f"{path}.{name}".lstrip(".")).items()
    }  # fmt: skip


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_nothing_else_of_an_integrator_lives_on(ensemble: str) -> None:
    """What a step changes in ASE's object is saved, follows from the structure, or is unused."""
    harmless = {
        "nve": set(),
        "langevin": {"v", "rnd_pos", "rnd_vel"},  # written before they are read
        "bussi": {"transferred_energy"},  # bookkeeping
        "nose-hoover": {"_q", "_p"},  # the structure's own, once a step is over
        "npt": {"_q", "_p"},
        "npt-flexible": {"_q", "_p", "_h"},
    }[ensemble]
    explorer = md(ensemble)
    atoms = explorer.init([argon.solid()], 8).walkers[0].atoms()
    atoms.calc = Stateless()
    integrators.constrain(atoms, ensemble)
    dynamics = ENSEMBLES[ensemble].build(atoms, explorer._bath(0), np.random.default_rng(1))
    dynamics.step()
    before = leaves(dynamics)
    dynamics.step()
    after = leaves(dynamics)
    changed = {k for k in after if not np.array_equal(before[k], after[k])}
    saved = set(ENSEMBLES[ensemble].variables)
    assert changed <= saved | harmless
    assert saved <= set(after)


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_asked_once_for_every_structure_and_nothing_given_is_changed(ensemble: str) -> None:
    asked: list[Atoms] = []

    def answer(walker: int, atoms: Atoms) -> Answer:
        asked.append(atoms.copy())
        given = argon.answer(walker, atoms)
        atoms.positions += 1  # what the loop does to its copy must not matter
        return given

    explorer = md(ensemble)
    states = [explorer.init([argon.solid()], 8)]
    frozen = copy.deepcopy(states)
    for _ in range(5):
        states.append(explorer.step(states[-1], answer))
        frozen.append(copy.deepcopy(states[-1]))
    assert len(asked) == 6
    assert all(same(a, b) for a, b in zip(states, frozen, strict=True))
    for state, atoms in zip(states[1:], asked[1:], strict=True):
        walker = state.walkers[0]
        assert np.array_equal(walker.positions, atoms.positions)
        assert walker.forces is not None
        assert np.array_equal(walker.forces, argon.answer(0, atoms).forces)
        assert walker.energy == argon.answer(0, atoms).energy
    assert same(states[-1], run(explorer, states[0], 5))


def test_the_forces_returned_drive_both_halves_and_errors_leave_the_state_good() -> None:
    explorer = md("nve")
    start = run(explorer, explorer.init([argon.solid()], 8), 3)
    push = np.zeros((32, 3))
    push[0, 0], push[1, 0] = 0.01, -0.01

    def pushed(walker: int, atoms: Atoms) -> Answer:
        given = argon.answer(walker, atoms)
        return Answer(given.energy, given.forces + push)

    def kick(state: DynamicsState) -> np.ndarray:
        return state.walkers[0].momenta - run(explorer, start, 1).walkers[0].momenta

    once = explorer.step(start, pushed)
    np.testing.assert_allclose(kick(once), 2 * u.fs * push, atol=1e-12)  # half a step of 4 fs
    twice = run(explorer, once, 1)  # the other half comes with the next step
    normal = run(explorer, start, 2)
    kicked = twice.walkers[0].momenta - normal.walkers[0].momenta
    np.testing.assert_allclose(kicked, 4 * u.fs * push, atol=2e-3 * np.abs(kicked).max())

    def failing(walker: int, atoms: Atoms) -> Answer:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explorer.step(start, failing)
    assert same(explorer.step(start, argon.answer), run(explorer, start, 1))


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "bussi"])
def test_constraints_are_kept(ensemble: str) -> None:
    atoms = argon.solid()
    atoms.set_constraint([FixAtoms([0, 3]), FixCartesian([5], (True, False, False))])
    explorer = md(ensemble)
    start = explorer.init([atoms], 8)
    assert (start.walkers[0].momenta[[0, 3]] == 0).all()
    state = run(explorer, start, 20)
    moved = state.walkers[0].positions - atoms.positions
    assert (moved[[0, 3]] == 0).all()
    assert moved[5, 0] == 0
    assert (np.abs(moved[[1, 2, 4, 6]]) > 1e-3).any(1).all()
    assert (np.abs(moved[5, 1:]) > 1e-5).all()
    # raw forces are kept, constraints do not zero them
    assert np.abs(state.walkers[0].forces[0]).max() > 1e-6
    assert not state.walkers[0].atoms().constraints


def test_walkers_of_several_structures_take_turns() -> None:
    explorer = md("langevin", walkers=2, time="20 fs")
    charged = argon.cluster()
    charged.info |= {"charge": np.int64(1), "comment": "left out"}
    state = explorer.init([argon.solid(), charged], 8)
    assert [w.start for w in state.walkers] == [0, 0, 1, 1]
    momenta = [w.momenta for w in state.walkers]
    assert not np.allclose(momenta[0], momenta[1])
    for walker in state.walkers:
        np.testing.assert_allclose(walker.momenta.sum(0), 0, atol=1e-12)
    seen = []

    def answer(walker: int, atoms: Atoms) -> Answer:
        seen.append((walker, len(atoms), atoms.info))
        return argon.answer(walker, atoms)

    turns = []
    while not explorer.finished(state):
        turns.append(state.turn)
        state = explorer.step(state, answer)
    assert turns == [0, 1, 2, 3] * 5
    assert (0, 32, {}) in seen
    assert (3, 7, {"charge": 1}) in seen
    assert [explorer.time_of(w) for w in state.walkers] == [20.0] * 4
    assert json.loads(json.dumps(explorer.pack(state)[1])) == explorer.pack(state)[1] | {
        "walkers": [w | {"constraints": []} for w in explorer.pack(state)[1]["walkers"]]
    }
    # a longer run of the same settings goes on where this one stopped
    longer = md("langevin", walkers=2, time="40 fs")
    again = longer.init([argon.solid(), charged], 8)
    assert same(run(longer, again, 40), run(longer, state, 20))


def test_back_to_a_good_frame() -> None:
    explorer = md("nose-hoover", walkers=2, max_restarts=2)
    good = run(explorer, explorer.init([argon.solid()], 8), 10)
    now = run(explorer, good, 6)
    back = explorer.restart(now, 1, good)
    assert np.array_equal(back.walkers[1].positions, good.walkers[1].positions)
    assert back.walkers[1].steps == 5
    assert back.walkers[1].restarts == 1
    assert not np.allclose(back.walkers[1].momenta, good.walkers[1].momenta)
    assert back.walkers[0] is now.walkers[0]
    again = explorer.restart(back, 1, good)
    assert not np.allclose(back.walkers[1].momenta, again.walkers[1].momenta)
    run(explorer, again, 4)
    with pytest.raises(ExplosionError, match="exploded 3 times"):
        explorer.restart(again, 1, good)


def test_an_incomplete_checkpoint_is_said() -> None:
    explorer = md("nve")
    arrays, info = explorer.pack(explorer.init([argon.solid()], 8))
    del info["walkers"][0]["rng"]
    with pytest.raises(TypeError, match="rng"):  # which a run's checkpoint makes a sentence
        explorer.unpack(arrays, info)


def test_settings_there_and_back() -> None:
    explorer = md("npt", temperature=(("0 ps", "10 K"), ("1 ps", "20 K")))
    assert build(MD, {k: v for k, v in plain(explorer).items() if k != "kind"}) == explorer
