"""How many broken data sets `tunesmith doctor` catches and names; how many clean ones it refuses.

Every defect of `tunesmith.testing.defects` is made in sets drawn at random (seeded), written to a
file as a user would have it, read and examined. Sets: `doctor_sets.py`; "development" is what the
rules were tuned on, "held-out" is not.

    python bench/doctor.py --quick
    python bench/doctor.py --family held-out --data DATA --name doctor-2026-11-21
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ase import Atoms

from doctor_sets import FAMILIES, clean_sets
from measure import machine
from tunesmith.core import Frame, Prediction, Quantities, derived_seed
from tunesmith.data import extxyz
from tunesmith.data.formats import read_contents
from tunesmith.doctor.examine import examine
from tunesmith.doctor.findings import Diagnosis
from tunesmith.errors import DataError
from tunesmith.posterior.ensemble import Ensemble, open_model
from tunesmith.testing.defects import CHANGES, DEFECTS, Broken
from tunesmith.testing.defects.defect import content

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One examined set. codes: what would name the defect; none: the set is clean."""

    kind: str
    on: str
    text: str
    codes: tuple[str, ...]
    spoils: bool
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    messages: tuple[str, ...]
    seconds: float

    @property
    def caught(self) -> bool:
        """Whether training was refused, or where a warning does, anything was said."""
        return bool(self.errors or (self.warnings and not self.spoils))

    @property
    def named(self) -> bool:
        """Whether one of the codes was among what caught it."""
        found = self.errors if self.spoils else (*self.errors, *self.warnings)
        return bool(set(self.codes) & set(found))

    @property
    def refused(self) -> bool:
        """Whether training was refused."""
        return bool(self.errors)


class Remembering(Ensemble):
    """Predicts every structure once: most defects leave the structures as they are."""

    _known: dict[bytes, tuple[float, np.ndarray, np.ndarray | None]]

    def predict(self, frames: list[Atoms], **how: object) -> Prediction:
        if not hasattr(self, "_known"):
            self._known = {}
        stress = bool(how.get("stress", False))
        keys = [_key(a, stress) for a in frames]
        new = {k: a for k, a in zip(keys, frames, strict=True) if k not in self._known}
        if new:
            mean = super().predict(list(new.values()), stress=stress).mean
            split = np.split(mean.forces, np.cumsum([len(a) for a in new.values()])[:-1])
            for i, key in enumerate(new):
                tensor = None if mean.stress is None else mean.stress[i]
                self._known[key] = (float(mean.energy[i]), split[i], tensor)
        known = [self._known[k] for k in keys]
        tensors = np.array([k[2] for k in known]) if stress else None
        energy, forces = np.array([k[0] for k in known]), np.concatenate([k[1] for k in known])
        return Prediction(Quantities(energy, forces, tensors), np.array([len(a) for a in frames]))


def _key(atoms: Atoms, stress: bool) -> bytes:
    parts = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, stress)
    return b"|".join(np.asarray(p).tobytes() for p in parts)


def main() -> None:
    arguments = parse()
    warnings.filterwarnings("ignore")
    if arguments.tables:
        print(together([json.loads(path.read_text()) for path in arguments.tables]))
        return
    family = arguments.family
    sets = clean_sets(family, arguments.work, arguments.data, arguments.sets_seed)
    judge = open_model(arguments.model)
    posterior = Remembering(judge.potential, judge.weights, judge.e0s)
    each = 1 if arguments.quick else arguments.each
    start = time.process_time()
    broken = list(show(broken_cases(sets, posterior, each, arguments)))
    clean = list(show(clean_cases(sets, posterior, arguments)))
    result = {
        "family": family,
        "sets": {name: len(frames) for name, frames in sets.items()},
        "machine": machine(("torch", "ase", "tblite", "pyscf", "mace-torch")),
        "cpu_seconds": round(time.process_time() - start),
        "seeds": {"defects": arguments.seed, "sets": arguments.sets_seed},
        "broken": [asdict(c) for c in broken],
        "clean": [asdict(c) for c in clean],
    }
    text = report(family, sets, broken, clean, result["machine"])
    print(text)
    if arguments.name:
        (HERE / "results").mkdir(exist_ok=True)
        (HERE / "results" / f"{arguments.name}.md").write_text(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="every defect once")
    parser.add_argument(
        "--family", choices=list(FAMILIES), default="development", help="which clean sets"
    )
    parser.add_argument("--data", type=Path, help="folder of acac, 3bpa and ethanol")
    parser.add_argument("--each", type=int, default=4, help="sets for every defect")
    parser.add_argument("--only", default="", help="defects whose name holds this")
    parser.add_argument("--model", default="organic-xs")
    parser.add_argument("--seed", type=int, default=0, help="of the defects")
    parser.add_argument("--sets-seed", type=int, default=0, help="of the clean sets")
    parser.add_argument("--work", type=Path, default=Path("runs/doctor"), help="labelled sets")
    parser.add_argument("--name", help="of the table below results/")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tables", nargs="+", type=Path, help="only pool these results")
    return parser.parse_args()


def broken_cases(
    sets: dict[str, list[Frame]], posterior: Ensemble, each: int, arguments: argparse.Namespace
) -> Iterator[Case]:
    """Every defect in ``each`` sets it applies to, drawn without replacement."""
    for kind, defect in DEFECTS.items():
        if arguments.only not in kind:
            continue
        rng = np.random.default_rng(derived_seed(arguments.seed, "sets", kind))
        made = 0
        for name in rng.permutation(sorted(sets)).tolist():
            draw = np.random.default_rng(derived_seed(arguments.seed, kind, name))
            if made < each and (one := defect(sets[name], draw)) is not None:
                yield examined(kind, name, one, posterior)
                made += 1


def clean_cases(
    sets: dict[str, list[Frame]], posterior: Ensemble, arguments: argparse.Namespace
) -> Iterator[Case]:
    """Every harmless change in every set; of the quick measurement, the sets as they are."""
    for kind, change in CHANGES.items():
        if arguments.only or (arguments.quick and kind != "as it is"):
            continue
        for name, frames in sets.items():
            draw = np.random.default_rng(derived_seed(arguments.seed, kind, name))
            if (made := change(frames, draw)) is not None:
                yield examined(kind, name, Broken(kind, frozenset(), made), posterior)


def examined(kind: str, name: str, one: Broken, posterior: Ensemble) -> Case:
    """What the doctor says of the set's file, as the command reads it."""
    start = time.process_time()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "train.xyz"
        extxyz.write(path, content(one.frames) if one.images is None else one.images)
        try:
            read = read_contents(path)
        except DataError as refusal:
            return _case(kind, name, one, (("unreadable", "error", str(refusal)),), start)
    found: Diagnosis = examine(
        read.frames, posterior, test=one.test or None, beside=read.beside, seed=0
    )
    findings = tuple((f.code, f.severity, f.message) for f in found.findings)
    return _case(kind, name, one, findings, start)


def _case(
    kind: str,
    name: str,
    one: Broken,
    findings: tuple[tuple[str, str, str], ...],
    start: float,
) -> Case:
    by = defaultdict(list)
    for code, severity, _ in findings:
        by[severity].append(code)
    return Case(
        kind,
        name,
        one.text,
        tuple(sorted(one.codes)),
        one.spoils,
        tuple(by["error"]),
        tuple(by["warning"]),
        tuple(f"{c} ({s}): {m}" for c, s, m in findings if s != "note"),
        round(time.process_time() - start, 2),
    )


def show(cases: Iterator[Case]) -> Iterator[Case]:
    """Each case on a line of its own as it comes."""
    for case in cases:
        if case.codes:
            verdict = "named" if case.named else "misnamed" if case.caught else "MISSED"
        else:
            verdict = "REFUSED" if case.refused else "ok"
        said = ", ".join(case.errors + tuple(w + "?" for w in case.warnings))
        print(f"{verdict:9s}{case.kind} | {case.on} | {said} | {case.seconds} s", flush=True)
        yield case


# ------------------------------------------------------------------------------- the table


def report(
    family: str,
    sets: dict[str, list[Frame]],
    broken: list[Case],
    clean: list[Case],
    at: dict[str, str | int | float],
) -> str:
    """Markdown: totals, one row for each defect, and every failure in words."""
    lines = [f"# Recall of the doctor, {family} sets, {at['date']}", ""]
    lines += [", ".join(f"{k} {v}" for k, v in at.items() if k != "date") + ".", ""]
    lines += ["Sets: " + ", ".join(f"{n} ({len(f)} frames)" for n, f in sets.items()) + ".", ""]
    named, caught = sum(c.named for c in broken), sum(c.caught for c in broken)
    refused = [c for c in clean if c.refused]
    seconds = sorted(c.seconds for c in [*broken, *clean])
    if broken:
        lines += [
            f"- {len({c.kind for c in broken})} defects, {len(broken)} broken sets: "
            f"**{share(named, len(broken))} caught and named**, "
            f"{share(caught, len(broken))} caught",
        ]
    if clean:
        warned = Counter(w for c in clean for w in set(c.warnings))
        said = ", ".join(f"{w} {n}" for w, n in warned.most_common()) or "none"
        lines += [
            f"- {len(clean)} clean sets: **{len(refused)} refused**; warnings: {said}",
        ]
    if seconds:
        lines += [f"- CPU seconds for a set: median {seconds[len(seconds) // 2]}, longest "
                  f"{seconds[-1]} (predictions of structures seen before are kept)"]  # fmt: skip
    lines += ["", "| group of sets | broken | named | clean | refused |", "|---|---|---|---|---|"]
    for group in sorted({c.on.partition("/")[0] for c in broken}):
        mine = [c for c in broken if c.on.startswith(f"{group}/")]
        fine = [c for c in clean if c.on.startswith(f"{group}/")]
        lines.append(
            f"| {group} | {len(mine)} | {sum(c.named for c in mine)} | {len(fine)} | "
            f"{sum(c.refused for c in fine)} |"
        )
    lines += ["", "| defect | sets | caught | named |", "|---|---|---|---|"]
    for kind in dict.fromkeys(c.kind for c in broken):
        mine = [c for c in broken if c.kind == kind]
        lines.append(
            f"| {kind} | {len(mine)} | {sum(c.caught for c in mine)} | "
            f"{sum(c.named for c in mine)} |"
        )
    lines += ["", "| harmless change | sets | refused | with a warning |", "|---|---|---|---|"]
    for kind in dict.fromkeys(c.kind for c in clean):
        mine = [c for c in clean if c.kind == kind]
        lines.append(
            f"| {kind} | {len(mine)} | {sum(c.refused for c in mine)} | "
            f"{sum(bool(c.warnings) for c in mine)} |"
        )
    lines += ["", "## Missed or misnamed", ""]
    lines += [
        f"- {c.kind}, {c.on} ({c.text}): wanted {' or '.join(c.codes)}"
        f"{'' if c.spoils else ' (warning)'}; said {'; '.join(c.messages) or 'nothing'}"
        for c in broken
        if not c.named
    ] or ["None."]
    lines += ["", "## Clean and refused", ""]
    lines += [f"- {c.kind}, {c.on}: {'; '.join(c.messages)}" for c in refused] or ["None."]
    return "\n".join(lines) + "\n"


def together(runs: list[dict[str, Any]]) -> str:
    """Markdown of several draws: a row for each family, errors are one standard error."""
    lines = ["| family | named, by draw | together | clean forms refused |", "|---|---|---|---|"]
    all_broken: list[Case] = []
    all_clean: list[Case] = []
    for family in dict.fromkeys(run["family"] for run in runs):
        mine = [run for run in runs if run["family"] == family]
        draws = [[Case(**c) for c in run["broken"]] for run in mine]
        broken = [c for draw in draws for c in draw]
        clean = [Case(**c) for run in mine for c in run["clean"]]
        named, n = sum(c.named for c in broken), len(broken)
        error = np.sqrt(named / n * (1 - named / n) / n)
        each = ", ".join(f"{sum(c.named for c in draw)} of {len(draw)}" for draw in draws)
        lines.append(
            f"| {family} | {each} | {named} of {n} ({100 * named / n:.1f} ± {100 * error:.1f} %) | "
            f"{sum(c.refused for c in clean)} of {len(clean)} |"
        )
        all_broken += broken
        all_clean += clean
    named, refused = sum(c.named for c in all_broken), sum(c.refused for c in all_clean)
    lines += ["", f"Together {share(named, len(all_broken))} named; of clean forms "]
    lines[-1] += f"{refused} of {len(all_clean)} refused."
    return "\n".join(lines)


def share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.1%})"


if __name__ == "__main__":
    main()
