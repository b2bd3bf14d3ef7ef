"""Learning a box of water from one structure, for `cago.py`: rounds of attacks against rounds of
the most uncertain frames of dynamics and of frames of hotter dynamics.

A course is one run, made a round longer at a time; after some rounds its members are simulated.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import cago_water
from resumable import say

METHODS = ("attack", "max-uncertainty", "hot-md")
TARGET = "100 meV/Å"


@dataclass(frozen=True)
class Course:
    """One run. quick: a little of everything."""

    method: str
    seed: int
    quick: bool

    @property
    def name(self) -> str:
        return f"learn-{self.method}-{self.seed}{'-quick' if self.quick else ''}"

    @property
    def rounds(self) -> int:
        return 2 if self.quick else 5

    @property
    def simulated(self) -> tuple[int, ...]:
        """After which rounds members are simulated."""
        return (0, 2, self.rounds)

    def config(self, rounds: int, test: Path) -> dict[str, Any]:
        members, epochs = (3, 4) if self.quick else (8, 20)
        acquire: dict[str, Any] = {"kind": self.method}
        if self.method == "max-uncertainty":
            acquire["candidates"] = 10 if self.quick else 50
        return {
            "model": "organic-xs",
            "reference": {"kind": "tblite", "method": "GFN1-xTB"},
            "target": {"forces": TARGET},
            "data": {"test": str(test)},
            "explore": {
                "kind": "cago",
                "start": str(cago_water.START),
                "rounds": rounds,
                "training_rounds": 1 if self.quick else 2,
                "training_frames": 2 if self.quick else 5,
                "frames": 2 if self.quick else 8,
                "time": "0.05 ps" if self.quick else "0.25 ps",
                "timestep": "0.5 fs",
                "write_every": "2.5 fs",
                "temperature": "300 K",
            },
            "acquire": acquire,
            "tune": {
                "sampler": {
                    "kind": "committee",
                    "members": members,
                    "epochs": epochs,
                    "batch_size": 2,
                }
            },
            "seed": self.seed,
            "execute": {"processes": 1},
        }


def test_frames(folder: Path, quick: bool) -> Path:
    """Plain dynamics at 300 K by the truth, from two seeds no run has."""
    path = folder / ("test-quick.xyz" if quick else "test.xyz")
    each = 3 if quick else 30
    parts = [[cago_water.BOX, each, 20, 300.0, seed] for seed in (101, 102)]
    cago_water.kept(path, *parts)
    return path


def learn(course: Course, folder: Path) -> dict[str, Any]:
    """Its rounds, each with the errors on plain frames and what was proposed; and its stability."""
    test = test_frames(folder, course.quick)
    run, recipe = folder / course.name, folder / f"{course.name}.yaml"
    done = folder / f"{course.name}-simulated.json"
    simulated: dict[str, Any] = json.loads(done.read_text()) if done.exists() else {}
    began = time.monotonic()
    for rounds in range(course.rounds + 1):
        summary = run / "summary.json"
        if summary.exists() and len(json.loads(summary.read_text())["rounds"]) > rounds:
            continue
        recipe.write_text(yaml.safe_dump(course.config(rounds, test), allow_unicode=True))
        command = [sys.executable, "-m", "tunesmith", "run", str(recipe), "--out", str(run)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        if rounds in course.simulated and str(rounds) not in simulated:
            simulated[str(rounds)] = _first(run, course) if rounds == 0 else stability(run, course)
            done.write_text(json.dumps(simulated))
        say(f"{course.name}: round {rounds} after {time.monotonic() - began:.0f} s")
    found = json.loads((run / "summary.json").read_text())
    return {"rounds": found["rounds"], "seconds": found["wall_time_s"], "simulated": simulated}


def _first(run: Path, course: Course) -> dict[str, Any]:
    """Of round 0, which is the same whoever proposes later."""
    kept = run.with_name(f"learn-first-{course.seed}{'-quick' if course.quick else ''}.json")
    if not kept.exists():
        kept.write_text(json.dumps(stability(run, course)))
    return dict(json.loads(kept.read_text()))


def stability(run: Path, course: Course) -> dict[str, Any]:
    """How many of the first members stay stable, each in one replica at 300 K."""
    from tunesmith.check.committee import check_members
    from tunesmith.check.stability import Stability
    from tunesmith.uncertainty.ensemble import open_model

    criteria = Stability(min_distance="0.4 Å", every=100)
    md = criteria.dynamics(
        replicas=1,
        ensemble="bussi",
        temperature="300 K",
        timestep="0.5 fs",
        time="0.02 ps" if course.quick else "0.5 ps",
    )
    posterior = open_model(str(run)).few([0, 1] if course.quick else [0, 1, 2, 3])
    found = check_members(posterior, md, criteria, cago_water.start(cago_water.BOX), course.seed)
    wrong = [replica.wrong for replicas in found for replica in replicas]
    return {"members": len(wrong), "stable": sum(w is None for w in wrong), "wrong": wrong}


if __name__ == "__main__":
    arguments = json.loads(sys.argv[2])
    print(json.dumps(learn(Course(**arguments["course"]), Path(arguments["folder"]))))
