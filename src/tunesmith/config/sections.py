"""Sections that configurations of several commands have in common."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from ase.data import atomic_numbers
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tunesmith import settings, units
from tunesmith.config import strategies
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.settings import OneOf, one_or_more

ENERGY_KEY = "where energies stand in the files; null: REF_energy, then energy"
#: of a section whose settings all have defaults: the object of its default kind
DEFAULT = Field(default=None, validate_default=True)


def _device(value: str) -> str:
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", value):
        raise ValueError(f"there is no device {value!r}; use cpu, cuda, cuda:N or mps.")
    return value


def _isolated_energies(table: Any) -> Any:
    """Symbol → energy in eV; a text carries its unit, a number is in eV."""
    if not isinstance(table, Mapping):
        return table
    for symbol in table:
        if symbol not in atomic_numbers or symbol == "X":
            raise ValueError(f"there is no element {symbol!r}.")
    return {
        s: units.parse(e, "energy", field=f"table.{s}").value if isinstance(e, str) else e
        for s, e in table.items()
    }


def positive(dimension: str, path: str) -> AfterValidator:
    """Validator of a text that is a quantity over zero."""

    def check(text: str | None) -> str | None:
        if text is not None and units.parse(text, dimension, field=path).value <= 0:
            raise ConfigError(f"{path}: {text!r} must be over zero.")
        return text

    return AfterValidator(check)


class ModelSettings(Settings):
    """The potential to start from."""

    source: str = Field(
        default="organic-xs", description="name of a known model, a model file or a run folder"
    )
    head: str | None = Field(default=None, description="head of a multi-head model")
    dtype: Literal["float32", "float64"] = Field(
        default="float32", description="precision of the compute"
    )
    device: Annotated[str, AfterValidator(_device)] = Field(
        default="cpu", description="cpu, cuda, cuda:N or mps"
    )


class DataSettings(Settings):
    """Labelled structures to learn from."""

    train: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        min_length=1,
        description="labelled structures: extxyz, db, traj, vasprun; or runs/*/OUTCAR",
    )
    valid: str | None = Field(
        default=None, description="file of structures that decide the best epoch"
    )
    valid_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="share of train held out instead where valid is null"
    )
    energy_key: str | None = Field(default=None, description=ENERGY_KEY)
    forces_key: str | None = Field(default=None, description="the same for forces")
    stress_key: str | None = Field(default=None, description="the same for stress")
    format: str | None = Field(
        default=None, description="of these files, as ASE calls it; null: by name and content"
    )
    accept: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        default=(), description="codes of the doctor's findings that are right as they are"
    )


class E0Settings(Settings):
    """How energies of isolated atoms align the labels with the model."""

    method: Literal["auto", "isolated", "reestimate", "foundation", "average", "table"] = Field(
        default="auto", description="auto, isolated, reestimate, foundation, average or table"
    )
    table: Annotated[dict[str, float] | None, BeforeValidator(_isolated_energies)] = Field(
        default=None,
        description="for method table: {H: -13.6, ...} in eV, or with a unit: '-0.5 Ha'",
    )

    @model_validator(mode="after")
    def _table_is_used(self) -> "E0Settings":
        if self.method == "table" and not self.table:
            raise ValueError("method 'table' needs table, as {H: -13.6, C: -1029.1}.")
        if self.method != "table" and self.table is not None:
            raise ValueError(f"table is given but method is {self.method!r}; set method to table.")
        return self


class TuneSettings(Settings):
    """Which weights move, what holds them, how they move, and towards what."""

    subspace: Annotated[Any, OneOf("tune.subspace", "all")] = DEFAULT
    anchor: Annotated[Any, OneOf("tune.anchor", "none")] = DEFAULT
    sampler: Annotated[Any, OneOf("tune.sampler", "adamw")] = DEFAULT
    loss: Annotated[Any, OneOf("tune.loss", "huber")] = DEFAULT
    spread: Annotated[Any, OneOf("tune.spread", "members")] = DEFAULT
    e0: E0Settings = E0Settings()

    @property
    def goes_on(self) -> bool:
        """Whether a round's fit begins where the last one's members stand."""
        return False

    @classmethod
    def filled(cls, values: dict[str, Any]) -> dict[str, Any]:
        """A sampler of posteriors has a likelihood and a prior, and a prior adapters that are
        linear in what moves, unless others are given."""

        def kind(name: str) -> Any:
            given = strategies.kind_of(f"tune.{name}", values.get(name))
            return given or settings.default_kind(cls, name)

        def beneath(name: str, **layer: str) -> None:
            values[name] = strategies.beneath(f"tune.{name}", layer, values.get(name))

        if strategies.samples_a_posterior(kind("sampler")):
            for name in ("loss", "anchor"):
                beneath(name, kind="gaussian")
        if kind("anchor") == "gaussian" and kind("subspace") == "lora":
            beneath("subspace", kind="lora", factors="outer")
        return values

    @model_validator(mode="after")
    def _go_together(self) -> "TuneSettings":
        wrong = strategies.contradiction(self.subspace, self.anchor, self.sampler, self.loss)
        if wrong:
            raise ConfigError(wrong)
        self._spread_fits()
        return self

    def _spread_fits(self) -> None:
        spread, count = self.spread, self.sampler.count
        if spread.needs_energies and not self.loss.wants_energy:
            raise ConfigError(
                f"tune.spread: {spread.kind} rests on labels of energy, which tune.loss leaves "
                "out; set it to members, or give the loss a weight of energies."
            )
        if spread.kind != "members" and count < spread.fewest:
            raise ConfigError(
                f"tune.spread: {spread.kind} needs {spread.fewest} members, and tune.sampler gives "
                f"{count}; set tune.sampler.members to {spread.fewest}."
            )
        if self.sampler.splits and not self.spread.out_of_bag:
            raise ConfigError(
                f"tune.spread: {self.spread.kind} is calibrated on structures that nobody has "
                "learnt, but every member sets others aside (tune.sampler.vary); set it to members."
            )


class ExecuteSettings(Settings):
    """Where and how the work is done."""

    threads: int = Field(
        default=1, ge=1, description="threads of each process; part of exact repetition"
    )
    processes: int = Field(
        default=2, ge=1, description="that share chains or a committee; changes no number"
    )


def with_strategy(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration's values, those of its ``strategy`` beneath what ``tune`` was given."""
    if values.get("strategy") is None:
        return values
    layers, tune = strategies.named(values["strategy"]).settings, values.get("tune")
    if isinstance(tune, TuneSettings):
        tune = {name: getattr(tune, name) for name in tune.model_fields_set}
    tune = settings.section(tune, "tune")
    for name, layer in layers.items():
        tune[name] = strategies.beneath(f"tune.{name}", layer, tune.get(name))
    return {**values, "tune": tune}


def with_belief(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration's values, and beneath ``calibrate`` the belief of one record that error bars
    are right, which a finished posterior starts from; a run's own is more cautious."""
    law = values.get("calibrate")
    for layer in ({"kind": "gamma", "b": 0.5}, {"kind": "power-law", "rate": 0.5}):
        law = strategies.beneath("calibrate", layer, law)
    return {**values, "calibrate": law}


def forces_of(target: Any) -> Any:
    """What a section ``target`` was given as its forces."""
    if isinstance(target, Settings):
        return getattr(target, "forces", None)
    return settings.section(target, "target").get("forces")


def with_attack_target(values: dict[str, Any], target: Any, path: str) -> dict[str, Any]:
    """A section that holds an ``attack``, ``target.forces`` beneath the attack's ``target`` where
    that is one force for all atoms. path: of the attack."""
    attack, forces = values.get("attack"), forces_of(target)
    if not isinstance(forces, str) or isinstance(attack, Settings):
        return values
    return values | {"attack": {"target": forces} | settings.section(attack, path)}


def require_spread(calibrate: Any, tune: TuneSettings) -> None:
    """Raise `ConfigError` where error bars are to be calibrated as given and there are none."""
    usual = settings.build(Settings, with_belief({})["calibrate"], "calibrate")
    sampler = tune.sampler
    if calibrate != usual and sampler.count < tune.spread.fewest:
        raise ConfigError(
            f"calibrate: a single fit by {sampler.kind!r} has no spread to calibrate; set "
            "tune.sampler.kind to committee (strategy committee), or leave calibrate out."
        )


def require_engine(reference: Any) -> None:
    """Raise `ConfigError` for a reference that answers for a pool's structures alone."""
    if not reference.computes:
        raise ConfigError(
            f"reference.kind: {reference.kind!r} is of a pool (`tunesmith template pool`); use an "
            "engine such as tblite."
        )


def require_fixed(tune: TuneSettings) -> None:
    """Raise `ConfigError` for settings that mean nothing where all labels are there."""
    tune.sampler.require_fixed()
    if tune.sampler.needs_likelihood and tune.sampler.count < tune.spread.fewest:
        raise ConfigError(
            "tune.sampler.members: one chain has no spread, of which error bars are made; use 2 or "
            "more, or set tune.spread to ntk."
        )


def require_part(chosen: Any, section: str, contract: type, why: str) -> None:
    """Raise `ConfigError` for an object of a section that is not what a kind of run needs."""
    if not isinstance(chosen, contract):
        raise ConfigError(f"{section}.kind: {chosen.kind!r} {why}.")
