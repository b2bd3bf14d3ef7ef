"""`tune`, `evaluate`, `models` and `trust` from the outside, on a tiny MACE made on the spot."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.io import read, write

from tunesmith import terminal
from tunesmith.cli import app
from tunesmith.potentials.mace import mace_files

NETWORK: dict[str, Any] = {
    "r_max": 3.0,
    "num_bessel": 4,
    "num_polynomial_cutoff": 5,
    "max_ell": 1,
    "hidden_irreps": "4x0e",
    "MLP_irreps": "4x0e",
    "correlation": 1,
    "num_interactions": 1,
    "radial_MLP": [4],
    "elements": [1, 6, 8],
    "e0s": [-1.0, -2.0, -3.0],
    "avg_num_neighbors": 2.0,
    "scale": 1.0,
    "shift": 0.0,
}
FAST = ("--set", "tune.sampler.epochs=3", "--set", "tune.sampler.batch_size=4")
TUNE = ("tune", "--model", "tiny.model", "--train", "train.xyz", "--out", "run", *FAST)


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = terminal.run(app, [str(a) for a in arguments])
    out, err = capfd.readouterr()
    return code, out, err


def refused(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence a command ends with; nothing on disk may have changed."""
    before = tree(Path())
    code, out, err = run(capfd, *arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert err.count("error: ") == 1
    assert tree(Path()) == before
    return last


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def labelled(n: int, seed: int) -> list[Atoms]:
    """Shaken molecules with EMT's energies and forces, which are smooth and made at once."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        atoms = molecule(("H2O", "CH3OH", "CH4")[i % 3])
        atoms.rattle(0.05, rng=rng)
        atoms.calc = EMT()
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def tiny() -> Any:
    torch.manual_seed(0)
    return mace_files.build(NETWORK)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Any) -> Path:
    """A working folder with a model nobody vouched for and labelled structures."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TUNESMITH_DEBUG", raising=False)
    torch.save(tiny, "tiny.model")
    write("train.xyz", labelled(12, 0))
    write("test.xyz", labelled(6, 1))
    return work


@pytest.fixture
def trusted(folder: Path, capfd: pytest.CaptureFixture[str]) -> Path:
    assert run(capfd, "trust", "tiny.model")[0] == 0
    return folder


def native_errors(path: str) -> dict[str, float]:
    """Errors on test.xyz by mace's own calculator and arithmetic by hand."""
    native = mace_files.calculator(Path(path))
    energy, forces = [], []
    for atoms in read("test.xyz", ":"):
        reference, true = atoms.info["REF_energy"], atoms.arrays["REF_forces"]
        atoms.calc = native
        energy.append(1000 * (atoms.get_potential_energy() - reference) / len(atoms))
        forces.append(1000 * (atoms.get_forces() - true).ravel())
    e, f = np.array(energy), np.concatenate(forces)
    return {
        "energy_rmse_meV_per_atom": np.sqrt(np.mean(e**2)),
        "energy_mae_meV_per_atom": np.mean(np.abs(e)),
        "force_rmse_meV_per_A": np.sqrt(np.mean(f**2)),
        "force_mae_meV_per_A": np.mean(np.abs(f)),
    }


# ------------------------------------------------------------------------- what they do


def test_tune_then_evaluate(trusted: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A run, its rerun, and both ways to evaluate it agree with mace's own calculator."""
    code, out, err = run(capfd, *TUNE, "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["epochs"] == 3
    assert {"config.yaml", "final.model", "summary.json"} <= set(os.listdir("run"))
    before = Path("run/final.model").read_bytes()
    code, again, _ = run(capfd, *TUNE, "--json")
    assert (code, json.loads(again)) == (0, summary)
    assert Path("run/final.model").read_bytes() == before

    known = native_errors("run/final.model")
    for model in ("run", "run/final.model"):
        code, out, err = run(capfd, "evaluate", model, "test.xyz", "--json", "--dtype", "float64")
        assert code == 0, err
        got = json.loads(out)
        for key, value in known.items():
            assert got[key] == pytest.approx(value, rel=1e-3), (model, key)


def test_evaluate_shows_tables_and_draws(trusted: Path, capfd: pytest.CaptureFixture[str]) -> None:
    limits = ("--threshold", "force=0.1 eV/Å", "--threshold", "energy=5 meV per atom")
    code, out, err = run(capfd, "evaluate", "tiny.model", "test.xyz", "--plots", "p", *limits)
    assert code == 0, err
    assert "Force RMSE" in out
    assert (trusted / "p" / "parity.png").read_bytes().startswith(b"\x89PNG")


def test_models_lists_the_embedded_one(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, "models", "--json")
    entries = {name: entry for entry in json.loads(out) for name in entry["names"]}
    assert (code, entries["organic-xs"]["licence"]) == (0, "MIT")
    code, out, _ = run(capfd, "models")
    assert (code, "organic-xs" in out) == (0, True)


# ----------------------------------------------------------------------- how they refuse


def test_an_untrusted_pickle_is_not_loaded(
    folder: Path, capfd: pytest.CaptureFixture[str], tiny: Any
) -> None:
    """And what it would run is not run; a changed file is asked about again."""

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(folder / "sprung"),)

    torch.save([tiny, Trap()], "trap.model")
    for command in (("evaluate", "trap.model", "test.xyz"), (*TUNE[:2], "trap.model", *TUNE[3:])):
        said = refused(capfd, *command)
        assert "`tunesmith trust trap.model`" in said
    assert run(capfd, "trust", "tiny.model")[0] == 0
    with open("tiny.model", "ab") as file:
        file.write(b"\0")
    assert "`tunesmith trust tiny.model`" in refused(capfd, "evaluate", "tiny.model", "test.xyz")


def spoil(kind: str) -> None:
    frames = labelled(6, 2)
    third = frames[3]
    if kind == "nan forces":
        third.arrays["REF_forces"][0, 0] = np.nan
    elif kind == "nan energy":
        third.info["REF_energy"] = np.nan
    elif kind == "no forces":
        del third.arrays["REF_forces"]
    elif kind == "no energy":
        for atoms in frames:
            del atoms.info["REF_energy"]
    elif kind == "zero forces":
        for atoms in frames:
            atoms.arrays["REF_forces"][:] = 0
    elif kind == "unknown element":
        third.symbols[0] = "S"
    elif kind == "overlap":
        third.positions[1] = third.positions[0] + 1e-3
    elif kind == "flat cell":
        third.pbc = True
    write("bad.xyz", frames)
    if kind == "truncated":
        text = Path("bad.xyz").read_text().splitlines()
        Path("bad.xyz").write_text("\n".join(text[:-2]) + "\n")
    elif kind == "empty":
        Path("bad.xyz").write_text("")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("nan forces", "bad.xyz#3"),
        ("nan energy", "bad.xyz#3"),
        ("no forces", "bad.xyz#3"),
        ("no energy", "bad.xyz"),
        ("zero forces", "zero"),
        ("unknown element", "S"),
        ("overlap", "bad.xyz#3"),
        ("flat cell", "bad.xyz#3"),
        ("truncated", "bad.xyz"),
        ("empty", "bad.xyz: the file is empty"),
    ],
)
def test_unusable_labels(
    trusted: Path, capfd: pytest.CaptureFixture[str], kind: str, says: str
) -> None:
    spoil(kind)
    assert says in refused(capfd, *TUNE[:4], "bad.xyz", *TUNE[5:])
    if kind in ("no forces", "no energy"):  # what there is can be compared
        assert run(capfd, "evaluate", "tiny.model", "bad.xyz")[0] == 0
        return
    assert says in refused(capfd, "evaluate", "tiny.model", "bad.xyz", "--plots", "p")


def test_a_run_folder_of_another_configuration(
    trusted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(capfd, *TUNE)[0] == 0
    said = refused(capfd, *TUNE, "--set", "tune.loss.forces=99")
    assert "tune.loss.forces" in said
    assert "run" in said
    other = [a if a != "train.xyz" else "test.xyz" for a in TUNE]
    assert "other data" in refused(capfd, *other)


@pytest.mark.parametrize("kind", ["cut", "changed"])
def test_a_corrupt_checkpoint(trusted: Path, capfd: pytest.CaptureFixture[str], kind: str) -> None:
    assert run(capfd, *TUNE)[0] == 0
    Path("run/summary.json").unlink()  # as a run that was interrupted
    for path in (p for p in Path("run").rglob("*.safetensors")):
        good = path.read_bytes()
        path.write_bytes(good[:-5] if kind == "cut" else good[:-1] + bytes([good[-1] ^ 1]))
    for command in (TUNE, ("evaluate", "run", "test.xyz")):
        assert "damaged" in refused(capfd, *command)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((*TUNE[: -len(FAST) - 1], "train.xyz"), "train.xyz is a file"),
        ((*TUNE[: -len(FAST) - 1], "train.xyz/run"), "cannot write"),
        ((*TUNE[: -len(FAST) - 1], "."), "is not empty"),
        ((*TUNE, "--set", "model.source=x"), "--set model.source: also given by its own option"),
        ((*TUNE, "--set", "model.dtype=float16"), "model.dtype: 'float16' was given"),
        ((*TUNE, "--set", "tune.sampler.checkpoint_every=3 apples"), "unknown unit 'apples'"),
        ((*TUNE, "--valid", "nothing.xyz"), "nothing.xyz: there is no such file"),
        ((*TUNE, "--set", "data.forces_key=REF_force"), "REF_force"),
        (("evaluate", "nothing", "test.xyz"), "there is no model 'nothing'"),
        (("evaluate", "organic-x", "test.xyz"), "did you mean 'organic-xs'?"),
        (("evaluate", "tiny.model", "nothing.xyz"), "nothing.xyz: there is no such file"),
        (("evaluate", "test.xyz", "test.xyz"), "test.xyz is no model file"),
        (("evaluate", "tiny.model", "test.xyz", "--head", "dft"), "leave head out"),
        (("evaluate", "tiny.model", "test.xyz", "--dtype", "half"), "model.dtype: 'half'"),
        (("evaluate", "tiny.model", "test.xyz", "--device", "gpu"), "no device 'gpu'"),
        (("evaluate", "tiny.model", "test.xyz", "--threshold", "force"), "write WHAT=VALUE"),
        (("evaluate", "tiny.model", "test.xyz", "--threshold", "force=3"), "needs a number and a"),
        (("evaluate", "tiny.model", "test.xyz", "--threshold", "forces=3 eV/Å"), "mean 'force'?"),
        (("evaluate", "tiny.model", "test.xyz", "--plots", "test.xyz"), "test.xyz"),
        (("evaluate", "tiny.model", "test.xyz", "--plots", "test.xyz/a/b"), "cannot write in"),
        (("evaluate", "tiny.model", "test.xyz", "--energy-key", "E"), "'E'"),
    ],
)
def test_arguments(
    trusted: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert says in refused(capfd, *arguments)
