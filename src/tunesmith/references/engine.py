"""What every engine shares: limits, scratch folders, retries, and answers that are values.

An engine adds what only it knows: its settings, its `version`, what it must `refuse`, and how to
`compute`.
"""

import re
import shlex
import shutil
import subprocess
import tempfile
import time
from abc import abstractmethod
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import all_changes
from pydantic import Field, PrivateAttr, model_validator

from tunesmith.contracts import ReferenceRule
from tunesmith.core import Failure, Frame, Label
from tunesmith.errors import ConfigError, MissingDependencyError
from tunesmith.references import sanity
from tunesmith.references.sanity import ElectronicState
from tunesmith.references.worker import CallFailed, call
from tunesmith.units import parse

_LONGEST = 20 * 86400.0  # s; what the operating system can wait for in one go
#: settings that change no number of a label
NO_NUMBERS = frozenset({"max_force", "min_distance", "timeout", "scratch", "threads", "command"})


class Engine(ReferenceRule):
    """A program that labels structures, and the limits under which it may.

    charge, multiplicity (2S+1; None is the lowest possible): of structures that do not state
    theirs in ``atoms.info``. max_force: a larger force is a failure. min_distance: nearest
    allowed distance, as a fraction of the sum of covalent radii. timeout: wall time of one label,
    retry included. scratch: where scratch folders are made (None: the system's place for
    temporary files); a failed calculation's folder is kept. threads: of the engine.
    """

    kind: ClassVar[str]
    install: ClassVar[str]
    #: whether a calculation that did not converge may be tried again with ``safer=True``
    can_retry: ClassVar[bool] = False

    charge: int = Field(0, description="total charge, e, of structures without one in their info")
    multiplicity: int | None = Field(
        None, ge=1, description="2S+1 of structures without one; null: lowest"
    )
    max_force: str = Field("100 eV/Å", description="a larger force is a failure")
    min_distance: float = Field(
        0.4, ge=0, description="nearest distance, a fraction of the sum of covalent radii"
    )
    timeout: str = Field("24 h", description="wall time of one label, its retry included")
    scratch: str | None = Field(
        None, description="where scratch folders are made; null: the system's place"
    )
    threads: int = Field(1, ge=1, description="threads of the engine")
    _limits: tuple[float, float] = PrivateAttr()

    @model_validator(mode="after")
    def _read_limits(self) -> "Engine":
        force = parse(self.max_force, "force", field="reference.max_force").value
        seconds = parse(self.timeout, "wall time", field="reference.timeout").value
        if force <= 0:
            raise ConfigError(f"reference.max_force: {self.max_force!r} must be over zero.")
        if not 0 < seconds <= _LONGEST:
            raise ConfigError(f"reference.timeout: {self.timeout!r} must be over 0 and up to 20 d.")
        self._limits = (force, seconds)
        if "command" in type(self).model_fields:  # ASE hands some to a shell
            refuse_shell(dict(self)["command"], "reference.command")
        return self

    # ------------------------------------------------------------ what an engine adds

    @abstractmethod
    def version(self) -> str:
        """Of the engine. Raises `MissingDependencyError`, with the install line."""

    def refuse(self, atoms: Atoms) -> None:
        """Raise `CallFailed("refused", …)` for structures this engine would get wrong."""

    @abstractmethod
    def compute(self, atoms: Atoms, state: ElectronicState, safer: bool) -> dict[str, Any]:
        """Run once, in the worker, in a fresh current folder.

        Returns energy (eV, the forces' own), forces (eV/Å), and where there are any stress
        (eV/Å³, (6,) or (3, 3)) and energy_zero. safer: the one retry, with settings that converge
        more surely to the same numbers. Raises `CallFailed`.
        """

    # ------------------------------------------------------------- what all of them do

    def identity(self) -> dict[str, Any]:
        """Kind, version, and every setting that decides a number; JSON values."""
        settings = self.model_dump(mode="json", exclude=set(NO_NUMBERS))
        return {"kind": self.kind, "version": self.version(), **settings}

    def label(self, atoms: Atoms) -> Label | Failure:
        """Energy, forces and, for three periodic directions, stress; or why there is none."""
        try:
            self.version()
            state = sanity.electronic_state(atoms, self.charge, self.multiplicity)
            sanity.check_structure(atoms, self.min_distance)
            sanity.check_guesses(atoms, state.charge)
            self.refuse(atoms)
        except MissingDependencyError as missing:
            return Failure("engine-missing", str(missing))
        except CallFailed as failure:
            return Failure(failure.kind, failure.reason)
        return self._label_in_scratch(bare(atoms), state)

    def assumed(self, frames: Sequence[Frame]) -> str | None:
        """Of molecules: an odd number of electrons where nobody states a charge or a multiplicity,
        and O2 as a singlet."""
        if self.charge or self.multiplicity is not None:
            return None
        silent = [
            frame
            for frame in frames
            if not frame.atoms.pbc.any() and not {"charge", "multiplicity"} & set(frame.atoms.info)
        ]
        odd = [frame for frame in silent if frame.atoms.numbers.sum() % 2]
        oxygen = [frame for frame in silent if frame.atoms.numbers.tolist() == [8, 8]]
        said = []
        if odd:
            said.append(
                f"{len(odd)} of {len(frames)} structures ({_named(odd)}) state no charge and have "
                "an odd number of electrons: they are computed neutral, as doublets"
            )
        if oxygen:
            said.append(f"O2 ({_named(oxygen)}) is computed as a singlet")
        cure = "if that is not meant, give atoms.info['charge'] and atoms.info['multiplicity']"
        return f"{'; '.join(said)}; {cure}." if said else None

    def _label_in_scratch(self, atoms: Atoms, state: ElectronicState) -> Label | Failure:
        deadline = time.monotonic() + self._limits[1]
        try:
            folder = make_scratch(self.scratch, self.kind)
        except OSError as error:
            return Failure("refused", f"reference.scratch: no folder can be made there: {error}.")
        keep = True
        try:
            label = self._try(folder / "first", deadline, atoms, state)
            keep = False
            return label
        except CallFailed as failure:
            return self._explain(failure, folder, atoms)
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)

    def _try(self, folder: Path, deadline: float, *what: Any) -> Label:
        """One run, and one more with safer settings where the first did not converge."""
        try:
            return self._run(folder, deadline, *what, False)
        except CallFailed as failure:
            if failure.kind != "not-converged" or not self.can_retry:
                raise
        return self._run(folder.with_name("retry"), deadline, *what, True)

    def _run(self, folder: Path, deadline: float, atoms: Atoms, *what: Any) -> Label:
        folder.mkdir()
        remaining = max(deadline - time.monotonic(), 1e-3)
        raw = call(
            self.compute, atoms, *what, folder=folder, timeout=remaining, threads=self.threads
        )
        return sanity.to_label(raw, len(atoms), self._limits[0])

    def _explain(self, failure: CallFailed, folder: Path, atoms: Atoms) -> Failure:
        reason = failure.reason
        if failure.kind == "engine-missing":
            reason = f"{self.kind} cannot be used: {reason}; install it with: {self.install}"
        elif failure.kind == "timed-out":
            reason = f"no answer within {self.timeout}; its processes were ended."
        elif failure.kind == "not-converged" and self.can_retry:
            reason += " Safer settings did not help."
        atoms.write(folder / "structure.extxyz", columns=["symbols", "positions"])
        return Failure(failure.kind, reason, str(folder))


def bare(atoms: Atoms) -> Atoms:
    """What a label may depend on: species, positions, cell; no constraints, no calculator."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def make_scratch(parent: str | None, kind: str) -> Path:
    if parent is not None:
        Path(parent).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"tunesmith-{kind}-", dir=parent)).resolve()


def harvest(atoms: Atoms, calculator: Any, *, stress: bool) -> dict[str, Any]:
    """Everything one run of an ASE calculator gives: `Engine.compute`'s dictionary.

    The energy is ``free_energy``, which the forces are the gradient of, where there is one. All
    is asked for at once: asked one after another, some calculators run twice.
    """
    atoms = bare(atoms)
    atoms.calc = calculator
    calculator.calculate(atoms, ["energy", "forces", *(["stress"] if stress else [])], all_changes)

    def found(name: str) -> Any:
        # not through get_property: some have results that they do not declare as properties
        return calculator.results.get(name)

    energy, free = found("energy"), found("free_energy")
    if found("forces") is None or energy is None:
        raise CallFailed("crashed", "the calculator gave no energy or no forces.")
    return {
        "energy": energy if free is None else free,
        "energy_zero": None if free is None else energy,
        "forces": found("forces"),
        "stress": found("stress") if stress else None,
    }


def require_three_periodic_directions(atoms: Atoms, engine: str) -> None:
    if not atoms.pbc.all():
        raise CallFailed(
            "refused",
            f"{engine} treats every structure as periodic in three directions; give it a cell "
            "with enough vacuum and pbc=True.",
        )


def refuse_partly_periodic(atoms: Atoms, engine: str) -> None:
    if atoms.pbc.any() and not atoms.pbc.all():
        raise CallFailed(
            "refused",
            f"{engine} knows molecules and crystals, no structure periodic in one or two "
            "directions; use a cell with enough vacuum and pbc=True.",
        )


def require_package(package: str, engine: str, install: str) -> str:
    """The installed version of a Python package."""
    try:
        return package_version(package)
    except PackageNotFoundError:
        raise MissingDependencyError(
            f"{engine} is not installed; install it with: {install}"
        ) from None


def _named(frames: Sequence[Frame]) -> str:
    first = f"{frames[0].atoms.get_chemical_formula()}, {frames[0].origin}"
    return first + (", …" if len(frames) > 1 else "")


def refuse_shell(command: Any, path: str) -> None:
    """Raise `ConfigError` for a command that is more than a program and its arguments.

    ASE hands some commands to a shell, and a configuration may be somebody else's. What ASE's own
    defaults have, input and output of the calculation (``< PREFIX.com``), may stay.
    """
    words = re.sub(r"[<>]\s*PREFIX\.\w+", "", str(command))
    if odd := re.search(r"[;&|<>`$(){}\[\]*?~#!\\\n]", words):
        raise ConfigError(
            f"{path}: {command!r} has {odd[0]!r}, which only a shell understands; give a program "
            "and its arguments, or put the line into a script and name that."
        )


def require_program(command: str, install: str) -> None:
    """That the program a command starts with can be found."""
    program = shlex.split(command)[:1]
    if not program or shutil.which(program[0]) is None:
        raise MissingDependencyError(
            f"the program of reference.command = {command!r} is not on the PATH; install it "
            f"with: {install}"
        )


def version_in(command: str, arguments: str, pattern: str, install: str) -> str:
    """The version a program prints, found by ``pattern``'s first group.

    Raises `MissingDependencyError` when there is no such program or it says nothing of the kind.
    """
    require_program(command, install)
    try:
        said = first_words((*shlex.split(command), *shlex.split(arguments)))
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if not (match := re.search(pattern, said)):
        raise MissingDependencyError(
            f"reference.command = {command!r} does not start the program it should (it says "
            f"{said.strip()[-80:]!r}); install it with: {install}"
        )
    return match[1]


@cache
def first_words(command: tuple[str, ...]) -> str:
    """What a program prints when it has nothing to do: most say their version only so."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
    return done.stdout.decode(errors="replace")


def last_lines(path: Path, count: int = 3) -> str:
    """The end of a program's output that holds words, for a message."""
    if not path.is_file():
        return "no output"
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    return " | ".join([line for line in lines if re.search("[A-Za-z]{3}", line)][-count:])
