"""The picture of rounds that choose their structures' error."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunesmith.report import chosen_errors


def test_what_is_drawn_is_what_the_rounds_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def keep(figure: Any, path: Any) -> None:
        seen.append(figure)

    monkeypatch.setattr(chosen_errors, "save", keep)
    rounds = [
        {"labels": 4, "about": {}},
        {"labels": 6, "about": _about([0.08, 0.12], 0.102, aim=0.09)},
        {"labels": 7, "about": _about([0.2], 0.2)},  # of hot dynamics nothing is aimed at
        {"labels": 7, "about": {"frames": 3}},  # none could be labelled
    ]
    chosen_errors.picture(rounds, tmp_path / "errors.png")
    [ax] = seen[0].axes
    lines = {line.get_label(): np.array(line.get_data()) for line in ax.lines}
    assert np.allclose(lines["of each structure"], [[6, 6, 7], [80, 120, 200]])
    assert np.allclose(lines["of all (rms)"], [[6, 7], [102, 200]])
    assert np.allclose(lines["aimed at"], [[6], [90]])
    assert np.allclose(lines["target 100 meV/Å"][1], 100)
    chosen_errors.picture(rounds[:1], tmp_path / "none.png")
    assert len(seen) == 1


def _about(errors: list[float], rms: float, **more: float) -> dict[str, Any]:
    return {"errors": errors, "error": rms, "target": 0.1, **more}
