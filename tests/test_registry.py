"""Every registered name leads to a class of settings that explains itself; plugins join in."""

from pathlib import Path

import pytest

from tunesmith.config import LabelConfig, PosteriorSettings, RunConfig, TuneConfig, TuneSettings
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.registry import REFERENCES, SECTIONS, nearest
from tunesmith.settings import build, default_kind

ENTRIES = [(s, kind) for s, registry in SECTIONS.items() for kind in registry.entries]


@pytest.mark.parametrize(("section", "kind"), ENTRIES)
def test_entries_lead_to_settings_of_that_kind(section: str, kind: str) -> None:
    cls = SECTIONS[section].get(kind)
    assert issubclass(cls, Settings)
    assert getattr(cls, "kind", kind) == kind  # the target has but one
    assert cls.__doc__


@pytest.mark.parametrize(("section", "kind"), ENTRIES)
def test_every_setting_is_described(section: str, kind: str) -> None:
    fields = SECTIONS[section].get(kind).model_fields
    assert [name for name, field in fields.items() if not field.description] == []


@pytest.mark.parametrize("part", ["subspace", "anchor", "sampler", "loss"])
@pytest.mark.parametrize("cls", [TuneSettings, PosteriorSettings])
def test_default_kinds_need_no_settings(cls: type[TuneSettings], part: str) -> None:
    kind = default_kind(cls, part)
    assert getattr(cls(), part).kind == kind
    assert kind in SECTIONS[f"tune.{part}"].entries


def test_each_command_has_default_kinds_of_its_own() -> None:
    kinds = {c: default_kind(c, "tune.sampler") for c in (TuneConfig, RunConfig, LabelConfig)}
    assert list(kinds.values()) == ["adamw", "sghmc", None]


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^reference\.kind: there is no 'pyscff'.*'pyscf'\?$"):
        REFERENCES.get("pyscff")


def test_nearest_lists_what_is_known_where_nothing_is_close() -> None:
    assert nearest("zzz", ["b", "a"]) == "known: a, b."
    assert nearest("epoch", ["epochs", "seed"]) == "did you mean 'epochs'?"


def test_a_configuration_cannot_name_a_module() -> None:
    for attack in ("os:system", "tunesmith.references.pyscf:PySCF", "builtins:eval"):
        with pytest.raises(ConfigError, match="there is no"):
            REFERENCES.get(attack)


def test_installed_packages_can_add_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package on disk with an entry point, as pip would leave it."""
    (tmp_path / "oracle_plugin.py").write_text(
        "from typing import ClassVar\n"
        "from tunesmith.contracts import ReferenceRule\n"
        "class Oracle(ReferenceRule):\n"
        "    kind: ClassVar[str] = 'oracle'\n"
        "    wisdom: int = 42\n"
        "    def label(self, atoms): ...\n"
        "    def identity(self): ...\n"
    )
    info = tmp_path / "oracle_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: oracle-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tunesmith.reference]\noracle = oracle_plugin:Oracle\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "oracle" in REFERENCES.names()
    built = build(Settings, {"kind": "oracle", "wisdom": 7}, "reference")
    assert (built.kind, built.wisdom) == ("oracle", 7)  # type: ignore[attr-defined]
