"""A cell: a course of rounds by the Python API, or the residual processes of a pool."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.acquire import residual_processes
from bench.acquire.acquire_plan import (
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
from bench.runner.parts import Options, Record
from bench.shared.data_sets import drawn, labelled, put
from bench.shared.structures import ROOT
from bench.shared.training import ALONE
from tunesmith.config import PoolConfig
from tunesmith.core import Frame
from tunesmith.data.formats import read_frames
from tunesmith.errors import TunesmithError
from tunesmith.features.compute_features import SOAP, compute
from tunesmith.loop.run import run

MODEL = "organic-xs"
#: labels of reactions. Not the model's own GFN2-xTB: against that its residuals would only be what
#: a small network left over, while whoever fine-tunes has another level of theory, and with it an
#: error that differs from bond to bond and grows towards transition states; as cheap as GFN2-xTB
METHOD = "GFN1-xTB"
MAKE = ROOT / "recipes" / "reactions" / "make.py"
#: an outlier has its nearest neighbours (SOAP, cosine) further away than all but this share
OUTLIERS, NEIGHBOURS = 0.05, 5
PARTS = ("pool", "valid", "test")
#: of every round
KEPT = ("labels", "test", "rest", "spearman")


def pools(quick: bool) -> dict[str, Pool]:
    return QUICK if quick else POOLS


def prepare(cells: list[Cell], options: Options) -> None:
    """Write the pools of the cells, reactions-PART.xyz, and which candidates are outliers, once."""
    for pool in dict.fromkeys(cell.pool for cell in cells):
        out, plan = options.work / pool, pools(options.quick)[pool]
        if (kept := out / "outliers.json").exists():
            continue
        if plan.reactions:
            valid, test = (
                (1, 2) if options.quick else (VALID // plan.reactions, TEST // plan.reactions)
            )
            given = {"pool": pool, "method": METHOD, "valid": valid, "test": test}
            given["share"] = plan.frames / 2000
            words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
            subprocess.run([sys.executable, str(MAKE), str(out), *words], check=True, stdout=2)
        else:
            parts = drawn(labelled(options.data, pool), [plan.frames, VALID, TEST], pool, seed=2)
            for part, some in zip(PARTS, parts, strict=True):
                put(file(options, pool, part), some)
        kept.write_text(json.dumps(outliers(frames(options, pool, "pool"))) + "\n")


def frames(options: Options, pool: str, part: str) -> list[Frame]:
    return read_frames(file(options, pool, part))[0]


def file(options: Options, pool: str, part: str) -> Path:
    return Path(options.work) / pool / f"reactions-{part}.xyz"


def outliers(structures: list[Any]) -> list[int]:
    """Numbers of the structures whose neighbours are furthest away."""
    x = compute(SOAP(), structures).astype(float)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    distances = np.sort(1 - x @ x.T, axis=1)[:, min(NEIGHBOURS, len(x) - 1)]
    many = max(1, round(OUTLIERS * len(x)))
    return sorted(np.argsort(-distances, kind="stable")[:many].tolist())


def computed(cell: Cell, options: Options) -> Record:
    """A course of rounds: every round's errors and rank correlation, and what was chosen.

    A course that the package itself ends with an error is a result too: ``failed`` says why.
    """
    try:
        if cell.method == GP:
            pool = frames(options, cell.pool, "pool")
            return {"gp": residual_processes.table(MODEL, pool, cell.seed)}
        return _course(cell, options)
    except TunesmithError as error:
        return {"failed": str(error)}


def _course(cell: Cell, options: Options) -> Record:
    out = options.work / "cells" / cell.name
    summary = run(configured(cell, options), out)
    chosen = [c["number"] for r in summary["rounds"][1:] for c in r["chosen"]]
    odd = set(json.loads((options.work / cell.pool / "outliers.json").read_text()))
    kinds = [f.config_type for f in frames(options, cell.pool, "pool")]
    shutil.rmtree(out)  # hundreds of checkpoints of models; what is kept is below
    return {
        "rounds": [{k: r[k] for k in KEPT} for r in summary["rounds"]],
        "chosen": chosen,
        "outliers": sum(number in odd for number in chosen) / len(chosen),
        "of": {k: [kinds[n] for n in chosen].count(k) for k in sorted(set(kinds))},
        "failed_calls": summary["failed_calls"],
        "seconds_by_part": summary["wall_time_s"],
    }


def configured(it: Cell, options: Options) -> PoolConfig:
    """The published schedule at organic-xs's rate; E0s from all labels of the round."""
    pool = pools(options.quick)[it.pool]
    sampler: dict[str, Any] = {"kind": "by-size", "max_rate": 1e-3, "checkpoint_every": "300 s"}
    if it.method in COMMITTEES:
        sampler["members"] = MEMBERS
    given: dict[str, Any] = {
        "model": {"source": MODEL},
        "reference": {"kind": "hidden"},
        "data": {part: str(file(options, it.pool, part)) for part in ("valid", "test")},
        "explore": {
            "kind": "pool",
            "files": [str(file(options, it.pool, "pool"))],
            "rounds": pool.rounds,
            "start": pool.start,
            "rest": REST,
        },
        "acquire": acquire(it.method, pool.batch),
        "tune": {"sampler": sampler, "e0": {"method": "reestimate"}},
        "seed": it.seed,
        "execute": ALONE,
    }
    return PoolConfig(**given)
