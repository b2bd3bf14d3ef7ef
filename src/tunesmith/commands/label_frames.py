"""Label a file of structures: what `tunesmith label` does, step by step."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ase import Atoms
from rich.console import Console
from rich.progress import Progress

from tunesmith.core import Failure, Frame, Label, Reference
from tunesmith.data import xyz_lines
from tunesmith.data.checks import check_structures
from tunesmith.data.claims import claimed
from tunesmith.data.formats import read_frames, write_frames
from tunesmith.data.kinds import How
from tunesmith.data.label_row import label_key
from tunesmith.data.store import LabelStore
from tunesmith.errors import DataError, MissingDependencyError, RunFolderError


@dataclass
class Labelling:
    """What is to be labelled, where labels go, and what has come of it so far.

    notes: what people should know of how the structures were read.
    """

    frames: list[Frame]
    out: Path
    store: Path
    notes: tuple[str, ...] = ()
    n_new: int = 0  # labels that this command computed
    remark: str | None = None
    answers: dict[int, Label | Failure] = field(default_factory=dict)  # by number of the frame

    @property
    def labelled(self) -> list[Frame]:
        """In the order of the frames."""
        found = sorted(self.answers.items())
        return [replace(self.frames[i], label=a) for i, a in found if isinstance(a, Label)]

    @property
    def failures(self) -> list[tuple[Frame, Failure]]:
        """In the order of the frames."""
        found = sorted(self.answers.items())
        return [(self.frames[i], a) for i, a in found if isinstance(a, Failure)]

    def summary(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "out": str(self.out),
            "store": str(self.store),
            "n_frames": len(self.frames),
            "n_labelled": len(self.labelled),
            "n_new": self.n_new,
            "failures": [
                {
                    "frame": frame.origin,
                    "kind": failure.kind,
                    "reason": failure.reason,
                    "scratch": failure.scratch,
                }
                for frame, failure in self.failures
            ],
        }

    def show(self, screen: Console) -> None:
        """For people: how many, where, and failures by their reason."""
        where = f" in {self.out}" if self.labelled else ""
        known = len(self.labelled) - self.n_new
        stored = f", {known} of them found in {self.store}" if known else ""
        done = f"{len(self.labelled)} of {len(self.frames)} structures labelled{where}{stored}"
        screen.print(done, markup=False)
        if self.remark:
            screen.print(self.remark, markup=False)
        alike: dict[str, list[tuple[Frame, Failure]]] = {}
        for frame, failure in self.failures:
            alike.setdefault(f"{failure.kind}: {failure.reason}", []).append((frame, failure))
        for said, ones in alike.items():
            first, more = ones[0], f" and {len(ones) - 1} more" if len(ones) > 1 else ""
            kept = f" [kept: {first[1].scratch}{', …' if more else ''}]" if first[1].scratch else ""
            screen.print(f"{first[0].origin}{more}: {said}{kept}", markup=False)


def prepare(path: Path, out: Path, store: Path, engine: Any, how: How | None = None) -> Labelling:
    """Check everything that can be checked before the first calculation; writes nothing.

    engine: a `ReferenceRule` that is a `Reference` itself. how: what the file does not say of
    itself. Raises `DataError`, `RunFolderError` or, where the engine is not installed,
    `MissingDependencyError`.
    """
    how = how or How()
    frames, keys = read_frames(path, format=how.format, species=how.species)
    check_structures(frames)
    engine.identity()  # one that is missing says so here
    if out.suffix not in (".xyz", ".extxyz"):
        raise DataError(f"--out {out}: labels are written as extxyz; end the name in .xyz.")
    if len({path.resolve(), out.resolve(), store.resolve()}) < 3:
        raise DataError(f"{path}, --out and --store must be three different files; rename one.")
    if out.exists() and not store.exists():
        raise DataError(
            f"{out} exists but its label store {store} does not, so this command did not write "
            "it; choose another --out or remove it."
        )
    for target in (out, store):
        if not target.parent.is_dir():
            raise RunFolderError(f"{target.parent}: there is no such folder; make it first.")
    said = [engine.assumed(frames), _replaced(out, len(frames), store)]
    return Labelling(frames, out, store, (*keys.notes, *(note for note in said if note)))


def _replaced(out: Path, n: int, store: Path) -> str | None:
    """What is to be known of an earlier output with more structures, which this one replaces."""
    held = 0
    if out.exists():
        with suppress(DataError):  # of a damaged one nothing can be said
            held = xyz_lines.scan(out)
    if held <= n:
        return None
    return f"{out} held {held} structures and will hold these {n}; {store} keeps all labels"


def run(job: Labelling, reference: Reference, bar: Progress) -> None:
    """Label every structure; also when interrupted, the output holds what there is by then."""
    try:
        store = LabelStore(job.store)
        with _heard() as again:
            _label(job, _Counted(reference), bar, store, again)
        job.remark = store.remark()
    finally:
        if job.labelled:
            write_frames(job.out, job.labelled)


class _Counted:
    """A reference that counts what it was asked."""

    def __init__(self, reference: Reference) -> None:
        self.kind, self._reference, self.calls = reference.kind, reference, 0

    def identity(self) -> dict[str, Any]:
        return self._reference.identity()

    def label(self, atoms: Atoms) -> Label | Failure:
        self.calls += 1
        return self._reference.label(atoms)


def _label(
    job: Labelling,
    reference: _Counted,
    bar: Progress,
    store: LabelStore,
    again: Callable[[], None],
) -> None:
    """First what nobody else is at; then what another process has been computing meanwhile."""
    task = bar.add_task(reference.kind, total=len(job.frames))
    identity = reference.identity()

    def waiting() -> None:
        bar.update(task, description=f"{reference.kind}, by another process")

    def ask(i: int) -> None:
        frame, calls = job.frames[i], reference.calls
        answer = store.label(
            frame.atoms,
            reference,
            origin=frame.origin,
            config_type=frame.config_type,
            weight=frame.weight,
            waiting=waiting,
        )
        if isinstance(answer, Failure) and answer.kind == "engine-missing":
            raise MissingDependencyError(answer.reason)
        job.answers[i] = answer
        job.n_new += isinstance(answer, Label) and reference.calls > calls
        bar.advance(task)

    put_off = []
    for i, frame in enumerate(job.frames):
        again()
        if claimed(store.path, label_key(frame.atoms, identity)):
            put_off.append(i)
        else:
            ask(i)
    for i in put_off:
        again()
        ask(i)


@contextmanager
def _heard() -> Iterator[Callable[[], None]]:
    """Ctrl-C that is not lost: where it comes while a destructor or a library's callback runs, what
    it raises is dropped there. The function given raises it again; to be called between labels."""
    came = False

    def handle(*_: Any) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    def again() -> None:
        if came:
            raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    # who started us deaf to it meant it, and who has a handler of his own too
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield again
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield again
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
