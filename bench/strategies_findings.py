"""What a paper says, and what the cells of a bench give beside it.

Nothing here agrees or disagrees with a paper: that takes a claim of the paper's own, trainings
that were run to their end and an error bar. A table says which numbers lie within which limits, and
whose limits those are.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, NamedTuple

from strategies_table import Cells, markdown

#: strategies with a head for replay
REPLAY = ("multihead", "pseudolabel", "pseudolabel-lora")
TUNED = ("naive", "lora", "freeze-first", "freeze-readout", *REPLAY)
#: limits that no paper states
OURS = "ours"
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
        return self.forgetting(case, "forgetting_replay_head") / self.cells.foundation["forgetting"]

    def forgets_of_naive(self, case: Case) -> float:
        """Error of the target's head on the forgetting set over that of naive's."""
        return self.forgetting(case) / self.forgetting((*case[:2], "naive"))

    def choices(self, case: Case) -> float:
        """Loss by averaged E0s over the range of the strategies with the best; both as logarithms
        of a ratio of force RMSEs."""
        return math.log(self.averaged(case)) / _range(self.force((*case[:2], s)) for s in TUNED)


def findings(found: dict[str, Any]) -> list[Finding]:
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
    beaten: dict[str, Any] = {"least": 1, "source": "paper, 3.4: SPICE"}
    return [
        of(
            "Force RMSE of scratch over the fine-tuned's at 10 labels (paper: 3.2 and 3.0 with 60 "
            "of SN2, one run; 0.97 and 1.02 with 96 of NaCl, three seeds)",
            Ratios.below_scratch,
            few,
            both,
            **beaten,
        ),
        of(
            "… where scratch alone has 4 times the steps",
            lambda r, c: r.below_scratch(c, scratch=4),
            few,
            both,
            **beaten,
        ),
        of(
            "… where both have",
            lambda r, c: r.below_scratch(c, scratch=4, own=4),
            few,
            ["naive"],
            **beaten,
        ),
        of(
            "Averaged E0s are worse than re-estimated ones, in force RMSE",
            Ratios.averaged,
            sizes,
            both,
            least=1,
            source="paper, 3.2",
        ),
        of(
            "… by 2 to 3 times",
            Ratios.averaged,
            sizes,
            both,
            least=2,
            most=3,
            source="paper, 3.2: LPSC",
        ),
        of(
            "Averaged E0s cost more than the range of the strategies (logarithms of ratios)",
            Ratios.choices,
            sizes,
            both,
            least=1,
            source="paper, 3.2",
        ),
        of(
            "Error of the replay head on the forgetting set over the untouched model's",
            Ratios.kept,
            sizes,
            REPLAY,
            most=1.2,
        ),
        of(
            "Replay forgets less than naive, both by the target's head",
            Ratios.forgets_of_naive,
            sizes,
            REPLAY,
            most=1,
            source="paper, Fig. 10",
        ),
        of(
            "LoRA forgets less than naive, both by the target's head",
            Ratios.forgets_of_naive,
            sizes,
            ["lora"],
            most=1,
            source="paper, 4: slightly",
        ),
        of(
            "Force RMSE of LoRA over naive's at 10 labels (paper: 1.08 with 60 of SN2, one run; "
            "0.95 with 96 of NaCl, where either varies by 11 % over three seeds)",
            Ratios.to_naive,
            few,
            ["lora"],
            most=1.05,
        ),
        of(
            "Naive is within 10 % of the best at most labels",
            Ratios.naive_to_best,
            sizes[-1:],
            ["naive"],
            most=1.1,
        ),
        of(
            "Pseudolabels with LoRA are worse than either alone, in force RMSE",
            Ratios.to_parts,
            sizes,
            ["pseudolabel-lora"],
            least=1,
            source="paper, A.2",
        ),
        Finding(
            "CPU time of a step of multihead over naive's (paper: 3 to 15 times the compute of a "
            "whole training, which was not measured)",
            {"per step": cost.get("multihead", {}).get("per_step_to_naive", math.nan)},
        ),
    ]


def verdicts(found: dict[str, Any]) -> str:
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
