"""`tunesmith check` from the outside: tables, JSON, exit codes and usual mistakes."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from tunesmith import terminal
from tunesmith.cli import app
from tunesmith.posterior.ensemble import Ensemble, open_model

SHORT = ("--replicas", "2", "--md", "write_every=1 fs", "--time")


@cache
def foundation() -> Ensemble:
    return open_model("organic-xs")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real model, loaded once for all tests."""
    monkeypatch.setattr(
        "tunesmith.commands.check_dynamics.open_model", lambda *a, **k: foundation()
    )


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = terminal.run(app, ["check", *(str(a) for a in arguments)])
    return code, *capfd.readouterr()


@pytest.fixture
def ethanol(tmp_path: Path) -> Path:
    write(tmp_path / "ethanol.xyz", molecule("CH3CH2OH"))
    return tmp_path / "ethanol.xyz"


@pytest.fixture
def diamond(tmp_path: Path) -> Path:
    write(tmp_path / "diamond.xyz", bulk("C", "diamond", a=3.57, cubic=True))
    return tmp_path / "diamond.xyz"


def test_a_molecule(ethanol: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, "organic-xs", ethanol, *SHORT, "5 fs")
    assert code == 0
    assert "2 of 2" in out
    assert out.rstrip().endswith("Stable in 2 replicas of 5 fs (bussi, C2H6O).")


def test_members_that_explode(
    ethanol: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = foundation()
    bad = {k: -100 * v if "readout" in k else v for k, v in good.weights[0].items()}
    both = Ensemble(good.potential, [good.weights[0], bad], good.e0s)
    monkeypatch.setattr("tunesmith.commands.check_dynamics.open_model", lambda *a, **k: both)
    code, out, _ = run(capfd, "organic-xs", ethanol, *SHORT, "10 fs")
    assert code == 1
    assert "0 of 2" in out
    assert "1 of 2 members are stable" in out
    assert "50 ± 35 % (95 %: 9 to 91 %)" in out


def test_a_crystal(diamond: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its density is known; with a fixed cell without error."""
    arguments = ("organic-xs", diamond, *SHORT, "80 fs", "--md", "timestep=1 fs")
    code, out, _ = run(capfd, *arguments, "--md", "temperature=50 K", "--json")
    assert code == 0, out
    found = json.loads(out)
    assert found["composition"] == "C8"
    density = found["observables"]["density_g_per_cm3"]
    assert density["mean"] == pytest.approx(8 * 12.011 / 3.57**3 * 1.66054, rel=1e-5)
    assert density["error"] == 0
    (member,) = found["members"]
    curve = member["rdf"]["C-C"]
    assert len(curve["r_A"]) == len(curve["g"]) == len(curve["error"])
    nearest = curve["r_A"][int(np.argmax(curve["g"]))]
    assert nearest == pytest.approx(3.57 * np.sqrt(3) / 4, abs=0.15)
    assert abs(found["observables"]["diffusion"]["C"]["mean"]) < 20
    assert found["md"]["temperature"] == "50 K"
    assert found["equilibration_fs"] == pytest.approx(16)


def test_langevin_gives_no_diffusion(diamond: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ("organic-xs", diamond, *SHORT, "70 fs", "--md", "ensemble=langevin", "--json")
    code, out, err = run(capfd, *arguments, "--md", "timestep=1 fs")
    assert code == 0
    assert "langevin changes how far particles go" in err
    assert json.loads(out)["observables"]["diffusion"] == {}


def test_only_the_checks_that_are_named(diamond: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Say the same as among all."""
    arguments = ("organic-xs", diamond, *SHORT, "80 fs", "--md", "timestep=1 fs", "--json")
    whole, part = (
        json.loads(run(capfd, *arguments, *more)[1]) for more in ((), ("--checks", "rdf,stability"))
    )
    assert "checks" not in whole
    assert part["stable_members"] == whole["stable_members"]
    assert part["observables"] == {"shells": whole["observables"]["shells"]}
    for key in ("density_g_per_cm3", "diffusion"):
        del whole["members"][0][key]
    assert part["members"] == whole["members"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--checks", "stability,rdff"), "there is no 'rdff'; did you mean 'rdf'?"),
        (("--checks", "rdf,rdf"), "--checks rdf,rdf: one is given twice"),
        (("--set", "stability.every=3"), "--set stability.every: write CHECK.NAME=VALUE"),
        (("--set", "every"), "--set every: write NAME=VALUE"),
        (("--replicas", 0), "--replicas 0: give at least 1"),
        (("--md", "temperature"), "write NAME=VALUE"),
        (("--md", "temperatur=300 K"), "did you mean 'temperature'"),
        (("--md", "walkers=3"), "md.walkers: a check decides it"),
        (("--md", "time=1 ps"), "give it as --time"),
        (("--md", "ensemble=npt"), "needs three periodic directions"),
        (("--md", "timestep=3 fs", "--md", "write_every=3 fs"), "too long for its lightest atom"),
        (("--time", "5"), "needs a number and a unit of time"),
        (("--equilibration", "9 ps"), "shorter than --time 5 ps"),
        (("--min-distance", "0.4 eV"), "unknown unit 'eV' of length"),
        (("--min-distance", "2"), "between 0 and 1, or a length"),
        (("--species", "Xe"), "--species Xe: the structure has C, H, O"),
        (("--frame", 1), "--frame 1:"),
        (("--seed", -1), "--seed -1"),
    ],
)
def test_one_sentence(
    arguments: tuple[object, ...], said: str, ethanol: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capfd, "organic-xs", ethanol, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_wrong_files(tmp_path: Path, diamond: Path, capfd: pytest.CaptureFixture[str]) -> None:
    several, xenon = tmp_path / "several.xyz", tmp_path / "xenon.xyz"
    write(several, [molecule("CH4"), molecule("H2O")])
    write(xenon, Atoms("Xe2", [[0, 0, 0], [4, 0, 0]]))
    for path, said in (
        (several, "holds 2 structures; choose one with --frame N, from 0 to 1"),
        (xenon, "Xe"),
        (tmp_path / "nothing.xyz", "there is no such file"),
    ):
        code, _, err = run(capfd, "organic-xs", path)
        assert code == 2
        assert said in err
    code, _, err = run(capfd, "organic-xs", diamond, "--time", "100 fs")
    assert code == 2
    assert "leaves 8 of them after the equilibration" in err
