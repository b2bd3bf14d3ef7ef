"""What the published findings say, and what the cells of `strategies.py` say of them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from strategies_table import Cells, markdown

#: strategies with a head for replay
REPLAY = ("multihead", "pseudolabel", "pseudolabel-lora")
TUNED = ("naive", "lora", "freeze-first", "freeze-readout", *REPLAY)
#: what a number is computed of: system, number of labels, strategy
Case = tuple[str, int, str]


@dataclass(frozen=True)
class Finding:
    """A published statement as a number per case, and the limits it must lie in.

    cases: what the number is of → the number, NaN where it was not measured.
    """

    text: str
    cases: dict[str, float]
    least: float = -math.inf
    most: float = math.inf

    @property
    def verdict(self) -> str:
        known = [v for v in self.cases.values() if not math.isnan(v)]
        if not known:
            return "not measured"
        right = sum(self.least <= v <= self.most for v in known)
        if 0 < right < len(known):
            return f"partly, {right} of {len(known)}"
        return "agrees" if right else "disagrees"


@dataclass(frozen=True)
class Ratios:
    """The numbers that findings are about, each of one case; NaN where a cell is missing."""

    cells: Cells

    def below_scratch(self, case: Case, times: int = 1) -> float:
        """Force RMSE of scratch, which may have more steps, over the strategy's."""
        scratch = self.cells.mean("force_rmse", *case[:2], "scratch", times=times)
        return scratch / self.cells.mean("force_rmse", *case)

    def averaged(self, case: Case) -> float:
        """Force RMSE with averaged E0s over that with the best."""
        bad = self.cells.mean("force_rmse", *case, e0="average")
        return bad / self.cells.mean("force_rmse", *case)

    def to_naive(self, case: Case) -> float:
        """Force RMSE over naive's."""
        naive = self.cells.mean("force_rmse", *case[:2], "naive")
        return self.cells.mean("force_rmse", *case) / naive

    def naive_to_best(self, case: Case) -> float:
        """Force RMSE of naive over that of the best strategy."""
        return 1 / _least(self.to_naive((*case[:2], s)) for s in TUNED)

    def forgotten(self, case: Case) -> float:
        """Error on the forgetting set over the untouched model's, target's head."""
        return self.cells.forgotten(*case)

    def kept(self, case: Case) -> float:
        """The same of the replay head."""
        return self.cells.forgotten(*case, head="forgetting_replay_head")

    def forgets_of_naive(self, case: Case) -> float:
        return self.forgotten(case) / self.forgotten((*case[:2], "naive"))

    def choices(self, case: Case) -> float:
        """Range of naive's force RMSE over the E0s, over the range of the strategies; each is
        the logarithm of the largest over the smallest."""
        e0s = sorted({r["e0"] for r in self.cells.records if r["system"] == case[0]})
        over = _range(self.cells.mean("force_rmse", *case[:2], "naive", e0=e0) for e0 in e0s)
        return over / _range(self.cells.mean("force_rmse", *case[:2], s) for s in TUNED)


def findings(found: dict[str, Any]) -> list[Finding]:
    """The statements of the method page that the bench can test."""
    cells = Cells(found)
    ratios = Ratios(cells)
    sizes = sorted({r["frames"] for r in cells.records})
    cost = found["cost"].get("strategies", {})

    def each(
        value: Callable[[Case], float], sizes: Iterable[int], *strategies: str
    ) -> dict[str, float]:
        cases = [(s, n, t) for s in cells.systems for n in sizes for t in strategies]
        return {f"{s} {n} {t}": value((s, n, t)) for s, n, t in cases}

    def below_longer(case: Case) -> float:
        return ratios.below_scratch(case, times=4)

    both, most = ("naive", "lora"), sizes[-1:]
    text = "Fine-tuned at least 3 times below scratch in force RMSE at 10 labels"
    return [
        Finding(text, each(ratios.below_scratch, [10], *both), least=3),
        Finding("… where scratch has 4 times the steps", each(below_longer, [10], *both), least=3),
        Finding("Averaged E0s are worse", each(ratios.averaged, sizes, *both), least=1.05),
        Finding("… by 2 to 3 times in force RMSE", each(ratios.averaged, sizes, *both), 2, 3),
        Finding(
            "The replay head is within 1.2 of the foundation's own error on the forgetting set",
            each(ratios.kept, sizes, *REPLAY),
            most=1.2,
        ),
        Finding("… and naive is not", each(ratios.forgotten, sizes, "naive"), least=1.2),
        Finding(
            "LoRA forgets less than naive", each(ratios.forgets_of_naive, sizes, "lora"), most=1
        ),
        Finding(
            "LoRA equals or beats naive on small sets, within 5 %",
            each(ratios.to_naive, [10], "lora"),
            most=1.05,
        ),
        Finding(
            "Naive is the strong default for one system: within 10 % of the best",
            each(ratios.naive_to_best, most, "naive"),
            most=1.1,
        ),
        Finding(
            "The choice of E0s outweighs that of the strategy (range over range)",
            each(ratios.choices, sizes, "naive"),
            least=1,
        ),
        Finding(
            "Pseudolabels with LoRA constrain too much: not better than naive",
            each(ratios.to_naive, sizes, "pseudolabel-lora"),
            least=1,
        ),
        Finding(
            "Multihead costs 3 to 15 times naive",
            {"per step": cost.get("multihead", {}).get("per_step_to_naive", math.nan)},
            least=3,
            most=15,
        ),
    ]


def verdicts(found: dict[str, Any]) -> str:
    """The findings as a table, each with the numbers it rests on."""
    return table(findings(found))


def table(findings: Iterable[Finding]) -> str:
    """Statements, limits, verdicts and the numbers they rest on."""
    rows = []
    for finding in findings:
        known = [f"{k}: {v:.2f}" for k, v in finding.cases.items() if not math.isnan(v)]
        limits = [f"≥ {finding.least:g}"] if math.isfinite(finding.least) else []
        limits += [f"≤ {finding.most:g}"] if math.isfinite(finding.most) else []
        rows.append([finding.text, ", ".join(limits), finding.verdict, "; ".join(known) or "–"])
    return markdown(["published", "here as", "verdict", "measured"], rows)


def _least(values: Iterable[float]) -> float:
    return min((v for v in values if not math.isnan(v)), default=math.nan)


def _range(values: Iterable[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return math.log(max(known) / min(known)) if len(known) > 1 else math.nan
