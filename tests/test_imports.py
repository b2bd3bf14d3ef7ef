"""Imports go one way, and only `potentials/` knows model packages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tunesmith

ROOT = Path(tunesmith.__file__).parent
#: what may import what: only lower levels, and one's own folder
LEVELS = [
    {"errors", "words"},
    {"units", "core", "registry", "yamltext"},
    {"files", "settings"},
    {"tensor_files"},
    {"tune.strategies"},
    {"config"},
    {"calibrate", "data", "engines", "references"},
    {"potentials"},
    {"tune"},
    {"uncertainty"},
    {"acquire"},
    {"explore"},
    {"report"},
    {"doctor", "check"},
    {"assessing", "attacking", "examining", "labelling", "selecting", "terminal", "testing"}
    | {"tune.intake"},
    {"tune.job"},
    {"loop"},
    {"cli"},
    {"__main__", "__init__"},
]
#: levels below that these must not know, though they come later
APART = {
    "acquire": {"potentials", "tune", "uncertainty"},
    "explore": {"potentials", "tune", "uncertainty"},
}
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
MODEL_PACKAGES = {"mace", "e3nn", "sevenn", "chgnet", "nequip", "matgl"}
KNOW_MODELS = {"potentials", "testing"}


def imported(source: str) -> set[str]:
    """Every module a source text imports, at the top or lazily, also by import_module("…")."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0]
            if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
                found.add(str(first.value))
    return found


def complaints(part: str, source: str) -> list[str]:
    """What is wrong with the imports of a file that belongs to ``part`` (a folder or module)."""
    wrong = []
    for name in sorted(imported(source)):
        top, _, rest = name.partition(".")
        if top in MODEL_PACKAGES and part not in KNOW_MODELS:
            wrong.append(f"imports the model package {name}")
        below = owner(rest)
        ours = top == "tunesmith" and below in LEVEL and below != part
        if ours and (LEVEL[below] >= LEVEL[part] or below in APART.get(part, ())):
            wrong.append(f"imports {name}, which is not below {part}")
    return wrong


def owner(name: str) -> str:
    """The level's name for a module: its folder, unless it has a level of its own."""
    parts = name.split(".")
    own = ".".join(parts[:2])
    return own if own in LEVEL else parts[0]


def part_of(path: Path) -> str:
    return owner(".".join(path.relative_to(ROOT).with_suffix("").parts))


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_imports_go_one_way(path: Path) -> None:
    part = part_of(path)
    assert part in LEVEL, f"{part} has no level yet: give it one in this test"
    assert complaints(part, path.read_text()) == []


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("data", "from tunesmith.potentials.potential import Potential"),
        ("data", "def f():\n    import tunesmith.tune.loss"),
        ("core", "from tunesmith import data"),
        ("config", "import importlib\nimportlib.import_module('tunesmith.tune.adamw')"),
        ("references", "from tunesmith.data.store import LabelStore"),
        ("tune", "from mace.modules import MACE"),
        ("report", "def f():\n    import e3nn.o3"),
        ("uncertainty", "__import__('sevenn')"),
        ("tune", "from tunesmith.commands.fine_tune import fine_tune"),
        ("explore", "from tunesmith.posterior.ensemble import Ensemble"),
        ("acquire", "from tunesmith.explore.md import MD"),
    ],
)
def test_a_wrong_import_is_seen(part: str, source: str) -> None:
    assert len(complaints(part, source)) == 1


def test_help_needs_neither_torch_nor_a_model_package() -> None:
    """Blocked, not only unused: the help must work where they are broken."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'mace', 'ase', 'scipy')));"
        "sys.argv = ['tunesmith', 'tune', '--help'];"
        "from tunesmith.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--train" in done.stdout
