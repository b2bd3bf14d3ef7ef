"""What a paper says of choosing, and what the cells of `acquire.py` give beside it."""

import math
from collections.abc import Iterable
from typing import Any

from acquire_plan import BASELINE, COMMITTEES, MAIN
from acquire_table import ENERGY, FORCE, Courses
from strategies_findings import Finding, table

#: of one representation each: what posterior variance chose, and what LCMD did
PAIRS = ("ntk", "activation", "soap")
#: by chance a twentieth of what is chosen are outliers: this many times as often is too often
OVER = 2
#: where the paper on pretrained representations says so
SCORES, PROCESSES = "paper, Table 4", "paper, Table 2"


def findings(found: dict[str, Any]) -> list[Finding]:
    """Statements on choosing that the bench has numbers for."""
    courses = Courses(found)
    reactive = courses.reactive

    def each(value: Any, methods: Iterable[str], pools: list[str] = reactive) -> dict[str, float]:
        return {f"{p} {m}": value(p, m) for p in pools for m in methods}

    def gain(metric: str) -> Any:
        return lambda pool, method: _of(courses, pool, method, metric, "round_gain")

    def area(pool: str, method: str) -> float:
        return _of(courses, pool, method, FORCE, "auc_ratio")

    def score(kind: str, pool: str, name: str) -> float:
        return courses.processes(pool).get(kind, {}).get(name, math.nan)

    def over(rule: str) -> dict[str, float]:
        """Share of outliers among what was chosen, over their share among candidates."""
        return each(lambda p, r: courses.average(p, f"{r}-{rule}", "outliers") / 0.05, PAIRS)

    def more_than_lcmd(pool: str, kind: str) -> float:
        lcmd = courses.average(pool, f"{kind}-lcmd", "outliers")
        return courses.average(pool, f"{kind}-pv", "outliers") / lcmd if lcmd else math.nan

    def below_committee(pool: str, method: str) -> float:
        least = _least(area(pool, c) for c in COMMITTEES)
        return area(pool, method) / least

    def below_soap(pool: str, method: str) -> float:
        return area(pool, method) / area(pool, "soap-kcenter")

    def worse_untaught(pool: str, kind: str) -> float:
        untaught = f"{kind}, random weights"
        return score(untaught, pool, "nll") - score(kind, pool, "nll")

    def worse_soap(pool: str, kind: str) -> float:
        return score("soap", pool, "nll") - score(kind, pool, "nll")

    own, tested = ("ntk", "activation"), courses.pools
    return [
        Finding(
            "ntk and activation need at least 30 % fewer rounds than random (forces)",
            each(gain(FORCE), MAIN),
            least=0.3,
        ),
        Finding("… the same for energies", each(gain(ENERGY), MAIN), least=0.3),
        Finding(
            "Their force AUC is below random's (published 0.47 and 0.49 with pv)",
            each(area, (*MAIN, "ntk-pv", "activation-pv")),
            most=1,
            source=SCORES,
        ),
        Finding(
            "… below the better committee's", each(below_committee, MAIN), most=1, source=SCORES
        ),
        Finding(
            "… and below that of SOAP with k-center", each(below_soap, MAIN), most=1, source=SCORES
        ),
        Finding(
            "Committees are below random in force AUC (published: force 0.85, energy 1.02)",
            each(area, COMMITTEES),
            most=1,
        ),
        Finding(
            "pv picks outliers too often: over twice their share, on heterogeneous pools",
            over("pv"),
            least=OVER,
        ),
        Finding("… where lcmd does not", over("lcmd"), most=OVER),
        Finding(
            "… and more of them than lcmd",
            each(more_than_lcmd, PAIRS),
            least=1,
            source="paper, 4.4",
        ),
        Finding(
            "The 90 % interval of ntk and activation covers 0.85 to 0.93 (published 0.86 and 0.88)",
            each(lambda p, k: score(k, p, "coverage90"), own, tested),
            least=0.85,
            most=0.93,
        ),
        Finding(
            "Features of random weights are worse in NLL (difference, nats)",
            each(worse_untaught, own, tested),
            least=0,
            source=PROCESSES,
        ),
        Finding("… and so is SOAP", each(worse_soap, own, tested), least=0, source=PROCESSES),
    ]


def verdicts(found: dict[str, Any]) -> str:
    """The findings as a table, each with the numbers it rests on."""
    return table(findings(found))


def _of(courses: Courses, pool: str, method: str, metric: str, what: str) -> float:
    if BASELINE not in courses.methods(pool):
        return math.nan
    row = courses.compared(pool, method, metric)
    return math.nan if row is None else float(row[what])


def _least(values: Iterable[float]) -> float:
    return min((v for v in values if not math.isnan(v)), default=math.nan)
