"""VASP and ORCA: what their files mean. Nobody can install these programs for a test.

Small files in the format ASE's readers accept stand for their output (`files/`), and a shell
script that copies them stands for the program: this tests the reading, not the programs.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.units import Bohr, Hartree

from tunesmith.core import Failure, Label
from tunesmith.errors import ConfigError
from tunesmith.references.orca import ORCA
from tunesmith.references.vasp import VASP

FILES = Path(__file__).parent / "files"
# sorted by ASE for VASP: Cl Cl Na Na
SALT = Atoms(
    ["Cl", "Na", "Cl", "Na"],
    scaled_positions=[[0.5, 0.5, 0], [0, 0, 0], [0, 0, 0.5], [0.5, 0.5, 0.5]],
    cell=[4, 4, 5.6],
    pbc=True,
)
H2 = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]])


def program(folder: Path, name: str, script: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def vasp(folder: Path, outcar: str, **settings) -> VASP:
    for element in ("Na", "Cl"):
        potcar = folder / "potpaw_PBE" / element / "POTCAR"
        potcar.parent.mkdir(parents=True, exist_ok=True)
        potcar.write_text(f"  PAW_PBE {element}\n   7.000\n")
    copy = f"cp {FILES}/vasp/{outcar} OUTCAR; cp {FILES}/vasp/vasprun.xml ."
    keep = f"{copy}; cp INCAR {folder}/INCAR; grep -q 'ALGO = All' INCAR && touch {folder}/retried"
    return VASP(
        command=program(folder, "vasp_std", f"{keep}; exit 0"),
        pp_path=str(folder),
        program_version="6.4.2",
        scratch=str(folder / "scratch"),
        settings={"xc": "pbe", "encut": 300} | settings,
    )


def orca(folder: Path, output: str, **settings) -> ORCA:
    copy = f"cp {FILES}/orca/converged.engrad orca.engrad; cat {FILES}/orca/{output}"
    script = f"case $1 in does_not_exist) echo ' Program Version 6.0.1';; *) {copy};; esac"
    keep = f"cp orca.inp {folder}/orca.inp 2>/dev/null; {script}"
    return ORCA(
        command=program(folder, "orca", keep),
        scratch=str(folder / "scratch"),
        simple_input="PBE def2-SVP",
        **settings,
    )


def test_vasp_converged(tmp_path):
    label = vasp(tmp_path, "OUTCAR.converged").label(SALT)
    assert isinstance(label, Label), label
    assert (label.energy, label.energy_zero) == pytest.approx((-13.4, -13.395))
    # back in the order of the structure: Cl Na Cl Na
    np.testing.assert_allclose(label.forces[:, 0], [0.1, 0.3, 0.2, -0.6])
    # VASP writes kbar and pressure's sign; 16.02 kbar are 0.01 eV/Å³
    expected = -0.01 * np.array([[1, 0.1, 0], [0.1, 2, 0], [0, 0, -1]])
    np.testing.assert_allclose(label.stress, expected, atol=1e-8)
    incar = (tmp_path / "INCAR").read_text()
    assert "NSW = 0" in incar
    assert "ISIF = 2" in incar
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("outcar", ["OUTCAR.unconverged", "OUTCAR.vasp5-unconverged"])
def test_vasp_that_stops_at_nelm_is_tried_again_and_refused(tmp_path, outcar):
    failure = vasp(tmp_path, outcar).label(SALT)
    assert isinstance(failure, Failure)
    assert failure.kind == "not-converged"
    assert (tmp_path / "retried").exists()
    assert Path(failure.scratch, "retry", "OUTCAR").is_file()


def test_vasp_broken_off_and_of_another_version(tmp_path):
    assert vasp(tmp_path, "OUTCAR.broken").label(SALT).kind == "crashed"
    other = vasp(tmp_path, "OUTCAR.converged").model_copy(update={"program_version": "6.5.0"})
    assert "this is VASP 6.4.2" in other.label(SALT).reason


def test_vasp_settings(tmp_path):
    for settings in ({"nsw": 10}, {"ibrion": 2}, {"encutt": 300}):
        with pytest.raises(ConfigError):
            vasp(tmp_path, "OUTCAR.converged", **settings)
    reference = vasp(tmp_path, "OUTCAR.converged")
    assert reference.identity()["version"] == "6.4.2"
    assert str(tmp_path) not in str(reference.identity())
    spin = SALT.copy()
    spin.info["multiplicity"] = 3
    reference.label(spin)
    assert "NUPDOWN = 2" in (tmp_path / "INCAR").read_text()


def test_orca_converged(tmp_path):
    charged = H2.copy()
    charged.info.update(charge=1)
    reference = orca(tmp_path, "converged.out")
    label = reference.label(charged)
    assert isinstance(label, Label), label
    assert label.energy == pytest.approx(-1.15 * Hartree)
    np.testing.assert_allclose(label.forces[:, 2], np.array([0.02, -0.02]) * Hartree / Bohr)
    written = (tmp_path / "orca.inp").read_text()
    assert "EnGrad" in written
    assert "*xyz 1 2" in written
    assert reference.identity()["version"] == "6.0.1"


@pytest.mark.parametrize("output", ["unconverged.out", "nearly.out"])
def test_orca_unconverged(tmp_path, output):
    failure = orca(tmp_path, output).label(H2)
    assert failure.kind == "not-converged"
    assert "SlowConv" in (tmp_path / "orca.inp").read_text()


def test_orca_settings_and_missing_programs(tmp_path):
    with pytest.raises(ConfigError, match="opt"):
        ORCA(simple_input="PBE def2-SVP Opt")
    absent = ORCA(simple_input="PBE def2-SVP", command=os.fspath(tmp_path / "nothing"))
    assert absent.label(H2).kind == "engine-missing"
    # the screen reader of the same name
    reader = ORCA(simple_input="PBE def2-SVP", command=program(tmp_path, "orca", "echo Usage:"))
    assert reader.label(H2).kind == "engine-missing"
    none = VASP(command="vasp_of_nobody", program_version="6", settings={"xc": "pbe"})
    assert none.label(SALT).kind == "engine-missing"
