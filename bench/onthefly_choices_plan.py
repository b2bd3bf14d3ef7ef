"""Which cells `onthefly_choices.py` has, and in which order."""

from dataclasses import asdict, dataclass

FIXED = ("reference={kind: tblite, method: GFN1-xTB}", "execute.processes=1")
#: half the demo's time, updates two fifths as long
SCHEDULE = ("explore.time=0.5 ps", "tune.sampler.first_steps=240", "tune.sampler.steps=100")
QUICK = ("explore.time=25 fs", "tune.sampler.first_steps=40", "tune.sampler.steps=20")
#: (spread, members, temperature): what asks. One chain needs no noise, which makes the spread of
#: several and the error of one
ASKING = (("ntk", 1, 0.0), ("members", 2, 1.0))
#: the same, but dear
LATE = (("members", 4, 1.0), ("ntk", 1, 1.0), ("ntk", 4, 1.0))
#: (keep, by): what two members learn from that ask by their spread; 0: all
THINNING = ((5, "lcmd"), (5, "chance"))
LATE_THINNING = ((10, "lcmd"), (10, "chance"))
THINNED = ("members", 2, 1.0)


@dataclass(frozen=True)
class Cell:
    """One run. spread: what asks for labels. members: chains. keep: labels learnt from at most
    (0: all), by: "lcmd", "chance" or, where all are, "". temperature: of the chains."""

    spread: str
    members: int
    keep: int
    by: str
    seed: int
    temperature: float = 1.0

    @property
    def name(self) -> str:
        return "-".join(str(value) for value in asdict(self).values() if value != "")


def grid(seeds: int) -> list[Cell]:
    """Every cell once, in the order they are worth having."""

    def cell(who: tuple[str, int, float], kept: tuple[int, str], seed: int) -> Cell:
        return Cell(*who[:2], *kept, seed, who[2])

    found = []
    for asking, thinning in ((ASKING, THINNING), (LATE, LATE_THINNING)):
        for seed in range(seeds):
            found += [cell(who, (0, ""), seed) for who in asking]
            found += [cell(THINNED, kept, seed) for kept in thinning]
    return found


def work(cell: Cell) -> float:
    """Proportional to the time a cell takes, roughly: updates are most of it."""
    return cell.members + 0.5
