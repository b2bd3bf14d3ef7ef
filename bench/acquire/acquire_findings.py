"""What is published of choosing, and what the bench's cells say of it.

Statements are the paper's own, of reactive pools; what it says of one number each, without an error
bar, is asked here of the sign or of the order.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.acquire.acquire_plan import BASELINE, COMMITTEES, MAIN, SECOND
from bench.acquire.acquire_tables import ENERGY, FORCE, Courses
from bench.runner.parts import Found
from bench.runner.tables import markdown
from tunesmith.report.seeds import interval

#: representations that posterior variance and LCMD both chose by
BOTH = ("ntk", "activation", "soap")
#: the network's own
OWN = ("ntk", "activation")
#: seeds without which an interval is little more than the range of its values
FEWEST = 3
VERDICTS = ("agrees", "disagrees", "open", "too few seeds")


@dataclass(frozen=True)
class Number:
    """A number over seeds and its central 90 % over resampled ones, None of one seed."""

    value: float
    between: tuple[float, float] | None
    seeds: int


@dataclass(frozen=True)
class Finding:
    """A published statement: the numbers it is about, and the limits between which they must lie.

    cases: what the number is of → the number, None where it was not measured. shown: its format.
    """

    text: str
    cases: dict[str, Number | None]
    least: float = -math.inf
    most: float = math.inf
    shown: str = "{:.2f}"

    def of(self, number: Number) -> str:
        """The verdict of one case; none without an error bar, nor across a limit."""
        if number.between is None or number.seeds < FEWEST:
            return "too few seeds"
        low, high = number.between
        if self.least < low and high < self.most:
            return "agrees"
        return "disagrees" if high <= self.least or low >= self.most else "open"

    @property
    def verdict(self) -> str:
        found = Counter(self.of(n) for n in self.cases.values() if n is not None)
        if len(found) < 2:
            return next(iter(found), "not measured")
        return ", ".join(f"{verdict} {found[verdict]}" for verdict in VERDICTS if found[verdict])

    def measured(self) -> str:
        return "; ".join(
            f"{case}: {self._told(n)}" for case, n in self.cases.items() if n is not None
        )

    def _told(self, number: Number) -> str:
        ends = ", ".join(self.shown.format(end) for end in number.between or ())
        between = f" [{ends}]" if ends else ""
        return f"{self.shown.format(number.value)}{between} ({number.seeds})"


def findings(found: Found) -> list[Finding]:
    """The statements of the paper that the bench can test, on its reactive pools."""
    courses = Courses(found)

    def each(
        value: Callable[[str, str], Number | None], names: Iterable[str]
    ) -> dict[str, Number | None]:
        return {f"{pool} {name}": value(pool, name) for pool in courses.reactive for name in names}

    def gain(metric: str) -> Callable[[str, str], Number | None]:
        return lambda pool, method: compared(courses, pool, method, metric, "round_gain")

    def area_to(other: str, metric: str = FORCE) -> Callable[[str, str], Number | None]:
        return lambda pool, method: compared(courses, pool, method, metric, "auc_ratio", other)

    def pv_to_lcmd(pool: str, kind: str) -> Number | None:
        return area_to(f"{kind}-lcmd")(pool, f"{kind}-pv")

    def more_outliers(pool: str, kind: str) -> Number | None:
        return outliers(courses, pool, f"{kind}-pv", f"{kind}-lcmd")

    def less_sure(other: str) -> Callable[[str, str], Number | None]:
        return lambda pool, kind: processes(
            courses, pool, lambda t: t[other.format(kind)]["nll"] - t[kind]["nll"]
        )

    def covers_less(pool: str, kind: str) -> Number | None:
        other = f"{kind}, random weights"
        return processes(courses, pool, lambda t: t[kind]["coverage90"] - t[other]["coverage90"])

    def gains(text: str, metric: str) -> Finding:
        return Finding(text, each(gain(metric), MAIN), least=0, shown="{:+.0%}")

    def below(text: str, other: str, methods: Iterable[str] = MAIN, metric: str = FORCE) -> Finding:
        return Finding(text, each(area_to(other, metric), methods), most=1)

    def above(text: str, methods: Iterable[str], metric: str = FORCE) -> Finding:
        return Finding(text, each(area_to(BASELINE, metric), methods), least=1)

    def worse(text: str, other: str) -> Finding:
        return Finding(text, each(less_sure(other), OWN), least=0, shown="{:+.2f}")

    all_four, (by_force, by_energy) = (*MAIN, *SECOND), COMMITTEES
    return [
        gains("By LCMD, ntk and activation need fewer rounds than random, forces (10–50 %)", FORCE),
        gains("… and energies (11–83 %)", ENERGY),
        below("Their force AUC is below random's (0.47–0.53 of it)", BASELINE, all_four),
        below("… their energy AUC too (0.39–0.40)", BASELINE, all_four, ENERGY),
        below("Their force AUC is below committee-force's (0.63)", by_force),
        below("… below that of SOAP with k-center (0.75–0.85)", "soap-kcenter", all_four),
        Finding(
            "Posterior variance has a smaller force AUC than LCMD (ntk 0.89, activation 0.92)",
            each(pv_to_lcmd, OWN),
            most=1,
        ),
        Finding("… by SOAP a larger one (1.62)", each(pv_to_lcmd, ("soap",)), least=1),
        below("committee-force is below random in force AUC (0.85)", BASELINE, [by_force]),
        above("… but above in energy AUC (1.47)", [by_force], ENERGY),
        above("committee-energy is above random in force AUC (1.02)", [by_energy]),
        Finding(
            "Posterior variance takes more outliers than LCMD (no number)",
            each(more_outliers, BOTH),
            least=1,
        ),
        worse(
            "NLL of random weights is higher (ntk 0.52 nats, activation 1.82)", "{}, random weights"
        ),
        worse("… that of SOAP too (2.3, 2.5)", "soap"),
        Finding(
            "90 % intervals of random weights cover less (ntk 0.07, activation 0.24)",
            each(covers_less, OWN),
            least=0,
            shown="{:+z.2f}",
        ),
    ]


def verdicts(found: Found) -> str:
    """The findings as a table, each with the numbers it rests on."""
    rows = [[f.text, f.verdict, f.measured() or "–"] for f in findings(found)]
    return markdown(["published", "verdict", "measured [central 90 %] (seeds)"], rows)


# ------------------------------------------------------------------- numbers and their spread


def compared(
    courses: Courses, pool: str, method: str, metric: str, what: str, other: str = BASELINE
) -> Number | None:
    """Of `curves.compare`, over the seeds of both."""
    row = courses.compared(pool, method, metric, other)
    return None if row is None else Number(row[what], row[f"{what}_interval"], row["seeds"])


def outliers(courses: Courses, pool: str, method: str, other: str) -> Number | None:
    """Share of outliers among what one chose, over that of another, over the seeds of both."""
    one, two = courses.of(pool, method), courses.of(pool, other)
    seeds = sorted(one.keys() & two.keys())
    if not seeds:
        return None
    ours, theirs = (np.array([r[s]["outliers"] for s in seeds]) for r in (one, two))
    return _number(lambda drawn: ours[drawn].mean(-1) / theirs[drawn].mean(-1), len(seeds))


def processes(
    courses: Courses, pool: str, value: Callable[[dict[str, Any]], float]
) -> Number | None:
    """Mean over the seeds of a number of the residual processes' scores."""
    values = np.array([value(scores) for scores in courses.tables(pool)])
    return _number(lambda drawn: values[drawn].mean(-1), len(values)) if len(values) else None


def _number(statistic: Callable[[np.ndarray], np.ndarray], seeds: int) -> Number:
    return Number(float(statistic(np.arange(seeds))), interval(statistic, seeds), seeds)
