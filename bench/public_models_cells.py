"""Heavy steps of `public_models.py`, each in a process of its own: ``python
public_models_cells.py STEP JSON``. A cell is one fine-tuning of a public model and what it is worth
afterwards, or the untouched model itself."""

import json
import math
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from strategies_cells import cpu_seconds, stopwatch

BATCH = 5
#: replayed crystals a step: they have several times the neighbours of a molecule
REPLAYED = 2
#: the share of the N labels that `tune` holds back to choose the best epoch
VALID = 0.1
ZERO_SHOT = "zero-shot"
#: file of frames and of isolated atoms, by system
FILES = {
    "ethanol": "train.xyz",
    "acac": "train_300K.xyz",
    "3bpa": "train_300K.xyz",
}


@dataclass(frozen=True)
class Cell:
    """One fine-tuning, or `ZERO_SHOT` of no frames and steps. frames: labels in all."""

    model: str
    system: str
    frames: int
    strategy: str
    steps: int

    @property
    def name(self) -> str:
        return "-".join(str(value).replace(":", "_") for value in asdict(self).values())


def prepare(data: str, folder: str, systems: list[str], sizes: list[int], held_out: int) -> Any:
    """Write test.xyz and train-N.xyz below FOLDER/SYSTEM; smaller sets are part of larger ones."""
    import ase.io
    import numpy as np

    for system in systems:
        frames = ase.io.read(Path(data) / system / FILES[system], ":")
        for frame in frames:
            results = frame.calc.results
            frame.calc = None
            frame.info = {"REF_energy": results["energy"]}
            frame.arrays["REF_forces"] = results["forces"]
        order = np.random.default_rng(2).permutation(len(frames))
        if held_out + max(sizes) > len(frames):
            sys.exit(f"{system} has {len(frames)} frames, not {held_out} + {max(sizes)}.")
        out = Path(folder) / system
        out.mkdir(parents=True, exist_ok=True)
        ase.io.write(out / "test.xyz", [frames[i] for i in order[:held_out]], format="extxyz")
        for size in sizes:
            chosen = [frames[i] for i in order[held_out : held_out + size]]
            ase.io.write(out / f"train-{size}.xyz", chosen, format="extxyz")
    return {}


def cell(folder: str, **fields: Any) -> dict[str, Any]:
    """Fine-tune one cell and measure it. Errors in meV/Å and meV/atom, times in CPU seconds.

    Energies are compared without their mean error: the untouched model has another zero. Forgetting
    is against what the untouched model says of the crystals kept for it.
    """
    from tunesmith.data.formats import read_frames
    from tunesmith.posterior.ensemble import open_model
    from tunesmith.report.evaluate import evaluate

    it = Cell(**fields)
    place = Path(folder)
    out = place / "cells" / it.name
    spent: dict[str, Any] = {}
    if it.strategy == ZERO_SHOT:
        model = open_model(it.model)
    else:
        spent = tuned(it, place, out)
        model = open_model(out)
    test, _ = read_frames(place / it.system / "test.xyz")
    began = cpu_seconds()
    found = evaluate(model, test, relative_energies=True).summary()
    spent["cpu_per_frame"] = (cpu_seconds() - began) / len(test)
    crystals, _ = read_frames(crystal_file(place, it.model, "forgetting"))
    forgotten = evaluate(model, crystals, relative_energies=True).summary()
    result = {
        **spent,
        "force_mae": found["force_mae_meV_per_A"],
        "force_rmse": found["force_rmse_meV_per_A"],
        "energy_mae": found["energy_mae_meV_per_atom"],
        "force_rms_reference": found["force_rms_reference_meV_per_A"],
        "forgetting_mae": forgotten["force_mae_meV_per_A"],
        "forgetting_rms_reference": forgotten["force_rms_reference_meV_per_A"],
    }
    if it.strategy == "pseudolabel":
        result["forgetting_mae_replay_head"] = _replay_head(out, crystals)
    return result


def tuned(it: Cell, place: Path, out: Path) -> dict[str, Any]:
    """Fine-tune into a new folder; CPU seconds of the sampler, of an epoch and of everything."""
    from tunesmith import TuneConfig, fine_tune

    shutil.rmtree(out, ignore_errors=True)
    per_epoch = math.ceil((it.frames - max(1, round(VALID * it.frames))) / BATCH)
    epochs = math.ceil(it.steps / per_epoch)
    given: dict[str, Any] = {
        "strategy": it.strategy,
        "model": {"source": it.model},
        "data": {"train": [str(place / it.system / f"train-{it.frames}.xyz")]},
        "tune": {
            "e0": {"method": "reestimate"},
            # falls to zero with the budget, so that no strategy is caught on its way
            "sampler": {
                "batch_size": BATCH,
                "epochs": epochs,
                "patience": epochs,
                "schedule": "cosine",
            },
        },
        "execute": {"threads": 1, "processes": 1},
    }
    given["data"]["valid_fraction"] = VALID
    if it.strategy == "pseudolabel":
        given["tune"]["anchor"] = {
            "kind": "pseudolabel",
            "frames": [str(crystal_file(place, it.model, "replay"))],
            "match": "any",
            "batch_size": REPLAYED,
        }
        # the published 1e-4 is for tens of thousands of steps
        given["tune"]["sampler"] |= {"learning_rate": 1e-3, "ema": 0.999}
    config = TuneConfig(**given)
    started = cpu_seconds()
    with stopwatch(type(config.tune.sampler)) as fits:
        summary = fine_tune(config, out)
    return {
        "cpu": cpu_seconds() - started,
        "cpu_fit": sum(fits),
        "cpu_epoch": sum(fits) / epochs,
        "steps_done": epochs * per_epoch,
        "epochs": epochs,
        "best_epoch": summary.get("best_epoch"),
        "learning_rate": config.tune.sampler.learning_rate,
    }


def _replay_head(out: Path, frames: list[Any]) -> float:
    """Force MAE (meV/Å) of the replay head."""
    from tunesmith.core import E0s
    from tunesmith.posterior import members_file
    from tunesmith.posterior.ensemble import Ensemble
    from tunesmith.report.evaluate import evaluate

    potential, members = members_file.load(out, dtype="float32", device="cpu")
    head = Ensemble(potential, [members.replay_head(0)], E0s(potential.e0s))
    summary = evaluate(head, frames, relative_energies=True).summary()
    return float(summary["force_mae_meV_per_A"])


# ----------------------------------------------------------------------------- crystals


def crystal_file(place: Path, model: str, which: str) -> Path:
    """Crystals labelled by a model itself: "replay" or "forgetting"."""
    return place / "crystals" / f"{model.replace(':', '_')}-{which}.xyz"


def crystals(folder: str, model: str, copies: int, every: int) -> dict[str, Any]:
    """Relax prototypes with the untouched model, rattle them, label them by it.

    Of the compositions every other one is for replay, the others are for measuring what was
    forgotten. copies: of each relaxed one; every: only every so many prototypes.
    """
    import ase.io
    import numpy as np
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE

    import tunesmith

    calculator = tunesmith.Calculator(model)
    rng = np.random.default_rng(3)
    sets: dict[str, list[Any]] = {"replay": [], "forgetting": []}
    unrelaxed = []
    for i, start in enumerate(prototypes()[::every]):
        atoms = start.copy()
        atoms.calc = calculator
        done = FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.02, steps=100)
        if not done:
            unrelaxed.append(atoms.get_chemical_formula())
        for _ in range(copies):
            shaken = atoms.copy()
            strain = np.eye(3) + rng.normal(scale=0.01, size=(3, 3))
            shaken.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            shaken.positions += rng.normal(scale=0.06, size=shaken.positions.shape)
            shaken.calc = calculator
            shaken.info = {"REF_energy": shaken.get_potential_energy()}
            shaken.arrays["REF_forces"] = shaken.get_forces()
            shaken.calc = None
            sets["replay" if i % 2 == 0 else "forgetting"].append(shaken)
    for which, frames in sets.items():
        path = crystal_file(Path(folder), model, which)
        path.parent.mkdir(parents=True, exist_ok=True)
        ase.io.write(path, frames, format="extxyz")
    return {"unrelaxed": unrelaxed} | {which: len(frames) for which, frames in sets.items()}


#: structure and lattice constant in Å of binary compounds
BINARIES = {
    "rocksalt": {
        **{"LiF": 4.03, "NaCl": 5.64, "KBr": 6.60, "MgO": 4.21, "CaO": 4.81, "NaF": 4.63},
        **{"TiC": 4.33, "TiN": 4.24, "LiH": 4.08, "CaS": 5.69, "VN": 4.14, "KCl": 6.29},
    },
    "zincblende": {
        **{"GaAs": 5.65, "ZnS": 5.41, "SiC": 4.36, "BN": 3.62, "AlP": 5.46, "InSb": 6.48},
        **{"GaN": 4.50, "CdTe": 6.48, "AlN": 4.38, "CuCl": 5.42},
    },
    "cesiumchloride": {"CsCl": 4.12, "NiAl": 2.88, "CuZn": 2.95, "AgMg": 3.31},
}
ELEMENTS = ("C", "Si", "Ge", "Al", "Cu", "Ag", "Ni", "Pd", "Fe", "W", "Na", "Mg", "Ti", "Zn")


def prototypes() -> list[Any]:
    """Crystals of simple structures, at least two atoms each."""
    from ase.build import bulk

    found = []
    for structure, compounds in BINARIES.items():
        for name, a in compounds.items():
            found.append(bulk(name, structure, a=a).repeat((1, 1, 2)))
    for symbol in ELEMENTS:
        atoms = bulk(symbol)
        found.append(atoms.repeat((1, 1, 2)) if len(atoms) < 3 else atoms)
    return found


if __name__ == "__main__":
    known = {f.__name__: f for f in (prepare, crystals, cell)}
    started = time.monotonic()
    answer = known[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps(answer | {"seconds": round(time.monotonic() - started, 1)}))
