"""A run's label store and its one reference, with the time each of them takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from tunesmith.core import Failure, Frame, Label, Reference
from tunesmith.data import store_file
from tunesmith.data.label_row import Entry, canonical, label_key
from tunesmith.data.store import LabelStore
from tunesmith.errors import CheckpointError, RunFolderError
from tunesmith.loop.stopwatch import Stopwatch
from tunesmith.words import counted

FILE = "labels.db"
#: under which name labels that a run starts from stand in the store
_IMPORTED = "initial data"


class Labels:
    """Labels of structures, from the store where they are known, else from the reference.

    state: of the run's checkpoint. Where there is one, a store that is gone or damaged is a
    `CheckpointError`, as is one that lacks what the run has learnt.
    """

    def __init__(self, run: Path, reference: Reference, watch: Stopwatch, state: Path) -> None:
        self.path = run / FILE
        self._anew = (
            f"delete {state} and run the same command again: it begins anew, and asks for the "
            "labels that are missing"
        )
        if state.exists() and not self.path.exists():
            raise CheckpointError(
                f"{self.path} is gone, and with it the labels that the run has learnt from; "
                f"restore it, or {self._anew}."
            )
        run.mkdir(parents=True, exist_ok=True)
        try:
            self.store = LabelStore(self.path)
        except RunFolderError as error:
            if state.exists() and store_file.DAMAGED in str(error):
                raise CheckpointError(
                    f"{self.path}: {store_file.DAMAGED}; restore a copy, or move it away, and "
                    f"{self._anew}."
                ) from None
            raise
        self.identity = reference.identity()
        self._reference, self._watch = _Watched(reference, self.identity, watch), watch

    def key(self, atoms: Atoms) -> str:
        """Under which the label of a structure by the run's reference is stored."""
        return label_key(bare(atoms), self.identity)

    def imported(self, frames: Sequence[Frame]) -> tuple[str, ...]:
        """Keys of labels made elsewhere, which are in the store by then."""
        with self._watch.part("store"):
            self.store.add_all(frames, _IMPORTED)
        identity = {"kind": "imported", "name": _IMPORTED}
        return tuple(label_key(frame.atoms, identity) for frame in frames)

    def get(
        self,
        atoms: Atoms,
        *,
        origin: str,
        extra: Mapping[str, Any] | None = None,
        failures_count: bool = True,
    ) -> Label | Failure:
        """The label of a structure.

        failures_count: whether a failure on record is an answer, so that a repeated run goes the
        same way; otherwise the reference is asked again.
        """
        structure = bare(atoms)
        with self._watch.part("store"):
            known = self.store.find(label_key(structure, self.identity))
            if isinstance(known, Label):
                return known
            # a missing engine may have been installed since
            if failures_count and known is not None and known.kind != "engine-missing":
                return known
            return self.store.label(structure, self._reference, origin=origin, extra=extra)

    def ask(self, atoms: Atoms) -> Label | Failure:
        """What the reference says, whatever is in the store; nothing is stored."""
        return self._reference.label(bare(atoms))

    def asked_again(self, key: str) -> bool:
        """Whether a label was confirmed by a second call."""
        with self._watch.part("store"):
            entry = self.store.entry(key)
        return bool(entry and (entry.extra or {}).get("asked_again"))

    def confirm(self, key: str, why: str) -> None:
        """Note that a label that was odd was confirmed. why: what was odd."""
        with self._watch.part("store"):
            self.store.amend(key, {"asked_again": why})

    def reject(self, key: str, failure: Failure) -> Failure:
        """Make a label a failure on record, which it is from then on."""
        with self._watch.part("store"):
            self.store.amend(key, {}, failure)
        return failure

    def frames(self, keys: tuple[str, ...]) -> list[Frame]:
        """Labelled frames by key. Raises `CheckpointError` where one has gone."""
        with self._watch.part("store"):
            entries = {
                label_key(e.frame.atoms, e.identity): e
                for e in self.store.entries()
                if isinstance(e.outcome, Label)
            }
        if missing := [k for k in keys if k not in entries]:
            raise CheckpointError(
                f"{self.path} lacks {counted(len(missing), 'label')} that the run has learnt "
                f"from; restore it, or {self._anew}."
            )
        return [_labelled(entries[k].frame, entries[k].outcome) for k in keys]

    def calls(self) -> int:
        """How often the reference has answered, failures and second answers included."""
        ours = canonical(self.identity)
        entries = (e for e in self.store.entries() if canonical(e.identity) == ours)
        return sum(2 if _twice(e) else 1 for e in entries)


class _Watched:
    """A reference whose time is counted, and whose version is asked for once."""

    def __init__(self, reference: Reference, identity: dict[str, Any], watch: Stopwatch) -> None:
        self.kind, self._reference = reference.kind, reference
        self._identity, self._watch = identity, watch

    def identity(self) -> dict[str, Any]:
        return self._identity

    def label(self, atoms: Atoms) -> Label | Failure:
        with self._watch.part("reference"):
            return self._reference.label(atoms)


def _twice(entry: Entry) -> bool:
    """Whether a label was doubted, and asked for once more."""
    if isinstance(entry.outcome, Failure) and entry.outcome.kind == "not-reproducible":
        return True
    return "asked_again" in (entry.extra or {})


def bare(atoms: Atoms) -> Atoms:
    """What a label may depend on: no momenta, masses, constraints."""
    return Atoms(
        atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=dict(atoms.info)
    )


def _labelled(frame: Frame, outcome: Any) -> Frame:
    return Frame(frame.atoms, outcome, frame.origin, frame.weight, frame.config_type)
