"""The contract every backend passes, for any package that brings a potential.

A backend's test file is a few lines::

    @pytest.mark.parametrize("check", contract.checks(MyPotential.capabilities))
    def test_contract(check):
        check(load_my_potential())

Every check is a plain function of a `Potential` (and a seed) that raises AssertionError. What the
capabilities rule out is listed as a skip with its reason, never left out. Tolerances follow the
precision the potential was loaded in. Exported files are added to the user's list of trusted files:
point XDG_CONFIG_HOME at a scratch folder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tunesmith.potentials.potential import Capabilities, Potential
from tunesmith.testing.interface import (
    check_batches,
    check_embedding_gradient,
    check_features,
    check_functional_weights,
    check_member_gradients,
    check_members,
    check_native,
    check_no_stress_without_cell,
    check_pure,
    check_unknown_element,
    check_weight_gradients,
)
from tunesmith.testing.physics import (
    check_forces,
    check_fragments,
    check_layers,
    check_one_atom,
    check_permutation,
    check_rotation,
    check_small_cells,
    check_stress,
    check_translation,
    check_wrapping,
)
from tunesmith.testing.second_order import check_place_gradients, check_skin
from tunesmith.testing.weights import check_names, check_untaught

#: need → when it is met, and what a skip says
NEEDS: dict[str, tuple[Callable[[Capabilities], bool], str]] = {
    "stress": (lambda c: c.stress, "predicts no stress"),
    "embedding": (lambda c: c.embedding, "has no species embedding"),
    "molecules": (lambda c: not c.needs_cell, "takes only structures with a cell"),
}


@dataclass(frozen=True)
class Check:
    """One check and what it needs of a backend's capabilities (keys of `NEEDS`)."""

    run: Callable[[Potential, int], None]
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return getattr(self.run, "__name__", str(self.run)).removeprefix("check_")

    def __call__(self, potential: Potential, seed: int = 0) -> None:
        """Raises AssertionError when the potential breaks this part of the contract."""
        self.run(potential, seed)

    def reason_to_skip(self, capabilities: Capabilities) -> str | None:
        """Why it does not apply, or None."""
        for need in self.needs:
            met, why = NEEDS[need]
            if not met(capabilities):
                return f"{self.name}: the backend {why}"
        return None


CHECKS: tuple[Check, ...] = (
    Check(check_forces),
    Check(check_stress, ("stress",)),
    Check(check_rotation),
    Check(check_translation),
    Check(check_permutation),
    Check(check_wrapping),
    Check(check_small_cells),
    Check(check_fragments),
    Check(check_one_atom),
    Check(check_batches),
    Check(check_no_stress_without_cell, ("stress", "molecules")),
    Check(check_pure),
    Check(check_features),
    Check(check_layers),
    Check(check_embedding_gradient, ("embedding",)),
    Check(check_names),
    Check(check_untaught),
    Check(check_functional_weights),
    Check(check_weight_gradients),
    Check(check_native),
    Check(check_members),
    Check(check_member_gradients),
    Check(check_place_gradients),
    Check(check_skin),
    Check(check_unknown_element),
)


def checks(capabilities: Capabilities) -> list[Any]:
    """All checks as pytest parameters; those that do not apply carry a skip with the reason."""
    import pytest

    found = []
    for check in CHECKS:
        reason = check.reason_to_skip(capabilities)
        marks = [pytest.mark.skip(reason=reason)] if reason else []
        found.append(pytest.param(check, id=check.name, marks=marks))
    return found
