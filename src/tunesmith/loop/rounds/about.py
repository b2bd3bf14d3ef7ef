"""What a round says of the structures that it made, in words."""

from collections.abc import Mapping
from typing import Any


def told(about: Mapping[str, Any]) -> list[str]:
    """Clauses for people; none of a round that chose from a pool."""
    said = []
    if "attacked" in about:
        said.append(f"{about['on_target']} of {about['attacked']} attacks on target")
        aim, wanted = about["aim"], about.get("wanted", about["target"])
        clauses = []
        if wanted != about["target"]:
            clauses.append(f"where {1e3 * about['plain']:.0f} are expected of frames as they are")
        if aim != wanted:
            clauses.append("as far as the calibration holds")
        if clauses:
            said.append(f"aimed at {1e3 * aim:.0f} meV/Å, {', '.join(clauses)}")
        elif about["calibration"] != "holds":  # of what attacks then lead to, little is known
            said.append(f"calibration: {about['calibration'].partition(';')[0]}")
    elif "frames" in about:
        said.append(f"{about['frames']} frames of dynamics")
    if runs := about.get("runs"):
        wrong = [run for run in runs if run["wrong"] is not None]
        said += [f"{len(wrong)} of {len(runs)} runs broke ({_where(wrong[0])})"] if wrong else []
    if filtered := about.get("filtered"):
        reasons = ", ".join(f"{reason} {n}" for reason, n in filtered.items())
        said.append(f"{sum(filtered.values())} not labelled ({reasons})")
    if "error" in about:
        wanted = about.get("aim", about["target"])
        said.append(f"real error {1e3 * about['error']:.0f} of {1e3 * wanted:.0f} meV/Å")
    return said


def _where(run: Mapping[str, Any]) -> str:
    return f"at {1e-3 * run['time_fs']:.3g} ps: {run['wrong']}"
