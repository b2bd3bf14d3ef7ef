"""What a round says of the structures that it made, in words."""

from collections.abc import Mapping
from typing import Any

from tunesmith.words import counted


def told(about: Mapping[str, Any]) -> list[str]:
    """Clauses for people; none of a round that chose from a pool."""
    said = []
    if "attacked" in about:
        said += _of_attacks(about)
    elif "frames" in about:
        said.append(f"{counted(about['frames'], 'frame')} of dynamics")
    if runs := about.get("runs"):
        wrong = [run for run in runs if run["wrong"] is not None]
        said += [f"{len(wrong)} of {len(runs)} runs broke ({_where(wrong[0])})"] if wrong else []
    if filtered := about.get("filtered"):
        reasons = ", ".join(f"{reason} {n}" for reason, n in filtered.items())
        said.append(f"{sum(filtered.values())} not labelled ({reasons})")
    if "error" in about:
        said.append(_of_errors(about))
    return said


def _of_attacks(about: Mapping[str, Any]) -> list[str]:
    said = [f"{about['on_target']} of {about['attacked']} attacks on target"]
    aim, wanted = about["aim"], about.get("wanted", about["target"])
    clauses = []
    if wanted != about["target"]:
        clauses.append(f"where {1e3 * about['plain']:.0f} are expected of frames as they are")
    if aim != wanted:
        clauses.append("as far as the calibration holds")
    if clauses:
        said.append(f"aimed at {1e3 * aim:.0f} meV/Å, {', '.join(clauses)}")
    if aim == wanted and about["calibration"] != "holds":  # of what attacks lead to little is known
        said.append(f"calibration: {about['calibration'].partition(';')[0]}")
    if kept := about.get("as_they_are"):
        said.append(f"{counted(kept, 'frame')} not attacked, expected to err by more as they are")
    return said


def _of_errors(about: Mapping[str, Any]) -> str:
    """The real error beside the one aimed at, by what was moved there."""
    every, aim = about["error"], about.get("aim", about["target"])
    if not about.get("as_they_are"):
        return f"real error {1e3 * every:.0f} of {1e3 * aim:.0f} meV/Å"
    if (moved := about.get("error_of_attacks")) is None:
        return f"real error {1e3 * every:.0f} meV/Å"
    return f"real error {1e3 * moved:.0f} of {1e3 * aim:.0f} meV/Å, of all {1e3 * every:.0f}"


def _where(run: Mapping[str, Any]) -> str:
    return f"at {1e-3 * run['time_fs']:.3g} ps: {run['wrong']}"
