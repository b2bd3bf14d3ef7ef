"""What a package cannot keep is refused in one sentence where it is asked for, and only there."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tunesmith import terminal
from tunesmith.cli import app
from tunesmith.errors import ModelError, PluginError
from tunesmith.potentials import zoo
from tunesmith.registry import ACQUIRERS, BACKENDS, CHECKS, RECIPES, REFERENCES, RUNS, Registry

CURE = "; repair that package or uninstall it."
Offer = Callable[[str, str, str], None]

CODE = """
from typing import ClassVar
from tunesmith.contracts import Acquirer, Check, ReferenceRule

class Rule(Acquirer):
    kind: ClassVar[str] = "broken"

class Mute(Check):
    kind: ClassVar[str] = "broken"

class Dumb(ReferenceRule):
    kind: ClassVar[str] = "broken"
    def label(self, atoms): ...

class Reference(Dumb):
    kind: ClassVar[str] = "tblite"
    def identity(self): ...

class Plain:
    kind = "broken"

class Recipe:
    def prepare(self, config, say): ...
    def open(self, ready, out, tools): ...
"""
BACKEND = """
PACKAGE, IMPORTED, FILES = "broken", "torch", "a broken file"
def entries(): return []
def answers(name): raise RuntimeError("no answer")
def named(name, head, compute): ...
def recognises(content): return 1 / 0
def from_file(path, head, default, compute): ...
"""


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Puts a package on the path, as pip would: group, line of its entry points, name."""
    monkeypatch.chdir(tmp_path)

    def put(group: str, line: str, name: str = "broken-parts") -> None:
        folder = tmp_path / name
        info = folder / f"{name.replace('-', '_')}-2.0.dist-info"
        info.mkdir(parents=True)
        (folder / "broken_parts_of_it.py").write_text(CODE)
        (folder / "broken_backend.py").write_text(BACKEND)
        (folder / "other_backend.py").write_text(BACKEND.replace('"broken", "t', '"eam", "t'))
        (folder / "half_a_backend.py").write_text(BACKEND.replace("recognises", "knows"))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{line}\n")
        monkeypatch.syspath_prepend(folder)

    return put


@pytest.mark.parametrize(
    ("registry", "target", "wrong"),
    [
        (REFERENCES, "nowhere_at_all:Oracle", "cannot be imported (ModuleNotFoundError: No module"),
        (REFERENCES, "broken_parts_of_it:Oracle", "cannot be imported (AttributeError: module"),
        (REFERENCES, "broken_parts_of_it:Dumb", "lacks identity"),
        (REFERENCES, "broken_parts_of_it:Plain", "is no ReferenceRule (tunesmith.contr"),
        (REFERENCES, "broken_parts_of_it:Reference", "has the kind 'tblite', which must be that"),
        (ACQUIRERS, "broken_parts_of_it:Rule", "lacks choose"),
        (CHECKS, "broken_parts_of_it:Mute", "lacks run"),
        (CHECKS, "broken_parts_of_it:Rule", "is no Check (tunesmith.contracts)"),
        (RUNS, "broken_parts_of_it:Plain", "is no Settings"),
        (RECIPES, "broken_parts_of_it:Recipe", "lacks write, show, estimate, show_cost"),
        (BACKENDS, "half_a_backend", "lacks recognises"),
    ],
)
def test_what_is_wrong_is_said_with_the_package_and_the_cure(
    registry: Registry, target: str, wrong: str, offer: Offer
) -> None:
    offer(registry.group, f"broken = {target}", "broken-parts")
    assert "broken" in registry.names()
    with pytest.raises(PluginError) as error:
        registry.get("broken")
    said = str(error.value)
    assert said.startswith(f"'broken' ({registry.group}) of the package broken-parts 2.0 {wrong}")
    assert said.endswith(CURE)
    for name in registry.entries:
        registry.get(name)


def test_a_name_of_tunesmiths_own_is_not_taken(offer: Offer) -> None:
    offer("tunesmith.reference", "tblite = broken_parts_of_it:Reference", "broken-parts")
    with pytest.raises(PluginError, match="is offered by tunesmith and by the package broken-part"):
        REFERENCES.get("tblite")
    assert REFERENCES.get("pyscf").kind == "pyscf"


def test_a_name_that_two_packages_offer_is_neither_ones(offer: Offer) -> None:
    for package in ("broken-parts", "other-parts"):
        offer("tunesmith.check", "twice = broken_parts_of_it:Mute", package)
    with pytest.raises(
        PluginError,
        match=r"other-parts 2\.0 and by the package broken-parts 2\.0|"
        r"broken-parts 2\.0 and by the package other-parts 2\.0",
    ):
        CHECKS.get("twice")


def test_commands_that_do_not_ask_for_it_do_not_notice(
    offer: Offer, capfd: pytest.CaptureFixture[str]
) -> None:
    offer("tunesmith.reference", "broken = nowhere_at_all:Oracle", "broken-parts")
    assert terminal.run(app, ["template", "label", "--set", "reference.kind=tblite"]) == 0
    assert "broken" in capfd.readouterr().out  # among the names
    assert terminal.run(app, ["template", "label", "--set", "reference.kind=broken"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: 'broken' (tunesmith.reference) of the package broken-parts 2.0")
    assert said.endswith(f"{CURE}\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("target", "wrong"),
    [
        ("nowhere_at_all", "cannot be imported"),
        ("half_a_backend", "lacks recognises"),
        ("other_backend", "fails .*its PACKAGE is 'eam', which must be its name"),
    ],
)
def test_a_backend_that_cannot_be_loaded_is_told_of_and_left_out(
    target: str, wrong: str, offer: Offer, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    offer("tunesmith.backend", f"broken = {target}", "broken-parts")
    assert terminal.run(app, ["models"]) == 0
    out, err = capfd.readouterr()
    assert "organic-xs" in out
    assert re.search(rf"of the package broken-parts 2\.0 {wrong}", err)
    with pytest.raises(ModelError, match=rf"no model 'x', .*; but .*'broken' .* {wrong}"):
        zoo.load("x")
    chgnet = {"model": {"state_dict": {}, "model_args": {}}}
    torch.save(chgnet, tmp_path / "own.model")
    assert zoo.backend_of(tmp_path / "own.model").PACKAGE == "chgnet"
    torch.save({"else": 1}, tmp_path / "else.model")
    with pytest.raises(ModelError, match=r"no model file of a kind .*; but .*'broken' "):
        zoo.load(str(tmp_path / "else.model"))


def test_a_backend_that_fails_when_it_is_asked_keeps_no_other_from_answering(
    offer: Offer, tmp_path: Path
) -> None:
    offer("tunesmith.backend", "broken = broken_backend", "broken-parts")
    path = tmp_path / "own.model"
    torch.save({"model": {"state_dict": {}, "model_args": {}}}, path)
    assert zoo.backend_of(path).PACKAGE == "chgnet"
    torch.save({"else": 1}, path)
    with pytest.raises(ModelError, match=r"the backend 'broken' of the package .* \(ZeroDivision"):
        zoo.load(str(path))


def test_a_backend_of_a_name_that_is_taken_is_left_out(
    offer: Offer, capfd: pytest.CaptureFixture[str]
) -> None:
    offer("tunesmith.backend", "mace = broken_backend", "broken-parts")
    assert terminal.run(app, ["models"]) == 0
    out, err = capfd.readouterr()
    assert "organic-xs" in out
    assert "is offered by tunesmith and by the package broken-parts 2.0; uninstall one" in err
