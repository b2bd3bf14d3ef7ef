"""One fit by AdamW, as it goes on: steps, epochs, the best of them, checkpoints.

All moving weights live in one flat vector, and so do the optimiser's moments and the average;
every random choice is a function of the seed and the epoch. A checkpoint is therefore four
vectors and a few numbers, and a restart goes on to the bit (at a fixed number of threads).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from tunesmith import tensor_files, units
from tunesmith.core import Tensor, derived_seed
from tunesmith.errors import CheckpointError, TrainingError
from tunesmith.tune.adamw_settings import AdamWSettings
from tunesmith.tune.coordinates import Coordinates, pretrained
from tunesmith.tune.examples import Example, collate, examples
from tunesmith.tune.problem import Fit, Problem, Report
from tunesmith.tune.replay_batches import ReplayBatches

#: seconds between two lines of progress
SHOW_EVERY = 5.0
#: the checkpoint in the folder of a fit
STATE = "state.safetensors"


@dataclass
class Progress:
    """Where a fit stands. ``sums``: loss and structures of the epoch so far."""

    step: int = 0
    sums: tuple[float, int] = (0.0, 0)
    best: float = math.inf
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    finished: str = ""


class AdamWFit:
    """The mutable state of one fit."""

    def __init__(self, settings: AdamWSettings, problem: Problem, checkpoint: Path | None) -> None:
        self.settings, self.problem, self.checkpoint = settings, problem, checkpoint
        potential, replay = problem.potential, problem.replay
        start = pretrained(potential, problem.subspace, problem.seed)
        self.coordinates = Coordinates(
            potential, problem.subspace, start, replay=replay is not None
        )
        self.train = examples(potential, problem.train, problem.e0s)
        self.valid = examples(potential, problem.valid, problem.e0s)
        self.stream = replay and ReplayBatches(potential, replay, settings.batch_size, problem.seed)
        self.theta = self.coordinates.start.clone()
        if problem.begin is not None:
            self.theta = self.coordinates.join(*problem.begin)[0].to(self.theta).clone()
        self.ema, self.best = self.theta.clone(), self.theta.clone()
        self.optimiser = torch.optim.AdamW(
            [self.theta],
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            amsgrad=settings.amsgrad,
            fused=True,
        )
        self.progress = Progress()
        if checkpoint is not None and checkpoint.exists():
            self._restore(checkpoint)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.train) / self.settings.batch_size)

    # ------------------------------------------------------------------ one step

    def loss(self, theta: Tensor, chosen: list[Example]) -> Tensor:
        """Of a batch of the target, the step's batch of replayed structures, and the anchor."""
        problem, coordinates = self.problem, self.coordinates
        batch, targets = collate(problem.potential, chosen)
        out = problem.potential.evaluate(
            coordinates.target(theta), batch, stress=problem.stress, create_graph=True
        )
        loss = problem.loss(out, batch, targets)
        if self.stream:
            loss = loss + self.stream.value(coordinates.replay(theta), self.progress.step)
        held = problem.anchor.penalty(theta, coordinates.start, coordinates.unit, len(self.train))
        return loss if held is None else loss + held

    def step(self, chosen: list[Example]) -> float:
        """One update on a batch; returns its loss."""
        settings = self.settings
        leaf = self.theta.detach().requires_grad_()
        loss = self.loss(leaf, chosen)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} in step {self.progress.step}; "
                "lower tune.sampler.learning_rate or look for broken labels."
            )
        (flat,) = torch.autograd.grad(loss, leaf)
        if settings.clip is not None:
            flat *= (settings.clip / (flat.norm() + 1e-6)).clamp(max=1.0)
        self.theta.grad = flat
        rate = settings.rate(self.progress.step, settings.epochs * self.steps_per_epoch)
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.step()
        t = self.progress.step + 1
        self.ema.lerp_(self.theta, 1 - min(settings.ema, (1 + t) / (10 + t)))
        return value

    # ---------------------------------------------------------------- one epoch

    def epoch(self, number: int, save: Callable[[], None]) -> None:
        """Train through epoch ``number`` (from 0), from wherever in it the progress stands."""
        size = self.settings.batch_size
        # the order is a function of seed and epoch alone, so a restart finds the same one
        shuffle = torch.Generator().manual_seed(derived_seed(self.problem.seed, "epoch", number))
        order = torch.randperm(len(self.train), generator=shuffle).tolist()
        for i in range(self.progress.step - number * self.steps_per_epoch, self.steps_per_epoch):
            chosen = [self.train[j] for j in order[i * size : (i + 1) * size]]
            loss = self.step(chosen)
            total, n = self.progress.sums
            self.progress.sums = (total + loss * len(chosen), n + len(chosen))
            self.progress.step += 1
            save()

    def validate(self) -> dict[str, float]:
        """Loss and errors of the averaged weights on the validation set."""
        problem = self.problem
        if not self.valid:
            return {"valid_loss": self.progress.sums[0] / max(1, self.progress.sums[1])}
        weights = self.coordinates.target(self.ema)
        loss = energy = forces = 0.0
        atoms = energies = 0
        for chosen in _chunks(self.valid, max(8, self.settings.batch_size)):
            batch, targets = collate(problem.potential, chosen)
            out = problem.potential.evaluate(weights, batch, stress=problem.stress)
            assert out.forces is not None
            with torch.no_grad():
                loss += problem.loss(out, batch, targets).item() * len(chosen)
                energy += ((out.energy - targets.energy) / batch.counts).abs().nansum().item()
                energies += int((~targets.energy.isnan()).sum())
                forces += (out.forces - targets.forces).abs().sum().item()
            atoms += int(batch.counts.sum())
        n = len(self.valid)
        # a set without energies (tune.loss.energy=0) has no error of them
        of_energy = {"valid_energy_mae_meV_per_atom": 1e3 * energy / energies} if energies else {}
        return {
            "valid_loss": loss / n,
            **of_energy,
            "valid_force_mae_meV_per_A": 1e3 * forces / (3 * atoms),
        }

    # ------------------------------------------------------------------ the fit

    def go(self, report: Report | None) -> Fit:
        settings, progress = self.settings, self.progress
        every = units.parse(settings.checkpoint_every, "wall time").value
        saved = started = shown = time.monotonic()
        first = progress.step

        def save() -> None:
            nonlocal saved
            if time.monotonic() - saved > every:
                self._save()
                saved = time.monotonic()

        while not progress.finished:
            number = progress.step // self.steps_per_epoch
            if progress.step == (len(progress.history) + 1) * self.steps_per_epoch:
                number -= 1  # killed between the last step of an epoch and its validation
            self.epoch(number, save)
            self._close_epoch(number)
            now = time.monotonic()
            if report and (now - shown > SHOW_EVERY or number in (0, settings.epochs - 1)):
                ahead = settings.epochs * self.steps_per_epoch - progress.step
                left = (now - started) / max(1, progress.step - first) * ahead
                report(_line(progress.history[-1], left))
                shown = now
            if progress.finished:
                self._save()
            save()
        moved, replay = self.coordinates.split(self.best[None].clone())
        return Fit(
            moved,
            [progress.history],
            f"{progress.finished}; best epoch {progress.best_epoch}",
            {"best_epoch": progress.best_epoch, "epochs": len(progress.history)},
            replay,
        )

    def _close_epoch(self, number: int) -> None:
        settings, progress = self.settings, self.progress
        entry = {
            "epoch": float(number + 1),
            "train_loss": progress.sums[0] / progress.sums[1],
            **self.validate(),
            "learning_rate": settings.rate(
                progress.step - 1, settings.epochs * self.steps_per_epoch
            ),
        }
        progress.history.append(entry)
        progress.sums = (0.0, 0)
        if entry["valid_loss"] < progress.best:
            progress.best, progress.best_epoch = entry["valid_loss"], number + 1
            self.best = self.ema.clone()
        if number + 1 >= settings.epochs:
            progress.finished = f"all {settings.epochs} epochs done"
        elif number + 1 - progress.best_epoch >= settings.patience:
            progress.finished = f"no better validation loss for {settings.patience} epochs"

    # --------------------------------------------------------------- checkpoints

    def _moments(self) -> dict[str, Tensor]:
        return {k: v for k, v in self.optimiser.state[self.theta].items() if k != "step"}

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        tensors = {"theta": self.theta, "ema": self.ema, "best": self.best, **self._moments()}
        tensor_files.write(self.checkpoint, tensors, self.progress.__dict__)

    def _restore(self, path: Path) -> None:
        tensors, info = tensor_files.read(path)
        if tensors["theta"].shape != self.theta.shape:
            raise CheckpointError(f"{path} is of another model; use another run folder.")
        self.progress = replace(Progress(**info), sums=tuple(info["sums"]))
        finished = self.progress.finished
        epochs = len(self.progress.history)
        if finished.startswith("all") and epochs < self.settings.epochs:
            self.progress.finished = ""  # more epochs are asked for than before
        device = self.theta.device
        self.theta.copy_(tensors.pop("theta"))
        self.ema, self.best = tensors.pop("ema").to(device), tensors.pop("best").to(device)
        self.optimiser.state[self.theta] = {
            "step": torch.tensor(float(self.progress.step), device=device),
            **{k: v.to(device) for k, v in tensors.items()},
        }


def epochs_done(place: Path | None) -> int:
    """Epochs that the fit in the folder ``place`` has behind it, by its checkpoint.

    Raises `CheckpointError` where that is damaged.
    """
    if place is None or not (place / STATE).exists():
        return 0
    return len(tensor_files.read(place / STATE)[1]["history"])


def _line(entry: dict[str, float], left: float) -> str:
    """What is said of an epoch; left: seconds at most."""
    errors = ""
    if "valid_force_mae_meV_per_A" in entry:
        energy = entry.get("valid_energy_mae_meV_per_atom")
        of_energy = "" if energy is None else f"{energy:.2f} meV/atom, "
        errors = f"validation MAE {of_energy}{entry['valid_force_mae_meV_per_A']:.1f} meV/Å; "
    return (
        f"epoch {entry['epoch']:.0f}: loss {entry['train_loss']:.4f}; {errors}"
        f"at most {left:.0f} s left"
    )


def _chunks(items: list[Example], size: int) -> list[list[Example]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
