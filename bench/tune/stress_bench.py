"""What the weight of stress in the Huber loss does to a crystal: eq. 11 of the paper on fine-tuning
strategies takes the Frobenius norm of the stress error, and until November 2026 our loss took the
mean over its nine components.

``--data`` holds silicon/frames.xyz, crystals labelled with energy, forces and stress (of the mlearn
benchmark). Every seed draws structures to learn and others to judge; all losses learn the same
ones from the same start.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.runner.parts import Bench, Found, Named, Options, Part, Record
from bench.runner.tables import described, grouped, markdown, mean_error
from bench.shared.clocks import stopwatch
from bench.shared.data_sets import drawn, labelled
from bench.shared.training import aligned, untouched
from tunesmith import evaluate
from tunesmith.core import Members
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.potentials import zoo
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.anchor import NoAnchor
from tunesmith.tune.batch_errors import huber
from tunesmith.tune.loss import Huber
from tunesmith.tune.problem import Problem
from tunesmith.tune.subspace import All

UNTOUCHED, MEAN, NORM = "untouched", "mean of components", "norm (eq. 11)"
#: λ_S, and whether the error is a norm
LOSSES = {"no stress": (0.0, True), MEAN: (1.0, False), NORM: (1.0, True)}
SHOWN = {
    "energy MAE, meV/atom": "energy_mae_meV_per_atom",
    "force RMSE, meV/Å": "force_rmse_meV_per_A",
    "stress RMSE, GPa": "stress_rmse_GPa",
    "stress MAE, GPa": "stress_mae_GPa",
}


@dataclass(frozen=True)
class Fit(Named):
    """One fit. train, test: structures; batch: of a step."""

    loss: str
    seed: int
    model: str
    train: int
    test: int
    steps: int
    batch: int


def loss_of(name: str) -> Any:
    """A Huber loss; as it was where it is of components."""
    weight, norm = LOSSES[name]

    class OfComponents(Huber):
        def __call__(self, out: Any, batch: Any, targets: Any) -> Any:
            rest = Huber(stress=0.0)(out, batch, targets)
            error = (out.stress - targets.stress).nan_to_num().abs()
            own = huber(error, self.delta).mean((-1, -2))
            return rest + self.stress * (targets.weight * own).mean()

    return Huber(stress=weight) if norm else OfComponents(stress=weight)


def fitted(it: Fit, options: Options) -> Record:
    """One fit by AdamW to zero rate, and its errors; untouched: only the E0s are aligned."""
    frames = labelled(options.data, "silicon")
    train, test = drawn(frames, [it.train, it.test], "silicon", it.seed)
    potential = zoo.load(it.model)
    e0s, spent = aligned(potential, train), [0.0]
    posterior = untouched(potential, e0s)
    if it.loss != UNTOUCHED:
        epochs = -(-it.steps // -(-it.train // it.batch))
        course: dict[str, Any] = {"epochs": epochs, "patience": epochs, "batch_size": it.batch}
        sampler = AdamW(ema=0.99, schedule="cosine", **course)
        loss = loss_of(it.loss)
        problem = Problem(potential, All(), NoAnchor(), loss, train, [], e0s, seed=it.seed)
        with stopwatch(AdamW) as spent:
            fit = sampler.fit(problem, None, print)
        members = Members(potential.base, potential.weights(), All(), fit.moved, e0s)
        posterior = Ensemble.of(potential, members)
    found = evaluate(posterior, test).summary()
    return {"cpu_s": sum(spent)} | {key: found[key] for key in SHOWN.values()}


def page(found: Found) -> str:
    """Means over seeds with their standard errors, and ratios of pairs."""
    fits, o = found["fits"], found["fits"][0]
    of = grouped(fits, lambda fit: fit["loss"])
    rows = [
        [name, *(mean_error([f[k] for f in of[name]], ".3g", ".2g") for k in SHOWN.values())]
        for name in (UNTOUCHED, *LOSSES)
        if name in of
    ]
    one, two = ({f["seed"]: f for f in of.get(name, [])} for name in (NORM, MEAN))
    if seeds := sorted(one.keys() & two.keys()):
        pairs = [[one[s][k] / two[s][k] for s in seeds] for k in SHOWN.values()]
        rows.append(["norm over mean, in pairs", *(mean_error(p, ".3g", ".2g") for p in pairs)])
    draws = len({fit["seed"] for fit in fits})
    return (
        f"{described(found)}; one thread. {o['model']}: {o['train']} structures learnt, "
        f"{o['test']} others judged, {draws} draws; AdamW, {o['steps']} steps of {o['batch']} "
        "structures, rate 1e-3 to zero by a cosine, λ_E = λ_F = 10, λ_S = 1, δ = 0.01; means "
        f"over draws and their standard errors.\n\n{markdown(['loss', *SHOWN], rows)}\n"
    )


def options(add: Callable[..., Any]) -> None:
    add("--model", default="7net-0")
    add("--train", type=int, default=40, help="structures to learn from")
    add("--test", type=int, default=40, help="structures that judge")
    add("--steps", type=int, default=200, help="of the optimiser")
    add("--batch", type=int, default=2, help="structures a step")


def plan(o: Options) -> list[Fit]:
    how = (o.model, o.train, o.test, o.steps, o.batch)
    return [Fit(loss, seed, *how) for seed in o.seeds for loss in (UNTOUCHED, *LOSSES)]


def cost(it: Fit, _: Options) -> float:
    """CPU seconds: 30 minutes for nine fits of 200 steps of two structures."""
    return 10 + (it.loss != UNTOUCHED) * 0.5 * it.steps * it.batch


BENCH = Bench(
    name="stress",
    packages=("torch", "sevenn", "mace-torch", "tunesmith"),
    parts={"fits": Part(cell=Fit, plan=plan, run=fitted, cost=cost)},
    options=options,
    data=True,
    quick={"seeds": [0], "steps": 4, "train": 4, "test": 4},
    seeds=range(3),
    page=page,
)
