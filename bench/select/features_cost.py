"""What vectors of structures cost: tangent kernels in time, a streamed pool in memory.

Imported before anything large is: the peak memory of what it starts counts from its own.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.runner.child import command, measured, needed
from bench.runner.parts import Found, Named, Options, Record
from bench.runner.tables import table

ONE, BATCH, ENERGY, BOTH = (
    "one backward pass per structure",
    "one backward pass per batch",
    "energies alone",
    "energies and forces",
)
STRUCTURES = 128


@dataclass(frozen=True)
class Kernels(Named):
    """Tangent kernels of a batch, in rounds of all ways in turns."""

    model: str
    batch: int
    rounds: int
    structures: int = STRUCTURES


@dataclass(frozen=True)
class Streamed(Named):
    """A pool file of so many frames by one representation: once computed, once found."""

    kind: str
    model: str
    frames: int


def ethanols(n: int, seed: int = 0) -> Iterator[Any]:
    """n ethanols (9 atoms): frames of the shipped data, rattled by 0.05 Å, none twice."""
    import numpy as np

    from bench.shared.structures import EXAMPLES, rattled
    from tunesmith import read_frames

    frames, _ = read_frames(EXAMPLES / "ethanol-train.xyz")
    known = [f.atoms for f in frames if len(f.atoms) == 9]
    rng = np.random.default_rng(seed)
    for i in range(n):
        yield rattled(known[i % len(known)], rng, 0.05)


def kernels(it: Kernels, _: Options) -> Record:
    """Milliseconds per structure of each way, neighbour lists made beforehand; ways take turns."""
    import torch

    from bench.shared.clocks import medians, timed
    from tunesmith.potentials import zoo

    torch.set_num_threads(1)
    potential = zoo.load(it.model)
    weights, n = potential.weights(), it.structures
    graphs = [potential.graph(atoms) for atoms in ethanols(n)]
    batches = [potential.batch(graphs[i : i + it.batch]) for i in range(0, n, it.batch)]
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

    ways: dict[str, Callable[[], object]] = {
        ONE: lambda: gradients(singles),
        BATCH: lambda: gradients(batches),
        ENERGY: energies,
        BOTH: lambda: [potential.evaluate(weights, b) for b in batches],
    }
    every = [{name: timed(work) for name, work in ways.items()} for _ in range(it.rounds + 1)]
    rounds = every[1:]  # the first is warming up
    ratios = [
        {
            "faster": r[ONE]["cpu_s"] / r[BATCH]["cpu_s"],
            "dearer": r[BATCH]["cpu_s"] / r[ENERGY]["cpu_s"],
        }
        for r in rounds
    ]
    cost = {name: medians(r[name] for r in rounds) for name in ways}
    per = {name: {k: 1e3 * v / n for k, v in c.items()} for name, c in cost.items()}
    return {"largest_difference": off, "cost_ms": per, **medians(ratios)}


# ------------------------------------------------------------------------------ memory


def make_pool(path: str, frames: int) -> Record:
    """A pool file as users have them, with forces beside positions."""
    import numpy as np

    from tunesmith.data import extxyz

    rng = np.random.default_rng(1)

    def labelled() -> Iterator[Any]:
        for atoms in ethanols(frames):
            atoms.arrays["REF_forces"] = rng.normal(size=atoms.positions.shape)
            atoms.info["REF_energy"] = float(rng.normal())
            yield atoms

    extxyz.write(Path(path), labelled())
    return {"bytes": Path(path).stat().st_size}


def stream_pool(path: str, cache: str, kind: str, model: str) -> Record:
    """Vectors of a pool file; seconds, and how far memory is above that before the first frame."""
    import torch

    from bench.shared.clocks import peak_mb, timed
    from tunesmith import open_model
    from tunesmith.features.compute_features import REPRESENTATIONS, stream

    torch.set_num_threads(1)
    representation, shapes = REPRESENTATIONS.get(kind)(), list[Any]()
    posterior = open_model(model) if representation.needs_model else None
    loaded = peak_mb()

    def work() -> None:
        shapes.append(stream(representation, Path(path), posterior, cache=Path(cache)).shape)

    spent = timed(work)
    return {"shape": list(shapes[0]), **spent, "loaded_mb": loaded, "peak_mb": peak_mb()}


def streamed(it: Streamed, options: Options) -> Record:
    """Once computed, once found in the cache, each in a process of its own."""
    found: Record = {}
    here = "bench.select.features_cost"
    with tempfile.TemporaryDirectory(dir=options.work) as place:
        pool, log = Path(place) / "pool.xyz", Path(place) / "log"
        found |= needed(f"{here}:make_pool", path=str(pool), frames=it.frames)
        for name in ("computed", "cached"):
            given = {"path": str(pool), "cache": f"{place}/cache", "kind": it.kind}
            run = measured(command(f"{here}:stream_pool", model=it.model, **given), log)
            said = json.loads(log.read_text().splitlines()[-1])
            found[name] = {**said, "peak_of_the_process_mb": run.peak_mb}
    return found


# --------------------------------------------------------------------------- the tables


def kernel_table(records: list[Record], _: Found) -> str:
    texts = []
    for r in records:
        ways = [{"way": name} | cost for name, cost in r["cost_ms"].items()]
        columns = {
            "": "{way}",
            "wall ms per structure": "{wall_s:.2f}",
            "CPU ms per structure": "{cpu_s:.2f}",
        }
        texts.append(
            f"## Tangent kernel, {r['model']}, batches of {r['batch']}\n\n"
            f"{r['structures']} rattled ethanols (9 atoms), float32, neighbour lists made "
            f"beforehand, medians of {r['rounds']} rounds in turns. Both ways of gradients differ "
            f"by {r['largest_difference']:.0e} of the largest entry.\n\n{table(ways, columns)}\n\n"
            f"In CPU time a batch is {r['faster']:.1f} times as fast as one backward pass per "
            f"structure (asked for: 8), and costs {r['dearer']:.2f} times the energies alone "
            "(asked for: at most 3)."
        )
    return "\n\n".join(texts)


def stream_table(records: list[Record], _: Found) -> str:
    columns = {
        "representation": "{kind}",
        "frames": "{frames}",
        "file MB": "{megabytes:.0f}",
        "columns": "{shape[1]}",
        "": "{name}",
        "peak MB": "{peak_of_the_process_mb:.0f}",
        "of it loaded before": "{loaded_mb:.0f}",
        "CPU s": "{cpu_s:.0f}",
        "wall s": "{wall_s:.0f}",
    }
    rows = [
        {**r, **r[name], "name": name, "megabytes": r["bytes"] / 1e6}
        for r in records
        for name in ("computed", "cached")
    ]
    return (
        "## A pool file, streamed\n\nPeak memory of a process that reads the file, computes the "
        "vectors and keeps them on disk; asked for: at most 1500 MB at 100 000 frames.\n\n"
        f"{table(rows, columns)}"
    )
