"""What every training leaves of its model, in a run's folder."""

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from tunesmith.core import Members
from tunesmith.posterior import members_file
from tunesmith.posterior.export import export
from tunesmith.report import calibration_plot
from tunesmith.tune.problem import Problem

#: structures that decide which weights stand for several members
JUDGES = 20


def write_model(out: Path, problem: Problem, members: Members, judges: Sequence[Atoms]) -> str:
    """Write members, final.model, of several members/*.model, and a picture of their calibration;
    says whose weights final.model has.

    problem: that they have learnt, which says whether a replay head is kept. judges: structures on
    which files are checked and members compared; `JUDGES` of them count. Raises `ModelError` where
    a file does not reproduce the members.
    """
    members_file.save(members, out)
    replay = problem.replay
    kept = replay.e0s if replay and problem.anchor.keeps_head else None
    chosen = export(out, problem.potential, members, list(judges[:JUDGES]), kept)
    calibration_plot.reliability_curves(members.calibration, out / calibration_plot.NAME)
    return chosen
