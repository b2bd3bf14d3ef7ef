"""Which strategy, where none was named; and what in a configuration is likely to go wrong.

The rules are those the paper on fine-tuning strategies ends with (sections 3.4, 4 and 5, A.2).
"""

from collections.abc import Sequence

from ase import Atoms

from tunesmith.config import TuneConfig
from tunesmith.config.strategies import STRATEGIES
from tunesmith.errors import ConfigError
from tunesmith.words import counted

#: structures of one composition up to which adapters are chosen, for models of so many weights:
#: with the paper's, LoRA's energies were better than naive fine-tuning's with 60 (SN2, one run) and
#: 96 (NaCl) structures, its forces 8 % worse and the same, both worse with many of many molecules;
#: organic-xs, 73 008 weights, had the lower force error with all of them after 800 steps on 10 to
#: 200 structures (12 of 12, by 1 to 6 %: docs/measurements/strategies.md). Nothing is
#: known of models between
SMALL, LARGE = 100, 500_000
#: structures up to which replay goes with adapters: with 5 plain replay failed and adapters did
#: not, with 60 they only cost accuracy; nothing is known of between
SCARCE = 10
#: learning rate over which replay forgets long before the target shows it (Table 9), and the same
#: of adapters (Table 7)
REPLAY_RATE, REPLAY_RATE_OF_ADAPTERS = 1e-4, 1e-3


def choose(
    structures: Sequence[Atoms], scope: str | None, *, replayable: bool, weights: int
) -> tuple[str, str]:
    """Name of the strategy for these training structures, and why, a sentence.

    scope: "narrow", "broad" or None, which is taken for narrow. replayable: whether the model
    comes with structures to replay. weights: how many of its numbers may move. Raises `ConfigError`
    where broad is wanted without any to replay.
    """
    n, what = len(structures), _told(structures)
    if scope == "broad":
        if not replayable:
            raise ConfigError(
                "scope: broad needs structures to replay and the model comes with none; name files "
                "in tune.anchor.frames together with strategy pseudolabel, or set scope to narrow."
            )
        name, why = "pseudolabel", "scope broad, and only replay keeps what the model knew"
        if n <= SCARCE:
            name = "pseudolabel-lora"
            why += f"; with up to {SCARCE} structures it needs adapters beside it"
        return name, f"strategy {name}: {what}; {why}."
    assumed = "scope narrow" if scope else "scope not given, so narrow"
    if n > SMALL:
        name, why = "naive", f"more than {SMALL} structures are learnt best by all weights"
    elif len(_compositions(structures)) > 1:
        name, why = "naive", "several compositions are learnt best by all weights"
    elif weights < LARGE:
        name, why = "naive", f"a small model ({weights} weights) learns best with all of them"
    else:
        name = "lora"
        why = f"a large model learns up to {SMALL} structures of one best by low-rank adapters"
    hint = "" if scope else " (what the model knew of others is kept by --scope broad)"
    return name, f"strategy {name}: {what}; {assumed}, and {why}{hint}."


def with_strategy(config: TuneConfig, name: str) -> TuneConfig:
    """The configuration with a strategy beneath what was given. Raises `ConfigError`."""
    given = {key: getattr(config, key) for key in config.model_fields_set}
    return TuneConfig.model_validate({**given, "strategy": name})


def warnings(config: TuneConfig) -> list[str]:
    """What is allowed and likely to disappoint, a sentence each."""
    tune, said = config.tune, []
    anchor, sampler = tune.anchor, tune.sampler
    replays = anchor.has_head
    adapters = tune.subspace.adapts
    most = REPLAY_RATE_OF_ADAPTERS if adapters else REPLAY_RATE
    limit = sampler.rate_limit if replays and not sampler.needs_likelihood else None
    if limit is not None and limit[1] > most:
        said.append(
            f"tune.sampler.{limit[0]} {limit[1]:g} is over {most:g}: the replayed knowledge is "
            "lost long before the errors on your structures show it."
        )
    pretrained = not tune.subspace.fresh
    if sampler.decay > 0 and pretrained and not adapters:
        said.append(
            f"tune.sampler.weight_decay {sampler.decay:g} pulls the weights towards zero, "
            "away from the pretrained ones; 0 is the strategies' own."
        )
    meant = STRATEGIES[config.strategy].settings.get("anchor") if config.strategy else None
    if meant and meant["kind"] in ("multihead", "pseudolabel") and not replays:
        said.append(
            f"strategy {config.strategy} replays structures, but tune.anchor is {anchor.kind}: "
            "nothing is replayed, and what the model knew of other structures is forgotten."
        )
    return said


def _compositions(structures: Sequence[Atoms]) -> list[str]:
    """Different ones, reduced to the smallest whole numbers, so that cells of any size count."""
    return sorted({str(a.symbols.formula.reduce()[0].convert("hill")) for a in structures})


def _told(structures: Sequence[Atoms]) -> str:
    n, found = len(structures), _compositions(structures)
    elements = ", ".join(sorted({symbol for a in structures for symbol in a.symbols}))
    some = counted(n, "structure")
    if len(found) == 1:
        return f"{some} of {found[0]}"
    return f"{some} of {len(found)} compositions of {elements}"
