"""Commands from the outside: what they print and write, and how they refuse."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write

from tunesmith import terminal
from tunesmith.cli import app
from tunesmith.data.formats import read_frames
from tunesmith.data.store import LabelStore

WATERS = 3


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of a command in this process, compiled code's output included."""
    code = terminal.run(app, [str(a) for a in arguments])
    out, err = capfd.readouterr()
    return code, out, err


def tree(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, to the byte."""
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def waters(n: int = WATERS) -> list[Atoms]:
    frames = []
    for seed in range(n):
        atoms = molecule("H2O")
        atoms.rattle(0.05, rng=np.random.default_rng(seed))
        frames.append(atoms)
    return frames


def drops(n: int) -> list[Atoms]:
    """Of 27 molecules each."""
    frames = []
    for atoms in waters(n):
        atoms.set_cell([3.1] * 3)
        drop = atoms.repeat(3)
        drop.set_cell(None)
        frames.append(drop)
    return frames


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with frames.xyz; trusted files of this machine's user do not count."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TUNESMITH_DEBUG", raising=False)
    write(work / "frames.xyz", waters())
    return work


LABEL = ("label", "frames.xyz", "--reference", "ase", "--set", "reference.calculator=emt")
TBLITE = ("label", "frames.xyz", "--reference", "tblite")


# --------------------------------------------------------------------------- what they do


def test_label_writes_what_the_engine_says(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Against ASE's calculator, called by hand."""
    from ase.calculators.emt import EMT

    code, out, _ = run(capfd, *LABEL, "--out", "labels.xyz")
    assert code == 0
    assert out == "3 of 3 structures labelled in labels.xyz\n"
    for atoms, got in zip(read("frames.xyz", ":"), read(folder / "labels.xyz", ":"), strict=True):
        atoms.calc = EMT()
        assert got.info["REF_energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(got.arrays["REF_forces"], atoms.get_forces(), atol=1e-9)


def test_a_rerun_finds_every_label(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = run(capfd, *LABEL, "--out", "labels.xyz", "--json")
    written = (folder / "labels.xyz").read_bytes()
    second = run(capfd, *LABEL, "--out", "labels.xyz", "--json")
    assert (first[0], second[0]) == (0, 0)
    assert json.loads(first[1])["n_new"] == 3
    assert json.loads(second[1]) == json.loads(first[1]) | {"n_new": 0}
    assert (folder / "labels.xyz").read_bytes() == written
    with sqlite3.connect(folder / "labels.db") as db:
        assert db.execute("SELECT count(*) FROM systems").fetchone() == (3,)


def test_failures_are_listed_and_the_rest_is_written(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    frames = waters(2)
    frames[1].set_distance(0, 1, 0.35, fix=0)
    write("frames.xyz", frames)
    code, out, _ = run(capfd, *LABEL, "--out", "labels.xyz")
    assert code == 1
    assert out.splitlines()[0] == "1 of 2 structures labelled in labels.xyz"
    assert out.splitlines()[1].startswith("frames.xyz#1: unphysical: atoms 0 (O) and 1 (H)")
    assert len(read("labels.xyz", ":")) == 1
    code, out, _ = run(capfd, *LABEL, "--out", "labels.xyz", "--json")
    assert code == 1
    [failure] = json.loads(out)["failures"]
    assert (failure["frame"], failure["kind"]) == ("frames.xyz#1", "unphysical")


def test_interrupted_labelling_keeps_what_there_is_and_goes_on(folder: Path) -> None:
    """A real Ctrl-C to a real process."""
    # a tenth of a second each, so that the store is seldom locked when this looks into it, and
    # the work is not done before the signal, however busy the machine
    n = 30
    write("frames.xyz", drops(n))
    command = [sys.executable, "-m", "tunesmith", *TBLITE, "--out", "labels.xyz"]
    for _ in range(3):
        code, err = _interrupted_after_five(command, folder / "labels.db")
        if code:
            break
        # done before the signal came: on a machine that stood still meanwhile, once in a while
        for path in folder.glob("labels*"):
            path.unlink()
    assert code == 130, err
    assert err.splitlines()[-1] == "interrupted; the same command goes on where it stopped."
    assert "Traceback" not in err
    kept = len(read("labels.xyz", ":"))
    stored = _rows(folder / "labels.db")
    assert 5 <= stored < n
    assert stored - 1 <= kept <= stored, "of the last one, the command may not have heard"
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["n_new"] == n - stored
    assert len(read("labels.xyz", ":")) == n


def test_ctrl_c_that_a_library_swallows_is_heard_after_the_label(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is raised in a destructor is dropped."""

    class Freed:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)  # where it is raised, and lost

    plain = LabelStore.label
    calls = []

    def label(self: LabelStore, *arguments: Any, **options: Any) -> Any:
        found = plain(self, *arguments, **options)
        calls.append(found)
        if len(calls) == 2:
            freed = Freed()
            del freed
        return found

    monkeypatch.setattr(LabelStore, "label", label)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code, _, err = run(capfd, *TBLITE, "--out", "labels.xyz")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, len(calls)) == (130, 2)
    assert err.splitlines()[-1] == "interrupted; the same command goes on where it stopped."
    assert _rows(folder / "labels.db") == len(read("labels.xyz", ":")) == 2


def _interrupted_after_five(command: list[str], store: Path) -> tuple[int, str]:
    """Exit code and stderr of a command that is sent Ctrl-C once its store has five labels."""
    # a test run in the background may have been started deaf to Ctrl-C; a user's shell is not
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 120
        while _rows(store) < 5:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, err


def _rows(path: Path) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.1) as db:
            return int(db.execute("SELECT count(*) FROM systems").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_template_is_a_file_that_label_takes(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kind = ("--set", "reference.kind=ase", "--set", "reference.calculator=emt")
    code, out, err = run(capfd, "template", "label", *kind)
    assert (code, err) == (0, "")
    (folder / "label.yaml").write_text(out)
    code, _, err = run(capfd, "label", "frames.xyz", "--config", "label.yaml", "--out", "l.xyz")
    assert code == 0, err
    code, as_json, _ = run(capfd, "template", "label", *kind, "--json")
    assert json.loads(as_json)["yaml"] == out


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(capfd, "--version")[:2] == (0, "tunesmith 0.1.0\n")


def test_trust_remembers_the_content(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "a.model").write_bytes(b"\x80pickle")
    code, out, _ = run(capfd, "trust", "a.model", "--json")
    assert code == 0
    # sha256 of its bytes by coreutils
    known = subprocess.run(["sha256sum", "a.model"], capture_output=True, text=True, check=True)
    result = json.loads(out)
    assert result["sha256"] == known.stdout.split()[0]
    assert result["sha256"] in Path(result["remembered_in"]).read_text()
    code, out, _ = run(capfd, "trust", "a.model")
    assert (code, "may run any code" in out) == (0, True)


# ------------------------------------------------------------------------- how they refuse


def bad_frames(folder: Path) -> None:
    """Files that hold no usable structures."""
    (folder / "empty.xyz").write_text("")
    text = (folder / "frames.xyz").read_text()
    (folder / "truncated.xyz").write_text("\n".join(text.splitlines()[:-2]) + "\n")
    (folder / "noise.xyz").write_bytes(bytes(range(256)))
    overlap = molecule("H2O")
    overlap.positions[1] = overlap.positions[0] + 1e-3
    write(folder / "overlap.xyz", overlap)
    cell = molecule("H2O")
    cell.pbc = True
    (folder / "cell.xyz").write_text('1\nProperties=species:S:1:pos:R:3 pbc="T T T"\nH 0 0 0\n')
    write(folder / "plain.txt", molecule("H2O"), format="xyz")


REFERENCE = ("--reference", "ase", "--set", "reference.calculator=emt")
REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("label", "nothing.xyz", *REFERENCE, "--out", "l.xyz"), "nothing.xyz: there is no such file"),
    (("label", "empty.xyz", *REFERENCE, "--out", "l.xyz"), "empty.xyz: the file is empty"),
    (("label", "truncated.xyz", *REFERENCE, "--out", "l.xyz"), "truncated.xyz"),
    (("label", "noise.xyz", *REFERENCE, "--out", "l.xyz"), "noise.xyz"),
    (("label", "overlap.xyz", *REFERENCE, "--out", "l.xyz"), "overlap.xyz#0: atoms 0 (O) and 1"),
    (("label", "cell.xyz", *REFERENCE, "--out", "l.xyz"), "cell.xyz#0: is periodic along a cell"),
    ((*LABEL, "--out", "l.txt"), "--out l.txt: labels are written as extxyz"),
    ((*LABEL, "--out", "frames.xyz"), "must be three different files"),
    ((*LABEL, "--out", "l.xyz", "--store", "l.xyz"), "must be three different files"),
    ((*LABEL, "--out", "plain.xyz"), "plain.xyz exists but its label store plain.db does not"),
    ((*LABEL, "--out", "missing/l.xyz"), "missing: there is no such folder"),
    ((*LABEL, "--out", "frames.xyz/l.xyz"), "frames.xyz: there is no such folder"),
    (("label", "frames.xyz", "--out", "l.xyz"), "reference.kind: not given; use one of"),
    (
        ("label", "frames.xyz", "--reference", "psycf", "--out", "l.xyz"),
        "reference.kind: there is no 'psycf'; did you mean 'pyscf'?",
    ),
    ((*TBLITE, "--out", "l.xyz", "--set", "reference.methd=GFN1"), "did you mean 'method'?"),
    (
        (*TBLITE, "--out", "l.xyz", "--set", "reference.timeout=3 parsec"),
        "reference.timeout: unknown unit 'parsec' of wall time",
    ),
    (
        (*TBLITE, "--out", "l.xyz", "--set", "reference.kind=tblite"),
        "--set reference.kind: also given by its own option",
    ),
    (
        (
            *("label", "frames.xyz", "--reference", "orca", "--out", "l.xyz"),
            *("--set", "reference.simple_input=PBE def2-SVP", "--set", "reference.command=no-orca"),
        ),
        "install",
    ),
    (("tune", "--out", "r"), "data.train: not given"),
    (
        ("tune", "--out", "r", "--train", "frames.xyz", "--set", "tune.sampler.epoch=3"),
        "tune.sampler.epoch: no such setting; did you mean 'epochs'?",
    ),
    (
        ("tune", "--out", "r", "--train", "frames.xyz", "--config", "nothing.yaml"),
        "nothing.yaml: there is no such file; check the path.",
    ),
    (("tune", "--train", "frames.xyz"), "Missing option '--out'; see 'tunesmith tune --help'."),
    (("tune", "--oops"), "No such option: --oops"),
    (("tun",), "No such command 'tun'"),
    (("evalute",), "No such command 'evalute'. Did you mean 'evaluate'? See 'tunesmith --help'."),
    (("tune", "--lr", "3"), "No such option: --lr; see 'tunesmith tune --help'."),
    (("label", ".", "--reference", "tblite", "--out", "l.xyz"), ".: is a folder; name the file in"),
    (("run", "."), ".: is a folder; name the YAML file in it."),
    (("trust", "frames.xyz"), "frames.xyz is no model file: it holds neither an archive"),
    (
        ("template",),
        "Missing argument 'tune|label|run|pool|cago|attack|select|check'; "
        "see 'tunesmith template --help'.",
    ),
    (("template", "tunes"), "there is no template 'tunes'; did you mean 'tune'?"),
    (("trust", "nothing.model"), "nothing.model"),
]


@pytest.mark.parametrize(("arguments", "says"), REFUSED)
def test_bad_input_is_one_sentence_and_writes_nothing(
    folder: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    bad_frames(folder)
    (folder / "plain.xyz").write_text("mine")
    before = tree(folder.parent)
    code, out, err = run(capfd, *arguments)
    assert (code, out) == (2, "")
    [sentence] = [line for line in err.splitlines() if line.strip()]
    assert sentence.startswith("error: ")
    assert says in sentence
    assert sentence.endswith((".", "?", ")")) or "install" in sentence
    assert tree(folder.parent) == before


def test_a_bug_is_called_one_and_its_traceback_kept(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise ZeroDivisionError("somewhere deep")

    monkeypatch.setattr("tunesmith.config.template", broken)
    code, out, err = run(capfd, "template", "tune")
    assert (code, out) == (70, "")
    assert err.startswith("error: this is a bug in tunesmith (ZeroDivisionError: somewhere deep)")
    kept = Path(err.split()[-1].rstrip("."))
    assert "in broken" in kept.read_text()
    kept.unlink()
    monkeypatch.setenv("TUNESMITH_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        terminal.run(app, ["template", "tune"])


def test_what_libraries_print_stays_out_of_the_result(capfd: pytest.CaptureFixture[str]) -> None:
    with terminal.only_results():
        print("from python")
        os.write(1, b"from compiled code\n")
    print("the result")
    out, err = capfd.readouterr()
    assert out == "the result\n"
    assert "from python" in err
    assert "from compiled code" in err


def test_a_full_disk_is_no_bug(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capfd, *LABEL, "--out", "labels.xyz", "--store", "/dev/full/labels.db")
    assert code == 2
    assert len(err.splitlines()) == 1


def test_label_hears_a_charge_under_another_name_and_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """To the label of the same cation under the usual names."""
    pytest.importorskip("tblite")
    energies = {}
    names = {
        "usual": {"charge": 1, "multiplicity": 1},
        "other": {"total_charge": 1, "total_spin": 1},
    }
    for name, info in names.items():
        atoms = molecule("NH3") + Atoms("H", [[0, 0, 1.1]])
        atoms.info |= info
        write(tmp_path / f"{name}.xyz", atoms)
        out = tmp_path / f"{name}-labels.xyz"
        given = ("label", tmp_path / f"{name}.xyz", "--reference", "tblite", "--out", out)
        code, _, said = run(capfd, *given)
        assert code == 0
        assert ("other.xyz: charge from total_charge" in said) == (name == "other")
        assert ("other.xyz: multiplicity from total_spin" in said) == (name == "other")
        (frame,), _ = read_frames(out)
        assert frame.atoms.info == {"charge": 1, "multiplicity": 1}
        energies[name] = frame.label.energy
    assert energies["other"] == energies["usual"]


def test_label_takes_the_elements_of_types(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tblite")
    rows = "1 1 4 4 4.1\n2 2 4 4.8 3.5\n3 2 4 3.2 3.5\n"
    text = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n3\nITEM: BOX BOUNDS ff ff ff\n0 9\n0 9\n0 9\n"
    (tmp_path / "a.lammpstrj").write_text(text + "ITEM: ATOMS id type x y z\n" + rows)
    out = tmp_path / "labels.xyz"
    command = ["label", str(tmp_path / "a.lammpstrj"), "--reference", "tblite", "--out", str(out)]
    assert terminal.run(app, command) == 2
    assert "--species 'O H'" in capfd.readouterr().err
    assert not out.exists()
    assert terminal.run(app, [*command, "--species", "O H"]) == 0
    assert str(read_frames(out)[0][0].atoms.symbols) == "OH2"


def test_an_earlier_output_with_more_structures_is_replaced_with_a_word(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tail = ("--reference", "tblite", "--out", "l.xyz")
    assert run(capfd, "label", "frames.xyz", *tail)[0] == 0
    write(folder / "one.xyz", waters(1))
    code, _, err = run(capfd, "label", "one.xyz", *tail)
    assert code == 0
    assert f"l.xyz held {WATERS} structures and will hold these 1; l.db keeps all labels" in err
    code, out, err = run(capfd, "label", "frames.xyz", *tail)
    assert "held" not in err
    assert f"{WATERS} of {WATERS} structures labelled" in out


def test_what_fails_alike_is_said_once(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Silicon, which EMT does not know, in every structure."""
    write(folder / "si.xyz", [Atoms("Si2", [[0, 0, 0], [0, 0, 2.2 + 0.1 * i]]) for i in range(3)])
    code, out, _ = run(capfd, "label", "si.xyz", *LABEL[2:], "--out", "l.xyz")
    assert code == 1
    assert len([line for line in out.splitlines() if "si.xyz#0 and 2 more: " in line]) == 1
    assert "si.xyz#1" not in out
