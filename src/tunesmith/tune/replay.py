"""Replay: what the foundation model knows is learnt on, with a readout of its own.

Multihead fine-tuning (fine-tuning strategies, 2.5): the body is shared, the readouts and the E0s
are not, and the loss of a step is that of the target plus that of a batch of replayed structures.
Their labels are the pretraining's own, or (pseudolabels) what the foundation model says of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tunesmith.contracts import Anchor
from tunesmith.core import E0s, Frame, Label, derived_seed
from tunesmith.errors import ConfigError, DataError, ModelError

if TYPE_CHECKING:
    from tunesmith.core import Tensor
    from tunesmith.potentials.potential import Potential

#: weights of the loss that replayed structures may have of their own
_WEIGHTS = ("energy", "forces", "stress")


@dataclass(frozen=True)
class Replay:
    """Labelled structures of the old level of theory, and how they count.

    e0s: of their labels. loss: as of the target. weight: of their loss. batch_size: structures
    per step. reason: which they are, in words.
    """

    frames: list[Frame]
    e0s: E0s
    loss: Any
    weight: float
    batch_size: int | None
    reason: str


class _Replayed(Anchor):
    """What the two kinds of replay have in common."""

    has_head: ClassVar[bool] = True
    frames: tuple[str, ...] = Field(
        (), description="files of structures to replay; []: those shipped with the model"
    )
    match: Literal["subset", "any"] = Field(
        "subset", description="subset: structures of elements that the target has; any: all"
    )
    number: int | None = Field(None, ge=1, description="at most so many of them; null: all")
    weight: float = Field(1.0, gt=0, description="of the replay loss beside the target's")
    energy: float | None = Field(
        None, ge=0, description="its λ_E; null: 1 for huber, else as for the target"
    )
    forces: float | None = Field(None, ge=0, description="its λ_F; null: 10 or as above")
    stress: float | None = Field(None, ge=0, description="its λ_S; null: 1 or as above")
    batch_size: int | None = Field(
        None, ge=1, description="replayed structures per step; null: as many as of the target"
    )
    keep_head: bool = Field(
        False, description="final.model keeps the replay head beside the tuned one"
    )

    @property
    def keeps_head(self) -> bool:
        return self.keep_head

    def model_post_init(self, context: Any) -> None:
        if self.energy == 0 and self.forces == 0:
            raise ConfigError("energy and forces are both zero: nothing would be replayed.")

    def select(self, potential: Potential, frames: list[Frame], seed: int) -> list[Frame]:
        """Structures to replay: of the target's elements (2.5), as many as asked for, drawn by
        the seed, in the order of the files. Raises `DataError` where there is none, `ModelError`
        where the head is to be kept but a file of this model cannot."""
        from tunesmith.data import checks
        from tunesmith.data.formats import read_frames

        if self.keep_head:
            try:
                potential.check_heads()
            except ModelError as error:
                raise ModelError(f"tune.anchor.keep_head: {error}") from None
        found = [f for name in self._files(potential) for f in read_frames(name)[0]]
        found, _ = checks.separate_isolated(found)
        wanted = set(potential.elements)
        if self.match == "subset":
            wanted &= {int(z) for f in frames for z in f.atoms.numbers}
        fit = [f for f in found if set(f.atoms.numbers.tolist()) <= wanted]
        if not fit:
            raise DataError(
                f"tune.anchor: none of the {len(found)} structures to replay is made of "
                f"{checks.symbols(wanted)} alone; name other files in tune.anchor.frames, or set "
                "tune.anchor.match to any."
            )
        if self.number is not None and self.number < len(fit):
            rng = np.random.default_rng(derived_seed(seed, "replay"))
            fit = [fit[i] for i in sorted(rng.permutation(len(fit))[: self.number])]
        checks.check_structures(fit, potential.elements)
        return fit

    def _files(self, potential: Potential) -> Sequence[str | Path]:
        from tunesmith.potentials import zoo

        if self.frames:
            return self.frames
        try:
            return [zoo.shipped_frames(potential.base.source, "replay")]
        except ModelError:
            raise DataError(
                f"tune.anchor: {potential.base.source} ships no structures to replay; name files "
                "of diverse structures in tune.anchor.frames."
            ) from None

    def _loss(self, loss: Any) -> Any:
        """The target's loss with the weights of replayed structures."""
        given = {k: getattr(self, k) for k in _WEIGHTS if getattr(self, k) is not None}
        if loss.is_likelihood:
            if given:
                raise ConfigError(
                    f"tune.anchor.{next(iter(given))}: the loss {loss.kind} has standard "
                    "deviations instead of weights; leave it out (weight scales all of it)."
                )
            return loss
        return loss.for_replay(given)

    def _told(self, selected: list[Frame], labels: str) -> str:
        where = ", ".join(self.frames) if self.frames else "those shipped with the model"
        return f"replay: {len(selected)} structures ({where}), {labels}; weight {self.weight:g}"


class Pseudolabel(_Replayed):
    """Replay of what the foundation model itself says of the structures: no old labels needed."""

    kind: ClassVar[str] = "pseudolabel"

    def select(self, potential: Potential, frames: list[Frame], seed: int) -> list[Frame]:
        """As of every replay, without any labels the files may hold."""
        return [replace(f, label=None) for f in super().select(potential, frames, seed)]

    def replay(self, potential: Potential, selected: list[Frame], loss: Any) -> Replay:
        """Selected structures with the model's own energies, forces and stress."""
        labels = predicted(potential, selected)
        frames = [replace(f, label=p) for f, p in zip(selected, labels, strict=True)]
        told = self._told(frames, "labelled by the model itself")
        zero = E0s(potential.e0s)
        return Replay(frames, zero, self._loss(loss), self.weight, self.batch_size, told)


class Multihead(_Replayed):
    """Replay of labels of the pretraining's level of theory."""

    kind: ClassVar[str] = "multihead"
    e0: Literal["foundation", "reestimate"] | None = Field(
        None,
        description="E0s of the replay head: foundation or reestimate; null: foundation for the "
        "shipped structures, reestimate for files",
    )

    def select(self, potential: Potential, frames: list[Frame], seed: int) -> list[Frame]:
        """As of every replay; all of them must be labelled."""
        from tunesmith.data import checks

        selected = super().select(potential, frames, seed)
        checks.require_labels(selected, potential.elements)
        return selected

    def replay(self, potential: Potential, selected: list[Frame], loss: Any) -> Replay:
        """Selected structures with their own labels, and the E0s of those."""
        from tunesmith.data.e0 import choose_e0s, needs_prediction

        method = self.e0 or ("reestimate" if self.frames else "foundation")
        energies = None
        if needs_prediction(method):
            energies = np.array([label.energy for label in predicted(potential, selected)])
        e0s = choose_e0s(method, frames=selected, foundation=potential.e0s, predicted=energies)
        told = self._told(selected, f"their own labels, E0s by {method}")
        return Replay(selected, e0s, self._loss(loss), self.weight, self.batch_size, told)


def predicted(potential: Potential, frames: Sequence[Frame], batch: int = 8) -> list[Label]:
    """What the untouched model says of structures, E0s included, as labels."""
    labels = []
    weights = potential.weights()
    stress = potential.capabilities.stress
    for start in range(0, len(frames), batch):
        graphs = [potential.graph(f.atoms) for f in frames[start : start + batch]]
        periodic = stress and any(g.periodic for g in graphs)
        out = potential.evaluate(weights, potential.batch(graphs), stress=periodic)
        assert out.forces is not None
        sizes = [len(g) for g in graphs]
        forces = np.split(_array(out.forces), np.cumsum(sizes)[:-1])
        tensors = _array(out.stress) if out.stress is not None else [None] * len(graphs)
        for g, e, f, s in zip(graphs, _array(out.energy), forces, tensors, strict=True):
            total = float(e) + sum(potential.e0s[int(z)] for z in g.numbers)
            labels.append(Label(total, f, s if g.periodic else None))
    return labels


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().double().numpy()
    return array
