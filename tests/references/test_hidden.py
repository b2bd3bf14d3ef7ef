"""Labels that come with a pool: given for exactly its structures, under an engine's limits."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from tunesmith.core import Failure, Frame, Label
from tunesmith.errors import ConfigError, DataError
from tunesmith.references.hidden import Hidden


def frame(name: str, energy: float, force: float = 0.5) -> Frame:
    atoms = molecule(name)
    return Frame(atoms, Label(energy, np.full((len(atoms), 3), force)), name)


POOL = [frame("H2O", -1.0), frame("CH4", -2.0), replace(frame("NH3", 0.0), label=None)]


def test_it_answers_for_its_structures_alone() -> None:
    reference = Hidden().among(POOL)
    label = reference.label(molecule("CH4"))
    assert isinstance(label, Label)
    assert label.energy == -2.0
    moved = molecule("CH4")
    moved.positions[0, 0] += 1e-12
    for atoms, why in ((moved, "not one of the pool"), (molecule("NH3"), "NH3 has no label")):
        failure = reference.label(atoms)
        assert isinstance(failure, Failure)
        assert why in failure.reason


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        (Label(np.nan, np.ones((3, 3))), "nan"),
        (Label(0.0, np.full((3, 3), 1e3)), "unphysical"),
        (Label(0.0, np.ones((2, 3))), "crashed"),
    ],
)
def test_impossible_labels_are_failures(label: Label, kind: str) -> None:
    failure = Hidden().among([replace(POOL[0], label=label)]).label(POOL[0].atoms)
    assert isinstance(failure, Failure)
    assert failure.kind == kind


def test_atoms_on_top_of_each_other_are_a_failure() -> None:
    close = Atoms("HH", [[0, 0, 0], [0, 0, 0.01]])
    pool = [Frame(close, Label(0.0, np.ones((2, 3))), "close")]
    failure = Hidden().among(pool).label(close)
    assert isinstance(failure, Failure)
    assert failure.kind == "unphysical"
    assert isinstance(Hidden(min_distance=0.0).among(pool).label(close), Label)


def test_another_label_is_another_reference() -> None:
    one, again = Hidden().among(POOL), Hidden().among(list(POOL))
    other = Hidden().among([frame("H2O", -1.5), *POOL[1:]])
    assert one.identity() == again.identity() != other.identity()


def test_what_cannot_be_hidden_is_refused() -> None:
    with pytest.raises(DataError, match="no structure of the pool has a label"):
        Hidden().among([POOL[2]])
    with pytest.raises(ConfigError, match="must be over zero"):
        Hidden(max_force="0 eV/Å")
