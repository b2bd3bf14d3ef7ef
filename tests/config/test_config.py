"""Configurations: what is read, what is refused and how, and that nothing is lost on the way."""

from pathlib import Path
from typing import Any, get_origin

import pytest
import yaml

from tunesmith import settings, yamltext
from tunesmith.acquire.greedy import RULES
from tunesmith.config import (
    AttackConfig,
    CheckConfig,
    LabelConfig,
    RunConfig,
    SelectConfig,
    TuneConfig,
    dump,
    load,
    select_config,
    template,
)
from tunesmith.config.reading import TEMPLATES
from tunesmith.core import Settings
from tunesmith.errors import ConfigError, UnitError
from tunesmith.registry import SECTIONS
from tunesmith.settings import build, types_in
from tunesmith.tune.adamw import AdamW

TRAIN = {"data.train": ["a.xyz"]}


def tune(*overrides: str, path: Path | None = None) -> TuneConfig:
    return load(TuneConfig, path, overrides, TRAIN)


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


# ------------------------------------------------------------------------ what is read


def test_file_and_overrides_reach_the_objects(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        """
        model: {source: my.model, head: dft}
        data: {train: [a.xyz, b.xyz], valid: v.xyz}
        tune:
          sampler: {kind: adamw, epochs: 7, learning_rate: 1e-4}
          loss: mace-universal
          e0: average
        seed: 3
        """,
    )
    config = load(TuneConfig, path, ["tune.sampler.epochs=50", "tune.sampler.betas=[0.5, 0.9]"])
    assert (config.model.source, config.model.head) == ("my.model", "dft")
    assert config.data.train == ("a.xyz", "b.xyz")
    assert isinstance(config.tune.sampler, AdamW)
    assert config.tune.sampler.epochs == 50, "an override wins over the file"
    assert config.tune.sampler.learning_rate == 1e-4, "1e-4 is a number, not a text"
    assert config.tune.sampler.betas == (0.5, 0.9)
    assert config.tune.loss.kind == "mace-universal"
    assert config.tune.e0.method == "average"
    assert config.seed == 3
    assert config.tune.subspace.kind == "all", "the default kind"


def test_a_plain_text_names_the_model_and_later_overrides_keep_it(tmp_path: Path) -> None:
    path = file(tmp_path, "model: my.model\ndata: {train: one.xyz}\ntune:\n")
    config = load(TuneConfig, path, ["model.dtype=float64"])
    assert (config.model.source, config.model.dtype) == ("my.model", "float64")
    assert config.data.train == ("one.xyz",)


def test_shortcuts_win_over_the_file_but_not_silently_over_set(tmp_path: Path) -> None:
    path = file(tmp_path, "model: {source: a, head: h}")
    config = load(TuneConfig, path, (), TRAIN | {"model.source": "b"})
    assert (config.model.source, config.model.head) == ("b", "h")
    with pytest.raises(ConfigError, match=r"--set model\.source: also given by its own option"):
        load(TuneConfig, path, ["model.source=c"], TRAIN | {"model.source": "b"})


def test_isolated_atoms_in_ev_or_with_unit() -> None:
    config = tune("tune.e0.method=table", "tune.e0.table={H: -13.6, C: -1 Ha, No: -2}")
    assert config.tune.e0.table is not None
    assert config.tune.e0.table == pytest.approx({"H": -13.6, "C": -27.211386, "No": -2.0})


@pytest.mark.parametrize(
    "overrides",
    [
        ["tune.loss.kind=mace-universal", "tune.loss.forces=5"],
        ["tune.loss.forces=5", "tune.loss.kind=mace-universal"],
        ["tune.loss.forces=5", "tune.loss=mace-universal"],
    ],
)
def test_another_kind_starts_its_section_afresh(tmp_path: Path, overrides: list[str]) -> None:
    """And the order of options does not matter."""
    path = file(tmp_path, "tune: {loss: {kind: huber, energy: 77, delta: 0.5}}")
    loss = tune(*overrides, path=path).tune.loss
    default = settings.build(Settings, "mace-universal", "tune.loss")
    assert loss == default.model_copy(update={"forces": 5.0})


def test_the_same_kind_keeps_the_sections_settings(tmp_path: Path) -> None:
    path = file(tmp_path, "tune: {loss: {energy: 77}}")
    assert tune("tune.loss.kind=huber", path=path).tune.loss.energy == 77
    label = file(tmp_path, "reference: {xc: hf}")
    assert load(LabelConfig, label, ["reference.kind=pyscf"]).reference.xc == "hf"


def test_objects_are_frozen_and_python_may_use_them_directly() -> None:
    config = TuneConfig(
        data={"train": "a.xyz"},  # type: ignore[arg-type]
        tune={"sampler": {"kind": "adamw", "epochs": 3}},  # type: ignore[arg-type]
    )
    assert config == tune("tune.sampler.epochs=3")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 4
    with pytest.raises(ValueError, match="frozen"):
        config.tune.sampler.epochs = 4


# ----------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("tune.sampler.epoch=3", "tune.sampler.epoch: no such setting; did you mean 'epochs'?"),
        ("tun.sampler.epochs=3", "tun: no such setting; did you mean 'tune'?"),
        ("tune.smapler.epochs=3", "tune.smapler: no such setting; did you mean 'sampler'?"),
        ("execute.gpus=3", "execute.gpus: no such setting; known: processes, threads."),
        (
            "tune.sampler.members=3",
            "tune.sampler.members: no such setting of this kind; set tune.sampler.kind to one of "
            "by-size, committee, sghmc, cyclical, which have it.",
        ),
        (
            "tune.subspace.rank=3",
            "tune.subspace.rank: no such setting of this kind; set tune.subspace.kind to lora, "
            "which has it.",
        ),
        ("seed.x=1", "seed: {x: 1} was given, but a whole number is needed."),
        (
            "tune.sampler.epochs=many",
            "tune.sampler.epochs: 'many' was given, but a whole number is needed.",
        ),
        ("tune.sampler.epochs=3.5", "tune.sampler.epochs: 3.5 was given, but a whole number"),
        ("tune.sampler.epochs=true", "tune.sampler.epochs: true was given, but a number"),
        ("tune.sampler.epochs=", "tune.sampler.epochs: null was given, but a whole number"),
        (
            "tune.sampler.epochs=0",
            "tune.sampler.epochs: 0 was given, but a value of at least 1 is needed.",
        ),
        ("tune.sampler.learning_rate=.nan", "tune.sampler.learning_rate: .nan was given, but a"),
        ("tune.sampler.learning_rate=.inf", "tune.sampler.learning_rate: .inf was given, but a"),
        ("tune.sampler.betas=[0.9]", "tune.sampler.betas.1: not given, but needed"),
        ("tune.sampler.betas=[0.9, 2]", "tune.sampler: betas must lie in [0, 1)."),
        (
            "tune.sampler.checkpoint_every=3 parsec",
            "tune.sampler.checkpoint_every: unknown unit 'parsec' of wall time",
        ),
        ("tune.sampler.kind=adam", "tune.sampler.kind: there is no 'adam'; did you mean 'adamw'?"),
        ("tune.sampler.kind=3", "tune.sampler.kind: 3 was given; use one of adamw"),
        ("tune.sampler=[1]", "tune.sampler: [1] was given, but a section with settings is needed"),
        ("tune=3", "tune: 3 was given, but a section with settings is needed."),
        ("model.dtype=half", "model.dtype: 'half' was given, but one of 'float32' or 'float64'"),
        ("model.device=gpu", "model.device: there is no device 'gpu'; use cpu"),
        ("data.valid_fraction=1", "data.valid_fraction: 1 was given, but a value less than 1"),
        ("tune.e0=tables", "tune.e0.method: 'tables' was given, but one of 'auto'"),
        ("tune.e0=table", "tune.e0: method 'table' needs table"),
        ("tune.e0.table.H=-3", "tune.e0: table is given but method is 'auto'"),
        ("tune.e0.table.Hx=-3", "tune.e0.table: there is no element 'Hx'."),
        ("tune.e0.table.H=-3 foo", "tune.e0.table.H: unknown unit 'foo' of energy"),
        ("tune.sampler.epochs", "--set tune.sampler.epochs: write PATH=VALUE"),
        ("tune..epochs=3", "--set tune..epochs=3: write PATH=VALUE"),
        ("=3", "--set =3: write PATH=VALUE"),
        ("seed=[1", "--set seed, line 1: not valid YAML"),
    ],
)
def test_overrides_that_are_refused(override: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tune(override)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seed: 1\nmodel: a\nseed: 2", "line 3: 'seed' is given a second time (first in line 1)"),
        ("tune:\n  e0:\n    method: auto\n    method: auto", "line 4: 'method' is given a second"),
        ("seed: [1\nmodel: 2", "line 2: not valid YAML"),
        ("tune:\n\tseed: 1", "line 2: not valid YAML"),
        ("seed: 1\n1: 2", "line 2: the name of a setting must be a text, not 1."),
        ("seed: !!python/object/apply:os.getcwd []", "line 1: not valid YAML"),
        ("seed: *x", "line 1: not valid YAML: a text that begins with * must stand in quotes."),
        ("tune:\n\tseed: 1", "line 2: not valid YAML: a tab; indent with spaces."),
        ("a:\n  b: 1\n c: 2", "line 3: not valid YAML: this line is not indented as"),
        ("a:\n  b: 1\n   c: 2", "line 3: not valid YAML: a ':' where none can stand; look at"),
        ("a: b: 1", "line 1: not valid YAML: a ':' where none can stand; look at"),
        ("a: 1\nb\nc: 2", "line 3: not valid YAML: a line here has no ':'"),
        ("a: [1, 2\nb: 3", "line 2: not valid YAML: a bracket is opened and not closed"),
        ("a: 'b\nc: 2", "line 2: not valid YAML: a quote or bracket is opened and never closed."),
    ],
)
def test_yaml_errors_say_file_and_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(TuneConfig, path)
    assert str(caught.value).startswith(f"{path}, {sentence}")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    for name, says in {
        "nothing.yaml": "there is no such file; check the path.",
        ".": "is a folder; name the YAML file in it.",
        "binary.yaml": "not a text file",
        "list.yaml": "a configuration starts with sections",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load(TuneConfig, tmp_path / name)
        assert says in str(caught.value)


QUANTITIES = (
    *("explore.time", "explore.write_every", "loop.rare", "acquire.max_gap"),
    *("reference.timeout", "reference.max_force", "target.forces"),
)


@pytest.mark.parametrize("path", QUANTITIES)
def test_a_number_without_its_unit_is_shown_with_one_that_fits(path: str) -> None:
    given = ["reference=tblite", "explore.start=a.xyz", "target.energy='0.5 kcal/mol'"]
    with pytest.raises(ConfigError) as caught:
        load(RunConfig, None, [*given, f"{path}=12"])
    written = str(caught.value).partition("unit, as '")[2].partition("'")[0]
    assert written.startswith("12 ")
    load(RunConfig, None, [*given, f"{path}={written}"])


def test_what_is_needed_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^data\.train: not given, but needed"):
        load(TuneConfig)
    with pytest.raises(ConfigError, match=r"^data\.train: \[\] was given, but a list of at least"):
        load(TuneConfig, None, ["data.train=[]"])
    with pytest.raises(ConfigError, match=r"^reference\.kind: not given; use one of .*pyscf"):
        load(LabelConfig)
    with pytest.raises(ConfigError, match=r"^--set seed: given twice"):
        tune("seed=1", "seed=2")


def test_an_engines_own_complaints_carry_the_full_path() -> None:
    for override, sentence in {
        "reference.xcc=pbe": "reference.xcc: no such setting; did you mean 'xc'?",
        "reference.timeout=3 parsec": "reference.timeout: unknown unit 'parsec'",
        "reference.xc=pbee0": "reference.xc: PySCF knows no functional 'pbee0'",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load(LabelConfig, None, ["reference.kind=pyscf", override])
        assert str(caught.value).startswith(sentence)
    with pytest.raises(ConfigError, match=r"^reference\.timeout: 3 was given.*its unit"):
        load(LabelConfig, None, ["reference.kind=pyscf", "reference.timeout=3"])
    with pytest.raises(UnitError, match=r"^reference\.timeout: '3' needs a number and a unit"):
        load(LabelConfig, None, ["reference.kind=pyscf", "reference.timeout='3'"])


# --------------------------------------------------------------------- nothing is lost


RUN = ["reference=tblite", "target.forces=0.1 eV/Å", "explore.start=s.xyz"]
CONFIGS: list[tuple[type[Settings], list[str]]] = [
    (TuneConfig, ["data.train=a.xyz"]),
    (
        TuneConfig,
        [
            "data.train=['no', '1e-3', '010', 'ä b.xyz', '~', 'true']",
            "tune.loss=mace-universal",
            "tune.sampler.learning_rate=1e-7",
            "tune.sampler.clip=",
            "tune.e0.method=table",
            "tune.e0.table={H: -13.600000000000001, No: -1 Ha}",
        ],
    ),
    (LabelConfig, ["reference.kind=pyscf", "reference.multiplicity=3"]),
    (LabelConfig, ["reference.kind=tblite"]),
    (AttackConfig, ["attack.target=0.1 eV/Å"]),
    (AttackConfig, ["attack.target=0.1 eV/Å", "reference=tblite"]),
    (SelectConfig, ["acquire.batch=3"]),
    (CheckConfig, ["dynamics.time=3 ps", "settings.rdf.species=[O]", "species=O"]),
    (SelectConfig, ["acquire={kind: random, batch: 3}", "map=soap"]),
    (RunConfig, RUN),
    (RunConfig, [*RUN, "attack={}"]),
]


@pytest.mark.parametrize(("cls", "overrides"), CONFIGS)
def test_a_dump_loads_back_to_an_equal_object(
    tmp_path: Path, cls: type[Settings], overrides: list[str]
) -> None:
    config = load(cls, None, overrides)
    text = dump(config)
    assert load(cls, file(tmp_path, text)) == config
    assert dump(load(cls, file(tmp_path, text))) == text


def test_a_dump_holds_every_default() -> None:
    raw = yaml.safe_load(dump(tune()))

    def keys(value: Any, path: str = "") -> set[str]:
        if not isinstance(value, dict):
            return {path}
        return set().union(*(keys(v, f"{path}.{k}") for k, v in value.items()))

    written = keys(raw)
    for name in AdamW.model_fields:
        assert f".tune.sampler.{name}" in written
    for path in (".tune.sampler.kind", ".model.dtype", ".data.valid", ".seed", ".execute.threads"):
        assert path in written


def test_templates_load_to_the_defaults(tmp_path: Path) -> None:
    """The template of tune is the default configuration, but for the file it must name."""
    got = load(TuneConfig, file(tmp_path, template("tune")), ["data.train=a.xyz"])
    assert got == tune()
    for kind in ("tblite", "pyscf"):
        text = template("label", [f"reference.kind={kind}"])
        assert load(LabelConfig, file(tmp_path, text)) == load(
            LabelConfig, None, [f"reference.kind={kind}"]
        )


def test_the_template_of_run_is_the_default_run(tmp_path: Path) -> None:
    """Also where a section's defaults are not those of its class, as E0s."""
    given = ["reference=tblite", "explore.start=a.xyz", "target.energy='0.5 kcal/mol'"]
    plain = load(RunConfig, None, given)
    written = load(RunConfig, file(tmp_path, template("run")), given)
    assert written == plain


def test_the_names_of_rules_are_those_of_their_settings() -> None:
    """And all that functions on feature vectors know."""
    assert set(select_config.RULES) == set(RULES)
    for name in RULES:
        shortcuts = select_config.settings_of_rule(name) | {"acquire.batch": 1}
        config = load(SelectConfig, None, (), shortcuts)
        assert config.rule == name
        compares = config.acquire.compares_by
        assert (compares is not None) == (RULES[name].looks_at == "features")


REFERENCES = settings.SECTIONS["reference"]
#: all but a pool's own labels, which `template pool` shows
ENGINES = [kind for kind in REFERENCES.entries if hasattr(REFERENCES.get(kind), "label")]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_short_template_is_the_same_configuration(tmp_path: Path, name: str) -> None:
    cls = TEMPLATES[name][0]
    short = template(name, short=True)
    assert len(short.splitlines()) < 12
    assert load(cls, file(tmp_path, short)) == load(cls, file(tmp_path, template(name)))


@pytest.mark.parametrize("kind", ENGINES)
def test_every_engine_has_a_template_that_marks_what_is_needed(tmp_path: Path, kind: str) -> None:
    text = template("label", [f"reference.kind={kind}"])
    needed = [line.split(":")[0].strip() for line in text.splitlines() if "# needed" in line]
    fields = settings.SECTIONS["reference"].get(kind).model_fields
    assert needed == [name for name, field in fields.items() if field.is_required()]
    if needed:
        with pytest.raises(ConfigError, match=rf"^reference\.({'|'.join(needed)})"):
            load(LabelConfig, file(tmp_path, text))


def test_templates_take_overrides_and_explain() -> None:
    text = template("tune", ["tune.sampler.epochs=9", "tune.loss=mace-universal"])
    assert "    epochs: 9  # passes over the training set at most\n" in text
    assert "    kind: mace-universal  # one of gaussian, huber, mace-universal\n" in text
    assert "  train: [train.xyz]  # needed: " in text
    assert max(map(len, text.splitlines())) <= 100
    with pytest.raises(ConfigError, match=r"no template 'tunes'; did you mean 'tune'\?"):
        template("tunes")
    with pytest.raises(ConfigError, match=r"tune\.sampler\.epoch: no such setting"):
        template("tune", ["tune.sampler.epoch=9"])


# --------------------------------------------------------------------------- YAML 1.2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("1e-3", 1e-3),
        ("-.5", -0.5),
        ("+1", 1),
        ("1.", 1.0),
        ("010", 10),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("'1'", "1"),
        ("5 meV/atom", "5 meV/atom"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    got = yamltext.parse(f"a: {text}", "text")["a"]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    "value", ["no", "1e-3", "010", "1:30", "", "~", "null", "2020-01-01", ".5", "a: b", "# x", "-"]
)
def test_texts_stay_texts_for_other_readers_too(value: str) -> None:
    text = yamltext.write({"a": value})
    assert yamltext.parse(text, "text") == {"a": value}
    assert yaml.safe_load(text) == {"a": value}


def whole_numbers() -> list[tuple[str, str, str]]:
    """Section, kind and name of every setting that is a whole number."""
    return [
        (section, kind, name)
        for section, registry in SECTIONS.items()
        for kind in registry.names()
        for name, field in registry.get(kind).model_fields.items()
        if int in types_in(field.annotation)
        and str not in types_in(field.annotation)
        and get_origin(field.annotation) is not tuple
    ]


@pytest.mark.parametrize(("section", "kind", "name"), whole_numbers())
def test_no_number_is_too_large_to_be_refused(section: str, kind: str, name: str) -> None:
    if name == "seed":
        return
    with pytest.raises(ConfigError, match=rf"{section}\.{name}: 10+ was given"):
        build(Settings, {"kind": kind, name: 10**12}, section)
