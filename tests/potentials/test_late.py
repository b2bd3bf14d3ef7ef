"""Packages whose ``__init__`` waits: a user of them sees what an import would have shown."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from tunesmith.potentials.late import postpone

INIT = """
import builtins
builtins._late_runs = getattr(builtins, "_late_runs", 0) + 1
import time
time.sleep(0.05)
if builtins._late_runs <= getattr(builtins, "_late_fails", 0):
    raise ImportError("not this time")
from .light import number
from . import heavy
everything = number + heavy.other
def __getattr__(name):
    if name == "computed":
        return "by the package"
    raise AttributeError(name)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package beside whose light module stands a heavy one."""
    folder = tmp_path / "parent" / "late_package"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "__init__.py").write_text(INIT)
    (folder / "light.py").write_text("number = 3\n")
    (folder / "heavy.py").write_text("other = 4\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("builtins._late_runs", 0, raising=False)
    monkeypatch.setattr("builtins._late_fails", 0, raising=False)
    importlib.import_module("parent")
    yield "parent.late_package"
    for name in [n for n in sys.modules if n.partition(".")[0] == "parent"]:
        del sys.modules[name]


def runs() -> int:
    import builtins

    return int(builtins._late_runs)  # type: ignore[attr-defined]


def test_a_module_comes_without_the_rest_of_its_package(package: str) -> None:
    postpone(package, {"number": "light"})
    light = importlib.import_module(f"{package}.light")
    late = importlib.import_module(package)
    assert late.number == 3
    assert late.light is light
    assert late is sys.modules["parent"].late_package
    assert hasattr(late, "__file__")
    assert not hasattr(late, "__wrapped__")  # whoever looks what kind of thing it is
    assert runs() == 0
    assert f"{package}.heavy" not in sys.modules


def test_all_of_it_is_there_when_asked_for_and_once(package: str) -> None:
    postpone(package, {"number": "light"})
    late = importlib.import_module(package)
    assert (late.everything, late.computed, late.number) == (7, "by the package", 3)
    assert sys.modules[package] is late
    with pytest.raises(AttributeError, match="nothing"):
        _ = late.nothing
    with pytest.raises(ImportError, match="cannot import name"):
        exec(f"from {package} import nothing")
    postpone(package, {})
    assert importlib.import_module(package) is late
    assert runs() == 1


def test_without_names_of_its_own_any_module_of_it_comes_with_all(package: str) -> None:
    postpone(package, {})
    assert runs() == 0
    importlib.import_module(f"{package}.light")
    assert runs() == 1
    assert f"{package}.heavy" in sys.modules


def test_a_star_is_all_of_it(package: str) -> None:
    postpone(package, {"number": "light"})
    names: dict[str, object] = {}
    exec(f"from {package} import *", names)
    assert names["everything"] == 7
    assert runs() == 1


def test_what_failed_is_tried_again(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins._late_fails", 1)
    postpone(package, {})
    late = importlib.import_module(package)
    with pytest.raises(ImportError, match="not this time"):
        _ = late.everything
    assert late.everything == 7
    assert runs() == 2


def test_threads_wait_for_the_one_that_begins(package: str) -> None:
    postpone(package, {})
    late = importlib.import_module(package)
    found: list[int] = []
    threads = [Thread(target=lambda: found.append(late.everything)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [7] * 4
    assert runs() == 1


def test_a_package_of_no_other_waits_too(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = importlib.import_module("parent").__path__[0]
    monkeypatch.syspath_prepend(parent)
    postpone("late_package", {})
    late = importlib.import_module("late_package")
    assert runs() == 0
    assert late.everything == 7
    for name in [n for n in sys.modules if n.partition(".")[0] == "late_package"]:
        del sys.modules[name]


def test_what_is_not_installed_is_no_package() -> None:
    with pytest.raises(ModuleNotFoundError):
        postpone("email.no_such_package", {})


def test_a_user_of_the_packages_sees_them_whole() -> None:
    """After a model was opened: mace's training tools, torch's compiler, e3nn's other tensors."""
    pytest.importorskip("mace")
    code = """
import sys
from tunesmith.potentials import zoo
zoo.load("organic-xs")
assert "mace.tools.train" not in sys.modules
assert "scipy.signal" not in sys.modules
assert "torch._dynamo.convert_frame" not in sys.modules
import e3nn.io, mace.tools, torch
from mace.tools import train, build_default_arg_parser, to_numpy
from mace.tools.scripts_utils import remove_pt_head
from e3nn.io import SphericalTensor
assert mace.tools.train is train
assert mace.tools.torch_tools.to_numpy is to_numpy
assert torch._dynamo.is_compiling() is False
double = torch.compile(lambda x: 2 * x, backend="eager")
assert float(double(torch.tensor(3.0))) == 6.0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-800:]
