"""What is asked of an adversarial attack: the target, biases, limits."""

from typing import ClassVar, Literal

from ase import Atoms
from ase.data import covalent_radii
from pydantic import Field, model_validator

from tunesmith.attack.objective import QUANTITIES, Pull, Target
from tunesmith.attack.scaled import Scaled
from tunesmith.contracts import Law
from tunesmith.core import Settings
from tunesmith.errors import ConfigError, DataError
from tunesmith.explore.explosion import too_close
from tunesmith.units import parse


class Bias(Settings):
    """A scalar of the committee's mean that is pulled to a value."""

    quantity: Literal["energy", "force", "pressure"] = Field(
        description="energy per atom, force (rms over atoms) or pressure"
    )
    value: str = Field(description="where it is pulled, as '1 GPa'")
    width: str = Field(
        description="a deviation that costs as much as every atom being off by target"
    )

    @model_validator(mode="after")
    def _read(self) -> "Bias":
        if self.pull.width <= 0:
            raise ConfigError(f"attack.bias.width: {self.width!r} must be over zero.")
        return self

    @property
    def pull(self) -> Pull:
        scalar, dimension, stress = QUANTITIES[self.quantity]
        value, width = (
            parse(getattr(self, name), dimension, field=f"attack.bias.{name}").value
            for name in ("value", "width")
        )
        return Pull(scalar, value, width, stress)


class Attack(Settings):
    """How far structures are pushed, and within which limits."""

    kind: ClassVar[str] = "force-error"
    target: str = Field(description="force error of every atom that is wanted, as '100 meV/Å'")
    tolerance: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="of target: how near, rms over atoms, every atom's error must come",
    )
    force_bias: float = Field(
        0.0, ge=0, description="l of eq. 8: the weight of the squared forces, which keeps them low"
    )
    bias: tuple[Bias, ...] = Field((), description="other quantities that are pulled to a value")
    cell: bool | None = Field(
        None, description="whether the cell moves; null: if periodic and without constraints"
    )
    min_distance: float = Field(
        0.6, gt=0, lt=1, description="nearest distance, a fraction of the sum of covalent radii"
    )
    max_displacement: str = Field("1 Å", description="of any atom, beside the cell's strain")
    max_strain: float = Field(0.1, gt=0, lt=1, description="largest principal strain of the cell")
    evaluations: int = Field(100, ge=1, description="of objective and gradient, for each structure")
    batch: int = Field(8, ge=1, description="structures attacked together")

    @model_validator(mode="after")
    def _read(self) -> "Attack":
        if self.error <= 0:
            raise ConfigError(f"attack.target: {self.target!r} must be over zero.")
        if self.reach <= 0:
            raise ConfigError(
                f"attack.max_displacement: {self.max_displacement!r} must be over zero."
            )
        return self

    @property
    def error(self) -> float:
        """δ, eV/Å."""
        return parse(self.target, "force", field="attack.target").value

    @property
    def reach(self) -> float:
        """The largest displacement, Å."""
        return parse(self.max_displacement, "length", field="attack.max_displacement").value

    @property
    def biased(self) -> bool:
        return self.force_bias > 0 or bool(self.bias)

    def objective(self, law: Law | None) -> Target:
        """Eq. 8. law: the calibration of forces, None: the spread is taken as it is."""
        return Target(self.error, law, self.force_bias, tuple(b.pull for b in self.bias))

    def space(self, atoms: Atoms) -> Scaled:
        """Where a structure may go.

        Raises `DataError`, in a sentence without a subject, where the attack cannot even start.
        """
        space = Scaled.of(atoms, self.cell)
        if any(b.pull.needs_stress for b in self.bias) and not atoms.pbc.all():
            raise DataError(
                "it has no pressure without three periodic directions; leave that bias out."
            )
        if (close := self.too_close(atoms)) is not None:
            raise DataError(f"its {close} to start with; mend it, or lower attack.min_distance.")
        return space

    def too_close(self, atoms: Atoms) -> str | None:
        """The nearest pair as a clause, where it breaks the limit."""
        return too_close(atoms, self.min_distance, covalent_radii[atoms.numbers])
