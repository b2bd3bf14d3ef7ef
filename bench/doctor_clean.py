"""How many clean sets of the kinds that are published `tunesmith doctor` refuses: all in error.

Sets of `doctor_kinds.py`, each as it is and once more with one of the harmless changes of
`tunesmith.testing.defects`, written to a file and read as the command does.

    python bench/doctor_clean.py --family development --rounds 0 2
    python bench/doctor_clean.py --family held-out --rounds 0 12 --json runs/clean-organic.json
    python bench/doctor_clean.py --family held-out --worlds metal noble network \\
        --model 7net-0 --network chgnet:0.3.0 --rounds 0 8 --json runs/clean-7net.json
    python bench/doctor_clean.py --tables runs/clean-*.json --name doctor-clean-2026-11-30
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from doctor import Case, Remembering, examined, show
from doctor_kinds import FAMILIES, WORLDS, clean_kinds
from tunesmith.core import derived_seed
from tunesmith.posterior.ensemble import open_model
from tunesmith.testing.defects import CHANGES, Broken

HERE = Path(__file__).parent


def main() -> None:
    arguments = parse()
    warnings.filterwarnings("ignore")
    if arguments.tables:
        text = report([json.loads(path.read_text()) for path in arguments.tables])
        print(text)
        if arguments.name:
            (HERE / "results" / f"{arguments.name}.md").write_text(text)
        return
    start = time.process_time()
    sets = clean_kinds(
        arguments.family,
        arguments.worlds,
        range(*arguments.rounds),
        arguments.network,
        arguments.work,
    )
    judge = open_model(arguments.model)
    posterior = Remembering(judge.potential, judge.weights, judge.e0s)
    cases: list[Case] = []
    for name, frames in sets.items():
        rng = np.random.default_rng(derived_seed(arguments.rounds[0], "clean", name))
        for kind in ("as it is", str(rng.choice([k for k in CHANGES if k != "as it is"]))):
            if (made := CHANGES[kind](frames, rng)) is not None and len(made) > 1:
                cases += show(
                    iter([examined(kind, name, Broken(kind, frozenset(), made), posterior)])
                )
    if arguments.json:
        result = {
            "family": arguments.family,
            "model": arguments.model,
            "network": arguments.network,
            "rounds": arguments.rounds,
            "cpu_seconds": round(time.process_time() - start),
            "sets": {name: len(frames) for name, frames in sets.items()},
            "cases": [asdict(c) for c in cases],
        }
        arguments.json.write_text(json.dumps(result, indent=1))
    refused = {c.on for c in cases if c.refused}
    print(f"{len(refused)} of {len(sets)} sets refused in one form or another")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--family", choices=list(FAMILIES), default="development")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=["organic"])
    parser.add_argument("--model", default="organic-xs", help="the foundation")
    parser.add_argument("--network", default="chgnet:0.3.0", help="what labels world 'network'")
    parser.add_argument("--rounds", nargs=2, type=int, default=[0, 2], metavar=("FROM", "TO"))
    parser.add_argument("--work", type=Path, default=Path("runs/doctor"), help="labelled sets")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tables", nargs="+", type=Path, help="only report these results")
    parser.add_argument("--name", help="of the table below results/")
    return parser.parse_args()


def report(results: list[dict[str, Any]]) -> str:
    """Markdown: a row for each foundation and kind, the bound, every refusal in words."""
    rows: Counter[tuple[str, str]] = Counter()
    refused: Counter[tuple[str, str]] = Counter()
    warned: Counter[str] = Counter()
    forms, words = 0, []
    for result in results:
        bad = {c["on"] for c in result["cases"] if c["errors"]}
        for name in result["sets"]:
            key = result["model"], name.rpartition("-")[0]
            rows[key] += 1
            refused[key] += name in bad
        for case in result["cases"]:
            forms += 1
            warned.update(set(case["warnings"]))
            if case["errors"]:
                words.append(f"- {case['on']}, {case['kind']}: {'; '.join(case['messages'])}")
    n, k = sum(rows.values()), sum(refused.values())
    said = ", ".join(f"{code} {count}" for code, count in warned.most_common()) or "none"
    lines = [f"- {n} clean sets in {forms} forms: **{k} sets refused**, at most "
             f"{upper_bound(k, n):.1%} by a 95 % upper bound; warnings by form: {said}",
             "", "| foundation | kind | sets | refused |", "|---|---|---|---|"]  # fmt: skip
    lines += [f"| {m} | {kind} | {c} | {refused[m, kind]} |" for (m, kind), c in rows.items()]
    return "\n".join([*lines, "", "## Refused", "", *(words or ["None."])]) + "\n"


def upper_bound(k: int, n: int) -> float:
    """Of a share of which k of n were seen: one-sided, 95 %, exact (Clopper and Pearson)."""
    from scipy.stats import beta

    return float(beta.ppf(0.95, k + 1, n - k)) if k < n else 1.0


if __name__ == "__main__":
    main()
