"""Nothing is unpickled that nobody has vouched for."""

import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import networks
from tunesmith.errors import ModelError, TrustError
from tunesmith.potentials import trust as trust_module
from tunesmith.potentials import zoo
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.trust import registry_path, trust


@pytest.fixture(autouse=True)
def nobody_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(scope="module")
def made_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "theirs.model"
    with mace_files.quiet():
        torch.save(networks.build(hidden_irreps="4x0e", max_ell=1), path)
    return path


class Malicious:
    """Unpickling it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)


def test_an_untrusted_pickle_runs_nothing(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.model"
    torch.save([mace_files.module("mace.modules").MACE, Malicious(trace)], path)
    with pytest.raises(TrustError, match="tunesmith trust"):
        zoo.load(str(path))
    with pytest.raises(TrustError):
        mace_files.calculator(path)
    assert not trace.exists()
    # trusted, it does run: the test can see it
    trust(path)
    with pytest.raises(ModelError, match="holds a list"):
        zoo.load(str(path))
    assert trace.exists()


@pytest.mark.parametrize("load", [lambda p: zoo.load(str(p)), mace_files.calculator])
def test_what_is_loaded_is_what_was_hashed(
    load: Callable[[Path], object], made_elsewhere: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """A file that is replaced the moment after it was looked at."""
    trace, path = tmp_path / "trace", tmp_path / "theirs.model"
    shutil.copy(made_elsewhere, path)
    trust(path)
    known = trust_module._read

    def replaced() -> dict[str, str]:
        torch.save([mace_files.module("mace.modules").MACE, Malicious(trace)], path)
        return known()

    monkeypatch.setattr(trust_module, "_read", replaced)
    load(path)
    assert not trace.exists()
    with pytest.raises(TrustError):
        load(path)


@pytest.mark.parametrize("content", ["[]", "null", "3", '"a"', "{", ""])
def test_a_list_of_trusted_files_that_is_none(content: str, made_elsewhere: Path) -> None:
    registry_path().parent.mkdir(parents=True)
    registry_path().write_text(content)
    path = made_elsewhere
    for ask in (lambda: trust(path), lambda: zoo.load(str(path))):
        with pytest.raises(TrustError, match="delete it") as error:
            ask()
        assert str(registry_path()) in str(error.value)
    registry_path().unlink()
    trust(path)


def test_trust_is_asked_for_once_and_kept_by_content(made_elsewhere: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.model"
    shutil.copy(made_elsewhere, path)
    with pytest.raises(TrustError):
        zoo.load(str(path))
    digest = trust(path)
    assert json.loads(registry_path().read_text()) == {digest: str(path)}
    assert zoo.load(str(path)).base.sha256 == digest
    # another name, the same content; and another process
    renamed = path.rename(tmp_path / "renamed.model")
    code = "import sys; from tunesmith.potentials import zoo; zoo.load(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(renamed)], check=True)
    with open(renamed, "ab") as file:
        file.write(b"\0")
    with pytest.raises(TrustError):
        zoo.load(str(renamed))


def test_what_tunesmith_wrote_is_trusted(tmp_path: Path) -> None:
    potential = networks.potential(networks.build(hidden_irreps="4x0e", max_ell=1))
    potential.export(tmp_path / "final.model", potential.weights(), potential.e0s)
    zoo.load(str(tmp_path / "final.model"))


def test_files_that_are_no_energy_model(tmp_path: Path) -> None:
    other, damaged = tmp_path / "other.model", tmp_path / "damaged.model"
    network = networks.build(hidden_irreps="4x0e", max_ell=1)
    torch.save([network], other)
    trust(other)
    with pytest.raises(ModelError, match="holds a list"):
        zoo.load(str(other))
    # its list of contents is whole, a number in it is not there
    torch.save(network, damaged)
    with zipfile.ZipFile(damaged) as whole, zipfile.ZipFile(tmp_path / "less.model", "w") as less:
        for name in whole.namelist()[:-4]:
            less.writestr(name, whole.read(name))
    trust(tmp_path / "less.model")
    with pytest.raises(ModelError, match="not a readable MACE model"):
        zoo.load(str(tmp_path / "less.model"))
    with pytest.raises(ModelError, match="organic-xs"):
        zoo.load("organic-sx")
    with pytest.raises(ModelError, match=r"leave model\.head out"):
        zoo.load("organic-xs", head="dft")


def test_a_damaged_list_of_trusted_files(made_elsewhere: Path) -> None:
    registry_path().parent.mkdir(parents=True)
    registry_path().write_text("{")
    with pytest.raises(TrustError, match="delete it"):
        zoo.load(str(made_elsewhere))


#: everything tunesmith does with mace, then a user's own use of mace
SCRIPT = """
import os, sys
from pathlib import Path
before = dict(os.environ)
from ase.build import molecule
from tunesmith.potentials import zoo
from tunesmith.posterior.calculator import Calculator
final = Path(sys.argv[1])
potential = zoo.load("organic-xs")
potential.export(final, potential.weights(), potential.e0s)
zoo.load(str(final))
atoms = molecule("CH4")
atoms.calc = Calculator(str(final), dtype="float64")
ours = atoms.get_potential_energy()
atoms.calc = potential.native(final)
assert abs(atoms.get_potential_energy() - ours) < 1e-8
assert dict(os.environ) == before, "the environment has changed"
print("quiet so far")
sys.stdout.flush()
os.dup2(1, 2)  # what mace says from here on is the user's own affair
from mace.calculators import MACECalculator
atoms.calc = MACECalculator(model_paths=str(final), device="cpu", default_dtype="float64")
assert abs(atoms.get_potential_energy() - ours) < 1e-8
print("done")
"""


KEY = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


@pytest.mark.parametrize("before", [None, "0"])
def test_unsafe_loading_ends_with_its_block(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY, raising=False)
    if before is not None:
        monkeypatch.setenv(KEY, before)

    def fail() -> None:
        with mace_files.unsafe_loading():
            raise RuntimeError(os.environ[KEY])

    with pytest.raises(RuntimeError, match="1"):
        fail()
    assert os.environ.get(KEY) == before


def test_the_process_is_left_as_it_was(tmp_path: Path) -> None:
    """No environment variable, no noise, and mace itself works afterwards as ever."""
    environment = {k: v for k, v in os.environ.items() if k != KEY}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "final.model")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    assert done.stdout.startswith("quiet so far\n")
    assert done.stdout.endswith("done\n")


def test_quiet_lets_everything_else_through(capsys: pytest.CaptureFixture[str]) -> None:
    def noise() -> None:
        with mace_files.quiet():
            remark = "The TorchScript type system doesn't support instance-level annotations"
            warnings.warn(remark, stacklevel=1)
            warnings.warn("something else", stacklevel=1)
            print("cuequivariance or cuequivariance_torch is not available. So what.")
            print("a result")

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        noise()
    assert [str(w.message) for w in seen] == ["something else"]
    assert capsys.readouterr().out == "a result\n"
