"""Named strategies: their numbers, what wins over them, what goes together, and which is chosen."""

import json
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tunesmith import terminal
from tunesmith.cli import app
from tunesmith.config import RunConfig, TuneConfig, TuneSettings, dump, load, template
from tunesmith.config.strategies import STRATEGIES, named
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.settings import build
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.anchor import GaussianPrior
from tunesmith.tune.choice import choose, warnings, with_strategy
from tunesmith.tune.subspace import All

TRAIN = {"data.train": ["a.xyz"]}
RUN = ["reference=tblite", "explore.start=a.xyz", "target.energy='0.5 kcal/mol'"]
ETHANOL = molecule("CH3CH2OH")

#: Table 7 of the paper: learning rate, decay of the moving average, clipping of the gradient
TABLE_7 = {
    "scratch": (1e-2, 0.99, 10.0),
    "naive": (1e-3, 0.999, 1.0),
    "freeze-readout": (1e-3, 0.999, 1.0),
    "freeze-first": (1e-3, 0.999, 1.0),
    "lora": (1e-2, 0.99, 10.0),
    "multihead": (1e-4, 0.9999, 1.0),
    "pseudolabel": (1e-4, 0.9999, 1.0),
    "pseudolabel-lora": (1e-3, 0.999, 10.0),
}
#: the kinds of subspace, anchor, sampler and loss
KINDS = {
    "scratch": ("all", "none", "adamw", "huber"),
    "naive": ("all", "none", "adamw", "huber"),
    "freeze-readout": ("freeze-readout", "none", "adamw", "huber"),
    "freeze-first": ("freeze-first", "none", "adamw", "huber"),
    "lora": ("lora", "none", "adamw", "huber"),
    "multihead": ("all", "multihead", "adamw", "huber"),
    "pseudolabel": ("all", "pseudolabel", "adamw", "huber"),
    "pseudolabel-lora": ("lora", "pseudolabel", "adamw", "huber"),
    "bayesian": ("all", "gaussian", "sghmc", "gaussian"),
    "committee": ("all", "none", "committee", "huber"),
}


def tune(*overrides: str, path: Path | None = None, **options: str) -> TuneConfig:
    """As the command line gives it; options: strategy and scope."""
    return load(TuneConfig, path, overrides, TRAIN | options)


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def committee(**given: Any) -> Settings:
    return build(Settings, {"kind": "committee", **given}, "tune.sampler")


def kinds(config: TuneConfig) -> tuple[str, ...]:
    parts = config.tune
    return tuple(p.kind for p in (parts.subspace, parts.anchor, parts.sampler, parts.loss))


# -------------------------------------------------------------------------- what they are


@pytest.mark.parametrize("name", TABLE_7)
def test_table_7(name: str) -> None:
    sampler = tune(strategy=name).tune.sampler
    assert (sampler.learning_rate, sampler.ema, sampler.clip) == TABLE_7[name]
    assert (sampler.betas, sampler.weight_decay) == ((0.9, 0.999), 0)
    assert sampler.schedule == "constant"


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_is_the_point_it_should_be(name: str) -> None:
    config = tune(strategy=name)
    assert kinds(config) == KINDS[name]
    assert (getattr(config.tune.subspace, "initial", "") == "random") == (name == "scratch")
    assert config.tune.sampler.learning_rate == STRATEGIES[name].sampler["learning_rate"], (
        "the table of `tunesmith strategies` says so"
    )
    assert not warnings(config)


def test_no_strategy_is_naive() -> None:
    assert tune().tune == tune(strategy="naive").tune
    assert tune(strategy="committee").tune.sampler == committee()


def test_an_unknown_name_finds_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^strategy: there is no 'lor'; did you mean 'lora'\?$"):
        tune(strategy="lor")
    with pytest.raises(ConfigError, match=r"^strategy: there is no 3; known: bayesian, "):
        tune("strategy=3")
    with pytest.raises(ConfigError, match=r"^strategy: there is no \[\]"):
        named([])


# ------------------------------------------------------------------------ what wins over them


def test_what_is_given_wins_in_a_file_on_the_command_line_and_in_python(tmp_path: Path) -> None:
    text = "strategy: lora\ntune: {subspace: {rank: 16}, sampler: {epochs: 7, clip: null}}"
    expected = tune(
        "tune.subspace.kind=lora",
        "tune.subspace.rank=16",
        "tune.sampler.learning_rate=1e-2",
        "tune.sampler.ema=0.99",
        "tune.sampler.clip=",
        "tune.sampler.epochs=7",
    ).tune
    overrides = ("tune.subspace.rank=16", "tune.sampler.epochs=7", "tune.sampler.clip=")
    assert tune(path=file(tmp_path, text)).tune == expected
    assert tune(*overrides, strategy="lora").tune == expected
    for sampler in ({"epochs": 7, "clip": None}, AdamW(epochs=7, clip=None)):
        parts: Any = {"subspace": {"rank": 16}, "sampler": sampler}
        data: Any = {"train": "a.xyz"}
        assert TuneConfig(data=data, strategy="lora", tune=parts).tune == expected


def test_an_object_of_settings_is_filled_like_a_mapping() -> None:
    data: Any = {"train": "a.xyz"}
    parts = TuneSettings(sampler=AdamW(epochs=7))
    got = TuneConfig(data=data, strategy="pseudolabel", tune=parts)
    assert got.tune == tune("tune.sampler.epochs=7", strategy="pseudolabel").tune
    assert got.tune.sampler.learning_rate == 1e-4


def test_another_kind_leaves_the_strategys_settings_behind() -> None:
    config = tune("tune.subspace=all", strategy="lora")
    assert config.tune.subspace == All()
    assert config.tune.sampler.learning_rate == 1e-2, "the sampler's kind is still the strategy's"
    assert tune("tune.anchor.kind=none", strategy="pseudolabel").tune.anchor.kind == "none"
    with pytest.raises(ConfigError, match=r"^tune\.subspace\.rank: no such setting"):
        tune("tune.subspace.kind=all", "tune.subspace.rank=3", strategy="lora")
    with pytest.raises(ConfigError, match=r"^tune\.sampler\.kind: there is no 'adam'"):
        tune("tune.sampler.kind=adam", strategy="lora")
    with pytest.raises(ConfigError, match=r"^tune\.sampler: \[1\] was given, but a section"):
        tune("tune.sampler=[1]", strategy="lora")


@pytest.mark.parametrize("sampler", ["tune.sampler.kind=committee", "tune.sampler=committee"])
def test_a_committee_of_any_strategy_keeps_its_training(sampler: str) -> None:
    """A committee is AdamW several times: no strategy of its own is needed."""
    config = tune(sampler, "tune.sampler.members=3", strategy="pseudolabel")
    assert kinds(config) == ("all", "pseudolabel", "committee", "huber")
    assert config.tune.sampler == committee(learning_rate=1e-4, ema=0.9999, clip=1.0, members=3)
    assert tune("tune.sampler=adamw", strategy="committee").tune.sampler == AdamW()


def test_naming_the_strategys_own_kind_keeps_a_files_settings(tmp_path: Path) -> None:
    path = file(tmp_path, "strategy: lora\ntune: {subspace: {rank: 16}}")
    assert tune("tune.subspace.kind=lora", path=path).tune.subspace.rank == 16
    assert tune(path=path, strategy="pseudolabel-lora").tune.subspace.rank == 16
    path = file(tmp_path, "tune: {subspace: {kind: lora, rank: 16}}")
    assert tune(path=path, strategy="naive").tune.subspace.rank == 16, "the file wins"


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_resolved_configuration_loads_back(tmp_path: Path, name: str) -> None:
    for overrides in ((), ("tune.sampler.kind=committee",), ("tune.subspace=all",)):
        config = tune(*overrides, strategy=name)
        path = file(tmp_path, dump(config))
        assert load(TuneConfig, path) == config
        assert dump(load(TuneConfig, path)) == dump(config)


def test_templates_show_what_a_strategy_decides(tmp_path: Path) -> None:
    text = template("tune", ["strategy=lora", "tune.subspace.rank=16"])
    assert "    learning_rate: 0.01  # step size\n" in text
    assert "    rank: 16  # " in text
    for name in STRATEGIES:
        written = file(tmp_path, template("tune", [f"strategy={name}"]))
        assert load(TuneConfig, written, ["data.train=a.xyz"]) == tune(strategy=name)


# -------------------------------------------------------------------------- what goes together


@pytest.mark.parametrize("kind", ["sghmc", "cyclical"])
def test_a_sampler_of_posteriors_brings_likelihood_and_prior(kind: str) -> None:
    config = tune(f"tune.sampler={kind}", "tune.loss.energy=1 meV")
    assert kinds(config) == ("all", "gaussian", kind, "gaussian")
    assert config.tune.loss.energy == "1 meV"
    replayed = tune(f"tune.sampler={kind}", strategy="pseudolabel")
    assert kinds(replayed) == ("all", "pseudolabel", kind, "gaussian")
    text = template("tune", [f"tune.sampler={kind}"])
    assert text.count("kind: gaussian") == 2
    assert TuneSettings(sampler={"kind": kind}).anchor == GaussianPrior()


def test_a_prior_on_adapters_is_one_on_the_weights(tmp_path: Path) -> None:
    """Both factors free would make their product, and with it the prior, something else."""
    config = tune("tune.subspace.kind=lora", "tune.subspace.rank=2", strategy="bayesian")
    assert (config.tune.subspace.factors, config.tune.subspace.rank) == ("outer", 2)
    assert tune("tune.sampler=sghmc", strategy="lora").tune.subspace.factors == "outer"
    assert tune("tune.anchor=gaussian", strategy="lora").tune.subspace.factors == "outer"
    assert tune(strategy="lora").tune.subspace.factors == "both"
    run = load(RunConfig, None, [*RUN, "tune.subspace.kind=lora"])
    assert run.tune.subspace.factors == "outer"
    written = file(tmp_path, template("run", ["tune.subspace.kind=lora"]))
    assert load(RunConfig, written, RUN) == run
    assert load(RunConfig, None, RUN).tune.subspace == All()


@pytest.mark.parametrize(
    ("strategy", "overrides", "sentence"),
    [
        (
            "bayesian",
            ["tune.subspace.kind=lora", "tune.subspace.factors=both"],
            "tune.subspace.factors: a Gaussian prior over both factors",
        ),
        (
            "bayesian",
            ["tune.subspace.kind=lora", "tune.anchor.mean=zero"],
            "tune.anchor.mean: adapters change the pretrained weights",
        ),
        ("bayesian", ["tune.loss=huber"], "tune.loss: 'huber' gives no posterior, which sghmc"),
        ("naive", ["tune.sampler=cyclical", "tune.loss=huber"], "tune.loss: 'huber' gives no"),
        ("scratch", ["tune.anchor=gaussian"], "tune.anchor.mean: random weights cannot be held"),
        ("scratch", ["tune.anchor=pseudolabel"], "tune.anchor: pseudolabel keeps what the found"),
        ("multihead", ["tune.subspace=freeze-readout"], "tune.anchor: multihead would hold noth"),
        (
            "multihead",
            ["tune.subspace.kind=blocks", "tune.subspace.names=[readouts, readouts.1]"],
            "tune.anchor: multihead would hold nothing",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    strategy: str, overrides: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        tune(*overrides, strategy=strategy)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("strategy", "overrides"),
    [
        ("scratch", ["tune.anchor.kind=gaussian", "tune.anchor.mean=zero"]),
        ("naive", ["tune.loss=gaussian"]),
        ("freeze-readout", ["tune.anchor=gaussian"]),
        ("bayesian", ["tune.subspace=freeze-first"]),
        ("bayesian", ["tune.sampler=cyclical"]),
        ("bayesian", ["tune.anchor=none"]),
        ("multihead", ["tune.subspace.kind=blocks", "tune.subspace.names=[readouts, products.1]"]),
        ("committee", ["tune.subspace.kind=lora", "tune.anchor=multihead"]),
    ],
)
def test_points_without_a_name_are_there_too(strategy: str, overrides: list[str]) -> None:
    tune(*overrides, strategy=strategy)


# ----------------------------------------------------------------------- which one is chosen


def structures(n: int, *others: Atoms) -> list[Atoms]:
    return [ETHANOL] * n + list(others)


@pytest.mark.parametrize(
    ("frames", "scope", "name", "says"),
    [
        (structures(45), None, "lora", "45 structures of C2H6O; scope not given, so narrow"),
        (structures(100), "narrow", "lora", "100 structures of C2H6O; scope narrow, and a large"),
        (structures(101), "narrow", "naive", "more than 100 structures"),
        (structures(5, molecule("H2O")), None, "naive", "6 structures of 2 compositions of C, H,"),
        ([bulk("Si"), bulk("Si") * (2, 2, 1)], None, "lora", "2 structures of Si;"),
        (structures(1), "narrow", "lora", "1 structure of C2H6O;"),
        (structures(10), "broad", "pseudolabel-lora", "scope broad"),
        (structures(11), "broad", "pseudolabel", "scope broad"),
        (structures(500, molecule("H2O")), "broad", "pseudolabel", "501 structures of 2"),
    ],
)
def test_the_choice_and_its_reason(
    frames: list[Atoms], scope: str | None, name: str, says: str
) -> None:
    chosen, reason = choose(frames, scope, replayable=True, weights=5_000_000)
    assert chosen == name
    assert reason.startswith(f"strategy {name}: ")
    assert says in reason
    assert ("--scope broad" in reason) == (scope is None)


def test_broad_needs_structures_to_replay() -> None:
    with pytest.raises(ConfigError, match=r"^scope: broad needs structures to replay"):
        choose(structures(50), "broad", replayable=False, weights=73_008)
    assert choose(structures(50), "narrow", replayable=False, weights=73_008)[0] == "naive"


def test_a_small_model_moves_all_its_weights() -> None:
    chosen, reason = choose(structures(50), None, replayable=True, weights=73_008)
    assert chosen == "naive"
    assert "a small model (73008 weights) learns best with all of them" in reason


@pytest.mark.parametrize(
    ("overrides", "options", "undecided"),
    [
        ([], {}, True),
        (["tune.sampler.epochs=20", "tune.sampler.kind=adamw", "tune.e0=average"], {}, True),
        (["seed=3", "tune.loss=mace-universal"], {"scope": "broad"}, True),
        (["tune.sampler.learning_rate=1e-3"], {}, False),
        (["tune.sampler.clip="], {}, False),
        (["tune.sampler=committee"], {}, False),
        (["tune.subspace=all"], {}, False),
        (["tune.anchor=none"], {}, False),
        ([], {"strategy": "naive"}, False),
    ],
)
def test_a_choice_is_made_where_nothing_says_which(
    overrides: list[str], options: dict[str, str], undecided: bool
) -> None:
    assert tune(*overrides, **options).undecided is undecided


def test_a_template_and_a_resolved_configuration_leave_no_choice(tmp_path: Path) -> None:
    for text in (template("tune"), dump(tune())):
        assert not load(TuneConfig, file(tmp_path, text), ["data.train=a.xyz"]).undecided


@pytest.mark.parametrize("name", ["naive", "lora", "pseudolabel", "pseudolabel-lora"])
def test_a_choice_is_the_same_as_naming_it(name: str) -> None:
    given = ("tune.sampler.epochs=20", "tune.loss=mace-universal", "seed=3")
    got = with_strategy(tune(*given), name)
    assert got == tune(*given, strategy=name)
    assert (got.seed, got.tune.sampler.epochs) == (3, 20)


def test_a_scope_that_nothing_keeps_is_refused() -> None:
    assert tune(strategy="pseudolabel", scope="broad").scope == "broad"
    with pytest.raises(ConfigError, match=r"^scope: only replay keeps it broad, .* is 'none'"):
        tune(strategy="naive", scope="broad")
    with pytest.raises(ConfigError, match=r"^scope: 'wide' was given, but one of 'narrow' or"):
        tune(scope="wide")


# ----------------------------------------------------------------------------- warnings


@pytest.mark.parametrize(
    ("strategy", "overrides", "says"),
    [
        ("multihead", ["tune.sampler.learning_rate=2e-4"], "learning_rate 0.0002 is over 0.0001"),
        ("pseudolabel", ["tune.sampler=committee", "tune.sampler.learning_rate=1e-3"], "is over"),
        ("pseudolabel-lora", ["tune.sampler.learning_rate=2e-3"], "0.002 is over 0.001"),
        ("naive", ["tune.anchor=multihead"], "learning_rate 0.001 is over 0.0001"),
        ("multihead", ["tune.sampler={kind: by-size}"], "max_rate 0.001 is over 0.0001"),
        ("naive", ["tune.sampler.weight_decay=1e-5"], "weight_decay 1e-05 pulls the weights"),
        ("pseudolabel", ["tune.anchor=none"], "nothing is replayed"),
    ],
)
def test_what_is_likely_to_disappoint_is_said(
    strategy: str, overrides: list[str], says: str
) -> None:
    [said] = warnings(tune(*overrides, strategy=strategy))
    assert says in said


@pytest.mark.parametrize(
    ("strategy", "overrides"),
    [
        ("lora", ["tune.sampler.weight_decay=1e-5"]),  # of adapters it leads back
        ("scratch", ["tune.sampler.weight_decay=1e-5"]),
        ("pseudolabel", ["tune.sampler=sghmc"]),  # its rate is another quantity
        ("multihead", ["tune.sampler={kind: by-size, max_rate: 1e-4}"]),
    ],
)
def test_what_is_harmless_is_not(strategy: str, overrides: list[str]) -> None:
    assert warnings(tune(*overrides, strategy=strategy)) == []


# --------------------------------------------------------------------------- the command


def test_the_command_lists_them_all(capfd: pytest.CaptureFixture[str]) -> None:
    assert terminal.run(app, ["strategies", "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)
    assert [row["name"] for row in listed] == list(STRATEGIES)
    assert all(row["moves"] and row["held"] and row["when"] for row in listed)
    assert terminal.run(app, ["strategies"]) == 0
    shown = capfd.readouterr().out
    assert all(name in shown for name in STRATEGIES)
