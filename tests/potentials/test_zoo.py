"""Models by name in any environment: what there is, what is missing, whose file is whose."""

import json
from pathlib import Path

import pytest
import torch

from tunesmith import terminal
from tunesmith.cli import app
from tunesmith.errors import MissingDependencyError, ModelError
from tunesmith.potentials import zoo
from tunesmith.potentials.entries import installed
from tunesmith.potentials.file_kind import package_of

#: one name of each backend
NAMES = {"mace": "organic-xs", "sevennet": "7net-0", "chgnet": "chgnet:0.3.0"}


@pytest.mark.parametrize("backend", zoo.BACKENDS, ids=lambda b: b.PACKAGE)
def test_what_is_listed_can_be_loaded_or_says_what_is_missing(backend: zoo.Backend) -> None:
    for entry in backend.entries():
        assert entry.package == backend.PACKAGE
        assert entry.available == (not entry.how_to_get)
        assert entry.licence
        assert all(name == "FILE" or backend.answers(name) for name in entry.names)
    name = NAMES[backend.PACKAGE]
    if installed(backend.IMPORTED):
        assert zoo.load(name).base.package == backend.PACKAGE
    else:
        with pytest.raises(MissingDependencyError, match=r"install|make env"):
            zoo.load(name)


def test_the_table(capfd: pytest.CaptureFixture[str]) -> None:
    assert terminal.run(app, ["models", "--json"]) == 0
    listed = [name for e in json.loads(capfd.readouterr().out) for name in e["names"]]
    wanted = ("organic-xs", "7net-0", "7net-l3i5", "7net-mf-0:PBE", "chgnet:0.3.0")
    wanted += ("mace-mp:medium", "mace-off:small", "mace-omat-0:medium", "mace-mh-1:HEAD")
    assert set(wanted) <= set(listed)
    assert len(set(listed) - {"FILE"}) == len([n for n in listed if n != "FILE"])
    assert terminal.run(app, ["models"]) == 0
    assert "7net-mf-0:R2SCAN" in capfd.readouterr().out


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(ModelError, match="did you mean 'organic-xs'"):
        zoo.load("organic-sx")


def test_a_path_that_is_wrong_is_no_list_of_names(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such model file or run folder; check the path\.$"):
        zoo.load(str(tmp_path / "none"))


def test_an_older_name_of_a_family_lists_its_models() -> None:
    with pytest.raises(ModelError, match=r"no model 'mace-mp-0'; of mace-mp there are mace-mp:sm"):
        zoo.load("mace-mp-0")


def test_files_are_told_apart_without_loading_them(tmp_path: Path) -> None:
    """By what the pickle's instructions say; they are never run."""

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "trace",)

    kinds = {
        "sevennet": {"config": {}, "model_state_dict": {}, "epoch": Malicious()},
        "chgnet": {"model": {"state_dict": {}, "model_args": {}}, "other": Malicious()},
        "mace": {"something": Malicious()},
    }
    for kind, content in kinds.items():
        path = tmp_path / f"{kind}.model"
        torch.save(content, path)
        assert package_of(path) == kind
    assert not (tmp_path / "trace").exists()
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert package_of(empty) == "mace"


@pytest.mark.skipif(not installed("mace"), reason="needs mace-torch")
def test_a_download_without_a_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # nobody listens there, whether or not this machine has a network
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"mace-mp:medium could not be downloaded.*save it as"):
        zoo.load("mace-mp:medium")
    with pytest.raises(ModelError, match=r"mace-mh-1:omol could not be downloaded"):
        zoo.load("mace-mh-1:omol")
    with pytest.raises(ModelError, match="did you mean 'mace-off:small'"):
        zoo.load("mace-off:smal")
