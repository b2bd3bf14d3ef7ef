"""What the weight of stress in the Huber loss does to a crystal: eq. 11 of the paper on fine-tuning
strategies takes the Frobenius norm of the stress error, and until November 2026 our loss took the
mean over its nine components.

    python bench/stress.py --data FOLDER [--seeds 0 1 2] [--quick] [--json FILE]

FOLDER holds frames.xyz, crystals labelled with energy, forces and stress (silicon of the mlearn
benchmark). Every seed draws structures to learn and others to judge; all losses learn the same
ones from the same start. Finished fits are kept below --work, so that the same command goes on.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import measure
from strategies_table import markdown

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "sevenn", "mace-torch", "tunesmith")
#: λ_S, and whether the error is a norm
LOSSES = {
    "no stress": (0.0, True),
    "mean of components": (1.0, False),
    "norm (eq. 11)": (1.0, True),
}
SHOWN = {
    "energy MAE, meV/atom": "energy_mae_meV_per_atom",
    "force RMSE, meV/Å": "force_rmse_meV_per_A",
    "stress RMSE, GPa": "stress_rmse_GPa",
    "stress MAE, GPa": "stress_mae_GPa",
}
UNTOUCHED = "untouched"


def loss_of(name: str) -> Any:
    """A Huber loss; as it was where it is of components."""
    from tunesmith.tune.batch_errors import huber
    from tunesmith.tune.loss import Huber

    weight, norm = LOSSES[name]

    class OfComponents(Huber):
        def __call__(self, out: Any, batch: Any, targets: Any) -> Any:
            rest = Huber(stress=0.0)(out, batch, targets)
            error = (out.stress - targets.stress).nan_to_num().abs()
            own = huber(error, self.delta).mean((-1, -2))
            return rest + self.stress * (targets.weight * own).mean()

    return Huber(stress=weight) if norm else OfComponents(stress=weight)


def parts(options: argparse.Namespace, seed: int) -> tuple[list[Any], list[Any]]:
    """Structures to learn and to judge."""
    from tunesmith.data.formats import read_frames

    frames, _ = read_frames(options.data / "frames.xyz")
    order = np.random.default_rng(seed).permutation(len(frames))
    chosen = [frames[i] for i in order[: options.train + options.test]]
    return chosen[: options.train], chosen[options.train :]


def judged(posterior: Any, frames: list[Any]) -> dict[str, float]:
    from tunesmith.report.evaluate import evaluate

    found = evaluate(posterior, frames).summary()
    return {key: found[key] for key in SHOWN.values()}


def fitted(potential: Any, name: str, seed: int, o: argparse.Namespace) -> dict[str, Any]:
    """One fit by AdamW to zero rate, and its errors; untouched: only the E0s are aligned."""
    from tunesmith.core import E0s, Members
    from tunesmith.data.e0 import choose_e0s
    from tunesmith.posterior.ensemble import Ensemble
    from tunesmith.tune.adamw import AdamW
    from tunesmith.tune.anchor import NoAnchor
    from tunesmith.tune.problem import Problem
    from tunesmith.tune.subspace import All

    train, test = parts(o, seed)
    foundation = Ensemble(potential, [potential.weights()], E0s(potential.e0s))
    energies = [float(foundation.predict([f.atoms], spread="energy").mean.energy[0]) for f in train]
    e0s = choose_e0s(
        "reestimate", frames=train, foundation=potential.e0s, predicted=np.array(energies)
    )
    about: dict[str, Any] = {"loss": name, "seed": seed}
    if name == UNTOUCHED:
        return about | judged(Ensemble(potential, [potential.weights()], e0s), test)
    epochs = -(-o.steps // -(-len(train) // o.batch))
    course = {"epochs": epochs, "patience": epochs, "batch_size": o.batch, "schedule": "cosine"}
    problem = Problem(potential, All(), NoAnchor(), loss_of(name), train, [], e0s, seed=seed)
    clock = time.process_time()
    fit = AdamW(ema=0.99, **course).fit(problem, None, _say)
    members = Members(potential.base, potential.weights(), All(), fit.moved, e0s)
    spent = {"cpu_s": time.process_time() - clock}
    return about | spent | judged(Ensemble.of(potential, members), test)


def table(result: dict[str, Any]) -> str:
    """Means over seeds with their standard errors, and ratios of pairs."""
    o, fits = result["options"], result["fits"]
    about = ", ".join(f"{k} {v}" for k, v in result["machine"].items())
    of = {name: [f for f in fits if f["loss"] == name] for name in (UNTOUCHED, *LOSSES)}
    rows = []
    for name, own in of.items():
        if own:
            rows.append([name, *(_mean([f[key] for f in own]) for key in SHOWN.values())])
    before, after = of["mean of components"], of["norm (eq. 11)"]
    seeds = sorted({f["seed"] for f in before} & {f["seed"] for f in after})
    if seeds:
        ratios = []
        for key in SHOWN.values():
            one, two = ({f["seed"]: f[key] for f in own} for own in (after, before))
            ratios.append(_mean([one[s] / two[s] for s in seeds]))
        rows.append(["norm over mean, in pairs", *ratios])
    return "\n".join(
        [
            f"# Stress in the loss: {o['model']}",
            "",
            f"{about}; one thread. `bench/stress.py`: {o['train']} structures learnt, {o['test']} "
            f"others judged, {len(o['seeds'])} draws; AdamW, {o['steps']} steps of {o['batch']} "
            "structures, rate 1e-3 to zero by a cosine, λ_E = λ_F = 10, λ_S = 1, δ = 0.01; means "
            "over draws and their standard errors.",
            "",
            markdown(["loss", *SHOWN], rows),
            "",
        ]
    )


def _mean(values: list[float]) -> str:
    mean = f"{np.mean(values):.3g}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.2g}"


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder that holds frames.xyz")
    add("--model", default="7net-0")
    add("--quick", action="store_true", help="a minute or two: four steps, one seed")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--losses", nargs="+", choices=list(LOSSES), default=list(LOSSES))
    add("--train", type=int, default=40)
    add("--test", type=int, default=40)
    add("--steps", type=int, default=200, help="of the optimiser")
    add("--batch", type=int, default=2, help="structures a step")
    add("--work", type=Path, help="keep finished fits here, and go on from them")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--out", type=Path, help="write the table to this file")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.steps, options.train, options.test = [0], 4, 4, 4
    return options


def main() -> None:
    """Every loss by every seed."""
    options = _options()
    import torch

    from tunesmith.potentials import zoo

    torch.set_num_threads(1)
    potential, fits = zoo.load(options.model), []
    for seed in options.seeds:
        for name in (UNTOUCHED, *options.losses):
            about = (options.model, options.train, options.test, options.steps, options.batch)
            word = "-".join(str(part).replace(" ", "-") for part in (name, *about, seed))
            kept = options.work and options.work / f"{word}.json"
            if kept and kept.exists():
                fits.append(json.loads(kept.read_text()))
                continue
            _say(f"seed {seed}: {name}")
            fits.append(fitted(potential, name, seed, options))
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(fits[-1]))
    shown = ("model", "train", "test", "seeds", "steps", "batch")
    result = {
        "options": {k: getattr(options, k) for k in shown},
        "machine": measure.machine(PACKAGES),
        "fits": fits,
    }
    measure.told(options, table(result), result)


if __name__ == "__main__":
    main()
