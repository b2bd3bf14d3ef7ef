"""Look at files of labels before training: what `tunesmith doctor` does, step by step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunesmith.config import ModelSettings
from tunesmith.core import Frame
from tunesmith.data.formats import Beside, read_contents
from tunesmith.data.naming import expanded, require_file, told_apart
from tunesmith.doctor.codes import UNLEARNABLE
from tunesmith.doctor.examine import examine
from tunesmith.doctor.findings import (
    Diagnosis,
    Finding,
    finding,
    ordered,
    require_codes,
)
from tunesmith.doctor.unused import judge_unused
from tunesmith.errors import DataError
from tunesmith.posterior.ensemble import open_model
from tunesmith.words import counted

Keys = tuple[str | None, str | None, str | None]
_SHOWN = 3  # frames named for each finding


def examine_files(
    model: ModelSettings,
    data: Sequence[Path | str],
    *,
    test: Path | None = None,
    valid: Path | None = None,
    keys: Keys = (None, None, None),
    format: str | None = None,
    accept: Sequence[str] = (),
    forces_only: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """The diagnosis of files as JSON values; ``files`` says what each holds.

    data: files, or patterns of files. keys: of energy, forces and stress, None: by the usual rules.
    format: of the files, None: by name and content. accept: codes of findings that are right as
    they are. forces_only: as for a training without energies. A file that cannot be understood is
    a finding; one that is not there
    raises `DataError`, an unknown model `ModelError`, an unknown code `ConfigError`.
    """
    require_codes(accept)
    others = {"valid": valid, "test": test}
    train_files = expanded(data)
    files = [*train_files, *(p for p in others.values() if p is not None)]
    for path in files:
        require_file(path)
    posterior = open_model(model.source, head=model.head, dtype=model.dtype, device=model.device)
    reader = _Reader(keys, format, forces_only, dict(zip(files, told_apart(files), strict=True)))
    train = [frame for path in train_files for frame in reader.read(path)]
    sets = {name: reader.read(p) for name, p in others.items() if p is not None}
    found = Diagnosis(())
    if train:
        found = examine(
            train, posterior, **sets, beside=reader.beside, seed=seed, energies=not forces_only
        )
    whole = Diagnosis(ordered([*reader.findings, *found.findings]), found.facts).without(accept)
    return {**whole.summary(), "model": model.source, "files": reader.files}


class _Reader:
    """Reads files one after another and remembers what was said of them."""

    def __init__(
        self, keys: Keys, format: str | None, partial: bool, names: Mapping[Path, str]
    ) -> None:
        self.keys, self.format, self.partial, self.names = keys, format, partial, names
        self.files: list[dict[str, Any]] = []
        self.beside: dict[str, Beside] = {}
        self.findings: list[Finding] = []

    def read(self, path: Path) -> list[Frame]:
        """The file's frames; none, and a finding, where it cannot be understood."""
        try:
            energy, forces, stress = self.keys
            contents = read_contents(
                path,
                energy_key=energy,
                forces_key=forces,
                stress_key=stress,
                format=self.format,
                name=self.names[path],
                partial=self.partial,
            )
        except DataError as error:
            self.findings.append(finding("unreadable", str(error)))
            self.files.append({"file": str(path), "structures": 0, "keys": "unreadable"})
            return []
        self.beside.update(contents.beside)
        self.findings += judge_unused(path.name, contents.keys)
        n = len(contents.frames)
        self.files.append({"file": str(path), "structures": n, "keys": str(contents.keys)})
        return contents.frames


# ------------------------------------------------------------------------------ on a screen


def show(summary: dict[str, Any], screen: Console) -> None:
    """Keys and counts, the findings as a table, and the verdict in one line."""
    for file in summary["files"]:
        text = f"{file['file']}: {counted(file['structures'], 'structure')}; {file['keys']}"
        screen.print(text, markup=False)
    facts = summary["facts"]
    for name in ("train", "valid", "test"):
        if name in facts:
            screen.print(f"{name}: {_counts(facts[name])}")
    if "isolated_atoms" in facts:
        screen.print(f"isolated atoms: {facts['isolated_atoms']}")
    for text in facts.values():
        if isinstance(text, str) and text.startswith("not judged"):
            screen.print(text)
    if summary["findings"]:
        screen.print(_table(summary["findings"]))
    screen.print(verdict(summary))


def verdict(summary: dict[str, Any]) -> str:
    """One line: whether training can go ahead."""
    errors = [f["code"] for f in summary["findings"] if f["severity"] == "error"]
    warnings = sum(f["severity"] == "warning" for f in summary["findings"])
    if errors:
        names = ", ".join(dict.fromkeys(errors))
        accept = ", or --accept what is right as it is" if set(errors) - UNLEARNABLE else ""
        return f"Do not train on this yet: {names}. Cure it{accept}."
    if warnings:
        which = "the warning" if warnings == 1 else f"the {warnings} warnings"
        return f"Training can go ahead; look at {which} first."
    return "Fit for training."


def _counts(facts: dict[str, Any]) -> str:
    formulas = list(facts["compositions"].items())
    shown = ", ".join(f"{formula} {n}" for formula, n in formulas[:6])
    more = f" and {len(formulas) - 6} more" if len(formulas) > 6 else ""
    return (
        f"{counted(facts['structures'], 'structure')}, {facts['atoms']} atoms of "
        f"{' '.join(facts['elements'])}; {facts['periodic']} periodic, "
        f"{facts['with_stress']} with stress; {shown}{more}"
    )


def _table(findings: list[dict[str, Any]]) -> Table:
    table = Table("", "what", "where", "cure", box=box.SIMPLE_HEAD, show_lines=True)
    for f in findings:
        what = Text.assemble((f["code"], "bold"), f"\n{f['message']}")
        table.add_row(Text(f["severity"]), what, Text(_where(f["frames"])), Text(f["cure"]))
    return table


def _where(frames: list[str]) -> str:
    if not frames:
        return ""
    rest = len(frames) - _SHOWN
    return "\n".join([*frames[:_SHOWN], *([f"and {rest} more"] if rest > 0 else [])])
