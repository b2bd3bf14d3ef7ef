"""How many broken data sets `tunesmith doctor` catches and names; how many clean ones it refuses.

draws: every defect of `tunesmith.testing.defects` and every harmless change, in random sets
of molecules, clusters and crystals (`families.py`), and in real ones of ``--data``. kinds: clean
sets of the kinds that are published (`kinds.py`), each as it is and with a harmless change; every
refusal is an error.

Sets are written to a file as a user would have it, read and examined. "development" is what the
rules were tuned on, the other families are not.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy.stats import beta

from bench.doctor import kinds as published
from bench.doctor.cases import Case, broken_cases, clean_cases
from bench.doctor.families import FAMILIES, clean_sets
from bench.runner.parts import Bench, Found, Named, Options, Part, Record
from bench.runner.tables import counts, grouped, markdown, share
from tunesmith import open_model
from tunesmith.core import derived_seed
from tunesmith.testing.defects import CHANGES

AS_IT_IS = "as it is"


@dataclass(frozen=True)
class Draw(Named):
    """Defects and changes of one seed in the sets of another. each: sets for every defect."""

    family: str
    sets_seed: int
    seed: int
    each: int
    model: str


@dataclass(frozen=True)
class Round(Named):
    """A set of every kind of a world. network: what labels the world "network"."""

    family: str
    world: str
    round: int
    model: str
    network: str


def drawn(it: Draw, options: Options) -> Record:
    """Every defect in some sets, every harmless change in all (of the quick bench, none)."""
    warnings.filterwarnings("ignore")
    sets = clean_sets(it.family, options.work, options.data, it.sets_seed)
    posterior, changes = open_model(it.model), [AS_IT_IS] if options.quick else list(CHANGES)
    return {
        "sets": {name: len(frames) for name, frames in sets.items()},
        "broken": [asdict(c) for c in broken_cases(sets, posterior, it.each, it.seed)],
        "clean": [asdict(c) for c in clean_cases(sets, posterior, changes, it.seed)],
    }


def kinds(it: Round, options: Options) -> Record:
    """Every set as it is, and with one harmless change drawn at random."""
    warnings.filterwarnings("ignore")
    which, work = range(it.round, it.round + 1), options.work
    sets = published.clean_kinds(it.family, [it.world], which, it.network, work)
    posterior, cases = open_model(it.model), list[Case]()
    for name, frames in sets.items():
        rng = np.random.default_rng(derived_seed(it.round, "clean", name))
        change = str(rng.choice([k for k in CHANGES if k != AS_IT_IS]))
        cases += clean_cases({name: frames}, posterior, [AS_IT_IS, change], it.round)
    sizes = {name: len(frames) for name, frames in sets.items()}
    return {"sets": sizes, "cases": [asdict(c) for c in cases]}


# ------------------------------------------------------------------------------ tables


def cases(records: list[Record], what: str) -> list[Case]:
    return [Case(**c) for r in records for c in r[what]]


def shown(records: list[Record], _: Found) -> str:
    """Totals, a row for each family, defect and change, and every failure in words; errors are one
    standard error."""
    broken, clean = cases(records, "broken"), cases(records, "clean")
    seconds = sorted(c.seconds for c in [*broken, *clean])
    refused = [c for c in clean if c.refused]
    missed = [
        f"- {c.kind}, {c.on} ({c.text}): wanted {' or '.join(c.codes)}"
        f"{'' if c.spoils else ' (warning)'}; said {'; '.join(c.messages) or 'nothing'}"
        for c in broken
        if not c.named
    ]
    alarms = [f"- {c.kind}, {c.on}: {'; '.join(c.messages)}" for c in refused]
    sets = {name: n for r in records for name, n in r["sets"].items()}
    by_kind, by_change = (grouped(of, lambda c: c.kind) for of in (broken, clean))
    defects = [
        [kind, str(len(of)), str(sum(c.caught for c in of)), str(sum(c.named for c in of))]
        for kind, of in by_kind.items()
    ]
    changes = [
        [
            kind,
            str(len(of)),
            str(sum(c.refused for c in of)),
            str(sum(bool(c.warnings) for c in of)),
        ]
        for kind, of in by_change.items()
    ]
    parts = [
        "## Recall",
        f"Sets: {', '.join(f'{name} ({n} frames)' for name, n in sets.items())}.",
        f"- {len(by_kind)} defects, {len(broken)} broken sets: "
        f"**{share(sum(c.named for c in broken), len(broken))} caught and named**, "
        f"{share(sum(c.caught for c in broken), len(broken))} caught\n"
        f"- {len(clean)} clean sets: **{len(refused)} refused**; warnings: {warned(clean)}\n"
        f"- CPU seconds for a set: median {seconds[len(seconds) // 2]}, longest {seconds[-1]}",
        families(records),
        markdown(["defect", "sets", "caught", "named"], defects),
        markdown(["harmless change", "sets", "refused", "with a warning"], changes),
        *("### Missed or misnamed", "\n".join(missed) or "None."),
        *("### Clean and refused", "\n".join(alarms) or "None."),
    ]
    return "\n\n".join(parts)


def warned(of: list[Case]) -> str:
    return counts(Counter(code for c in of for code in set(c.warnings)))


def families(records: list[Record]) -> str:
    """A row for each family and group of sets, draws pooled."""
    rows = []
    for family, mine in grouped(records, lambda r: r["family"]).items():
        groups = sorted({name.partition("/")[0] for r in mine for name in r["sets"]})
        for group in groups:
            draws = [[c for c in cases([r], "broken") if c.on.startswith(group)] for r in mine]
            clean = [c for c in cases(mine, "clean") if c.on.startswith(group)]
            n, named = sum(map(len, draws)), sum(c.named for draw in draws for c in draw)
            part = named / max(n, 1)
            error = 100 * np.sqrt(part * (1 - part) / max(n, 1))
            each = ", ".join(f"{sum(c.named for c in draw)} of {len(draw)}" for draw in draws)
            alarms = f"{sum(c.refused for c in clean)} of {len(clean)}"
            together = f"{named} of {n} ({100 * part:.1f} ± {error:.1f} %)"
            rows.append([family, group, each, together, alarms])
    headings = ["family", "group of sets", "named, by draw", "together", "clean forms refused"]
    return markdown(headings, rows)


def alarms(records: list[Record], _: Found) -> str:
    """A row for each foundation and kind, the bound, every refusal in words."""
    rows: Counter[tuple[str, str]] = Counter()
    refused: Counter[tuple[str, str]] = Counter()
    for r in records:
        bad = {c.on for c in cases([r], "cases") if c.refused}
        for name in r["sets"]:
            key = r["model"], name.rpartition("-")[0]
            rows[key] += 1
            refused[key] += name in bad
    every, n, k = cases(records, "cases"), sum(rows.values()), sum(refused.values())
    words = [f"- {c.on}, {c.kind}: {'; '.join(c.messages)}" for c in every if c.refused]
    of = [[*key, str(count), str(refused[key])] for key, count in rows.items()]
    return (
        f"## Clean sets of published kinds\n\n- {n} clean sets in {len(every)} forms: **{k} sets "
        f"refused**, at most {upper_bound(k, n):.1%} by a 95 % upper bound; warnings by form: "
        f"{warned(every)}\n\n{markdown(['foundation', 'kind', 'sets', 'refused'], of)}\n\n"
        f"### Refused\n\n" + ("\n".join(words) or "None.")
    )


def upper_bound(k: int, n: int) -> float:
    """Of a share of which k of n were seen: one-sided, 95 %, exact (Clopper and Pearson)."""
    return float(beta.ppf(0.95, k + 1, n - k)) if k < n else 1.0


def options(add: Callable[..., Any]) -> None:
    add("--family", nargs="+", choices=list(FAMILIES), default=["development"])
    add("--each", type=int, default=4, help="sets for every defect")
    add("--sets-seeds", type=int, nargs="+", default=[0], help="of the clean sets")
    add("--model", default="organic-xs", help="the foundation")
    add("--worlds", nargs="+", choices=published.WORLDS, default=["organic"], help="of the kinds")
    add("--network", default="chgnet:0.3.0", help="what labels the world 'network'")
    add("--rounds", type=int, nargs=2, default=[0, 2], metavar=("FROM", "TO"), help="of the kinds")


def draws(o: Options) -> list[Draw]:
    every = product(o.family, o.sets_seeds, o.seeds)
    return [Draw(*which, 1 if o.quick else o.each, o.model) for which in every]


def rounds(o: Options) -> list[Round]:
    every = product([f for f in o.family if f in published.FAMILIES], o.worlds, range(*o.rounds))
    return [Round(*which, o.model, o.network) for which in every]


def told(result: Record) -> str:
    broken = cases([result], "broken")
    return f"{share(sum(c.named for c in broken), len(broken))} caught and named"


BENCH = Bench(
    name="doctor",
    packages=("torch", "ase", "tblite", "pyscf", "mace-torch"),
    parts={
        "draws": Part(
            cell=Draw,
            plan=draws,
            run=drawn,
            # labelling the sets for the first time is most of it
            cost=lambda *_: 300.0,
            table=shown,
            told=told,
            conditions=lambda o: {"real": o.data is not None},
        ),
        "kinds": Part(cell=Round, plan=rounds, run=kinds, cost=lambda *_: 60.0, table=alarms),
    },
    options=options,
    quick={"rounds": [0, 1]},
    seeds=[0],
)
