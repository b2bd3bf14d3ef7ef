"""The shipped data is what its README says, and what README and demo type is accepted."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from tunesmith import config
from tunesmith.cli import app
from tunesmith.core import Frame, Label
from tunesmith.data.checks import check_structures, require_labels, separate_isolated
from tunesmith.data.formats import read_frames
from tunesmith.references.pyscf import PySCF

ROOT = Path(__file__).parents[1]
DATA = ROOT / "examples" / "data"
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
COUNTS = {"ethanol-train": 60, "ethanol-test": 40, "ethanol-unlabelled": 3}


def frames(name: str) -> tuple[list[Frame], list[Frame]]:
    """Structures, and isolated atoms."""
    return separate_isolated(read_frames(DATA / f"{name}.xyz")[0])


def shape(frame: Frame) -> np.ndarray:
    """Distances of all pairs of atoms: the same however a molecule lies in space."""
    return frame.atoms.get_all_distances()[np.triu_indices(len(frame.atoms), 1)]


# --------------------------------------------------------------------------------- data


@pytest.mark.parametrize("name", COUNTS)
def test_data_are_ethanol_and_small(name: str) -> None:
    found, _ = frames(name)
    assert {str(f.atoms.symbols.formula.convert("hill")) for f in found} == {"C2H6O"}
    assert len(found) == COUNTS[name]
    assert (DATA / f"{name}.xyz").stat().st_size < 300_000
    check_structures(found, {1, 6, 7, 8})


@pytest.mark.parametrize("name", ["ethanol-train", "ethanol-test"])
def test_labels_are_fit_to_learn_from(name: str) -> None:
    found, _ = frames(name)
    require_labels(found)
    labels = [f.label for f in found if f.label is not None]
    assert 0.5 < np.sqrt(np.mean([np.mean(label.forces**2) for label in labels])) < 2.0
    # no force on the whole molecule, since the grid's response is in
    assert max(np.abs(label.forces.sum(0)).max() for label in labels) < 1e-8


def test_isolated_atoms_are_ground_states_and_bind() -> None:
    found, atoms = frames("ethanol-train")
    energies = {str(f.atoms.symbols): f.label.energy for f in atoms if f.label is not None}
    assert {str(f.atoms.symbols): f.atoms.info["multiplicity"] for f in atoms} == {
        "H": 2,
        "C": 3,
        "O": 3,
    }
    # Hartree-Fock limits -0.5, -37.69 and -74.81 Ha; PBE's correlation adds up to 0.2 Ha
    assert energies["H"] == pytest.approx(-13.6, abs=0.1)
    assert -37.9 < energies["C"] / 27.2114 < -37.6
    assert -75.1 < energies["O"] / 27.2114 < -74.8
    alone = 2 * energies["C"] + 6 * energies["H"] + energies["O"]
    assert all(-36.0 < f.label.energy - alone < -31.0 for f in found if f.label is not None)


def test_no_structure_is_in_two_files() -> None:
    shapes = {name: [shape(f) for f in frames(name)[0]] for name in COUNTS}
    for one, two in combinations(shapes, 2):
        nearest = min(np.sqrt(np.mean((a - b) ** 2)) for a, b in product(shapes[one], shapes[two]))
        assert nearest > 0.02, f"{one} and {two}"


def test_a_label_is_what_pyscf_says() -> None:
    frame = frames("ethanol-test")[0][17]
    again = PySCF(xc="pbe", basis="def2-svp").label(frame.atoms)
    assert isinstance(again, Label)
    assert frame.label is not None
    assert again.energy == pytest.approx(frame.label.energy, abs=1e-3)
    np.testing.assert_allclose(again.forces, frame.label.forces, atol=1e-3)


# ------------------------------------------------------------------ README and the demo


def commands(text: str) -> list[list[str]]:
    """Every tunesmith command that stands on lines of its own, also behind `show`."""
    text = re.sub(r"\\\n *", "", text)
    lines = re.findall(r"^(?: {4}|\t|show |Next: )? *(tunesmith [^\n]*)", text, re.M)
    return [shlex.split(re.split(r" {3,}| \|\| | >", line)[0], comments=True) for line in lines]


def shown(name: str) -> list[list[str]]:
    text = (ROOT / name).read_text()
    if name.endswith(".sh"):
        for variable, value in re.findall(r"^(\w+)=(\S+)$", text, re.M):
            text = text.replace(f"${variable}", value)
    return commands(text)


SHOW = ("README.md", "examples/demo.sh", "examples/demo-7net.sh")
ALL = [(name, line) for name in SHOW for line in shown(name)]


@pytest.mark.parametrize(("name", "words"), ALL, ids=[f"{n}: {' '.join(w[1:4])}" for n, w in ALL])
def test_what_is_shown_is_accepted(name: str, words: list[str], monkeypatch: Any) -> None:
    monkeypatch.chdir(ROOT)
    _, command, *arguments = words
    context = COMMANDS[command].make_context(command, arguments)
    given = context.params
    overrides = given.get("set_") or ()
    if command == "tune":
        named = {key: given[key] for key in ("strategy", "scope") if given[key]}
        train = given["train"] or ["train.xyz"]
        config.load(config.TuneConfig, None, overrides, {"data.train": train, **named})
    elif command == "label":
        config.load(config.LabelConfig, None, overrides, {"reference.kind": given["reference"]})
    elif command == "run":
        config.load_run(given["config_file"], overrides)
    elif command == "template":
        config.template(given["what"], overrides)
    for word in arguments:
        assert not word.startswith("examples/") or (ROOT / word).exists(), word


def test_every_command_stands_in_the_readme() -> None:
    assert {line[1] for line in shown("README.md")} == set(COMMANDS)


@pytest.mark.parametrize("name", ["README.md", "examples/data/README.md"])
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.slow
def test_demo_halves_the_errors_and_runs_twice(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def demo() -> str:
        done = subprocess.run(
            ["bash", tmp_path / "examples" / "demo.sh"],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    first = demo()
    row = re.search(r"force RMSE +meV/Å +([\d.]+) +([\d.]+)", first)
    assert row
    assert float(row[2]) < 0.5 * float(row[1])
    assert (tmp_path / "runs/ethanol-tune/final.model").exists()
    assert (tmp_path / "runs/ethanol-tune/parity.png").exists()
    assert first.splitlines()[-14:] == demo().splitlines()[-14:]
