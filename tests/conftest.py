"""For all tests: the user's own list of trusted files is never read or written; a network is put
together once; pictures nobody looks at are drawn once in a file of tests; and what an environment
without MACE leaves out."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from tunesmith.potentials.mace import mace_zoo

HERE = Path(__file__).parent
#: tests that start from organic-xs or another MACE. What they are about does not depend on the
#: model package; that every backend can do it is in backends/, which runs wherever there is one
WITH_MACE = (
    *("attack/test_adversary.py", "bench/*", "check/*", "commands/*", "config/test_config.py"),
    *("doctor/*", "features/*", "loop/**/*", "net/*", "posterior/*", "recipes/*", "tune/*"),
    *("potentials/test_mace*", "potentials/test_organic_xs.py", "potentials/test_trust.py"),
    *("potentials/test_contract_sees.py", "acquire/test_greedy_bmdal.py", "test_kernels.py"),
    *("calibrate/test_scores.py", "cli/test_cli_models.py", "test_examples.py", "test_readme.py"),
    *("report/test_principal_components.py", "testing/test_parts_contract.py"),
)


def _left_out() -> set[Path]:
    return {path for pattern in WITH_MACE for path in HERE.glob(pattern)}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if find_spec("mace") is None and collection_path in _left_out():
        return True
    return None


def pytest_report_header() -> list[str]:
    here = [name for name in ("mace", "sevenn", "chgnet") if find_spec(name) is not None]
    said = [f"model packages here: {', '.join(here)}"]
    if "mace" not in here:
        number = sum(path.name.startswith("test_") for path in _left_out())
        said.append(f"{number} files of tests that start from a MACE are left out")
    return said


@pytest.fixture(autouse=True, scope="session")
def own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A configuration folder of the session's own, also for subprocesses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(autouse=True, scope="session")
def organic_xs_once() -> Iterator[None]:
    """Compiling its network takes most of a second, and hundreds of tests start from it.

    Every `load` still gets a potential of its own, with weights of its own, around one network,
    which nothing may change. The first is made in full; in other processes, all are.
    """
    real, made = mace_zoo._embedded, {}

    def once(folder: str, name: str, compute: Any) -> Any:
        if folder not in made:
            first = real(folder, name, compute)
            state = {k: v.clone() for k, v in first._native.state_dict().items()}
            made[folder] = (first, state)
            return first
        first, _ = made[folder]
        return type(first)(first._native, first.base, dtype=compute.dtype, device=compute.device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mace_zoo, "_embedded", once)
        yield
    for first, state in made.values():
        assert all(v.equal(state[k]) for k, v in first._native.state_dict().items())


#: what e3nn computes for every layer anew: module, and its functions of their arguments alone
_COMPUTED = {
    "e3nn.math._normalize_activation": ("moment",),
    "e3nn.o3._linear": ("_codegen_linear",),
    "e3nn.o3._tensor_product._tensor_product": (
        *("codegen_tensor_product_left_right", "codegen_tensor_product_right"),
        *("_CODEGEN_PROVIDERS_LEFT_RIGHT", "_CODEGEN_PROVIDERS_RIGHT"),
    ),
}


@pytest.fixture(autouse=True, scope="session")
def layers_once() -> Iterator[None]:
    """Most of the time to put a network together is spent on code for its layers, which small
    networks have in common, and on the mean square of the same few functions.

    e3nn is imported by MACE's and SevenNet's packages, and those by nobody before they are needed.
    """
    kept: dict[Any, Any] = {}

    def of_ones_own(found: Any) -> Any:
        """With constants of its own, which a change of precision writes to."""
        if isinstance(found, tuple):
            return tuple(of_ones_own(part) for part in found)
        if not isinstance(found, torch.nn.Module):
            return found
        new = object.__new__(type(found))
        constants = {name: value.clone() for name, value in found._buffers.items()}
        new.__dict__ = {**vars(found), "_buffers": constants}
        return new

    def once(function: Any) -> Any:
        def known(*args: Any, **options: Any) -> Any:
            given = (function, *args, *sorted(options.items()), torch.get_default_dtype())
            # an activation by its address, which is its own as long as it is kept
            asked = tuple(id(part) if callable(part) else repr(part) for part in given)
            if asked not in kept:
                kept[asked] = of_ones_own(function(*args, **options)), args
            return of_ones_own(kept[asked][0])

        return known

    def watched(real: Any) -> Any:
        def module(name: str) -> Any:
            found = real(name)
            if not done and set(_COMPUTED) <= set(sys.modules):
                done.append(name)
                for path, names in _COMPUTED.items():
                    owner = sys.modules[path]
                    for attribute in {*names} & {*vars(owner)}:
                        old = getattr(owner, attribute)
                        new = [once(f) for f in old] if isinstance(old, list) else once(old)
                        patch.setattr(owner, attribute, new)
            return found

        return module

    done: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("e3nn") is not None:
            import torch

            from tunesmith.potentials.mace import mace_files
            from tunesmith.potentials.sevennet import sevennet_files

            for files in (mace_files, sevennet_files):
                patch.setattr(files, "module", watched(files.module))
        yield


#: where every picture is drawn: files that are about pictures
LOOKED_AT = ("report", "bench")


@pytest.fixture(autouse=True, scope="module")
def pictures_once(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A picture takes as long as the run that ends with it, and a run is made for many tests.

    Of one name, the first in a file of tests is drawn; for the others an empty one is written. A
    test that looks at its picture asks for `drawn`. Yields what draws.
    """
    real, seen = Figure.savefig, set()

    def once(figure: Figure, path: Any, **options: Any) -> None:
        if Path(path).name in seen:
            figure = Figure(figsize=(0.1, 0.1))
        seen.add(Path(path).name)
        real(figure, path, **options)

    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name not in LOOKED_AT:
            patch.setattr(Figure, "savefig", once)
        yield real


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, pictures_once: Any) -> None:
    """Every picture of a test is drawn in full."""
    monkeypatch.setattr(Figure, "savefig", pictures_once)
