"""`tunesmith doctor` from the outside: what it prints, its exit codes, and usual mistakes."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write

import wards
from tunesmith import terminal
from tunesmith.cli import app
from tunesmith.config import TuneConfig, load
from tunesmith.data.formats import write_frames

TRAIN, TEST = (wards.EXAMPLES / f"ethanol-{which}.xyz" for which in ("train", "test"))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real foundation, loaded and asked once for all tests."""
    monkeypatch.setattr(
        "tunesmith.commands.examine_data.open_model", lambda *a, **k: wards.foundation()
    )


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = terminal.run(app, ["doctor", *(str(a) for a in arguments)])
    return code, *capfd.readouterr()


def test_a_healthy_set(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, "--data", TRAIN, "--test", TEST)
    assert code == 0
    assert "63 structures; energy from REF_energy, forces from REF_forces" in out
    assert "isolated atoms: 3" in out
    assert out.rstrip().endswith("Fit for training.")


def test_what_comes_next_learns_from_what_was_looked_at(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The printed command, with every option that decides what is read."""
    write(tmp_path / "my train.extxyz", read(TRAIN, ":"))
    given = ("--valid", TEST, "--format", "extxyz", "--energy-key", "REF_energy", "--forces-only")
    code, _, err = run(capfd, tmp_path / "my train.extxyz", *given)
    assert code == 0
    said = err.splitlines()[-1].removeprefix("next: tunesmith tune ")
    words = shlex.split(said)
    overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    train = words[words.index("--train") + 1]
    settings = load(TuneConfig, None, overrides, {"data.train": train})
    data = settings.data
    assert (data.train, data.valid) == ((str(tmp_path / "my train.extxyz"),), str(TEST))
    assert (data.format, data.energy_key) == ("extxyz", "REF_energy")
    assert settings.forces_only


def test_a_broken_set(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spoilt = [
        wards.relabelled(f, energy=f.label.energy / 27.211, forces=-f.label.forces)
        for f in wards.ethanol()
        if f.label is not None
    ]
    write_frames(tmp_path / "train.xyz", spoilt)
    code, out, _ = run(capfd, "--data", tmp_path / "train.xyz", "--json")
    summary = json.loads(out)
    assert code == 1
    assert summary["fit_for_training"] is False
    errors = {f["code"] for f in summary["findings"] if f["severity"] == "error"}
    assert {"unit-energy", "forces-sign"} <= errors
    code, out, _ = run(capfd, "--data", tmp_path / "train.xyz")
    assert code == 1
    assert out.splitlines()[-1].startswith("Do not train on this yet: ")
    assert "and 57 more" in out
    accepted = [x for c in errors for x in ("--accept", c)]
    assert run(capfd, "--data", tmp_path / "train.xyz", *accepted)[0] == 0


def test_training_structures_in_the_test(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_frames(tmp_path / "test.xyz", wards.ethanol("test")[:5] + wards.ethanol()[8:10])
    code, out, _ = run(capfd, "--data", TRAIN, "--test", tmp_path / "test.xyz")
    assert code == 1
    assert "test-overlap" in out


def test_labels_under_other_names(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    images = read(TRAIN, ":20")
    for atoms in images:
        atoms.info["dft_energy"] = atoms.info.pop("REF_energy")
    write(tmp_path / "named.xyz", images)
    code, out, _ = run(capfd, "--data", tmp_path / "named.xyz", "--json")
    findings = {f["code"]: f for f in json.loads(out)["findings"]}
    assert code == 1
    assert "dft_energy" in findings["energy-missing"]["message"]
    keys = ("--energy-key", "dft_energy", "--forces-key", "REF_forces")
    assert run(capfd, "--data", tmp_path / "named.xyz", *keys)[0] == 0


def test_no_labels_at_all(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, "--data", wards.EXAMPLES / "ethanol-unlabelled.xyz", "--json")
    assert code == 1
    assert {"energy-missing", "forces-missing"} <= {f["code"] for f in json.loads(out)["findings"]}


def test_the_free_energy_beside_the_energy_in_use(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    images = read(TRAIN, "3:")
    for atoms in images:
        atoms.info["energy"] = atoms.info.pop("REF_energy")
        atoms.info["free_energy"] = atoms.info["energy"] - rng.uniform(0.01, 0.03)
        atoms.arrays["forces"] = atoms.arrays.pop("REF_forces")
    write(tmp_path / "smeared.xyz", images)
    path = tmp_path / "smeared.xyz"
    _, out, _ = run(capfd, "--data", path, "--energy-key", "energy", "--json")
    assert "free-energy" in {f["code"] for f in json.loads(out)["findings"]}
    _, out, _ = run(capfd, "--data", path, "--json")
    assert "free-energy" not in {f["code"] for f in json.loads(out)["findings"]}


def test_a_damaged_file_is_a_finding(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.xyz").write_text(TRAIN.read_text()[:5000])
    code, out, _ = run(capfd, "--data", tmp_path / "cut.xyz", "--json")
    [finding] = json.loads(out)["findings"]
    assert (code, finding["code"]) == (1, "unreadable")
    assert "cut off" in finding["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data", "nowhere.xyz"), "there is no such file"),
        (("--data", str(TRAIN), "--test", "nowhere.xyz"), "there is no such file"),
        (("--data", str(TRAIN), "--accept", "unit-enrgy"), "did you mean 'unit-energy'"),
        (("--data", str(TRAIN), "--device", "gpu"), "cpu, cuda"),
        ((), "--data"),
    ],
)
def test_mistakes_cost_one_sentence(
    arguments: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capfd, *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert said in err


def test_an_unknown_model(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    code, _, err = run(capfd, "--data", TRAIN, "--model", "organic-sx")
    assert code == 2
    assert "did you mean 'organic-xs'" in err


def test_only_isolated_atoms(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_frames(tmp_path / "atoms.xyz", [replace(f) for f in wards.ethanol()[:3]])
    code, out, _ = run(capfd, "--data", tmp_path / "atoms.xyz")
    assert code == 1
    assert "no structure" in out


def test_a_stress_nobody_reads_is_found(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, key in (("a", "stress"), ("b", "dft_stress")):
        text = TRAIN.read_text().replace("REF_energy=", f'{key}="1 0 0 0 1 0 0 0 1" REF_energy=')
        (tmp_path / f"{name}.xyz").write_text(text)
        code, out, _ = run(capfd, tmp_path / f"{name}.xyz", "--json")
        (found,) = [f for f in json.loads(out)["findings"] if f["code"] == "stress-unused"]
        assert code == 0
        assert found["severity"] == "warning"
        assert f"{key} stands beside REF_energy, REF_forces and is not used" in found["message"]
        accept = ("--accept", "stress-unused")
        _, out, _ = run(capfd, tmp_path / f"{name}.xyz", *accept, "--json")
        assert "stress-unused" not in out.split('"facts"')[0]


def test_files_are_named_as_a_shell_gives_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Positions, options and patterns; files of one name in two folders are told apart."""
    for k, folder in enumerate(("one", "two")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a.xyz", read(TRAIN, index=f"{5 + k}::2"))
    pattern = tmp_path / "*" / "a.xyz"
    named = [tmp_path / "one" / "a.xyz", tmp_path / "two" / "a.xyz"]
    said = [
        json.loads(run(capfd, *arguments, "--json")[1])
        for arguments in (
            (pattern,),
            ("--data", pattern),
            named,
            ("--data", named[0], "--data", named[1]),
            ("--data", *named),
        )
    ]
    assert all(one == said[0] for one in said)
    assert [f["file"] for f in said[0]["files"]] == [str(p) for p in named]
    origins = {o for f in said[0]["findings"] for o in f["frames"]}
    assert all(str(tmp_path) in o for o in origins)
    assert run(capfd, named[0], pattern)[0] == 2
    assert "no file matches" in run(capfd, tmp_path / "*.nothing")[2]
