"""Configurations of rounds from a pool: which command gets which, and what does not go together."""

from pathlib import Path

import pytest

from tunesmith.config import PoolConfig, RunConfig, dump, load, load_run, template
from tunesmith.errors import ConfigError
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.by_size import BySize

GIVEN = ("explore={kind: pool, files: pool.xyz}", "reference.kind=hidden", "data.valid=v.xyz")


def pool(*overrides: str) -> PoolConfig:
    given = {text.partition("=")[0]: text for text in (*GIVEN, *overrides)}
    return load(PoolConfig, None, list(given.values()))


def test_the_explorer_decides_what_is_run(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "explore: {kind: pool, files: p.xyz}\ndata: {valid: v.xyz}\nreference: hidden\n"
    )
    assert isinstance(load_run(file), PoolConfig)
    steps = ("reference.kind=tblite", "target.energy=1 eV", "explore.start=s.xyz")
    assert isinstance(load_run(None, steps), RunConfig)
    assert isinstance(load_run(None, GIVEN), PoolConfig)


def test_what_is_not_given_follows_the_paper() -> None:
    config = pool()
    assert (config.acquire.representation.kind, config.acquire.rule) == ("ntk", "lcmd")
    assert isinstance(config.tune.sampler, BySize)
    assert (config.tune.loss.energy, config.tune.loss.forces) == (10, 10)
    assert config.explore.files == ("pool.xyz",)


def test_a_strategy_stands_beneath() -> None:
    config = pool("strategy=lora", "tune.subspace.rank=8")
    assert (config.tune.subspace.kind, config.tune.subspace.rank) == ("lora", 8)
    assert type(config.tune.sampler) is AdamW
    assert config.tune.sampler.learning_rate == 1e-2
    kept = pool("strategy=lora", "tune.sampler={kind: by-size, members: 3}")
    assert kept.tune.sampler == BySize(members=3)


def test_the_dump_loads_back(tmp_path: Path) -> None:
    config = pool("strategy=lora", "acquire={kind: greedy, rule: kcenter}")
    (tmp_path / "c.yaml").write_text(dump(config))
    assert load_run(tmp_path / "c.yaml") == config


def test_the_template_is_complete(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(template("pool"))
    assert load_run(tmp_path / "c.yaml") == pool("data.valid=valid.xyz")


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("acquire={kind: threshold}", "judges one structure at a time"),
        ("acquire={kind: committee}", "members disagree"),
        ("acquire.noise=1e-2", "acquire.noise: lcmd has none"),
        ("target.energy=1 eV", "target: no such setting"),
        ("acquire={kind: random, rule: lcmd}", "acquire.rule: no such setting"),
    ],
)
def test_what_does_not_go_together_is_refused(override: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        pool(override)


def test_only_hidden_labels_can_measure_the_rest() -> None:
    assert pool().explore.rest is None
    assert pool("explore.rest=20").explore.rest == 20
    with pytest.raises(ConfigError, match=r"explore\.rest: tblite would have to label"):
        pool("explore.rest=20", "reference.kind=tblite")


def test_a_committee_needs_labels_to_differ_on() -> None:
    members = ("acquire={kind: committee}", "tune.sampler.members=3")
    with pytest.raises(ConfigError, match="the first committee needs labels"):
        pool(*members)
    assert pool(*members, "explore.start=5").acquire.score == "committee-force"


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("reference.kind=hidden", "reference.kind: 'hidden' is of a pool"),
        ("explore={kind: pool, files: p.xyz}", "explore.kind: 'pool' has no steps"),
        ("acquire.kind=greedy", "acquire.kind: 'greedy' chooses from many"),
    ],
)
def test_a_pools_parts_are_none_of_a_simulation(override: str, what: str) -> None:
    given = ["reference.kind=tblite", "target.energy=1 eV"]
    if not override.startswith("explore"):
        given.append("explore.start=s.xyz")
    given = [g for g in given if g.partition("=")[0] != override.partition("=")[0]]
    with pytest.raises(ConfigError, match=what):
        load(RunConfig, None, [*given, override])
