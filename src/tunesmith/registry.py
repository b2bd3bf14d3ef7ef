"""Names a configuration may use, and where the code behind each name lives.

Nothing is imported until it is asked for, and a configuration can never name a module itself:
only what stands here, or what an installed package offers under the entry-point group
``tunesmith.<section>`` (`tunesmith.plugins`), can be built.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint
from typing import Any

from tunesmith import plugins
from tunesmith.errors import ConfigError


def nearest(name: str, known: list[str]) -> str:
    """'; did you mean …?' where a known name is close, else the list of known names."""
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}."


@dataclass(frozen=True)
class Registry:
    """kind → ``module:Class``, or a module, for one section of the configuration.

    section: its dotted path. contracts: what a part of another package must be, as
    ``module:name`` of classes and protocols. named: whether a part says its kind itself. offered:
    the section under whose name packages offer its parts, where that is another's.
    """

    section: str
    entries: dict[str, str]
    contracts: tuple[str, ...] = ("tunesmith.core:Settings",)
    named: bool = True
    offered: str | None = None

    @property
    def group(self) -> str:
        """Of entry points."""
        return f"tunesmith.{self.offered or self.section}"

    def names(self) -> list[str]:
        """All of them, without importing any."""
        return sorted({*self.entries, *(e.name for e in plugins.offered(self.group))})

    def others(self) -> list[tuple[str, str]]:
        """Names that other packages offer, and which package each; none is imported."""
        offered = plugins.offered(self.group)
        return sorted({(e.name, plugins.package_of(e)) for e in offered})

    def own(self, kind: str) -> Any:
        """What tunesmith itself has as ``kind``."""
        return EntryPoint(kind, self.entries[kind], self.group).load()

    def get(self, kind: str) -> Any:
        """What is registered as ``kind``.

        Raises `ConfigError` where nothing is, `PluginError` for what a package offers under this
        name and cannot be used.
        """
        others = [e for e in plugins.offered(self.group) if e.name == kind]
        plugins.refuse_twice(kind, self.group, others, kind in self.entries)
        if kind in self.entries:
            return self.own(kind)
        if others:
            return plugins.load(others[0], self.contracts, self.named)
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
    ("tunesmith.contracts:ReferenceRule", "tunesmith.core:Reference"),
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
    ("tunesmith.contracts:SubspaceRule",),
)
ANCHORS = Registry(
    "tune.anchor",
    {
        "none": "tunesmith.tune.anchor:NoAnchor",
        "gaussian": "tunesmith.tune.anchor:GaussianPrior",
        "multihead": "tunesmith.tune.replay:Multihead",
        "pseudolabel": "tunesmith.tune.replay:Pseudolabel",
    },
    ("tunesmith.contracts:Anchor",),
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
    ("tunesmith.contracts:Sampler",),
)
SPREADS = Registry(
    "tune.spread",
    {
        "members": "tunesmith.posterior.spread_rules:OfMembers",
        "ntk": "tunesmith.posterior.spread_rules:ByTangentKernel",
    },
    ("tunesmith.contracts:Spread",),
)
LOSSES = Registry(
    "tune.loss",
    {
        "huber": "tunesmith.tune.loss:Huber",
        "mace-universal": "tunesmith.tune.loss:MACEUniversal",
        "gaussian": "tunesmith.tune.likelihood:GaussianLikelihood",
    },
    ("tunesmith.contracts:Loss",),
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
#: what `tunesmith select` draws its map by
MAPS = Registry("map", REPRESENTATIONS.entries, offered=REPRESENTATIONS.section)
CALIBRATIONS = Registry(
    "calibrate",
    {
        "gamma": "tunesmith.calibrate.gamma:GammaCalibration",
        "power-law": "tunesmith.calibrate.powerlaw:PowerLaw",
    },
    ("tunesmith.contracts:Law",),
)
#: what `tunesmith check` asks of a model
CHECKS = Registry(
    "check",
    {
        "stability": "tunesmith.check.stability:Stability",
        "density": "tunesmith.check.observables:Density",
        "diffusion": "tunesmith.check.observables:SelfDiffusion",
        "rdf": "tunesmith.check.observables:Shells",
    },
    ("tunesmith.contracts:Check",),
)
#: explore.kind → what a run of it is told, and who runs it (`tunesmith.loop.recipe`)
RUNS = Registry(
    "run",
    {
        "md": "tunesmith.config.onthefly_config:RunConfig",
        "pool": "tunesmith.config.pool_config:PoolConfig",
        "cago": "tunesmith.config.cago_config:CagoConfig",
    },
    named=False,
)
RECIPES = Registry(
    "recipe",
    {
        "md": "tunesmith.loop.onthefly.onthefly_recipe:OnTheFly",
        "pool": "tunesmith.loop.rounds.rounds_recipes:PoolRounds",
        "cago": "tunesmith.loop.rounds.rounds_recipes:CagoRounds",
    },
    ("tunesmith.loop.recipe:Recipe",),
)
#: model packages: each a module (`tunesmith.potentials.entries.Backend`), in the order of the table
BACKENDS = Registry(
    "backend",
    {
        "mace": "tunesmith.potentials.mace.mace_zoo",
        "sevennet": "tunesmith.potentials.sevennet.sevennet_zoo",
        "chgnet": "tunesmith.potentials.chgnet.chgnet_zoo",
    },
    ("tunesmith.potentials.entries:Backend",),
)
#: has no `kind` of its own; named here because a configuration cannot import what builds on it
TARGETS = Registry("target", {"error": "tunesmith.acquire.threshold:Target"})
_FORCE_ERROR = {"force-error": "tunesmith.attack.attack_settings:Attack"}
#: of the command, and of runs that attack
ATTACKS = (Registry("attack", _FORCE_ERROR), Registry("acquire.attack", _FORCE_ERROR))
TUNE = (SUBSPACES, ANCHORS, SAMPLERS, LOSSES, SPREADS)
LOOP = (EXPLORERS, ACQUIRERS, REPRESENTATIONS, CALIBRATIONS, TARGETS)
SECTIONS = {r.section: r for r in (REFERENCES, *ATTACKS, *TUNE, *LOOP, MAPS, CHECKS)}
