"""Put a pretrained organic-xs into the package, with its frame sets and a card of its errors.

python recipes/organic-xs/ship.py --data build/organic-xs --fit build/organic-xs/fit
"""

import argparse
import json
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.build import molecule

from tunesmith.core import Frame
from tunesmith.data.formats import read_frames
from tunesmith.posterior.ensemble import Ensemble, open_model
from tunesmith.report.evaluate import evaluate
from tunesmith.tensor_files import read as read_tensors

PACKAGE = Path(__file__).parents[2] / "src" / "tunesmith" / "potentials" / "organic_xs"
COLUMNS = (
    ("energy RMSE", "energy_rmse_meV_per_atom"),
    ("energy MAE", "energy_mae_meV_per_atom"),
    ("force RMSE", "force_rmse_meV_per_A"),
    ("force MAE", "force_mae_meV_per_A"),
    ("force rms", "force_rms_reference_meV_per_A"),
)
# ruff: noqa: E501 - rows of a table cannot be broken
CARD = """# organic-xs

A small MACE for neutral closed-shell molecules of H, C, N and O, embedded in tunesmith so that
everything runs on a laptop without a network. It is a starting point for fine-tuning and a subject
for tests; it is not a general-purpose potential.

| | |
|---|---|
| architecture | MACE, {hidden_irreps}, 2 layers, l ≤ {max_ell}, correlation {correlation}, cutoff {r_max} Å |
| weights | {n_weights} ({kilobytes} kB, float32 safetensors) |
| reference | GFN2-xTB (tblite), total energies; E0s are GFN2 isolated atoms |
| training data | {frames} frames, made by `recipes/organic-xs/generate.py`, seed in its summary |
| training | `recipes/organic-xs/pretrain.py`: {epochs} epochs, best {best}, AdamW with cosine schedule, one CPU core |
| speed | energy and forces of ethanol: {milliseconds:.1f} ms of CPU, one thread, float32 |
| licence | MIT |
| made | {date} |

## Errors against GFN2-xTB

Energies in meV/atom, forces in meV/Å per component. The molecules of *test* and *forgetting* are
in no part of the training set. The aim is ≤ 5 meV/atom and ≤ 100 meV/Å for unseen
molecules at 300–800 K: {verdict}.

{table}

## The data

Small molecules (up to about ten heavy atoms) with the functional groups of everyday organic
chemistry: relaxed geometries, MD at 300–1500 K, rattled structures, stretched bonds, close
contacts, dimers and small clusters (water among them), and interpolated reaction-like paths. Left
out altogether: ethanol, acetylacetone and 3-(benzyloxy)pyridin-2-amine, so that they are honest
subjects for fine-tuning; radicals, carbenes, ions, zwitterions, ozone.

Shipped beside the weights: `replay.xyz` ({n_replay} frames drawn from the training molecules, for
replay) and `forgetting.xyz` ({n_forgetting} frames of other molecules, to measure what fine-tuning
forgot). Their labels are GFN2-xTB.

## Limits

No other elements, no charges, no open shells, no periodic crystals beyond what molecules teach.
Bonds broken beyond about 1.7 × their length, and energies more than about 1 eV/atom above the
minimum, were not seen. Long-range electrostatics and dispersion end at two cutoffs.
"""


def per_type(frames: list[Frame]) -> dict[str, list[Frame]]:
    groups: dict[str, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(frame.config_type, []).append(frame)
    return groups


def row(name: str, model: Ensemble, frames: list[Frame]) -> tuple[str, dict[str, Any]]:
    summary = evaluate(model, frames).summary()
    cells = [f"{summary[key]:.1f}" for _, key in COLUMNS]
    return f"| {name} | {len(frames)} | " + " | ".join(cells) + " |", summary


def said(errors: dict[str, Any]) -> str:
    """RMSE in words, and whether they meet the aim."""
    energy, force = errors["energy_rmse_meV_per_atom"], errors["force_rmse_meV_per_A"]
    verdict = "met" if energy <= 5 and force <= 100 else "not met"
    return f"{energy:.1f} meV/atom and {force:.0f} meV/Å (RMSE, {verdict})"


def speed(model: Ensemble) -> float:
    """Median CPU time of one ethanol call, ms: the clock of a shared machine says little."""
    atoms = molecule("CH3CH2OH")
    times = []
    for _ in range(60):
        start = time.process_time()
        model.predict([atoms])
        times.append(time.process_time() - start)
    return 1e3 * float(np.median(times[10:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of generate.py")
    parser.add_argument("--fit", type=Path, required=True, help="folder of pretrain.py")
    args = parser.parse_args()
    torch.set_num_threads(1)
    PACKAGE.mkdir(exist_ok=True)
    for name in ("weights.safetensors", "model.json"):
        shutil.copy(args.fit / name, PACKAGE / name)
    for name in ("replay.xyz", "forgetting.xyz"):
        shutil.copy(args.data / name, PACKAGE / name)
    model = open_model("organic-xs")
    sets = {n: read_frames(args.data / f"{n}.xyz")[0] for n in ("test", "forgetting", "valid")}
    names = ("set", "frames", *(name for name, _ in COLUMNS))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    judged = [f for f in sets["test"] if f.config_type in ("md300", "md500", "md800")]
    line, aim = row("test, 300–800 K (the aim)", model, judged)
    lines.append(line)
    lines += [row(f"test, {k}", model, v)[0] for k, v in sorted(per_type(sets["test"]).items())]
    cool = [f for f in sets["forgetting"] if f.config_type in ("md300", "md500", "md800")]
    line, other = row("forgetting, 300–800 K", model, cool)
    lines.append(line)
    lines.append(row("forgetting, all", model, sets["forgetting"])[0])
    lines.append(row("training molecules, held-out frames", model, sets["valid"])[0])
    info = json.loads((PACKAGE / "model.json").read_text())
    verdict = f"here {said(aim)} for the test molecules and {said(other)} for the forgetting ones"
    card = CARD.format(
        **{k: info["network"][k] for k in ("hidden_irreps", "max_ell", "correlation", "r_max")},
        n_weights=sum(w.numel() for w in model.weights[0].values()),
        kilobytes=(PACKAGE / "weights.safetensors").stat().st_size // 1000,
        frames=info["frames"],
        epochs=info["sampler"]["epochs"],
        best=read_tensors(PACKAGE / "weights.safetensors")[1]["best_epoch"],
        milliseconds=speed(model),
        date=datetime.now(UTC).date().isoformat(),
        verdict=verdict,
        table="\n".join(lines),
        n_replay=len(read_frames(PACKAGE / "replay.xyz")[0]),
        n_forgetting=len(sets["forgetting"]),
    )
    (PACKAGE / "CARD.md").write_text(card)
    print(card)


if __name__ == "__main__":
    main()
