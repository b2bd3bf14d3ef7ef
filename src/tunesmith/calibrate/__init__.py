"""How far error bars can be trusted: laws that are learnt from errors, and scores."""

from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.calibrate.powerlaw import PowerLaw

__all__ = ["GammaCalibration", "PowerLaw"]
