"""A whole fine-tuning through files: what it writes, resumes and refuses."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from tiny import e0s, molecules, potential
from tunesmith import Calculator, config, fine_tune, terminal
from tunesmith.cli import app
from tunesmith.commands.fine_tune import _worse
from tunesmith.core import Frame, Label
from tunesmith.data.formats import write_frames
from tunesmith.errors import CheckpointError, ConfigError, DataError, RunFolderError
from tunesmith.posterior.ensemble import open_model
from tunesmith.potentials import zoo
from tunesmith.potentials.mace import mace_files
from tunesmith.run_folder import stamp
from tunesmith.tensor_files import read as read_tensors
from tunesmith.tune import adamw, adamw_fit
from tunesmith.tune.replay import predicted


def inputs(folder):
    """A foundation model file and labelled sets."""
    model = potential()
    model.export(folder / "base.model", model.weights(), model.e0s)
    write_frames(folder / "train.xyz", molecules(12))
    write_frames(folder / "test.xyz", molecules(4, seed=8))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The inputs, and the finished run that `settings` asks for, of which tests take a copy."""
    folder = inputs(tmp_path_factory.mktemp("made"))
    fine_tune(settings(folder), folder / "run")
    return folder


@pytest.fixture
def files(tmp_path, made):
    """The inputs in a folder of their own."""
    for path in made.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    return tmp_path


@pytest.fixture
def run(tmp_path, made):
    """The finished run, to do as one likes with."""
    return shutil.copytree(made / "run", tmp_path / "run")


def settings(folder, *overrides: str, train: str = "train.xyz") -> config.TuneConfig:
    shortcuts = {"model.source": str(folder / "base.model"), "data.train": str(folder / train)}
    short = ["tune.sampler.epochs=4", "tune.sampler.learning_rate=0.01", "model.dtype=float64"]
    short.append("execute.processes=1")
    given = {o.partition("=")[0] for o in overrides}
    kept = [s for s in short if s.partition("=")[0] not in given]
    return config.load(config.TuneConfig, None, [*kept, *overrides], shortcuts)


def test_the_tuned_model_is_a_plain_mace_model_with_the_labels_energies(files):
    summary = fine_tune(settings(files, "tune.sampler.epochs=30"), files / "run")
    assert (
        summary["after"]["force_rmse_meV_per_A"] < 0.8 * summary["before"]["force_rmse_meV_per_A"]
    )
    frames = molecules(4, seed=8)
    native = mace_files.calculator(files / "run" / "final.model")
    ours = Calculator(files / "run", dtype="float64")
    for frame in frames:
        energies = []
        for calculator in (native, ours):
            atoms = frame.atoms.copy()
            atoms.calc = calculator
            energies.append(atoms.get_potential_energy())
        assert energies[0] == pytest.approx(energies[1], abs=1e-8)
        # labels are near -2000 eV, the foundation's energies near -100 eV
        assert energies[0] == pytest.approx(frame.label.energy, abs=2.0)
    names = " ".join(sorted(p.name for p in (files / "run").iterdir()))
    assert names == "checkpoint config.yaml final.model learning_curves.png members summary.json"
    assert json.loads((files / "run" / "summary.json").read_text()) == summary


def test_a_run_killed_in_the_middle_gives_the_same_model(made, tmp_path, monkeypatch):
    step = adamw_fit.AdamWFit.step
    calls = 0

    def dies(self, chosen):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return step(self, chosen)

    slow = settings(made, "tune.sampler.checkpoint_every=0 s")
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(adamw_fit.AdamWFit, "step", dies)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(slow, out)
    with pytest.raises(RunFolderError, match="no finished fit"):
        open_model(out)
    fine_tune(slow, out)
    a, b = open_model(made / "run").weights[0], open_model(out).weights[0]
    assert all((a[k] == b[k]).all() for k in a)


def test_a_finished_run_is_not_repeated(made, run, monkeypatch):
    first = json.loads((run / "summary.json").read_text())
    monkeypatch.setattr(adamw_fit.AdamWFit, "step", None)
    assert fine_tune(settings(made), run) == first


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("tune.sampler.learning_rate=0.02", "tune.sampler.learning_rate"),
        ("seed=5", "seed"),
        ("tune.loss.energy=1", "tune.loss.energy"),
        ("tune.e0=foundation", "tune.e0.method"),
    ],
)
def test_the_folder_of_another_configuration_is_refused(made, run, change, named):
    before = sorted((p, p.stat().st_mtime_ns) for p in run.rglob("*"))
    with pytest.raises(RunFolderError, match=named):
        fine_tune(settings(made, change), run)
    assert before == sorted((p, p.stat().st_mtime_ns) for p in run.rglob("*"))


def test_other_data_under_the_same_name_is_refused(files):
    fine_tune(settings(files, "tune.sampler.epochs=1"), files / "run")
    write_frames(files / "train.xyz", molecules(12, seed=1))
    with pytest.raises(RunFolderError, match="other data"):
        fine_tune(settings(files, "tune.sampler.epochs=1"), files / "run")


def test_a_changed_model_file_is_refused(files):
    fine_tune(settings(files, "tune.sampler.epochs=1"), files / "run")
    model = potential(seed=4)
    model.export(files / "base.model", model.weights(), model.e0s)
    with pytest.raises(RunFolderError, match="another model"):
        fine_tune(settings(files, "tune.sampler.epochs=1"), files / "run")
    with pytest.raises(RunFolderError, match="has changed"):
        open_model(files / "run")


def test_a_damaged_checkpoint_is_refused_in_one_sentence(made, run):
    state = run / "checkpoint" / "state.safetensors"
    raw = bytearray(state.read_bytes())
    raw[-3] ^= 4
    state.write_bytes(bytes(raw))
    with pytest.raises(CheckpointError, match="damaged"):
        fine_tune(settings(made, "tune.sampler.epochs=6"), run)


def test_more_epochs_continue_a_finished_run(made, run, tmp_path):
    longer = fine_tune(settings(made, "tune.sampler.epochs=6"), run)
    assert longer["epochs"] == 6
    whole = fine_tune(settings(made, "tune.sampler.epochs=6"), tmp_path / "whole")
    assert longer["after"] == whole["after"]


def test_more_epochs_that_were_interrupted_are_not_finished(made, run, monkeypatch):
    real = adamw.AdamW.fit

    def interrupted(self, *arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(adamw.AdamW, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(settings(made, "tune.sampler.epochs=6"), run)
    monkeypatch.setattr(adamw.AdamW, "fit", real)
    assert fine_tune(settings(made, "tune.sampler.epochs=6"), run)["epochs"] == 6


def test_fewer_epochs_than_done_are_refused(made, run):
    before = (run / "config.yaml").read_text()
    with pytest.raises(RunFolderError, match="4 epochs behind it; set"):
        fine_tune(settings(made, "tune.sampler.epochs=3"), run)
    assert (run / "config.yaml").read_text() == before


def test_a_folder_of_something_else_is_left_alone(made, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("precious")
    with pytest.raises(RunFolderError, match="not empty"):
        fine_tune(settings(made), mine)
    assert [p.name for p in mine.iterdir()] == ["thesis.txt"]


def test_bad_labels_are_refused_before_anything_is_written(files):
    frames = molecules(6)
    broken = Label(frames[2].label.energy, np.full_like(frames[2].label.forces, np.nan))
    frames[2] = Frame(frames[2].atoms, broken, "made#2")
    write_frames(files / "broken.xyz", frames)
    with pytest.raises(DataError, match=r"broken\.xyz"):
        fine_tune(settings(files, train="broken.xyz"), files / "run")
    assert not (files / "run").exists()


@pytest.mark.parametrize("subspace", [["kind=lora", "rank=500"], ["kind=blocks", "names=embeding"]])
def test_a_subspace_the_model_has_not_is_refused_before_anything_is_written(files, subspace):
    with pytest.raises(ConfigError, match=r"tune\.subspace\.(rank|names)"):
        fine_tune(settings(files, *(f"tune.subspace.{s}" for s in subspace)), files / "run")
    assert not (files / "run").exists()


def test_adapters_are_kept_as_adapters_and_exported_merged(files):
    lora = settings(files, "tune.subspace.kind=lora", "tune.subspace.rank=2")
    summary = fine_tune(lora, files / "run")
    assert summary["after"]["force_rmse_meV_per_A"] < summary["before"]["force_rmse_meV_per_A"]
    tensors, _ = read_tensors(files / "run" / "members" / "members.safetensors")
    assert all(name.endswith(("|A", "|B")) for name in tensors)
    atoms = molecules(2, seed=8)[1].atoms
    atoms.calc = mace_files.calculator(files / "run" / "final.model")
    native = atoms.get_forces()
    atoms.calc = Calculator(files / "run", dtype="float64")
    np.testing.assert_allclose(atoms.get_forces(), native, atol=1e-9)


def test_offsets_of_the_reference_go_into_the_e0s(made):
    """Compositions ethanol and methane fix two combinations of three elements."""
    tuned = open_model(made / "run", dtype="float64")
    foundation = potential().e0s
    shift = {z: tuned.e0s.values[z] - foundation[z] for z in foundation}
    wanted = {z: e0s().values[z] - foundation[z] for z in foundation}
    for counts in ({6: 2, 1: 6, 8: 1}, {6: 1, 1: 4}):
        got = sum(shift[z] * n for z, n in counts.items())
        assert got == pytest.approx(sum(wanted[z] * n for z, n in counts.items()), abs=1.5)
    assert tuned.e0s.fixes(np.array([6, 1, 1, 1, 1]))
    assert not tuned.e0s.fixes(np.array([6, 8]))


@pytest.mark.parametrize("source", ["run", "run/final.model"])
def test_tuning_a_tuned_model_again_starts_from_it(made, tmp_path, source):
    first = json.loads((made / "run" / "summary.json").read_text())
    again = config.load(
        config.TuneConfig,
        None,
        ["tune.sampler.epochs=1", "model.dtype=float64", "tune.e0=foundation"],
        {"model.source": str(made / source), "data.train": str(made / "train.xyz")},
    )
    second = fine_tune(again, tmp_path / "second")
    assert second["before"]["force_rmse_meV_per_A"] == pytest.approx(
        first["after"]["force_rmse_meV_per_A"], rel=1e-6
    )


def test_two_processes_cannot_work_on_one_folder(files):
    out = files / "run"
    with stamp.alone(out), pytest.raises(RunFolderError, match="another process is working on"):
        fine_tune(settings(files), out)
    assert not (out / "config.yaml").exists()
    assert fine_tune(settings(files), out)["members"] == 1


def test_the_doctor_refuses_before_anything_is_written_and_can_be_overruled(tmp_path):
    """Labels in hartree, which only a model that knows something can see."""
    start = zoo.load("organic-xs")
    rng, frames = np.random.default_rng(3), []
    for i in range(12):
        atoms = molecule("CH3CH2OH")
        atoms.positions += rng.normal(0, 0.08, atoms.positions.shape)
        frames.append(Frame(atoms, None, f"made#{i}"))
    labels = predicted(start, frames)
    broken = [
        replace(f, label=Label(label.energy / 27.211386, label.forces / 51.42207))
        for f, label in zip(frames, labels, strict=True)
    ]
    write_frames(tmp_path / "hartree.xyz", broken)
    given = {"data.train": str(tmp_path / "hartree.xyz"), "strategy": "naive"}
    short = ["tune.sampler.epochs=1", "tune.sampler.batch_size=12"]
    asked = config.load(config.TuneConfig, None, short, given)
    with pytest.raises(DataError, match=r"look like Ha/Bohr.*accept it with data.accept"):
        fine_tune(asked, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    accepted = config.load(
        config.TuneConfig, None, [*short, "data.accept=[unit-forces, unit-energy]"], given
    )
    assert fine_tune(accepted, tmp_path / "run")["n_train"] == 11


def test_a_committee_is_calibrated_on_the_validation_structures(files):
    """The spread that evaluate and the calculator show is the calibrated one."""
    summary = fine_tune(
        settings(files, "tune.sampler.kind=committee", "tune.sampler.members=3"), files / "run"
    )
    assert summary["members"] == 3
    assert "only 1 validation structures" in " ".join(summary["remarks"])
    posterior = open_model(files / "run", dtype="float64")
    atoms = molecules(1, seed=21)[0].atoms
    raw = posterior.predict([atoms]).std()
    atoms.calc = Calculator(files / "run", dtype="float64")
    atoms.get_potential_energy()
    law = posterior.calibration["forces"]
    np.testing.assert_allclose(atoms.calc.results["forces_std"], law.std(raw.forces), rtol=1e-6)
    assert not np.allclose(law.std(raw.forces), raw.forces, rtol=1e-3)


def test_what_says_little_or_is_worse_is_remarked(files):
    """One validation structure; a training that diverges; stress of some structures only."""
    cells = molecules(12)
    for i, frame in enumerate(cells[:4]):
        frame.atoms.set_cell(np.eye(3) * 9)
        frame.atoms.pbc = True
        if i < 3:
            cells[i] = replace(frame, label=replace(frame.label, stress=np.eye(3) * 1e-3))
    write_frames(files / "cells.xyz", cells)
    summary = fine_tune(
        settings(files, "tune.sampler.learning_rate=3", "tune.sampler.epochs=1",
                 "strategy=naive", train="cells.xyz"),
        files / "run",
    )  # fmt: skip
    remarks = " ".join(summary["remarks"])
    assert "chosen by only 1 validation structure, and errors on so few" in remarks
    assert "periodic structures have stress; the others teach none" in remarks
    worse = [k for k in ("energy_mae_meV_per_atom", "force_mae_meV_per_A")
             if summary["after"][k] > summary["before"][k]]  # fmt: skip
    assert bool(worse) == ("errs more than before" in remarks)
    with pytest.raises(DataError, match=r"data.valid: .* is learnt from, too"):
        fine_tune(settings(files, f"data.valid={files / 'train.xyz'}"), files / "other")
    assert not (files / "other").exists()


def test_worse_is_said_of_each_quantity_that_is():
    before = {"energy_mae_meV_per_atom": 3.61, "force_mae_meV_per_A": 80.0}
    after = {"energy_mae_meV_per_atom": 8.83, "force_mae_meV_per_A": 30.0}
    said = _worse(before, after)
    assert "energies, MAE 3.61 → 8.83 meV/atom" in said
    assert "forces" not in said
    assert _worse(before, before) is None
    assert _worse({"force_mae_meV_per_A": 1.0}, {"force_mae_meV_per_A": 2.0}).count("MAE") == 1


def renamed(path, **names):
    """The file with other names for its labels."""
    text = path.read_text()
    for old, new in names.items():
        text = text.replace(old, new)
    path.write_text(text)


@pytest.mark.parametrize(
    ("names", "options"),
    [
        ({"REF_energy": "dft_energy"}, ["--energy-key dft_energy"]),
        ({"REF_forces": "dft_f"}, ["--forces-key dft_f"]),
        (
            {"REF_energy": "my_energy", "REF_forces": "my_forces"},
            ["--energy-key my_energy", "--forces-key my_forces"],
        ),
    ],
)
def test_labels_under_other_names_are_named_and_the_cure_works(files, names, options, capfd):
    """To the letter: as options of the command, and as settings."""
    renamed(files / "train.xyz", **names)
    command = ["tune", "--model", str(files / "base.model"), "--out", str(files / "run")]
    command += ["--train", str(files / "train.xyz"), "--set", "tune.sampler.epochs=1"]
    assert terminal.run(app, command) == 2
    said = capfd.readouterr().err
    assert f"say what they are called ({' '.join(options)}; data." in said
    shown = said.split("(")[1].split(")")[0].split("; ")
    with pytest.raises(DataError, match=r"train\.xyz#0: has no"):
        fine_tune(settings(files, "tune.sampler.epochs=1"), files / "run")
    fine_tune(settings(files, "tune.sampler.epochs=1", *shown[1].split()), files / "run")
    assert (
        terminal.run(app, [*command[:-5], str(files / "two"), *command[-4:], *shown[0].split()])
        == 0
    )


def test_files_to_learn_from_are_named_as_a_shell_gives_them(files):
    """Behind --train, by a pattern, one by one: the same run; two files of one name are two."""
    for k, name in enumerate(("one", "two")):
        (files / name).mkdir()
        write_frames(files / name / "part.xyz", molecules(12)[6 * k : 6 * k + 6])
    parts = [str(files / name / "part.xyz") for name in ("one", "two")]
    base = ["tune", "--model", str(files / "base.model"), "--set", "tune.sampler.epochs=1"]
    ways = {
        "by-one": ["--train", parts[0], "--train", parts[1]],
        "behind": ["--train", *parts],
        "pattern": ["--train", str(files / "*" / "part.xyz")],
    }
    found = set()
    for name, way in ways.items():
        assert terminal.run(app, [*base, "--out", str(files / name), *way]) == 0
        found.add(_weights(files / name))
    assert len(found) == 1
    twice = [*base, "--out", str(files / "x"), "--train", parts[0], parts[0]]
    assert terminal.run(app, twice) == 2


def _weights(run):
    (member,) = (run / "members").glob("*.safetensors")
    return member.read_bytes()
