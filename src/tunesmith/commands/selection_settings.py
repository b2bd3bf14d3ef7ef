"""What is asked of `tunesmith select`, refused where it contradicts itself."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tunesmith import settings
from tunesmith.acquire import RULES
from tunesmith.core import Settings
from tunesmith.data.kinds import How
from tunesmith.errors import ConfigError, DataError, RunFolderError
from tunesmith.features.representation import Representation
from tunesmith.registry import REPRESENTATIONS, nearest

#: what the rule ``top`` can be the top of, and what it is where none is named
SCORES = ("committee-energy", "committee-force", "committee-force-mean")
SCORE = "committee-force"
#: where a run's configuration has the representation
_PATH = "acquire.representation"


@dataclass(frozen=True)
class Wanted:
    """What is asked for; None: not given.

    model, head, device: of what represents or scores the structures. score: of `SCORES`, for the
    rule top. noise: λ of posterior-variance. exclude: files of structures not to be chosen.
    new_elements: elements that no labelled structure has are meant. cache: folder where
    features are kept. changes: settings of the representation, as on the command line
    (``acquire.representation.bonds=connectivity``). how: what the pool's files do not say of
    themselves.
    """

    pool: tuple[Path, ...]
    out: Path
    n: int
    labelled: tuple[Path, ...] = ()
    exclude: tuple[Path, ...] = ()
    representation: str = "ntk"
    rule: str = "lcmd"
    score: str | None = None
    noise: float | None = None
    model: str | None = None
    head: str | None = None
    device: str | None = None
    new_elements: bool = False
    cache: Path | None = None
    seed: int = 0
    changes: tuple[str, ...] = ()
    how: How | None = None

    @property
    def picture(self) -> Path:
        return self.out.with_suffix(".png")

    @property
    def source(self) -> str:
        """Of the model."""
        return self.model or "organic-xs"

    def check(self) -> Representation:
        """The representation. Raises `ConfigError`, `DataError` or `RunFolderError` for what makes
        no sense, without opening a file."""
        self._check_names()
        self._check_options()
        representation = self._representation()
        if not representation.needs_model and self.rule != "top":
            for option in ("model", "head", "device"):
                if getattr(self, option) is not None:
                    raise ConfigError(
                        f"--{option}: {self.rule} on {self.representation} asks no model; leave it "
                        "out."
                    )
        self._check_files()
        return representation

    def require_enough(self, there: int | None) -> None:
        """Raise `DataError` where there are fewer candidates than asked for; None: not known."""
        if there is not None and there < self.n:
            raise DataError(
                f"the pool has {there} candidates, fewer than the {self.n} asked for; ask for at "
                f"most --n {there}, or give more files."
            )

    def _representation(self) -> Representation:
        for change in self.changes:
            if not change.startswith(f"{_PATH}."):
                raise ConfigError(
                    f"--set {change}: of select only {_PATH}.… is set so; everything else has an "
                    "option of its own."
                )
        named = {f"{_PATH}.kind": self.representation}
        values = settings.merged(Settings, {}, self.changes, named)
        for key in _PATH.split("."):
            values = values[key]
        found: Representation = settings.build(Representation, values, _PATH)
        return found

    def _check_names(self) -> None:
        for option, name, names in (
            ("rule", self.rule, list(RULES)),
            ("representation", self.representation, REPRESENTATIONS.names()),
            ("score", self.score or SCORE, list(SCORES)),
        ):
            if name not in names:
                raise ConfigError(f"--{option}: there is no {name!r}; {nearest(name, names)}")

    def _check_options(self) -> None:
        if self.n < 1:
            raise ConfigError(f"--n {self.n}: choose at least one structure.")
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed}: give a number of at least 0.")
        for option, value, rule in (
            ("score", self.score, "top"),
            ("noise", self.noise, "posterior-variance"),
        ):
            if value is not None and self.rule != rule:
                raise ConfigError(
                    f"--{option}: {self.rule} has none; leave it out, or give --rule {rule}."
                )
        if self.noise is not None and not (np.isfinite(self.noise) and self.noise > 0):
            raise ConfigError(f"--noise {self.noise}: give a positive number, as 1e-3.")
        if self.new_elements and not self.labelled:
            raise ConfigError("--new-elements needs --labelled; leave it out, or give that.")

    def _check_files(self) -> None:
        if self.out.suffix not in (".xyz", ".extxyz"):
            raise DataError(
                f"--out {self.out}: structures are written as extxyz; end the name in .xyz."
            )
        if not self.out.parent.is_dir():
            raise RunFolderError(f"{self.out.parent}: there is no such folder; make it first.")
        for target in (self.out, self.picture):
            if target.exists():
                raise RunFolderError(f"{target} exists; choose another --out or remove it.")
        pool = {path.resolve() for path in self.pool}
        for name, paths in (("as labelled", self.labelled), ("with --exclude", self.exclude)):
            for path in paths:
                if path.resolve() in pool:
                    raise DataError(f"{path}: named as pool and {name}; name it once.")
