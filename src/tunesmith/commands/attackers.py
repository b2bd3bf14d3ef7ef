"""The committee that attacks, and what its error bars are worth."""

import numpy as np

from tunesmith.config import AttackConfig
from tunesmith.contracts import Law
from tunesmith.core import derived_seed
from tunesmith.errors import ConfigError, ModelError
from tunesmith.posterior.ensemble import Ensemble, open_model


def opened(config: AttackConfig) -> Ensemble:
    """Every member. Raises `ModelError` where there is only one, or fewer than are to attack."""
    model = config.model
    known = open_model(model.source, head=model.head, dtype=model.dtype, device=model.device)
    posterior: Ensemble = known.members
    if len(posterior) < 2:
        raise ModelError(
            f"{model.source} has one member, and a committee of one never disagrees; give a run "
            "folder with several (tunesmith tune --strategy committee)."
        )
    if (config.members or 0) > len(posterior):
        raise ConfigError(
            f"members: {config.members} are to attack, but {model.source} has {len(posterior)}; "
            "ask for fewer, or leave it out."
        )
    return posterior


def drawn_members(config: AttackConfig, posterior: Ensemble) -> tuple[int, ...]:
    """Numbers of the members that attack: of all, or of some drawn by the seed, in their order."""
    count = config.members or len(posterior)
    rng = np.random.default_rng(derived_seed(config.seed, "attackers"))
    return tuple(sorted(rng.permutation(len(posterior))[:count].tolist()))


def law_of(config: AttackConfig, posterior: Ensemble) -> Law | None:
    """The calibration of what members' forces differ by; None: the spread is taken as it is.

    Raises `ConfigError` where there is none, or where it does not reach the target.
    """
    if config.uncalibrated:
        if config.beyond_calibration:
            raise ConfigError(
                "beyond_calibration: without a calibration there is nothing to be beyond; leave it "
                "out, or leave uncalibrated out."
            )
        return None
    law = posterior.law_by_members
    if law is None:
        raise ConfigError(
            f"{config.model.source} has no calibration of its members' spread of forces, which "
            "may be any part of their error; tune it with one (calibrate.kind=power-law), or say "
            "--uncalibrated to take the spread as it is."
        )
    if not config.beyond_calibration:
        try:
            law.check_target(config.attack.error)
        except ConfigError as error:
            said = str(error).removesuffix(".").removeprefix("target: ")
            raise ConfigError(f"attack.target: {said}; or say --beyond-calibration.") from None
    return law
