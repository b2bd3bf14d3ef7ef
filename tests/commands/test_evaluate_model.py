"""`tunesmith evaluate` on files that hold a part of the labels."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read, write

from tunesmith import Calculator, terminal
from tunesmith.cli import app
from tunesmith.data.formats import read_frames


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Methane, labelled with whatever; an atom in the middle that marks an E0."""
    rng = np.random.default_rng(0)
    images = []
    for i in range(6):
        atoms = molecule("CH4")
        atoms.rattle(0.05, seed=i)
        atoms.info["REF_energy"] = -1000.0 + i
        atoms.arrays["REF_forces"] = rng.normal(size=(5, 3))
        images.append(atoms)
    write(tmp_path / "all.xyz", images)
    for part, other in (("energy", "forces"), ("forces", "energy")):
        some = [a.copy() for a in images]
        for atoms in some:
            (atoms.info if other == "energy" else atoms.arrays).pop(f"REF_{other}")
        write(tmp_path / f"{part}.xyz", some)
    return tmp_path


def evaluated(capfd: pytest.CaptureFixture[str], path: Path, *options: str) -> dict[str, float]:
    assert terminal.run(app, ["evaluate", "organic-xs", str(path), "--json", *options]) == 0
    return json.loads(capfd.readouterr().out)


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(("part", "stem"), [("energy", "energy_"), ("forces", "force_")])
def test_what_labels_there_are_is_compared(
    labelled: Path, part: str, stem: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """To the numbers of the file that has everything."""
    whole = evaluated(capfd, labelled / "all.xyz")
    some = evaluated(capfd, labelled / f"{part}.xyz", "--plots", str(labelled / "plots"))
    keys = [k for k in whole if k.startswith(stem)]
    assert len(keys) > 2
    assert {k: some.get(k) for k in keys} == {k: whole[k] for k in keys}
    other = {"energy_": "force_", "force_": "energy_"}[stem]
    assert not [k for k in some if k.startswith(other)]
    assert (labelled / "plots" / "parity.png").stat().st_size > 1000


@pytest.mark.parametrize("part", ["energy", "forces"])
def test_a_number_that_is_none_is_not_a_label_that_is_absent(
    labelled: Path, part: str, capfd: pytest.CaptureFixture[str]
) -> None:
    frames, _ = read_frames(labelled / "all.xyz")
    number = repr(
        float(frames[2].label.energy if part == "energy" else frames[2].label.forces[1, 1])
    )
    text = (labelled / "all.xyz").read_text()
    wrong = text.replace(f"REF_energy={number}", "REF_energy=nan") if part == "energy" else None
    if wrong is None:
        cell = next(w for w in text.split() if w.startswith(number[:9]))
        wrong = text.replace(cell, "nan")
    assert wrong != text
    (labelled / "wrong.xyz").write_text(wrong)
    assert terminal.run(app, ["evaluate", "organic-xs", str(labelled / "wrong.xyz")]) == 2
    assert f"wrong.xyz#2: its {part} is not finite" in capfd.readouterr().err


def test_a_frame_without_any_label_says_what_it_has(
    labelled: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (labelled / "energy.xyz").read_text().replace("REF_energy", "dft_energy")
    (labelled / "energy.xyz").write_text(text)
    command = ["evaluate", "organic-xs", str(labelled / "energy.xyz")]
    assert terminal.run(app, command) == 2
    said = capfd.readouterr().err
    assert "--energy-key dft_energy" in said
    assert terminal.run(app, [*command, "--energy-key", "dft_energy"]) == 0


def test_predictions_are_what_the_calculator_says_and_last(
    labelled: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Written, read by ASE, written by ASE and read again."""
    out = tmp_path / "out.xyz"
    evaluated(capfd, labelled / "all.xyz", "--predictions", str(out), "--dtype", "float64")
    write(tmp_path / "again.xyz", read(out, ":"))
    calculator = Calculator("organic-xs", dtype="float64")
    for atoms, source in zip(
        read(tmp_path / "again.xyz", ":"), read(labelled / "all.xyz", ":"), strict=True
    ):
        assert atoms.info["REF_energy"] == source.info["REF_energy"]
        source.calc = calculator
        assert atoms.info["predicted_energy"] == pytest.approx(source.get_potential_energy())
        assert atoms.arrays["predicted_forces"] == pytest.approx(source.get_forces(), abs=1e-6)
        assert not [key for key in (*atoms.info, *atoms.arrays) if key.endswith("_std")]
    # those of another model do not stay
    atoms = read(out, 0)
    atoms.info["energy_std"], atoms.info["predicted_energy"] = 0.3, -7.0
    write(tmp_path / "old.xyz", [atoms, *read(out, "1:")])
    evaluated(capfd, tmp_path / "old.xyz", "--predictions", str(tmp_path / "new.xyz"))
    assert "energy_std" not in read(tmp_path / "new.xyz", 0).info
    assert read(tmp_path / "new.xyz", 0).info["predicted_energy"] < -50
    # what has no label to be compared with has no prediction beside it
    evaluated(capfd, labelled / "forces.xyz", "--predictions", str(tmp_path / "some.xyz"))
    for atoms in read(tmp_path / "some.xyz", ":"):
        assert not {"predicted_energy", "REF_energy"} & set(atoms.info)
        assert "predicted_forces" in atoms.arrays
    for wrong, says in (
        (out, "exists; choose another"),
        (tmp_path / "out.txt", "end the name in .xyz"),
        (tmp_path / "a" / "b.xyz", "there is no such folder"),
    ):
        path = str(labelled / "all.xyz")
        code = terminal.run(app, ["evaluate", "organic-xs", path, "--predictions", str(wrong)])
        assert (code, says in capfd.readouterr().err) == (2, True)
