"""What vectors of structures cost: tangent kernels in time, a streamed pool in memory.

    python bench/select_features.py [--parts ntk stream] [--quick] [--json FILE]

ntk: gradients of a batch in one backward pass, against one backward pass per structure and against
the energies alone. stream: a pool file of many frames, in a process of its own.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import measure

HERE = Path(__file__).resolve()
MOLECULES = HERE.parent.parent / "examples" / "data" / "ethanol-train.xyz"
PACKAGES = ("torch", "mace-torch", "numpy", "ase", "dscribe", "rdkit", "tunesmith")
ONE, BATCH, ENERGY, BOTH = (
    "one backward pass per structure",
    "one backward pass per batch",
    "energies alone",
    "energies and forces",
)


def rattled(n: int, seed: int = 0) -> Any:
    """n ethanols (9 atoms): frames of the shipped data, rattled by 0.05 Å, none twice."""
    import numpy as np

    from tunesmith.data.formats import read_frames

    frames, _ = read_frames(MOLECULES)
    known = [f.atoms for f in frames if len(f.atoms) == 9]
    rng = np.random.default_rng(seed)
    for i in range(n):
        atoms = known[i % len(known)].copy()
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        yield atoms


# ------------------------------------------------------------------------------- time


def ntk(model: str, batch: int, structures: int, rounds: int) -> dict[str, Any]:
    """Milliseconds per structure of each way, neighbour lists made beforehand; ways take turns."""
    import torch

    from tunesmith.potentials import zoo

    torch.set_num_threads(1)
    potential = zoo.load(model)
    weights = potential.weights()
    graphs = [potential.graph(atoms) for atoms in rattled(structures)]
    batches = [potential.batch(graphs[i : i + batch]) for i in range(0, structures, batch)]
    singles = [potential.batch([graph]) for graph in graphs]

    def gradients(of: list[Any]) -> Any:
        return torch.cat([potential.embedding_gradient(weights, b) for b in of])

    apart, together = gradients(singles), gradients(batches)
    off = float((apart - together).abs().max() / apart.abs().max())
    assert off < 1e-4, f"the two ways differ by {off:.1e}"

    def energies() -> None:
        with torch.no_grad():
            for b in batches:
                # the same pass whose features are asked for computes the energies
                potential.features(weights, b)

    ways = {
        ONE: lambda: gradients(singles),
        BATCH: lambda: gradients(batches),
        ENERGY: energies,
        BOTH: lambda: [potential.evaluate(weights, b) for b in batches],
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for r in range(rounds + 1):
        for name, work in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            if r:  # the first is warming up
                spent[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    cost = {
        name: {
            "wall_ms": 1e3 * median(w for w, _ in s) / structures,
            "cpu_ms": 1e3 * median(c for _, c in s) / structures,
        }
        for name, s in spent.items()
    }
    faster = median(a[1] / b[1] for a, b in zip(spent[ONE], spent[BATCH], strict=True))
    dearer = median(a[1] / b[1] for a, b in zip(spent[BATCH], spent[ENERGY], strict=True))
    return {
        "model": model,
        "batch": batch,
        "structures": structures,
        "rounds": rounds,
        "largest_difference": off,
        "cost": cost,
        "times_as_fast_as_one_by_one": faster,
        "times_the_energies": dearer,
    }


# ------------------------------------------------------------------------------ memory


def make_pool(path: str, frames: int) -> dict[str, Any]:
    """A pool file as users have them, with forces beside positions."""
    import numpy as np

    from tunesmith.data import extxyz

    rng = np.random.default_rng(1)

    def labelled() -> Any:
        for atoms in rattled(frames):
            atoms.arrays["REF_forces"] = rng.normal(size=atoms.positions.shape)
            atoms.info["REF_energy"] = float(rng.normal())
            yield atoms

    extxyz.write(Path(path), labelled())
    return {"bytes": Path(path).stat().st_size}


def stream_pool(path: str, cache: str, kind: str, model: str) -> dict[str, Any]:
    """Vectors of a pool file; seconds, and how far memory is above that before the first frame."""
    import resource

    import torch

    from tunesmith.features.compute_features import REPRESENTATIONS, stream
    from tunesmith.posterior.ensemble import open_model

    torch.set_num_threads(1)
    representation = REPRESENTATIONS.get(kind)()
    posterior = open_model(model) if representation.needs_model else None

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    features = stream(representation, Path(path), posterior, cache=Path(cache))
    return {
        "shape": list(features.shape),
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "loaded_mb": before,
        "peak_mb": peak(),
    }


def streamed(kind: str, model: str, frames: int, work: Path) -> dict[str, Any]:
    """Once computed, once found in the cache, each in a process of its own."""
    pool = work / "pool.xyz"
    if not pool.exists():
        measure.worker(HERE, "make_pool", path=str(pool), frames=frames)
    found: dict[str, Any] = {"kind": kind, "frames": frames, "bytes": pool.stat().st_size}
    for name in ("computed", "cached"):
        log = work / f"{kind}-{name}.log"
        arguments = {"path": str(pool), "cache": str(work / "cache"), "kind": kind, "model": model}
        command = [sys.executable, str(HERE), "stream_pool", json.dumps(arguments)]
        run = measure.run(command, log)
        said = json.loads(log.read_text().splitlines()[-1])
        found[name] = {**said, "peak_of_the_process_mb": run.peak_mb}
    return found


# --------------------------------------------------------------------------- the table


def table(found: dict[str, Any]) -> str:
    """Everything as Markdown."""
    lines = [", ".join(f"{k} {v}" for k, v in found["machine"].items()) + "; one thread.", ""]
    for part in found.get("ntk", []):
        lines += [
            f"## Tangent kernel, {part['model']}, batches of {part['batch']}",
            "",
            f"{part['structures']} rattled ethanols (9 atoms), float32, neighbour lists made "
            f"beforehand, medians of {part['rounds']} rounds in turns. Both ways of gradients "
            f"differ by {part['largest_difference']:.0e} of the largest entry.",
            "",
            "| | wall ms per structure | CPU ms per structure |",
            "|---|---|---|",
        ]
        for name, cost in part["cost"].items():
            lines.append(f"| {name} | {cost['wall_ms']:.2f} | {cost['cpu_ms']:.2f} |")
        lines += [
            "",
            f"In CPU time a batch is {part['times_as_fast_as_one_by_one']:.1f} times as fast as "
            "one backward pass per structure (asked for: 8), and costs "
            f"{part['times_the_energies']:.2f} times the energies alone (asked for: at most 3).",
            "",
        ]
    if found.get("stream"):
        lines += [
            "## A pool file, streamed",
            "",
            "Peak memory of a process that reads the file, computes the vectors and keeps them on "
            "disk; asked for: at most 1500 MB at 100 000 frames.",
            "",
            "| representation | frames | file MB | columns | | peak MB | of it loaded before | "
            "CPU s | wall s |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for s in found["stream"]:
            for name in ("computed", "cached"):
                o = s[name]
                lines.append(
                    f"| {s['kind']} | {s['frames']} | {s['bytes'] / 1e6:.0f} | {o['shape'][1]} | "
                    f"{name} | {o['peak_of_the_process_mb']:.0f} | {o['loaded_mb']:.0f} | "
                    f"{o['cpu_s']:.0f} | {o['wall_s']:.0f} |"
                )
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="about a minute: 3 rounds, 2000 frames")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--parts", nargs="+", choices=["ntk", "stream"], default=["ntk", "stream"])
    add("--model", default="organic-xs")
    add("--batch", type=int, nargs="+", default=[32, 64])
    add("--rounds", type=int, default=7)
    add("--frames", type=int, default=100_000)
    add("--work", type=Path, help="where the pool and its vectors lie meanwhile (0.2 GB)")
    add("--representations", nargs="+", default=["ntk", "activation"])
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.frames = 3, 2000
    found: dict[str, Any] = {"machine": measure.machine(PACKAGES)}
    if "ntk" in options.parts:
        found["ntk"] = [
            measure.worker(
                HERE,
                "ntk",
                model=options.model,
                batch=batch,
                structures=128,
                rounds=options.rounds,
            )
            for batch in options.batch
        ]
    if "stream" in options.parts:
        with tempfile.TemporaryDirectory(dir=options.work) as work:
            found["stream"] = [
                streamed(kind, options.model, options.frames, Path(work))
                for kind in options.representations
            ]
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    steps = {"ntk": ntk, "make_pool": make_pool, "stream_pool": stream_pool}
    if sys.argv[1:2] and sys.argv[1] in steps:
        print(json.dumps(steps[sys.argv[1]](**json.loads(sys.argv[2]))))
    else:
        main()
