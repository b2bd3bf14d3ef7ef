"""Configurations: YAML and command-line overrides in, frozen objects out.

Each setting lives once, as a field of a `Settings` class with its default and description;
sections that hold a ``kind`` become the object registered under that name. What cannot be
understood is refused with the full path of the setting.
"""

from tunesmith.config.attack_config import AttackConfig
from tunesmith.config.cago_config import CagoConfig, CagoDataSettings, CommitteeSettings
from tunesmith.config.check_config import CheckConfig
from tunesmith.config.onthefly_config import (
    InitialDataSettings,
    LockOutSettings,
    LoopSettings,
    PosteriorSettings,
    RunConfig,
)
from tunesmith.config.pool_config import PoolConfig, PoolDataSettings, RoundSettings
from tunesmith.config.reading import TEMPLATES, dump, kind_of, load, load_run, template
from tunesmith.config.sections import (
    DataSettings,
    E0Settings,
    ExecuteSettings,
    ModelSettings,
    TuneSettings,
)
from tunesmith.config.select_config import SelectConfig
from tunesmith.config.tune_config import LabelConfig, TuneConfig

__all__ = [
    "TEMPLATES",
    "AttackConfig",
    "CagoConfig",
    "CagoDataSettings",
    "CheckConfig",
    "CommitteeSettings",
    "DataSettings",
    "E0Settings",
    "ExecuteSettings",
    "InitialDataSettings",
    "LabelConfig",
    "LockOutSettings",
    "LoopSettings",
    "ModelSettings",
    "PoolConfig",
    "PoolDataSettings",
    "PosteriorSettings",
    "RoundSettings",
    "RunConfig",
    "SelectConfig",
    "TuneConfig",
    "TuneSettings",
    "dump",
    "kind_of",
    "load",
    "load_run",
    "template",
]
