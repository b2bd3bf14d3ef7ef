"""The Gaussian likelihood: what a label says about the weights (on-the-fly paper, B.1–B.4)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from tunesmith import units
from tunesmith.contracts import Loss
from tunesmith.core import NoiseScale
from tunesmith.errors import ConfigError

if TYPE_CHECKING:
    from tunesmith.core import Tensor, Weights
    from tunesmith.potentials.potential import Batch, Evaluation
    from tunesmith.tune.examples import Targets

_LOG_2PI = math.log(2 * math.pi)


class GaussianLikelihood(Loss):
    """Negative log-likelihood of a structure, summed over all it is labelled with:

    −log p = −log N(E; E_θ, σ_E²) − Σ_i log N(F_i; F_θ,i, σ_i² I) [− log N(S; S_θ, σ_S² I)]

    The sum is over all 3N force components and, of periodic structures, nine stress components;
    a batch averages over structures, never over atoms. σ_i comes from a noise head.
    """

    kind: ClassVar[str] = "gaussian"
    is_likelihood: ClassVar[bool] = True
    energy: str | None = Field(
        None, description="σ_E of a structure; null: a tenth of target.energy, else 2.17 meV"
    )
    forces: str = Field("4.34 meV/Å", description="base scale of σ_i; the noise head multiplies it")
    stress: str = Field("2.71e-4 eV/Å^3", description="σ_S of each component")

    def model_post_init(self, context: object) -> None:
        scale = self.scale
        if min(scale.energy, scale.forces, scale.stress) <= 0:
            raise ConfigError("energy, forces and stress must be over zero: no label is exact.")

    @property
    def scale(self) -> NoiseScale:
        """The fixed standard deviations in eV, eV/Å, eV/Å³."""
        energy = units.parse(self.energy or "2.17 meV", "energy", field="energy")
        if energy.per == "atom":
            raise ConfigError(
                f"energy: {self.energy!r} is per atom, but σ_E is of the whole structure; leave it "
                "out or write it per structure."
            )
        return NoiseScale(
            energy.value,
            units.parse(self.forces, "force", field="forces").value,
            units.parse(self.stress, "stress", field="stress").value,
        )

    def __call__(
        self, out: Evaluation, batch: Batch, targets: Targets, noise: Weights | None = None
    ) -> Tensor:
        """Mean over the structures of a batch, a scalar, in nats.

        noise: weights of a noise head, for which ``out`` must hold features; without, σ_i is the
        base scale.
        """
        from tunesmith.posterior import noise_head
        from tunesmith.tune import batch_errors

        assert out.forces is not None
        scale = self.scale
        energy = 0.5 * ((out.energy - targets.energy) / scale.energy).square()
        squared = (out.forces - targets.forces).square().sum(1)
        log_std = squared.new_full(squared.shape, math.log(scale.forces))
        if noise:
            assert out.features is not None
            log_std = log_std + noise_head.log_ratio(noise, out.features)
        atoms = 0.5 * squared * (-2 * log_std).exp() + 3 * (log_std + 0.5 * _LOG_2PI)
        total = (energy + math.log(scale.energy) + 0.5 * _LOG_2PI).index_add(0, batch.index, atoms)
        if out.stress is not None:
            error, labelled = batch_errors.stress(out.stress, targets)
            constant = 9 * (math.log(scale.stress) + 0.5 * _LOG_2PI)
            stress = 0.5 * (error / scale.stress).square().sum((-1, -2)) + constant
            total = total + stress.where(labelled, stress.new_zeros(()))
        return (targets.weight * total).mean()
