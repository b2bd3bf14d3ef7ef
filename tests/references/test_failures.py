"""Whatever goes wrong in a calculation is a value, and leaves no process behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms

from tunesmith.core import Failure, Label
from tunesmith.errors import ConfigError, UnitError
from tunesmith.references import worker
from tunesmith.references.ase_any import AnyASE, from_calculator
from tunesmith.references.tblite import TBLite

H2 = Atoms("H2", [[0, 0, 0], [0.1, 0.2, 0.8]])


def gone(pid: int) -> bool:
    """Ended; a zombie nobody has waited for yet counts."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def wait_gone(pid: int, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not gone(pid):
        time.sleep(0.02)
    return gone(pid)


def trouble(name: str, tmp_path: Path, **settings) -> AnyASE:
    return AnyASE(calculator=name, scratch=str(tmp_path / "scratch"), **settings)


def folders(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "scratch").iterdir())


def test_timeout_ends_the_calculation_and_the_program_it_started(plugins, tmp_path):
    note = tmp_path / "pids"
    reference = trouble("sleeper", tmp_path, timeout="1.5 s", parameters={"pids": str(note)})
    started = time.monotonic()
    failure = reference.label(H2)
    assert failure.kind == "timed-out"
    assert "1.5 s" in failure.reason
    assert time.monotonic() - started < 60
    calculation, program = map(int, note.read_text().split())
    assert wait_gone(calculation)
    assert wait_gone(program)
    assert Path(failure.scratch, "structure.extxyz").is_file()
    # the next call has a new worker
    assert isinstance(trouble("spring", tmp_path).label(H2), Label)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("leaver", "crashed", "exited with code 7"),
        ("segfault", "crashed", "SIGSEGV"),
        ("raiser", "crashed", "ValueError: no such thing"),
        ("importer", "engine-missing", "a_package_nobody_has"),
        ("undefined", "nan", "not finite"),
    ],
)
def test_what_calculators_do(plugins, tmp_path, name, kind, words):
    failure = trouble(name, tmp_path).label(H2)
    assert isinstance(failure, Failure)
    assert failure.kind == kind
    assert words in failure.reason
    assert folders(tmp_path) == [Path(failure.scratch)]
    if name == "raiser":
        assert "words before the end" in Path(failure.scratch, "first", "output.log").read_text()


def test_success_leaves_no_folder_and_the_worker_is_used_again(plugins, tmp_path):
    seen = []
    for threads in (1, 1, 3):
        note = tmp_path / "note"
        reference = trouble(
            "whereabouts", tmp_path, threads=threads, parameters={"note": str(note)}
        )
        assert isinstance(reference.label(H2), Label)
        folder, used, pid = note.read_text().split("\n")
        assert not Path(folder).exists()
        assert Path(folder).is_relative_to(tmp_path / "scratch")
        assert int(used) == threads
        seen.append((folder, pid))
    assert folders(tmp_path) == []
    assert seen[0][0] != seen[1][0], "every call has a fresh folder"
    assert seen[0][1] == seen[1][1] != seen[2][1]


def test_energy_is_the_forces_own(plugins, tmp_path):
    label = trouble("spring", tmp_path, parameters={"k": 3.0}).label(H2)
    assert label.energy == pytest.approx(0.5 * 3.0 * (0.01 + 0.04 + 0.64))
    assert label.energy_zero == pytest.approx(label.energy + 0.25)


def test_too_large_a_force(plugins, tmp_path):
    parameters = {"k": 200.0}
    failure = trouble("spring", tmp_path, parameters=parameters).label(H2)
    assert failure.kind == "unphysical"  # 200 × sqrt(0.69) = 166 eV/Å
    assert "166.1" in failure.reason
    generous = trouble("spring", tmp_path, parameters=parameters, max_force="5000 kcal/mol/Å")
    assert isinstance(generous.label(H2), Label)


def test_overlapping_atoms_are_not_even_asked():
    near = Atoms("H2", [[0, 0, 0], [0, 0, 0.001]])
    for atoms in (near, Atoms("H2", np.zeros((2, 3)))):
        failure = TBLite().label(atoms)
        assert failure.kind == "unphysical"
        assert "atoms 0 (H) and 1 (H)" in failure.reason
        assert failure.scratch is None
    # through the cell: an image 0.2 Å from its own atom
    image = Atoms("Ne", cell=[0.2, 9, 9], pbc=True)
    assert AnyASE(calculator="lj").label(image).kind == "unphysical"
    # the limit in numbers: hydrogen has a covalent radius of 0.31 Å
    at = [Atoms("H2", [[0, 0, 0], [0, 0, 2 * 0.31 * 0.4 + d]]) for d in (-0.001, 0.001)]
    reference = AnyASE(calculator="lj", max_force="1e9 eV/Å", parameters={"epsilon": 1e-3})
    assert isinstance(reference.label(at[0]), Failure)
    assert "min_distance" not in getattr(reference.label(at[1]), "reason", "")


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (Atoms(), "no atoms"),
        (Atoms("H", [[np.nan, 0, 0]]), "finite"),
        (Atoms("H", cell=[5, 5, 0], pbc=True), "cell vector that is zero"),
    ],
)
def test_structures_nobody_can_compute(atoms, words):
    failure = TBLite().label(atoms)
    assert failure.kind == "refused"
    assert words in failure.reason


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"multiplicity": 2}, "cannot have multiplicity 2"),
        ({"charge": 1, "multiplicity": 1}, "cannot have multiplicity 1"),
        ({"charge": 11}, "-1 electrons"),
        ({"charge": 0.5}, "no whole number"),
        ({"spin": 0}, "2S or 2S+1"),
    ],
)
def test_states_that_do_not_exist(info, words):
    water = molecule("H2O")
    water.info.update(info)
    failure = TBLite().label(water)
    assert failure.kind == "refused"
    assert words in failure.reason


def test_guesses_that_say_more_than_the_label():
    oxygen = molecule("O2")  # ASE gives it magnetic moments
    assert "multiplicity" in TBLite().label(oxygen).reason
    ion = Atoms("Na", charges=[1.0])
    assert "initial charges sum to +1.0" in TBLite().label(ion).reason
    ion.info["charge"] = 1
    assert isinstance(TBLite().label(ion), Label)


def test_constraints_zero_no_force(plugins, tmp_path):
    free, fixed = bulk("Cu", cubic=True), bulk("Cu", cubic=True)
    for atoms in (free, fixed):
        atoms.rattle(0.1, seed=3)
    fixed.set_constraint(FixAtoms([0, 1, 2]))
    a, b = (trouble("counted", tmp_path).label(x) for x in (free, fixed))
    assert np.abs(b.forces[:3]).max() > 0.1
    np.testing.assert_array_equal(a.forces, b.forces)
    assert len(fixed.constraints) == 1, "the caller's structure stays as it is"


def test_settings_are_checked_before_anything_runs():
    for settings in ({"max_force": "100"}, {"max_force": "3 eV"}, {"timeout": "1 fs"}):
        with pytest.raises(UnitError):
            TBLite(**settings)
    for settings in ({"max_force": "-1 eV/Å"}, {"timeout": "0 s"}, {"timeout": "30 d"}):
        with pytest.raises(ConfigError):
            TBLite(**settings)


def test_missing_package():
    """In an interpreter that finds no installed package."""
    script = """
from importlib import metadata
metadata.MetadataPathFinder.find_distributions = classmethod(lambda *_: [])
from ase.build import molecule
from tunesmith.references.tblite import TBLite
print(TBLite().label(molecule("H2O")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "engine-missing" in done.stdout, done.stderr
    assert "pip install 'tunesmith[xtb]'" in done.stdout


@pytest.mark.parametrize(
    "ending", [pytest.param("sys.exit()", marks=pytest.mark.slow), "os.kill(os.getpid(), 9)"]
)
def test_workers_end_with_their_parent(plugins, tmp_path, ending):
    note = tmp_path / "note"
    script = f"""
import os, sys
sys.path[:] = {sys.path!r}
from ase import Atoms
from tunesmith.references.ase_any import AnyASE
print(AnyASE(calculator="whereabouts", parameters=dict(note={str(note)!r})).label(Atoms("H")))
{ending}
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    assert wait_gone(int(note.read_text().split("\n")[2]))


def test_concurrent_calls_have_workers_of_their_own(plugins, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    def run(i: int) -> tuple[Label | Failure, str]:
        note = tmp_path / f"note{i}"
        label = trouble(
            "whereabouts", tmp_path, parameters={"note": str(note), "k": 1.0 + i}
        ).label(H2)
        return label, note.read_text().split("\n")[2]

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, range(4)))
    for i, (label, _) in enumerate(results):
        assert label.energy == pytest.approx(0.5 * (1.0 + i) * 0.69)
    assert 1 <= len({pid for _, pid in results}) <= 2


def test_a_forked_copy_leaves_the_workers_alone(plugins, tmp_path):
    assert isinstance(trouble("spring", tmp_path).label(H2), Label)
    pid = os.fork()
    if pid == 0:
        worker.end_all()
        os._exit(len(worker._ALL))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert isinstance(trouble("spring", tmp_path).label(H2), Label)


def test_calculator_object(tmp_path):
    from ase.calculators.emt import EMT

    copper = bulk("Cu", cubic=True)
    copper.rattle(0.05, seed=1)
    reference = from_calculator(EMT(), {"method": "emt"}, max_force="20 eV/Å")
    label = reference.label(copper)
    alone = copper.copy()
    alone.calc = EMT()
    assert label.energy == alone.get_potential_energy(force_consistent=True)
    np.testing.assert_array_equal(label.forces, alone.get_forces())
    np.testing.assert_allclose(label.stress, alone.get_stress(voigt=False))
    assert reference.identity()["calculator"] == {"method": "emt"}
    assert reference.label(Atoms("Fe2", [[0, 0, 0], [0, 0, 2]])).kind == "crashed"
    with pytest.raises(ConfigError, match="timeout"):
        from_calculator(EMT(), {"method": "emt"}, timeout="1 h")
