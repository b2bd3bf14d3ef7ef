"""What attacks aim at: the target, as far as the calibration reaches."""

from typing import Any

import numpy as np

from tunesmith.contracts import Law
from tunesmith.errors import ConfigError


def within_reach(target: float, law: Law | None) -> float:
    """The error to aim at, eV/Å: the target or, while that is beyond what the calibration was seen
    to hold for, the nearer end of it. What is beyond can be any error: of the first labels, spreads
    that promised 100 meV/Å led to 1250."""
    if law is None or (ends := law.reach()) is None:
        return target
    return float(np.clip(target, *ends))


def aimed(settings: Any, aim: float) -> Any:
    """An attack's settings, with the error to aim at, eV/Å, as its target."""
    if aim == settings.error:
        return settings
    return settings.model_copy(update={"target": f"{aim!r} eV/Å"})


def said_of(law: Law | None, target: float) -> str:
    """In a word, whether the target is where the calibration is known to hold."""
    if law is None:
        return "none"
    try:
        law.check_target(target)
    except ConfigError as error:
        return str(error).removeprefix("target: ").removesuffix(".")
    return "holds"
