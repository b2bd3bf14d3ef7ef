"""The table of `public_models.py` as Markdown. found: ``machine``, and ``cells``, one flat record a
cell with its fields and its result."""

from typing import Any

from public_models_cells import ZERO_SHOT

Record = dict[str, Any]


def page(found: dict[str, Any]) -> str:
    """A table for every model, and what they were measured on."""
    records: list[Record] = found["cells"]
    parts = [_table(m, records) for m in dict.fromkeys(r["model"] for r in records)]
    machine = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    return "\n".join([*parts, f"Measured with: {machine}. {found['conditions']}.", ""])


def _table(model: str, records: list[Record]) -> str:
    head = (
        "system",
        "labels",
        "strategy",
        "force MAE meV/Å",
        "force RMSE",
        "energy MAE meV/atom",
        "crystals, force MAE meV/Å",
        "steps",
        "CPU s per epoch",
        "CPU s in all",
    )
    lines = [f"## {model}", "", _row(head), _row(["---"] * len(head))]
    own = [r for r in records if r["model"] == model]
    for record in sorted(own, key=_order):
        lines.append(_row(_cells(record)))
    return "\n".join([*lines, ""])


def _order(record: Record) -> tuple[Any, ...]:
    systems, strategies = ("ethanol", "acac", "3bpa"), ("naive", "lora", "pseudolabel")
    name = record["strategy"]
    rank = -1 if name == ZERO_SHOT else strategies.index(name)
    return systems.index(record["system"]), record["frames"], record["steps"], rank


def _cells(r: Record) -> list[str]:
    kept = f"{r['forgetting_mae']:.0f}"
    if "forgetting_mae_replay_head" in r:
        kept += f" (replay head {r['forgetting_mae_replay_head']:.0f})"
    tuned = r["strategy"] != ZERO_SHOT
    return [
        r["system"],
        str(r["frames"] or "–"),
        r["strategy"],
        f"{r['force_mae']:.1f}",
        f"{r['force_rmse']:.1f}",
        f"{r['energy_mae']:.2f}",
        kept,
        str(r["steps_done"]) if tuned else "–",
        f"{r['cpu_epoch']:.1f}" if tuned else "–",
        f"{r['cpu']:.0f}" if tuned else "–",
    ]


def _row(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"
