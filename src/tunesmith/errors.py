"""Named errors: each says in one sentence what is wrong and how to cure it.

The command line turns every one of them into that sentence and exit code 2.
"""


class TunesmithError(Exception):
    """What went wrong and the cure, written as one sentence by whoever raises it."""


class ConfigError(TunesmithError):
    """A setting is unknown, malformed or contradicts another."""


class UnitError(ConfigError):
    """A physical quantity has no unit, an unknown one, or one of the wrong dimension."""


class PluginError(ConfigError):
    """An installed package offers a part that cannot be used."""


class DataError(TunesmithError):
    """Structures or labels cannot be used as they are."""


class ModelError(TunesmithError):
    """A model cannot be found, loaded or asked for what it does not have."""


class TrustError(ModelError):
    """A file would run code when loaded and nobody has vouched for it."""


class MissingDependencyError(TunesmithError):
    """A program or Python package is not installed; the message holds the install line."""


class RunFolderError(TunesmithError):
    """A run folder cannot be written, or belongs to other settings."""


class CheckpointError(RunFolderError):
    """A checkpoint is damaged."""


class TrainingError(TunesmithError):
    """Training cannot go on (it diverged, or has nothing to learn from)."""


class LabellingError(TunesmithError):
    """The reference gave no label where a run cannot go on without one."""
