"""For all tests: the user's own list of trusted files is never read or written; and what an
environment without MACE leaves out."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

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
