"""Everything that can be checked before a run costs anything."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase import units as u

from tunesmith.config import RunConfig
from tunesmith.core import E0s, Frame, derived_seed
from tunesmith.data import checks
from tunesmith.data.formats import read_frames
from tunesmith.data.label_row import canonical
from tunesmith.errors import ConfigError, DataError
from tunesmith.loop.onthefly import adversaries
from tunesmith.loop.onthefly.learning import resolved_loss
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Potential
from tunesmith.references.engine import assumed
from tunesmith.run_folder import stamp
from tunesmith.tune.coordinates import Coordinates, pretrained
from tunesmith.tune.problem import Problem
from tunesmith.words import counted

#: how far σ_E must be over the rounding of a potential energy in float32, and over the noise that
#: the convergence of the reference leaves in its energies
_OVER_ROUNDING, _OVER_NOISE = 4.0, 1.0


@dataclass(frozen=True)
class Prepared:
    """What a run works on.

    structures: with constraints; the explorer's. initial, isolated: labelled frames there are
    already. problem: what the members are to learn, as yet without labels. state: the explorer's,
    before the first step. identity: of all that decides results.
    """

    config: RunConfig
    problem: Problem
    foundation: Ensemble
    structures: list[Atoms]
    initial: list[Frame]
    isolated: list[Frame]
    state: Any
    identity: dict[str, str]

    @property
    def potential(self) -> Potential:
        return self.problem.potential


def prepare(config: RunConfig, say: Callable[[str], None]) -> Prepared:
    """Read and check; writes nothing.

    Raises `DataError`, `ConfigError`, `ModelError` and their kin, one sentence each, where a run
    cannot work.
    """
    torch.set_num_threads(config.execute.threads)
    model = config.model
    potential = zoo.load(model.source, head=model.head, dtype=model.dtype, device=model.device)
    foundation = Ensemble(potential, [potential.weights()], E0s(potential.e0s))
    frames, structures = _starts(config, potential, say)
    state = config.explore.init(structures, derived_seed(config.seed, "explore"))
    for atoms in structures:
        config.acquire.limits(config.target, atoms, 0)
    _check_attack(config, frames, structures)
    initial, isolated = _initial(config, potential, say)
    reference = config.reference.identity()  # an engine that is missing says so here
    _check_resolution(config, foundation, structures)
    _check_noise(config, reference)
    problem, replayed = _problem(config, potential, [*frames, *initial])
    if problem.replay:
        say(problem.replay.reason)
    identity = stamp.identity(potential, [*frames, *initial, *isolated, *replayed])
    identity["reference"] = canonical(reference)
    return Prepared(config, problem, foundation, structures, initial, isolated, state, identity)


def _problem(
    config: RunConfig, potential: Potential, frames: list[Frame]
) -> tuple[Problem, list[Frame]]:
    """What the members are to learn, and the structures it replays for ``frames``."""
    tune, seed = config.tune, derived_seed(config.seed, "tune")
    loss = resolved_loss(config)
    replayed = tune.anchor.select(potential, frames, seed)
    at = pretrained(potential, tune.subspace, seed)
    Coordinates(potential, tune.subspace, at, replay=bool(replayed))  # refuses what cannot be
    replay = tune.anchor.replay(potential, replayed, loss) if replayed else None
    zero = E0s(potential.e0s)
    problem = Problem(potential, tune.subspace, tune.anchor, loss, [], [], zero, seed, replay)
    return problem, replayed


def _starts(
    config: RunConfig, potential: Potential, say: Callable[[str], None]
) -> tuple[list[Frame], list[Atoms]]:
    """Start structures as frames, for messages and identity, and with their constraints."""
    frames: list[Frame] = []
    structures: list[Atoms] = []
    for name in config.explore.start:
        read, keys = read_frames(name, constraints=True)
        for note in keys.notes:
            say(f"{name}: {note}")
        for frame in read:
            bare = frame.atoms.copy()
            bare.set_constraint()
            frames.append(Frame(bare, None, frame.origin))
            structures.append(frame.atoms)
    checks.check_structures(frames, potential.elements)
    if remark := assumed(config.reference, frames):
        say(remark)
    return frames, structures


def _check_attack(config: RunConfig, frames: list[Frame], structures: list[Atoms]) -> None:
    """An attack must be able to keep to what a structure is bound to."""
    if not adversaries.on(config):
        return
    for frame, atoms in zip(frames, structures, strict=True):
        try:
            config.acquire.attack.space(atoms)
        except DataError as error:
            raise DataError(f"explore.start: {frame.origin}: {error}") from None


def _initial(
    config: RunConfig, potential: Potential, say: Callable[[str], None]
) -> tuple[list[Frame], list[Frame]]:
    data, frames = config.data, []
    for name in data.initial:
        read, used = read_frames(
            name,
            energy_key=data.energy_key,
            forces_key=data.forces_key,
            stress_key=data.stress_key,
        )
        say(f"{name}: {counted(len(read), 'structure')}; {used}")
        frames += read
    if not frames:
        return [], []
    checks.require_labels(frames, potential.elements)
    return checks.separate_isolated(frames)


# -------------------------------------------------------------- is the target within reach


def _check_resolution(config: RunConfig, foundation: Ensemble, structures: list[Atoms]) -> None:
    """σ_E, which the members are asked to learn, must be over the rounding of their energies."""
    if foundation.potential.dtype != torch.float32:
        return
    sigma = resolved_loss(config).scale.energy
    for atoms in structures:
        energy = float(foundation.predict([atoms]).mean.energy[0])
        bound = abs(energy - foundation.e0s.total(atoms.numbers))
        rounding = float(np.finfo(np.float32).eps) * bound
        if sigma < _OVER_ROUNDING * rounding:
            raise ConfigError(
                f"target.energy: σ_E, a tenth of it, is {1e3 * sigma:.3g} meV, but single "
                f"precision resolves the {bound:.0f} eV of {atoms.get_chemical_formula()} only to "
                f"{1e3 * rounding:.2g} meV; ask for at least "
                f"{1e4 * _OVER_ROUNDING * rounding:.2g} meV, or set model.dtype to float64."
            )


def convergence(reference: dict[str, Any]) -> float | None:
    """eV to which a reference's energies are converged, from its identity; None: not known."""
    kind = reference["kind"]
    if kind == "pyscf":
        return float(reference["conv_tol"]) * u.Hartree
    if kind == "tblite":
        return float(reference["accuracy"]) * 1e-6 * u.Hartree
    return None


def _check_noise(config: RunConfig, reference: dict[str, Any]) -> None:
    """σ_E must be over what the reference itself leaves open."""
    sigma, noise = resolved_loss(config).scale.energy, convergence(reference)
    if noise is not None and sigma < _OVER_NOISE * noise:
        raise ConfigError(
            f"target.energy: σ_E, a tenth of it, is {1e3 * sigma:.3g} meV, less than the "
            f"{1e3 * noise:.2g} meV to which {reference['kind']} converges its energies; ask for "
            f"at least {1e4 * _OVER_NOISE * noise:.2g} meV, or converge the reference better."
        )
