"""Names a configuration may use, and where the code behind each name lives.

Nothing is imported until it is asked for, and a configuration can never name a module itself:
only what stands here, or what an installed package offers under the entry-point group
``tunesmith.<section>``, can be built.
"""

import importlib
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any

from tunesmith.errors import ConfigError


def nearest(name: str, known: list[str]) -> str:
    """'; did you mean …?' where a known name is close, else the list of known names."""
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}."


@dataclass(frozen=True)
class Registry:
    """kind → ``module:Class`` for one section of the configuration (its dotted path)."""

    section: str
    entries: dict[str, str]

    def names(self) -> list[str]:
        return sorted(self.entries | {e.name: "" for e in self._plugins()})

    def _plugins(self) -> Any:
        return entry_points(group=f"tunesmith.{self.section}")

    def get(self, kind: str) -> Any:
        """The class registered as ``kind``."""
        if kind in self.entries:
            module, _, name = self.entries[kind].partition(":")
            return getattr(importlib.import_module(module), name)
        for entry in self._plugins():
            if entry.name == kind:
                return entry.load()
        raise ConfigError(
            f"{self.section}.kind: there is no {kind!r}; {nearest(kind, self.names())}"
        )


REFERENCES = Registry(
    "reference",
    {
        "tblite": "tunesmith.references.tblite:TBLite",
        "pyscf": "tunesmith.references.pyscf:PySCF",
        "cp2k": "tunesmith.references.cp2k:CP2K",
        "espresso": "tunesmith.references.espresso:Espresso",
        "vasp": "tunesmith.references.vasp:VASP",
        "orca": "tunesmith.references.orca:ORCA",
        "ase": "tunesmith.references.ase_any:AnyASE",
        "hidden": "tunesmith.references.hidden:Hidden",
    },
)
SUBSPACES = Registry(
    "tune.subspace",
    {
        "all": "tunesmith.tune.subspace:All",
        "freeze-first": "tunesmith.tune.subspace:FreezeFirst",
        "freeze-readout": "tunesmith.tune.subspace:FreezeReadout",
        "blocks": "tunesmith.tune.subspace:Blocks",
        "lora": "tunesmith.tune.lora:LoRA",
    },
)
ANCHORS = Registry(
    "tune.anchor",
    {
        "none": "tunesmith.tune.anchor:NoAnchor",
        "gaussian": "tunesmith.tune.anchor:GaussianPrior",
        "multihead": "tunesmith.tune.replay:Multihead",
        "pseudolabel": "tunesmith.tune.replay:Pseudolabel",
    },
)
SAMPLERS = Registry(
    "tune.sampler",
    {
        "adamw": "tunesmith.tune.adamw:AdamW",
        "by-size": "tunesmith.tune.by_size:BySize",
        "committee": "tunesmith.tune.committee:Committee",
        "sghmc": "tunesmith.tune.chains:SGHMC",
        "cyclical": "tunesmith.tune.cycles:Cyclical",
    },
)
SPREADS = Registry(
    "tune.spread",
    {
        "members": "tunesmith.posterior.spread_rules:OfMembers",
        "ntk": "tunesmith.posterior.spread_rules:ByTangentKernel",
    },
)
LOSSES = Registry(
    "tune.loss",
    {
        "huber": "tunesmith.tune.loss:Huber",
        "mace-universal": "tunesmith.tune.loss:MACEUniversal",
        "gaussian": "tunesmith.tune.likelihood:GaussianLikelihood",
    },
)
EXPLORERS = Registry(
    "explore",
    {
        "md": "tunesmith.explore.md:MD",
        "pool": "tunesmith.explore.pool:Pool",
        "cago": "tunesmith.explore.cago:Cago",
    },
)
ACQUIRERS = Registry(
    "acquire",
    {
        "threshold": "tunesmith.acquire.threshold:Threshold",
        "greedy": "tunesmith.acquire.batch:Greedy",
        "committee": "tunesmith.acquire.batch:CommitteeScore",
        "random": "tunesmith.acquire.batch:RandomChoice",
        "attack": "tunesmith.explore.cago:ByAttack",
        "max-uncertainty": "tunesmith.explore.cago:MaxUncertainty",
        "hot-md": "tunesmith.explore.cago:HotMD",
    },
)
REPRESENTATIONS = Registry(
    "acquire.representation",
    {
        "activation": "tunesmith.features.activation:Activation",
        "ntk": "tunesmith.features.ntk:NTK",
        "soap": "tunesmith.features.soap:SOAP",
        "morgan": "tunesmith.features.morgan:Morgan",
    },
)
CALIBRATIONS = Registry(
    "calibrate",
    {
        "gamma": "tunesmith.calibrate.gamma:GammaCalibration",
        "power-law": "tunesmith.calibrate.powerlaw:PowerLaw",
    },
)
#: explore.kind → what a run of it is told, and who runs it (`tunesmith.loop.recipe`)
RUNS = Registry(
    "run",
    {
        "md": "tunesmith.config.onthefly_config:RunConfig",
        "pool": "tunesmith.config.pool_config:PoolConfig",
        "cago": "tunesmith.config.cago_config:CagoConfig",
    },
)
RECIPES = Registry(
    "recipe",
    {
        "md": "tunesmith.loop.onthefly.onthefly_recipe:OnTheFly",
        "pool": "tunesmith.loop.rounds.rounds_recipes:PoolRounds",
        "cago": "tunesmith.loop.rounds.rounds_recipes:CagoRounds",
    },
)
#: has no `kind` of its own; named here because a configuration cannot import what builds on it
TARGETS = Registry("target", {"error": "tunesmith.acquire.threshold:Target"})
_FORCE_ERROR = {"force-error": "tunesmith.attack.attack_settings:Attack"}
#: of the command, and of runs that attack
ATTACKS = (Registry("attack", _FORCE_ERROR), Registry("acquire.attack", _FORCE_ERROR))
TUNE = (SUBSPACES, ANCHORS, SAMPLERS, LOSSES, SPREADS)
LOOP = (EXPLORERS, ACQUIRERS, REPRESENTATIONS, CALIBRATIONS, TARGETS)
SECTIONS = {r.section: r for r in (REFERENCES, *ATTACKS, *TUNE, *LOOP)}
