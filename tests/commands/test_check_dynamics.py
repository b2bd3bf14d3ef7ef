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


def test_a_file_says_what_options_say(
    ethanol: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "check.yaml"
    file.write_text(
        """
        dynamics: {time: 5 fs, write_every: 1 fs, temperature: 200 K, max_temperature: 4000 K}
        replicas: 2
        settings: {stability: {every: 2, min_distance: 0.4 Å}}
        checks: stability
        """
    )
    md = ("--md", "temperature=200 K", "--md", "max_temperature=4000 K", "--checks", "stability")
    options = (*SHORT, "5 fs", *md, "--every", "2", "--min-distance", "0.4 Å")
    code, out, err = run(capfd, "organic-xs", ethanol, "--config", file, "--json")
    assert code == 0, err
    assert json.loads(run(capfd, "organic-xs", ethanol, *options, "--json")[1]) == json.loads(out)
    found = json.loads(out)
    assert found["stability"]["min_distance"] == "0.4 Å"
    assert (found["stability"]["every"], found["stability"]["max_temperature"]) == (2, "4000 K")
    more = ("--replicas", "1", "--set", "dynamics.time=3 fs", "--json")
    found = json.loads(run(capfd, "organic-xs", ethanol, "--config", file, *more)[1])
    assert (found["md"]["walkers"], found["md"]["time"]) == (1, "3 fs"), "wins over the file"


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
        (("--checks", "rdf,rdf"), "checks: one of rdf, rdf is given twice"),
        (("--set", "settings.stability.evry=3"), "settings.stability.evry: no such setting; did"),
        (("--set", "settings.rdff.species=[O]"), "settings.rdff: is none of the checks"),
        (("--set", "settings.rdf.species=[Xe]"), "species: 'Xe' is not in the structure"),
        (("--set", "settings.every=3"), "settings.every: 3 was given, but a table"),
        (
            ("--every", 3, "--set", "settings.stability.every=3"),
            "--set settings.stability.every: also given by its own option",
        ),
        (
            ("--md", "max_temperature=1 K", "--set", "settings.stability.max_temperature=2 K"),
            "dynamics.max_temperature: also given as settings.stability.max_temperature",
        ),
        (("--set", "every"), "--set every: write PATH=VALUE"),
        (("--set", "replica=3"), "replica: no such setting; did you mean 'replicas'?"),
        (("--set", "dynamics.temperatur=300 K"), "did you mean 'temperature'"),
        (("--replicas", 0), "replicas: 0 was given, but a value of at least 1"),
        (("--replicas", 10**6), "replicas: 1000000 was given, but at most"),
        (("--md", "temperature"), "--md temperature: write NAME=VALUE, as 'temperature=300 K'"),
        (("--md", "temperatur=300 K"), "did you mean 'temperature'"),
        (("--md", "walkers=3"), "dynamics.walkers: a check decides it"),
        (("--md", "time=1 ps"), "give it as --time"),
        (("--md", "ensemble=npt"), "needs three periodic directions"),
        (("--md", "timestep=3 fs", "--md", "write_every=3 fs"), "too long for its lightest atom"),
        (("--time", "5"), "needs a number and a unit of time"),
        (
            ("--equilibration", "9 ps"),
            "equilibration: 9 ps must be at least 0 and shorter than the time of 5 ps",
        ),
        (("--min-distance", "0.4 eV"), "unknown unit 'eV' of length"),
        (("--min-distance", "2"), "between 0 and 1, or a length"),
        (("--species", "Xe"), "species: 'Xe' is not in the structure; name some of C, H, O"),
        (("--frame", 1), "--frame 1:"),
        (("--seed", -1), "seed: -1 was given"),
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
