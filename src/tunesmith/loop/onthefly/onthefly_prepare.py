"""Everything that can be checked before a run costs anything."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase import units as u

from tunesmith.config import RunConfig
from tunesmith.core import Frame, derived_seed
from tunesmith.data import checks
from tunesmith.errors import ConfigError, DataError
from tunesmith.loop.inputs import (
    Prepared,
    Say,
    identity_of,
    opened,
    read,
    read_starts,
    to_learn,
    untuned,
)
from tunesmith.loop.onthefly import adversaries
from tunesmith.loop.onthefly.learning import resolved_loss
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.potentials.potential import Potential

#: how far σ_E must be over the rounding of a potential energy in float32, and over the noise that
#: the convergence of the reference leaves in its energies
_OVER_ROUNDING, _OVER_NOISE = 4.0, 1.0


@dataclass(frozen=True, kw_only=True)
class DynamicsPrepared(Prepared):
    """state: the explorer's, before the first step."""

    state: Any


def prepare(config: RunConfig, say: Say) -> DynamicsPrepared:
    """Read and check; writes nothing.

    Raises `DataError`, `ConfigError`, `ModelError` and their kin, one sentence each, where a run
    cannot work.
    """
    potential = opened(config)
    foundation = untuned(potential)
    frames, starts = read_starts(config.explore.start, say)
    checks.check_structures(frames, potential.elements)
    if remark := config.reference.assumed(frames):
        say(remark)
    state = config.explore.init(starts, derived_seed(config.seed, "explore"))
    for atoms in starts:
        config.acquire.limits(config.target, atoms, 0)
    _check_attack(config, frames, starts)
    initial, isolated = _initial(config, potential, say)
    told = config.reference.identity()  # an engine that is missing says so here
    _check_resolution(config, foundation, starts)
    _check_noise(config, told)
    loss = resolved_loss(config)
    problem, replayed = to_learn(config, potential, loss, [*frames, *initial], [], say)
    return DynamicsPrepared(
        config=config,
        problem=problem,
        foundation=foundation,
        reference=config.reference,
        starts=starts,
        initial=initial,
        isolated=isolated,
        identity=identity_of(potential, ([*frames, *initial, *isolated, *replayed],), told),
        state=state,
    )


def _check_attack(config: RunConfig, frames: list[Frame], structures: list[Atoms]) -> None:
    """An attack must be able to keep to what a structure is bound to."""
    if not adversaries.on(config):
        return
    for frame, atoms in zip(frames, structures, strict=True):
        try:
            config.attack.space(atoms)
        except DataError as error:
            raise DataError(f"explore.start: {frame.origin}: {error}") from None


def _initial(config: RunConfig, potential: Potential, say: Say) -> tuple[list[Frame], list[Frame]]:
    """Labelled structures, and isolated atoms, that there are already."""
    frames = read(config, config.data.initial, say)
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
