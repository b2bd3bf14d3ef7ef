"""What a step of training makes small.

Losses are means over a batch, so that its size does not change what a learning rate means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from tunesmith.contracts import Loss

if TYPE_CHECKING:
    from tunesmith.core import Tensor
    from tunesmith.potentials.potential import Batch, Evaluation
    from tunesmith.tune.examples import Targets


#: weights λ_E, λ_F, λ_S on replayed structures (A.1)
_REPLAYED = {"energy": 1.0, "forces": 10.0, "stress": 1.0}


class Huber(Loss):
    """Huber loss of fine-tuning strategies, appendix A.1 (Batatia et al.).

    L = mean over structures b of w_b [ λ_E h(ΔE_b / n_b) + λ_F mean over atoms h(|ΔF_i|)
    + λ_S h(‖ΔS‖) ], h Huber's function (eq. 8) with δ in eV, eV/Å, eV/Å³, ‖ΔS‖ the Frobenius norm
    of the 3×3 stress error (eq. 11). The stress term counts only structures with a stress label.
    The paper's energy term (eq. 9) is of the total energy; ours is of that per atom.
    """

    kind: ClassVar[str] = "huber"
    energy: float = Field(
        10.0, ge=0, description="weight λ_E of the energy per atom; 0: no energies are needed"
    )
    forces: float = Field(10.0, ge=0, description="weight λ_F of the forces")
    stress: float = Field(1.0, ge=0, description="weight λ_S of the stress, where labelled")
    delta: float = Field(0.01, gt=0, description="where Huber's loss turns linear (eV, eV/Å, …)")

    @property
    def wants_stress(self) -> bool:
        return self.stress > 0

    @property
    def wants_energy(self) -> bool:
        return self.energy > 0

    def for_replay(self, given: dict[str, float]) -> Huber:
        return self.model_copy(update=_REPLAYED | given)

    def __call__(self, out: Evaluation, batch: Batch, targets: Targets) -> Tensor:
        """The loss of a batch, a scalar."""
        from tunesmith.tune import batch_errors

        assert out.forces is not None
        huber, norm = batch_errors.huber, batch_errors.norm
        energy = huber(batch_errors.energy(out, batch, targets).abs(), self.delta)
        forces = huber(norm(out.forces - targets.forces), self.delta)
        loss = self.energy * energy + self.forces * batch_errors.mean_over_atoms(forces, batch)
        if out.stress is not None:
            error, _ = batch_errors.stress(out.stress, targets)
            loss = loss + self.stress * huber(norm(error.flatten(1)), self.delta)
        return (targets.weight * loss).mean()


class MACEUniversal(Loss):
    """The ``universal`` loss of mace-torch: Huber per component, δ shrinking for large forces.

    Means over components of all atoms of the batch, so large structures count more. δ is
    multiplied by 1, 0.7, 0.4, 0.1 where |F_ref| is below 100, 200, 300 and above (eV/Å).
    """

    kind: ClassVar[str] = "mace-universal"
    energy: float = Field(
        1.0, ge=0, description="weight of the energy per atom; 0: no energies are needed"
    )
    forces: float = Field(100.0, ge=0, description="weight of the forces")
    stress: float = Field(1.0, ge=0, description="weight of the stress, where labelled")
    delta: float = Field(0.01, gt=0, description="where Huber's loss turns linear (eV, eV/Å, …)")

    @property
    def wants_stress(self) -> bool:
        return self.stress > 0

    @property
    def wants_energy(self) -> bool:
        return self.energy > 0

    def __call__(self, out: Evaluation, batch: Batch, targets: Targets) -> Tensor:
        """The loss of a batch, a scalar."""
        from tunesmith.tune import batch_errors

        assert out.forces is not None
        # mace multiplies errors, not losses, by a frame's weight
        huber, weight = batch_errors.huber, targets.weight
        energy = huber((weight * batch_errors.energy(out, batch, targets)).abs(), self.delta)
        steps = batch_errors.norm(targets.forces).div(100).floor().clamp(max=3).long()
        delta = self.delta * targets.forces.new_tensor([1.0, 0.7, 0.4, 0.1])[steps][:, None]
        error = (weight[batch.index, None] * (out.forces - targets.forces)).abs()
        loss = self.energy * energy.mean() + self.forces * huber(error, delta).mean()
        if out.stress is not None:
            difference, _ = batch_errors.stress(out.stress, targets)
            sizes = (weight[:, None, None] * difference).abs()
            loss = loss + self.stress * huber(sizes, self.delta).mean()
        return loss
