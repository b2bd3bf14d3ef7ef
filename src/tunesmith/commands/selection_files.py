"""The files of `tunesmith select`, refused where they contradict each other."""

from dataclasses import dataclass
from pathlib import Path

from tunesmith.data.kinds import How
from tunesmith.errors import DataError, RunFolderError


@dataclass(frozen=True)
class SelectFiles:
    """Files to choose from, the one to write, and what is known already.

    exclude: structures not to be chosen. cache: folder where features are kept. how: what the
    pool's files do not say of themselves.
    """

    pool: tuple[Path, ...]
    out: Path
    labelled: tuple[Path, ...] = ()
    exclude: tuple[Path, ...] = ()
    cache: Path | None = None
    how: How | None = None

    @property
    def picture(self) -> Path:
        """The map."""
        return self.out.with_suffix(".png")

    def check(self) -> None:
        """Raise `DataError` or `RunFolderError` for names that make no sense, without opening a
        file."""
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
