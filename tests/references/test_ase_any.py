"""Calculators by name, and what is shared by all references."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from tunesmith.core import Label
from tunesmith.errors import ConfigError
from tunesmith.references.ase_any import CALCULATORS, AnyASE, GivenCalculator
from tunesmith.registry import REFERENCES


def test_two_atoms_of_argon():
    """The closed form: E = 4ε((σ/r)¹² − (σ/r)⁶), F = −dE/dr."""
    r, sigma, epsilon = 3.7, 3.4, 0.0104
    pair = Atoms("Ar2", [[0, 0, 0], [0, 0, r]])
    parameters = {"sigma": sigma, "epsilon": epsilon, "rc": 1000.0}
    label = AnyASE(calculator="lj", parameters=parameters).label(pair)
    x = (sigma / r) ** 6
    assert label.energy == pytest.approx(4 * epsilon * (x**2 - x), rel=1e-6)
    assert label.forces[1, 2] == pytest.approx(24 * epsilon / r * (2 * x**2 - x), rel=1e-6)


def test_parameters_reach_the_calculator():
    crystal = bulk("Ar", "fcc", 5.3, cubic=True)
    crystal.rattle(0.1, seed=0)
    parameters = {"sigma": 3.3, "epsilon": 0.01, "rc": 7.0}
    label = AnyASE(calculator="lj", parameters=parameters).label(crystal)
    crystal.calc = LennardJones(**parameters)
    assert label.energy == pytest.approx(crystal.get_potential_energy())
    np.testing.assert_allclose(label.stress, crystal.get_stress(voigt=False))


def test_names():
    with pytest.raises(ConfigError, match="did you mean 'emt'"):
        AnyASE(calculator="emmt")
    with pytest.raises(ConfigError, match="no 'os:system'"):
        AnyASE(calculator="os:system")
    with pytest.raises(ConfigError, match="trust_convergence"):
        AnyASE(calculator="gaussian")
    known = AnyASE(calculator="gaussian", trust_convergence=True, program_version="16.C.01")
    assert known.identity()["program_version"] == "16.C.01"


@pytest.mark.parametrize("name", sorted(n for n, e in CALCULATORS.items() if e.package == "ase"))
def test_the_table_names_what_exists(name):
    from importlib import import_module

    module, _, attribute = CALCULATORS[name].path.partition(":")
    made = getattr(import_module(module), attribute)
    declared = getattr(made, "implemented_properties", ())
    if isinstance(declared, list | tuple) and declared:  # some know only once they are made
        assert "forces" in declared
        assert not CALCULATORS[name].stress or "stress" in declared


@pytest.mark.parametrize(
    ("info", "kind"),
    [
        ({}, "label"),
        ({"charge": 0}, "label"),
        ({"charge": 1}, "refused"),
        ({"multiplicity": 1}, "label"),
        ({"multiplicity": 3}, "refused"),
    ],
)
def test_a_charge_the_calculator_would_not_hear_of(info, kind):
    pair = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]])
    pair.info.update(info)
    answer = AnyASE(calculator="emt").label(pair)
    assert isinstance(answer, Label) if kind == "label" else answer.kind == kind


def test_plugins(plugins):
    reference = AnyASE(calculator="spring", parameters={"k": 1.0})
    assert reference.identity() == {
        "kind": "ase",
        "version": "troublemakers 0.3",
        "charge": 0,
        "multiplicity": None,
        "calculator": "spring",
        "parameters": {"k": 1.0},
        "trust_convergence": False,
        "program_version": None,
    }
    assert json.loads(json.dumps(reference.identity())) == reference.identity()


def test_calculator_object_limits():
    for extra in ({"timeout": "1 h"}, {"threads": 2}, {"scratch": "/tmp"}):
        with pytest.raises(ConfigError):
            GivenCalculator(calculator=EMT(), named={"a": 1}, **extra)
    with pytest.raises(ConfigError, match="identity is empty"):
        GivenCalculator(calculator=EMT(), named={})


@pytest.mark.parametrize("kind", sorted(REFERENCES.entries))
def test_registry_builds_every_kind(kind):
    assert REFERENCES.get(kind).kind == kind
    # what computes says how it is installed; a pool's own labels need nothing
    assert bool(getattr(REFERENCES.get(kind), "install", "")) == (kind != "hidden")
