"""Tables of on-the-fly runs side by side: meV, meV/Å, CPU seconds."""

from collections.abc import Callable
from statistics import mean

import numpy as np
from scipy.stats import spearmanr

from bench.onthefly.choices_cells import THINNED
from bench.onthefly.evidence import scores
from bench.runner.parts import Found, Record
from bench.runner.tables import described, grouped, markdown


def page(found: Found) -> str:
    """Everything that is there by now."""
    runs: list[Record] = found["cells"]
    asking, thinning = asked_by(runs), learnt_from(runs)
    return (
        f"{described(found)}.\n\nRuns of ethanol, GFN1-xTB, organic-xs: "
        f"{', '.join(found['conditions']['schedule'])}; K = {1e3 * runs[0]['threshold_eV']:.1f} "
        f"meV. Errors on {len(runs[0]['errors']['tuned'])} frames of "
        f"{found['conditions']['seeds']} trajectories driven by the reference, the same for all "
        "runs. Numbers of several seeds are separated by commas; shares and RMSEs are over all.\n\n"
        f"## What asks\n\n{table(asking)}\n"
        + (f"## What is learnt from\n\n{table(thinning)}\n" if len(thinning) > 1 else "")
        + f"## Which error bar knows\n\n{bars(runs)}"
    )


def asked_by(runs: list[Record]) -> dict[str, list[Record]]:
    """Runs that learn from all labels, by what asks."""
    known = sorted(runs, key=lambda r: (r["spread"] != "members", -r["members"], r["seed"]))
    return grouped((r for r in known if not r["keep"]), who)


def learnt_from(runs: list[Record]) -> dict[str, list[Record]]:
    """Runs of two members, by what they learn from."""
    known = sorted(runs, key=lambda r: (r["keep"] > 0, -r["keep"], r["by"] != "lcmd"))
    two = [r for r in known if (r["spread"], r["members"], r["temperature"]) == THINNED]
    return grouped(
        two, lambda r: f"at most {r['keep']}, by {r['by']}" if r["keep"] else "all labels"
    )


def who(run: Record) -> str:
    """What asks, for people."""
    chains = f"{run['members']} members" if run["members"] > 1 else "one chain"
    cold = "" if run["temperature"] else " without noise"
    return f"{chains}{cold}, {'ntk' if run['spread'] == 'ntk' else 'their spread'}"


def table(columns: dict[str, list[Record]]) -> str:
    """A row of every measure, a column for each choice."""
    rows = [[name, *(measure(runs) for runs in columns.values())] for name, measure in ROWS]
    return markdown(["", *columns], rows) + "\n"


def _each(value: Callable[[Record], float], form: str) -> Callable[[list[Record]], str]:
    return lambda runs: ", ".join(form.format(value(r)) for r in runs)


def _spent(*parts: str) -> Callable[[Record], float]:
    return lambda run: sum(run["spent"].get(part, 0.0) for part in parts)


def _of(key: str) -> Callable[[list[Record]], np.ndarray]:
    return lambda runs: np.concatenate([np.array(r["errors"][key], float) for r in runs])


def _rms(values: np.ndarray) -> float:
    return 1e3 * float(np.sqrt(np.mean(values**2)))


def _share(key: str) -> Callable[[list[Record]], str]:
    def said(runs: list[Record]) -> str:
        p, error = scores([r["errors"] for r in runs])[key]
        return f"{100 * p:.1f} ± {100 * error:.1f} %"

    return said


def _over(runs: list[Record]) -> str:
    over = sum(r["interventions_over_threshold"] or 0 for r in runs)
    return f"{over} of {sum(r['interventions'] for r in runs)}"


ROWS: tuple[tuple[str, Callable[[list[Record]], str]], ...] = (
    ("**labels**", _each(lambda r: r["labels"], "{}")),
    ("over K when asked", _over),
    ("**share over K**", _share("over_threshold")),
    ("**coverage of the 95 % interval**", _share("coverage_95")),
    ("calibrated σ, median, meV", lambda rs: f"{1e3 * np.median(_of('std')(rs)):.1f}"),
    ("**energy RMSE, meV**", lambda rs: f"{_rms(_of('tuned')(rs)):.1f}"),
    ("by seed", _each(lambda r: _rms(np.array(r["errors"]["tuned"])), "{:.1f}")),
    ("**force RMSE, meV/Å**", lambda rs: f"{1e3 * np.sqrt(np.mean(_of('tuned_f2')(rs))):.1f}"),
    ("untuned: energy RMSE, meV", lambda rs: f"{_rms(_of('untuned')(rs)):.1f}"),
    ("**CPU s of all updates**", _each(_spent("update", "first update", "thinning"), "{:.0f}")),
    (
        "CPU s of one update",
        _each(lambda r: r["spent"]["update"] / r["counts"]["update"], "{:.2f}"),
    ),
    ("CPU s of dynamics", _each(_spent("md"), "{:.1f}")),
    ("CPU s of tangent kernels after labels", _each(_spent("kernel"), "{:.1f}")),
)


# ------------------------------------------------------------------- error bars side by side


def bars(runs: list[Record]) -> str:
    """Of the same models and frames: how error bars differ, and whether they follow the errors."""
    rows = []
    for label, some in asked_by(runs).items():
        for name in dict.fromkeys(n for r in some for n in r.get("bars", {})):
            of = [r for r in some if name in r.get("bars", {})]
            ranks = [spearmanr(r["bars"][name], np.abs(r["errors"]["tuned"])).statistic for r in of]
            width = [np.divide(*np.quantile(r["bars"][name], [0.9, 0.1])) for r in of]
            centre = [1e3 * np.median(r["bars"][name]) for r in of]
            rows.append([label, name, f"{mean(centre):.1f}", f"{mean(width):.2f}", _list(ranks)])
    text = markdown(
        ["run", "error bar", "median, meV", "90th over 10th percentile", "rank correlation"], rows
    )
    return (
        f"{text}\n\nRaw error bars of the same finished models for the same frames: of the members "
        "with their noise, and of the tangent kernel (ntk and its λ) without. Rank correlation "
        "(Spearman) with the size of the energy's error, by seed; chance alone is within "
        "±0.18 of 0 in 95 % of 120 independent frames, and these are less than that.\n"
    )


def _list(values: list[float]) -> str:
    return ", ".join(f"{v:+.2f}" for v in values)
