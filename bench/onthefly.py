"""What on-the-fly fine-tuning costs, part by part, against the same work done with mace itself.

    python bench/onthefly.py [--quick] [--json FILE] [--parts md] [--device cpu]

| part | what is timed |
|---|---|
| md | one MD step of ethanol: members in one pass, one by one, one, and `MACECalculator` of all |

All ways of a part take turns in one process, one thread; medians of the time on the clock and of
CPU time, which other work on the machine disturbs least. A table goes to ``--out``.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import measure

HERE = Path(__file__).parent
STEPS = HERE / "onthefly_steps.py"
#: the aim for MACECalculator's time
AIM = 0.7


def md(options: argparse.Namespace) -> dict[str, Any]:
    """One MD step in both precisions."""
    turns = 8 if options.quick else 60
    found: dict[str, Any] = {}
    for dtype in ("float32", "float64"):
        found[dtype] = measure.worker(
            STEPS, "md", dtype=dtype, device=options.device, members=options.members, turns=turns
        )
    return found


def md_table(found: dict[str, Any], members: int) -> str:
    """Times of every way, and the ratio to `MACECalculator`."""
    lines = [
        f"## One MD step of ethanol, organic-xs, {members} members\n",
        f"Aim: at most {AIM} of `MACECalculator` with the same {members} models. In brackets: the "
        "largest difference of the mean energy (meV) and forces (meV/Å) from its.\n",
        "| | ms | CPU ms | ratio | CPU ratio |\n|---|---|---|---|---|",
    ]
    for dtype, ways in found.items():
        native = ways["MACECalculator"]
        for way, w in ways.items():
            energy, forces = w["off_meV"], w["off_meV_per_A"]
            off = f" ({energy:.2g}, {forces:.2g})" if energy is not None else ""
            ratios = [w[k] / native[k] for k in ("ms", "cpu_ms")]
            lines.append(
                f"| {dtype}, {way}{off} | {w['ms']:.1f} | {w['cpu_ms']:.1f} | "
                f"{ratios[0]:.2f} | {ratios[1]:.2f} |"
            )
    return "\n".join(lines) + "\n"


#: part → what measures it, and what shows it
PARTS = {"md": (md, md_table)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="under a minute: few turns")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--out", type=Path, default=HERE / "results", help="folder for table and JSON")
    add("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    add("--members", type=int, default=8)
    add("--device", default="cpu", help="cpu or cuda")
    return parser.parse_args()


def main() -> None:
    options = _options()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    options.out.mkdir(parents=True, exist_ok=True)
    packages = ("torch", "mace-torch", "e3nn", "numpy", "tunesmith")
    found: dict[str, Any] = {
        "machine": measure.machine(packages) | {"device": options.device},
        "members": options.members,
    }
    texts = [", ".join(f"{k} {v}" for k, v in found["machine"].items()) + "; one thread.\n"]
    for part in options.parts:
        run, show = PARTS[part]
        print(f"{part} …", file=sys.stderr, flush=True)
        found[part] = run(options)
        texts.append(show(found[part], options.members))
    name = f"onthefly-{time.strftime('%Y-%m-%d')}-{options.device}"
    name += "-quick" if options.quick else ""
    text, data = f"# {name}\n\n" + "\n".join(texts), json.dumps(found, indent=1) + "\n"
    (options.out / f"{name}.md").write_text(text)
    (options.out / f"{name}.json").write_text(data)
    if options.json:
        options.json.write_text(data)
    print(text)


if __name__ == "__main__":
    main()
