"""One update of the posterior as a user of mace would write it, on nothing but mace and torch.

mace's own model and batches, the likelihood of Gaussian noise with a noise head, SGHMC on the
model's parameters in place; one chain after the other. It does the same work as `SGHMC.update`:
same batches, same gradient, same step.
"""

import copy
from typing import Any

import torch

from bench.shared.clocks import Split


def atomic_data(frames: list[Any], model: Any) -> list[Any]:
    """mace's own data of labelled structures (tunesmith `Frame`s are read for their values).

    Targets: energy without isolated atoms, which float32 could not hold.
    """
    from mace import data, tools

    table = tools.AtomicNumberTable([int(z) for z in model.atomic_numbers])
    zero = model.atomic_energies_fn.atomic_energies.double().reshape(-1)
    made = []
    for frame in frames:
        config = data.config_from_atoms(frame.atoms)
        atoms = sum(float(zero[table.z_to_index(z)]) for z in config.atomic_numbers)
        config.properties = {"energy": frame.label.energy - atoms, "forces": frame.label.forces}
        cutoff = float(model.r_max)
        made.append(data.AtomicData.from_config(config, z_table=table, cutoff=cutoff))
    return made


class Chain:
    """One chain: a copy of mace's model, a noise head, and what SGHMC keeps of each parameter.

    names: of the parameters that move. head: (weight, bias) of every layer of the noise head.
    prior_std: of every parameter around where the model stands now, and of the head around 0.
    """

    def __init__(
        self,
        model: Any,
        names: list[str],
        head: list[torch.Tensor],
        scale: Any,
        prior_std: float,
        device: str,
    ) -> None:
        self.model = copy.deepcopy(model).to(device)
        parameters = dict(self.model.named_parameters())
        for parameter in parameters.values():
            parameter.requires_grad_(False)
        self.head = [w.detach().clone().to(device) for w in head]
        self.theta = [parameters[name].data for name in names] + self.head
        self._leaves = [parameters[name] for name in names] + self.head
        for leaf in self._leaves:
            leaf.requires_grad_(True)
        self.centre = [t.detach().clone() for t in self.theta[: len(names)]]
        self.centre += [torch.zeros_like(w) for w in self.head]
        self.scale, self.prior_std, self.device = scale, prior_std, device
        self.velocity, self.v, self.v_max = (
            [torch.zeros_like(t) for t in self.centre] for _ in range(3)
        )
        self.pace = [torch.ones_like(t) for t in self.centre]
        self.t = 0

    def loss(self, batch: Any, weights: list[float]) -> torch.Tensor:
        """Σ_b weight_b · (−log-likelihood of structure b)."""
        inputs = batch.to_dict()
        out = self.model(inputs, training=True, compute_force=True)
        x = self._invariants(out["node_feats"])
        for i in range(0, len(self.head), 2):
            x = torch.nn.functional.linear(x, self.head[i], self.head[i + 1])
            x = torch.nn.functional.silu(x) if i < len(self.head) - 2 else x
        log_std = x[:, 0] + torch.log(x.new_tensor(self.scale.forces))
        squared = (out["forces"] - inputs["forces"]).square().sum(1)
        atoms = 0.5 * squared * torch.exp(-2 * log_std) + 3 * log_std
        error = (out["interaction_energy"] - inputs["energy"]) / self.scale.energy
        total = (0.5 * error.square()).index_add(0, inputs["batch"], atoms)
        return (total * total.new_tensor(weights)).sum()

    def _invariants(self, features: torch.Tensor) -> torch.Tensor:
        from mace.modules.utils import extract_invariant

        irreps = self.model.products[0].linear.irreps_out
        return extract_invariant(
            features,
            num_layers=int(self.model.num_interactions),
            num_features=irreps.dim // (irreps.lmax + 1) ** 2,
            l_max=irreps.lmax,
        )

    def gradient(self, batch: Any, weights: list[float], n: int, split: Split) -> list[Any]:
        """Of the negative log posterior over n structures, by parameter."""
        with split.part("forward"):
            loss = self.loss(batch, weights)
        gradient = torch.autograd.grad(loss, self._leaves)
        with split.part("sampler"), torch.no_grad():
            away = torch._foreach_sub(self.theta, self.centre)
            return torch._foreach_add(gradient, away, alpha=1 / (n * self.prior_std**2))

    @torch.no_grad()
    def step(
        self,
        gradient: list[Any],
        *,
        rate: float,
        noise: float,
        n: int,
        generator: Any,
        friction: float,
        beta: float,
        epsilon: float,
    ) -> None:
        """One step of SGHMC with an AMSGrad mass, in place."""
        self.t += 1
        torch._foreach_mul_(self.v, beta)
        torch._foreach_addcmul_(self.v, gradient, gradient, 1 - beta)
        torch._foreach_maximum_(self.v_max, self.v)
        pace = torch._foreach_div(self.v_max, 1 - beta**self.t)
        torch._foreach_sqrt_(pace)
        torch._foreach_add_(pace, epsilon)
        torch._foreach_reciprocal_(pace)
        torch._foreach_mul_(pace, rate)
        torch._foreach_mul_(self.velocity, torch._foreach_div(pace, self.pace))
        torch._foreach_mul_(self.velocity, 1 - friction)
        torch._foreach_addcmul_(self.velocity, pace, gradient, -friction)
        if noise:
            drawn = [
                torch.randn(p.shape, generator=generator, dtype=p.dtype).to(self.device)
                for p in pace
            ]
            torch._foreach_addcmul_(
                self.velocity, torch._foreach_sqrt(pace), drawn, friction * noise * (2 / n) ** 0.5
            )
        torch._foreach_add_(self.theta, self.velocity)
        self.pace = pace


def collated(data: list[Any], chosen: list[int], device: str) -> Any:
    """A batch of mace's."""
    from mace.tools.torch_geometric.batch import Batch

    return Batch.from_data_list([data[i] for i in chosen]).to(device)


def run_chain(
    chain: Chain, data: list[Any], sampler: Any, draws: Any, noise: Any, split: Split
) -> None:
    """All steps of one chain. sampler: tunesmith's settings; draws, noise: generators.

    The schedule and the draw of a batch are tunesmith's functions: microseconds, and the batches
    shall be the same.
    """
    from tunesmith.tune import annealing, sghmc

    n, known = len(data), {}
    for i in range(sampler.steps):
        with split.part("data"):
            rate, factor = annealing.per_label(i, sampler.steps, sampler.learning_rate)
            chosen, weights = sghmc.draw(n, sampler.batch_size, draws)
            if n <= sampler.batch_size:  # always the same batch
                if not known:
                    known["batch"] = collated(data, chosen, chain.device)
                batch = known["batch"]
            else:
                batch = collated(data, chosen, chain.device)
        gradient = chain.gradient(batch, weights, n, split)
        with split.part("sampler"):
            chain.step(
                gradient,
                rate=rate,
                noise=factor * sampler.temperature**0.5,
                n=n,
                generator=noise,
                friction=sampler.friction,
                beta=sampler.beta or 1 - 2 / sampler.steps,
                epsilon=sampler.epsilon,
            )
