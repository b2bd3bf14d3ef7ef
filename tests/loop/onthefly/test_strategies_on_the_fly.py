"""Other subspaces and anchors than the recipe's under on-the-fly learning, resumed as well."""

from pathlib import Path

import pytest
from ase.build import molecule
from mace.calculators import MACECalculator

from small import config, results, start
from tunesmith.loop.onthefly import onthefly_course
from tunesmith.loop.run import run
from tunesmith.posterior import members_file


class Killed(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        ("tune.subspace.kind=lora",),
        ("tune.anchor={kind: pseudolabel, number: 12, keep_head: true}",),
        ("tune.subspace={kind: lora, factors: outer}", "tune.anchor={kind: multihead, number: 9}"),
    ],
    ids=("lora", "pseudolabel", "multihead-lora"),
)
def test_a_run_with_adapters_or_replay_resumes_to_the_same(
    changes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(start(tmp_path), *changes)
    summary = run(settings, tmp_path / "whole")
    assert summary["as_asked"]
    save, calls = onthefly_course.OnTheFlyCourse.save, 0

    def counted(self: onthefly_course.OnTheFlyCourse) -> None:
        nonlocal calls
        save(self)
        calls += 1
        if calls == 4:
            raise Killed

    monkeypatch.setattr(onthefly_course.OnTheFlyCourse, "save", counted)
    with pytest.raises(Killed):
        run(settings, tmp_path / "again")
    monkeypatch.undo()
    run(settings, tmp_path / "again")
    assert results(tmp_path / "again") == results(tmp_path / "whole")
    _, members = members_file.load(tmp_path / "whole")
    assert bool(members.replay) == ("anchor" in changes[-1])
    if "keep_head" in changes[0]:
        path = str(tmp_path / "whole" / "final.model")
        energies = []
        for head in ("Default", "pt_head"):
            atoms = molecule("H2O")
            atoms.calc = MACECalculator(model_paths=path, device="cpu", head=head)
            energies.append(atoms.get_potential_energy())
        assert energies[0] != pytest.approx(energies[1], abs=1e-3)
