"""Imports go one way, and only `potentials/` knows model packages."""

import ast
import importlib
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tunesmith

ROOT = Path(tunesmith.__file__).parent
#: what may import what: lower layers, and what is in one's own folder. Modules beside the folders,
#: and contracts, are one part, the vocabulary; those of the last layer are how the program begins
LAYERS = (
    {"vocabulary"},
    {"calibrate", "data", "engines"},
    {"config", "potentials", "references"},
    {"acquire", "explore", "features", "run_folder"},
    {"posterior"},
    {"attack", "check", "doctor", "testing", "tune"},
    {"report"},
    {"commands"},
    {"loop"},
    {"cli", "__init__", "__main__"},
)
LAYER = {name: layer for layer, names in enumerate(LAYERS) for name in names}
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
    """What is wrong with the imports of a file that belongs to ``part``."""
    wrong = []
    for name in sorted(imported(source)):
        top, _, rest = name.partition(".")
        if top in MODEL_PACKAGES and part not in KNOW_MODELS:
            wrong.append(f"imports the model package {name}")
        below = part_of_module(rest)
        if top == "tunesmith" and rest and below != part and not lower(below, part):
            wrong.append(f"imports {name}, which is not below {part}")
    return wrong


def lower(below: str, part: str) -> bool:
    # the program's own beginning is two modules, of which one calls the other
    return LAYER[below] < LAYER[part] or (below, part) == ("cli", "__main__")


def part_of_module(name: str) -> str:
    """The part that a module, below tunesmith, belongs to."""
    first = name.partition(".")[0]
    folder = (ROOT / first).is_dir() and first != "contracts"
    return first if first in LAYER or folder else "vocabulary"


def part_of(path: Path) -> str:
    return part_of_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_imports_go_one_way(path: Path) -> None:
    part = part_of(path)
    assert part in LAYER, f"{part} has no layer yet: give it one in this test"
    assert complaints(part, path.read_text()) == []


def test_there_are_ten_layers_at_most() -> None:
    assert len(LAYERS) <= 10
    assert sum(map(len, LAYERS)) == len(LAYER), "a part is in one layer"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """Which of the modules each of them imports, lazily or for types only included."""
    found: dict[str, set[str]] = {}
    for name, source in sources.items():
        found[name] = set()
        for other in imported(source):
            while other and other not in sources:
                other = other.rpartition(".")[0]
            # a package's own module is no module of it
            if other not in ("", "tunesmith", name):
                found[name].add(other)
    return found


def circle(edges: dict[str, set[str]]) -> list[str] | None:
    """Modules that import one another in a circle; None where there is none."""
    try:
        list(TopologicalSorter(edges).static_order())
    except CycleError as error:
        return list(error.args[1])
    return None


def test_no_files_import_each_other() -> None:
    assert circle(graph({module_name(p): p.read_text() for p in FILES})) is None


def test_a_circle_is_seen() -> None:
    sources = {
        "tunesmith.a": "def f():\n    from tunesmith.b import g",
        "tunesmith.b": "if TYPE_CHECKING:\n    import tunesmith.c",
        "tunesmith.c": "from tunesmith import a",
    }
    assert circle(graph(sources)) is not None
    assert circle(graph({**sources, "tunesmith.c": ""})) is None


def test_a_file_name_says_what_is_inside_wherever_it_is_met() -> None:
    names = Counter(p.name for p in FILES if p.name != "__init__.py")
    assert [name for name, n in names.items() if n > 1] == []


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("data", "from tunesmith.potentials.potential import Potential"),
        ("data", "def f():\n    import tunesmith.tune.loss"),
        ("vocabulary", "from tunesmith import data"),
        ("config", "import importlib\nimportlib.import_module('tunesmith.tune.adamw')"),
        ("references", "from tunesmith.potentials import zoo"),
        ("tune", "from mace.modules import MACE"),
        ("report", "def f():\n    import e3nn.o3"),
        ("features", "__import__('sevenn')"),
        ("tune", "from tunesmith.commands.fine_tune import fine_tune"),
        ("explore", "from tunesmith.posterior.ensemble import Ensemble"),
        ("acquire", "from tunesmith.explore.md import MD"),
        ("features", "if TYPE_CHECKING:\n    from tunesmith.posterior.ensemble import Ensemble"),
        ("cli", "import tunesmith.__main__"),
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


def missing(source: str) -> list[str]:
    """Of what a source text imports from tunesmith, what is not there."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").partition(".")[0] == "tunesmith"
        ):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                try:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")
                except ModuleNotFoundError:
                    found.append(f"{node.module}.{alias.name}")
    return found


def test_what_scripts_import_is_there() -> None:
    """Benches, recipes and examples, lazy imports included: few of them run in a test."""
    root = Path(__file__).parents[1]
    scripts = [
        p for folder in ("bench", "recipes", "examples") for p in (root / folder).rglob("*.py")
    ]
    assert len(scripts) > 40
    wrong = {str(p.relative_to(root)): missing(p.read_text()) for p in scripts}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_an_import_of_what_is_gone_is_seen() -> None:
    assert missing("def f():\n    from tunesmith.files import read_tensors") == [
        "tunesmith.files.read_tensors"
    ]
    assert missing("from tunesmith.tune import adamw") == []
