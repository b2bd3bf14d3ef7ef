"""Heavy steps of `acquire.py`, each in a process of its own: ``python acquire_cells.py STEP JSON``.
A cell is a course of rounds by the Python API."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import acquire_gp
from acquire_plan import (
    COMMITTEES,
    GP,
    MEMBERS,
    POOLS,
    QUICK,
    REST,
    TEST,
    VALID,
    Cell,
    Pool,
    acquire,
)

MODEL = "organic-xs"
#: labels of reactions. Not the model's own GFN2-xTB: against that its residuals would only be what
#: a small network left over, while whoever fine-tunes has another level of theory, and with it an
#: error that differs from bond to bond and grows towards transition states; as cheap as GFN2-xTB
METHOD = "GFN1-xTB"
MAKE = Path(__file__).resolve().parents[1] / "recipes" / "reactions" / "make.py"
#: an outlier has its nearest neighbours (SOAP, cosine) further away than all but this share
OUTLIERS, NEIGHBOURS = 0.05, 5
PARTS = ("pool", "valid", "test")
#: of every round
KEPT = ("labels", "test", "rest", "spearman")


def pools(quick: bool) -> dict[str, Pool]:
    return QUICK if quick else POOLS


def prepare(data: str | None, folder: str, pool: str, quick: bool) -> dict[str, Any]:
    """Write FOLDER/POOL/reactions-PART.xyz, and which candidates are outliers, once."""
    out = Path(folder) / pool
    kept = out / "outliers.json"
    if kept.exists():
        return {}
    plan = pools(quick)[pool]
    if plan.reactions:
        options = ["--pool", pool, "--method", METHOD]
        valid, test = (1, 2) if quick else (VALID // plan.reactions, TEST // plan.reactions)
        share = plan.frames / 2000
        options += ["--valid", str(valid), "--test", str(test), "--share", str(share)]
        command = [sys.executable, str(MAKE), str(out), *options]
        subprocess.run(command, check=True, stdout=sys.stderr)
    else:
        _dynamics(data, out, pool, plan)
    found = outliers(frames(folder, pool, "pool"))
    kept.write_text(json.dumps(found) + "\n")
    return {}


def _dynamics(data: str | None, out: Path, pool: str, plan: Pool) -> None:
    """Candidates, validation and test frames of 300 K dynamics, without overlap."""
    from tunesmith.data.formats import read_frames, write_frames

    if data is None:
        sys.exit(f"{pool} needs --data FOLDER, which holds {pool}/train_300K.xyz.")
    given, _ = read_frames(Path(data) / pool / "train_300K.xyz")
    order = np.random.default_rng(2).permutation(len(given))
    sizes = np.cumsum([plan.frames, VALID])
    if len(given) < sizes[-1] + TEST:
        sys.exit(f"{pool} has {len(given)} frames, not {sizes[-1] + TEST}.")
    out.mkdir(parents=True, exist_ok=True)
    for part, rows in zip(PARTS, np.split(order[: sizes[-1] + TEST], sizes), strict=True):
        write_frames(out / f"reactions-{part}.xyz", [given[i] for i in rows])


def frames(folder: str, pool: str, part: str) -> list[Any]:
    from tunesmith.data.formats import read_frames

    return read_frames(file(folder, pool, part))[0]


def file(folder: str, pool: str, part: str) -> Path:
    return Path(folder) / pool / f"reactions-{part}.xyz"


def outliers(structures: list[Any]) -> list[int]:
    """Numbers of the structures whose neighbours are furthest away."""
    from tunesmith.features.compute_features import SOAP, compute

    x = compute(SOAP(), structures).astype(float)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    distances = np.sort(1 - x @ x.T, axis=1)[:, min(NEIGHBOURS, len(x) - 1)]
    many = max(1, round(OUTLIERS * len(x)))
    return sorted(np.argsort(-distances, kind="stable")[:many].tolist())


def cell(folder: str, quick: bool, **fields: Any) -> dict[str, Any]:
    """A course of rounds: every round's errors and rank correlation, and what was chosen.

    A course that the package itself ends with an error is a result too: ``failed`` says why.
    """
    from tunesmith.errors import TunesmithError

    it, started = Cell(**fields), cpu_seconds()
    try:
        found = _gp(folder, it) if it.method == GP else _course(folder, pools(quick)[it.pool], it)
    except TunesmithError as error:
        found = {"failed": str(error)}
    return found | {"cpu": cpu_seconds() - started}


def _gp(folder: str, it: Cell) -> dict[str, Any]:
    return {"gp": acquire_gp.table(MODEL, frames(folder, it.pool, "pool"), it.seed)}


def _course(folder: str, pool: Pool, it: Cell) -> dict[str, Any]:
    from tunesmith.loop.run import run

    out = Path(folder) / "cells" / it.name
    summary = run(configured(folder, pool, it), out)
    chosen = [c["number"] for r in summary["rounds"][1:] for c in r["chosen"]]
    odd = set(json.loads((Path(folder) / it.pool / "outliers.json").read_text()))
    kinds = [f.config_type for f in frames(folder, it.pool, "pool")]
    shutil.rmtree(out)  # hundreds of checkpoints of models; what is kept is below
    return {
        "rounds": [{k: r[k] for k in KEPT} for r in summary["rounds"]],
        "chosen": chosen,
        "outliers": sum(number in odd for number in chosen) / len(chosen),
        "of": {k: [kinds[n] for n in chosen].count(k) for k in sorted(set(kinds))},
        "failed_calls": summary["failed_calls"],
        "seconds_by_part": summary["wall_time_s"],
    }


def configured(folder: str, pool: Pool, it: Cell) -> Any:
    """The published schedule at organic-xs's rate; E0s from all labels of the round."""
    from tunesmith.config import PoolConfig

    sampler = {"kind": "by-size", "max_rate": 1e-3, "checkpoint_every": "300 s"}
    if it.method in COMMITTEES:
        sampler["members"] = MEMBERS
    given: dict[str, Any] = {
        "model": {"source": MODEL},
        "reference": {"kind": "hidden"},
        "data": {part: str(file(folder, it.pool, part)) for part in ("valid", "test")},
        "explore": {
            "kind": "pool",
            "files": [str(file(folder, it.pool, "pool"))],
            "rounds": pool.rounds,
            "start": pool.start,
            "rest": REST,
        },
        "acquire": acquire(it.method, pool.batch),
        "tune": {"sampler": sampler, "e0": {"method": "reestimate"}},
        "seed": it.seed,
        "execute": {"threads": 1, "processes": 1},
    }
    return PoolConfig(**given)


def cpu_seconds() -> float:
    """Of this process and of the ended ones it started."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


if __name__ == "__main__":
    known = {f.__name__: f for f in (prepare, cell)}
    started = time.monotonic()
    answer = known[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps(answer | {"seconds": round(time.monotonic() - started, 1)}))
