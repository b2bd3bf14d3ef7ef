"""What a paper says, and what the cells of a bench give beside it.

Nothing here agrees or disagrees with a paper: that takes a claim of the paper's own, trainings
that were run to their end and an error bar. A table says which numbers lie within which limits, and
whose limits those are.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from statistics import mean
from typing import Any, NamedTuple

from bench.runner.parts import Found
from bench.runner.tables import markdown
from bench.strategies.strategies_tables import Cells

#: strategies with a head for replay
REPLAY = ("multihead", "pseudolabel", "pseudolabel-lora")
TUNED = ("naive", "lora", "freeze-first", "freeze-readout", *REPLAY)
#: limits that no paper states
OURS = "ours"
PER_STEP = "per_step_to_naive"
#: what a number is computed of: system, number of labels, strategy
Case = tuple[str, int, str]


class Number(NamedTuple):
    """Mean over the seeds and half their range, which is NaN of one seed."""

    value: float
    half: float = math.nan

    def __str__(self) -> str:
        half = "" if math.isnan(self.half) else f" ± {self.half:.2f}"
        return f"{self.value:.2f}{half}"


@dataclass(frozen=True)
class Finding:
    """A statement as a number per case, and the limits it must lie in.

    cases: what the number is of → the number, NaN where it was not measured. source: where a paper
    gives these limits, or `OURS`. halves: half the range of the seeds of those cases that have it.
    """

    text: str
    cases: Mapping[str, float]
    least: float = -math.inf
    most: float = math.inf
    source: str = OURS
    halves: Mapping[str, float] = field(default_factory=dict)

    @property
    def within(self) -> str:
        """How many cases lie within the limits."""
        known = [v for v in self.cases.values() if not math.isnan(v)]
        if not known:
            return "not measured"
        if not self.limits:
            return "–"
        right = sum(self.least <= v <= self.most for v in known)
        return f"{right} of {len(known)}"

    @property
    def holds(self) -> bool:
        """Whether all that was measured lies within the limits."""
        return all(self.least <= v <= self.most for v in self.cases.values() if not math.isnan(v))

    @property
    def limits(self) -> str:
        least = [f"≥ {self.least:g}"] if math.isfinite(self.least) else []
        return ", ".join(least + ([f"≤ {self.most:g}"] if math.isfinite(self.most) else []))

    @property
    def measured(self) -> str:
        known = {k: v for k, v in self.cases.items() if not math.isnan(v)}
        told = [f"{k}: {Number(v, self.halves.get(k, math.nan))}" for k, v in known.items()]
        return "; ".join(told) or "–"


@dataclass(frozen=True)
class Ratios:
    """The numbers that findings are about, each of one case and one seed: what is compared learnt
    from the same draw of labels. NaN where a cell is missing."""

    cells: Cells
    seed: int

    def force(self, case: Case, **more: Any) -> float:
        return self.cells.value("force_rmse", *case, seed=self.seed, **more)

    def forgetting(self, case: Case, head: str = "forgetting") -> float:
        return self.cells.value(head, *case, seed=self.seed)

    def below_scratch(self, case: Case, scratch: int = 1, own: int = 1) -> float:
        """Force RMSE of scratch over the strategy's; so many times the steps of either."""
        return self.force((*case[:2], "scratch"), times=scratch) / self.force(case, times=own)

    def averaged(self, case: Case) -> float:
        """Force RMSE with averaged E0s over that with the best."""
        return self.force(case, e0="average") / self.force(case)

    def to_naive(self, case: Case) -> float:
        """Force RMSE over naive's."""
        return self.force(case) / self.force((*case[:2], "naive"))

    def naive_to_best(self, case: Case) -> float:
        """Force RMSE of naive over that of the best strategy."""
        return 1 / _least(self.to_naive((*case[:2], s)) for s in TUNED)

    def to_parts(self, case: Case) -> float:
        """Force RMSE of pseudolabel-lora over that of the worse of its two parts."""
        parts = [self.force((*case[:2], s)) for s in ("pseudolabel", "lora")]
        return self.force(case) / (math.nan if any(map(math.isnan, parts)) else max(parts))

    def kept(self, case: Case) -> float:
        """Error of the replay head on the forgetting set over the untouched model's."""
        return self.forgetting(case, "forgetting_replay_head") / self.cells.untouched("forgetting")

    def forgets_of_naive(self, case: Case) -> float:
        """Error of the target's head on the forgetting set over that of naive's."""
        return self.forgetting(case) / self.forgetting((*case[:2], "naive"))

    def choices(self, case: Case) -> float:
        """Loss by averaged E0s over the range of the strategies with the best; both as logarithms
        of a ratio of force RMSEs."""
        return math.log(self.averaged(case)) / _range(self.force((*case[:2], s)) for s in TUNED)


def findings(found: Found) -> list[Finding]:
    """Statements of the paper on fine-tuning strategies that the bench has numbers for."""
    cells = Cells(found)
    sizes = sorted({r["frames"] for r in cells.records})
    ratios = [Ratios(cells, s) for s in sorted({r["seed"] for r in cells.records})]
    cost = found["cost"].get("strategies", {})

    def of(
        text: str,
        value: Callable[[Ratios, Case], float],
        among: Iterable[int],
        strategies: Iterable[str],
        **limits: Any,
    ) -> Finding:
        cases = [(s, n, t) for s in cells.systems for n in among for t in strategies]
        numbers = {f"{s} {n} {t}": _over(value(r, (s, n, t)) for r in ratios) for s, n, t in cases}
        halves = {k: n.half for k, n in numbers.items()}
        return Finding(text, {k: n.value for k, n in numbers.items()}, **limits, halves=halves)

    both, few = ("naive", "lora"), [10]
    spice: dict[str, Any] = {"least": 1, "source": "paper, 3.4: SPICE"}
    worse: dict[str, Any] = {"least": 1, "source": "paper, 3.2"}
    scratch = (
        "Force RMSE of scratch over the fine-tuned's at 10 labels (paper: 3.2 and 3.0 with 60 "
        "of SN2, one run; 0.97 and 1.02 with 96 of NaCl, three seeds)"
    )
    averaged = "Averaged E0s are worse than re-estimated ones, in force RMSE"
    ranged = "Averaged E0s cost more than the range of the strategies (logarithms of ratios)"
    head = "Error of the replay head on the forgetting set over the untouched model's"
    replay = "Replay forgets less than naive, both by the target's head"
    adapted = "LoRA forgets less than naive, both by the target's head"
    lora = (
        "Force RMSE of LoRA over naive's at 10 labels (paper: 1.08 with 60 of SN2, one run; "
        "0.95 with 96 of NaCl, where either varies by 11 % over three seeds)"
    )
    naive = "Naive is within 10 % of the best at most labels"
    together = "Pseudolabels with LoRA are worse than either alone, in force RMSE"
    multihead = (
        "CPU time of a step of multihead over naive's (paper: 3 to 15 times the compute of a "
        "whole training, which was not measured)"
    )
    two: dict[str, Any] = {"least": 2, "most": 3, "source": "paper, 3.2: LPSC"}
    forgets = Ratios.forgets_of_naive
    slightly: dict[str, Any] = {"most": 1, "source": "paper, 4: slightly"}
    longer, both_longer = partial(Ratios.below_scratch, scratch=4), {"scratch": 4, "own": 4}
    return [
        of(scratch, Ratios.below_scratch, few, both, **spice),
        of("… where scratch alone has 4 times the steps", longer, few, both, **spice),
        of("… where both have", partial(longer, **both_longer), few, ["naive"], **spice),
        of(averaged, Ratios.averaged, sizes, both, **worse),
        of("… by 2 to 3 times", Ratios.averaged, sizes, both, **two),
        of(ranged, Ratios.choices, sizes, both, **worse),
        of(head, Ratios.kept, sizes, REPLAY, most=1.2),
        of(replay, forgets, sizes, REPLAY, most=1, source="paper, Fig. 10"),
        of(adapted, forgets, sizes, ["lora"], **slightly),
        of(lora, Ratios.to_naive, few, ["lora"], most=1.05),
        of(naive, Ratios.naive_to_best, sizes[-1:], ["naive"], most=1.1),
        of(together, Ratios.to_parts, sizes, REPLAY[2:], least=1, source="paper, A.2"),
        Finding(multihead, {"per step": cost.get("multihead", {}).get(PER_STEP, math.nan)}),
    ]


def verdicts(found: Found) -> str:
    """The findings as a table, each with the numbers it rests on."""
    steps = found["steps"]
    told = (
        "Numbers beside what the paper on fine-tuning strategies says. Limits are the paper's "
        "where the table says so; limits of ours say nothing of it. Ratios are taken within a "
        "seed: the mean over the seeds, ± half their range. Trainings ended after "
        f"{steps} steps (4 times as many where said), not where they had converged, so that none "
        "of this confirms or refutes a statement."
    )
    return f"{told}\n\n{table(findings(found))}"


def table(findings: Iterable[Finding]) -> str:
    """Statements, limits, whose they are, how many cases lie within, and the numbers."""
    rows = [
        [f.text, f.limits or "–", f.source if f.limits else "–", f.within, f.measured]
        for f in findings
    ]
    return markdown(["statement", "limits", "limits of", "within", "measured"], rows)


def _over(values: Iterable[float]) -> Number:
    """Of those seeds that have the number."""
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return Number(math.nan)
    return Number(mean(known), (max(known) - min(known)) / 2 if len(known) > 1 else math.nan)


def _least(values: Iterable[float]) -> float:
    return min((v for v in values if not math.isnan(v)), default=math.nan)


def _range(values: Iterable[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return math.log(max(known) / min(known)) if len(known) > 1 else math.nan
