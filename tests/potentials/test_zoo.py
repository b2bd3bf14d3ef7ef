"""Models by name in any environment: what there is, what is missing, whose file is whose."""

import json
import pickle
import sys
import types
from pathlib import Path

import pytest
import torch

from tunesmith import terminal
from tunesmith.cli import app
from tunesmith.errors import MissingDependencyError, ModelError
from tunesmith.potentials import zoo
from tunesmith.potentials.entries import installed
from tunesmith.potentials.file_kind import content_of
from tunesmith.potentials.trust import trust
from tunesmith.registry import BACKENDS

#: one name of each backend
NAMES = {"mace": "organic-xs", "sevennet": "7net-0", "chgnet": "chgnet:0.3.0"}


@pytest.mark.parametrize(
    "backend", [BACKENDS.own(name) for name in BACKENDS.entries], ids=lambda b: b.PACKAGE
)
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


class Malicious:
    """Unpickling it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)


def of_mace() -> types.ModuleType:
    """Where mace's networks live, for pickles that name it, wherever it is installed."""
    module = types.ModuleType("mace.modules.models")
    network = type("MACE", (), {"__module__": module.__name__})
    module.MACE = network  # type: ignore[attr-defined]
    return module


CONTENTS = {
    "sevennet": {"config": {"_type_map": {1: 0}}, "model_state_dict": {}},
    "chgnet": {"model": {"state_dict": {}, "model_args": {}}},
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_are_told_apart_without_loading_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int, zipped: bool
) -> None:
    """By what the pickle's instructions say; they are never run."""
    module = of_mace()
    for name in ("mace", "mace.modules", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    contents = CONTENTS | {"mace": {"network": module.MACE}}
    how = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
    for kind, content in contents.items():
        path = tmp_path / f"{kind}.model"
        torch.save(content | {"more": Malicious(tmp_path / "trace")}, path, **how)
        assert kind == zoo.backend_of(path).PACKAGE
    assert not (tmp_path / "trace").exists()


def test_a_file_of_no_known_kind_is_refused_with_the_kinds_there_are(tmp_path: Path) -> None:
    """And never taken for any backend's, nor unpickled."""
    trace, path = tmp_path / "trace", tmp_path / "some.model"
    contents = (Malicious(trace), {"state_dict": {}, "x": Malicious(trace)}, torch.nn.Linear(2, 2))
    for content in contents:
        torch.save(content, path)
        trust(path)
        with pytest.raises(ModelError, match="is no model file of a kind that is known") as error:
            zoo.load(str(path))
        for backend in map(BACKENDS.own, BACKENDS.entries):
            assert backend.FILES in str(error.value)
    assert not trace.exists()
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="is no model file of a kind"):
        zoo.load(str(path))


def test_a_file_of_two_kinds_is_refused_with_their_names(tmp_path: Path) -> None:
    torch.save(CONTENTS["sevennet"] | CONTENTS["chgnet"], tmp_path / "both.model")
    with pytest.raises(ModelError, match="sevennet and chgnet each take it"):
        zoo.load(str(tmp_path / "both.model"))


def test_a_file_that_is_cut_off_is_damaged_and_no_other_kind(tmp_path: Path) -> None:
    path = tmp_path / "short.model"
    torch.save(CONTENTS["chgnet"], path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="is damaged or cut off"):
        zoo.load(str(path))


def test_what_a_pickle_says_is_read_to_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "bare.pkl"
    path.write_bytes(pickle.dumps({"config": 1, "sub": {"model_args": "x"}}, protocol=2)[:-9])
    assert content_of(path).words >= {"config", "sub", "model_args"}
    assert content_of(path).members == frozenset()


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
