"""Named strategies: points of the product of subspace, anchor and sampler; what goes with what.

A strategy is a layer of settings beneath what the user gives. Numbers: Table 7 of the paper on
fine-tuning strategies, for AdamW without weight decay; `committee` is `naive` several times.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.registry import SECTIONS, nearest
from tunesmith.settings import section


@dataclass(frozen=True)
class Strategy:
    """One strategy. moves, held: what may move and what holds it, in words. when: to use it.

    settings: section of ``tune`` → its kind and what differs from the kind's defaults, or matters
    enough to be said; sections left out are the defaults of a fit.
    """

    moves: str
    held: str
    when: str
    settings: Mapping[str, Mapping[str, Any]]

    @property
    def sampler(self) -> Mapping[str, Any]:
        return self.settings["sampler"]


def _fit(learning_rate: float, ema: float, clip: float, kind: str = "adamw") -> dict[str, Any]:
    return {"kind": kind, "learning_rate": learning_rate, "ema": ema, "clip": clip}


_EVERYTHING, _NOTHING = "all weights", "nothing"
_LORA = "low-rank adapters"

STRATEGIES: dict[str, Strategy] = {
    "scratch": Strategy(
        f"{_EVERYTHING}, from random ones",
        _NOTHING,
        "to see what the model is worth",
        {"subspace": {"kind": "all", "initial": "random"}, "sampler": _fit(1e-2, 0.99, 10)},
    ),
    "naive": Strategy(
        _EVERYTHING,
        _NOTHING,
        "one system, over 100 labels",
        {"subspace": {"kind": "all"}, "sampler": _fit(1e-3, 0.999, 1)},
    ),
    "freeze-readout": Strategy(
        "the readouts",
        "all else frozen",
        "close atoms must stay repulsive",
        {"subspace": {"kind": "freeze-readout"}, "sampler": _fit(1e-3, 0.999, 1)},
    ),
    "freeze-first": Strategy(
        "all but the first layers",
        "first layers frozen",
        "to compare with",
        {"subspace": {"kind": "freeze-first"}, "sampler": _fit(1e-3, 0.999, 1)},
    ),
    "lora": Strategy(
        _LORA,
        _NOTHING,
        "one system, up to 100 labels, a large model",
        {"subspace": {"kind": "lora", "rank": 4}, "sampler": _fit(1e-2, 0.99, 10)},
    ),
    "multihead": Strategy(
        _EVERYTHING,
        "replay with old labels",
        "broad use, old labels at hand",
        {
            "subspace": {"kind": "all"},
            "anchor": {"kind": "multihead"},
            "sampler": _fit(1e-4, 0.9999, 1),
        },
    ),
    "pseudolabel": Strategy(
        _EVERYTHING,
        "replay with the model's own labels",
        "broad use",
        {
            "subspace": {"kind": "all"},
            "anchor": {"kind": "pseudolabel"},
            "sampler": _fit(1e-4, 0.9999, 1),
        },
    ),
    "pseudolabel-lora": Strategy(
        _LORA,
        "replay with the model's own labels",
        "broad use, up to 10 labels",
        {
            "subspace": {"kind": "lora", "rank": 4},
            "anchor": {"kind": "pseudolabel"},
            "sampler": _fit(1e-3, 0.999, 10),
        },
    ),
    "bayesian": Strategy(
        _EVERYTHING,
        "Gaussian prior around them",
        "error bars, from a posterior",
        {
            "subspace": {"kind": "all"},
            "anchor": {"kind": "gaussian"},
            "sampler": {"kind": "sghmc", "learning_rate": 1e-3},
            "loss": {"kind": "gaussian"},
        },
    ),
    "committee": Strategy(
        _EVERYTHING,
        _NOTHING,
        "error bars, from several fits",
        {"subspace": {"kind": "all"}, "sampler": _fit(1e-3, 0.999, 1, "committee")},
    ),
}


def named(name: object) -> Strategy:
    """The strategy of that name. Raises `ConfigError`."""
    if not isinstance(name, str) or name not in STRATEGIES:
        raise ConfigError(f"strategy: there is no {name!r}; {nearest(str(name), list(STRATEGIES))}")
    return STRATEGIES[name]


# ----------------------------------------------------------------------- layers of settings


def kind_of(path: str, given: Any) -> Any:
    """The kind that a section was given, as text, mapping or object; None where it was not."""
    if isinstance(given, Settings):
        return getattr(given, "kind", None)
    return section(given, path).get("kind")


def samples_a_posterior(kind: Any) -> bool:
    """Whether a kind of sampler needs a likelihood, and a prior unless told otherwise."""
    registry = SECTIONS["tune.sampler"]
    # what is none is refused where the section is built
    return kind in registry.names() and bool(registry.get(kind).needs_likelihood)


def beneath(path: str, layer: Mapping[str, Any], given: Any) -> Any:
    """A section as given, and for what was not given the values of a layer beneath it.

    layer: holds a kind; it counts where the section was given no other one, or one that is a
    special case of the layer's, as a committee is of AdamW. given: text, mapping, object or None.
    """
    kind = kind_of(path, given)
    if kind not in (None, layer["kind"]) and not _is_a(path, kind, layer["kind"]):
        return given
    if not isinstance(given, Settings):
        return {**layer, **section(given, path)}
    absent = {k: v for k, v in layer.items() if k not in {"kind", *given.model_fields_set}}
    if not absent:
        return given
    return type(given)(**{**absent, **{k: getattr(given, k) for k in given.model_fields_set}})


def _is_a(path: str, kind: Any, other: str) -> bool:
    registry = SECTIONS[path]
    if not isinstance(kind, str) or kind not in registry.names():
        return False  # said where the section is built
    return issubclass(registry.get(kind), registry.get(other))


# --------------------------------------------------------------------------- combinations


def contradiction(subspace: Any, anchor: Any, sampler: Any, loss: Any) -> str | None:
    """Why these do not go together and what to change, one sentence; None where they do."""
    fresh = subspace.fresh
    gaussian = anchor.kind == "gaussian"
    if sampler.needs_likelihood and not loss.is_likelihood:
        return (
            f"tune.loss: {loss.kind!r} gives no posterior, which {sampler.kind} samples; "
            "use gaussian."
        )
    if gaussian and not subspace.linear:
        return (
            "tune.subspace.factors: a Gaussian prior over both factors of an adapter is none over "
            "the weights they change; set it to outer, or leave it out."
        )
    if gaussian and subspace.adapts and anchor.mean == "zero":
        return (
            "tune.anchor.mean: adapters change the pretrained weights, so a prior around zero "
            "weights cannot hold them; set it to pretrained, or tune.subspace to all."
        )
    if gaussian and fresh and anchor.mean == "pretrained":
        return (
            "tune.anchor.mean: random weights cannot be held near the pretrained ones; "
            "set it to zero, or tune.subspace.initial to pretrained."
        )
    if anchor.has_head and fresh:
        return (
            f"tune.anchor: {anchor.kind} keeps what the foundation knows, and random weights know "
            "nothing; set tune.anchor to none, or tune.subspace.initial to pretrained."
        )
    if anchor.has_head and subspace.only_readouts:
        return (
            f"tune.anchor: {anchor.kind} would hold nothing, as each head has readouts of its own "
            "and nothing else moves; set tune.anchor to none, or let more move in tune.subspace."
        )
    return None
