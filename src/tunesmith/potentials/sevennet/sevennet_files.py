"""Reading and writing SevenNet's checkpoints, and its own calculator.

A checkpoint is a pickle: whoever calls `load` has checked where it comes from. sevenn remarks on
accelerators that are not installed, and prints when it converts a model: `quiet` drops that.
"""

import contextlib
import copy
import hashlib
import importlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from ase.calculators.calculator import Calculator

from tunesmith.core import Weights
from tunesmith.errors import MissingDependencyError, ModelError
from tunesmith.potentials.file_kind import unreadable
from tunesmith.potentials.saving import save
from tunesmith.potentials.trust import trust, trusted

#: a torch.nn.Module of sevenn or e3nn, whose attributes torch's types do not know
NativeModule = Any

_REMARKS = ("No tensor product accelerator", r"`torch\.jit\.", "The TorchScript type system")
#: our note in a checkpoint, which sevenn does not read: the modality that was tuned
_TUNED = "tunesmith_head"
RESCALE = "rescale_atomic_energy"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as sevenn resolves it: settings, weights, and the modality tuned if any."""

    config: dict[str, Any]
    state: Weights
    tuned: str | None

    @property
    def heads(self) -> list[str]:
        """Its modalities; none where it has a single one."""
        return list(self.config.get("_modal_map") or {})

    def build(self) -> NativeModule:
        """A model with weights drawn from torch's generator."""
        with quiet():
            build = module("sevenn.model_build").build_E3_equivariant_model
            return build(copy.deepcopy(self.config))


@contextmanager
def quiet() -> Iterator[None]:
    """Drop sevenn's remarks for the length of the block; let all other warnings through."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        for remark in _REMARKS:
            warnings.filterwarnings("ignore", message=remark)
        yield


def module(name: str) -> ModuleType:
    """Import a module of sevenn."""
    with quiet():
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise MissingDependencyError(
                f"SevenNet models need sevenn ({error}); install it with `make env-7net`, or "
                "`pip install 'tunesmith[sevennet]'` in an environment without mace-torch."
            ) from None


def load(path: Path) -> Checkpoint:
    """A checkpoint that was checked to be trusted. Raises `ModelError` for any other file."""
    checkpoints = module("sevenn.checkpoint")
    try:
        with quiet():
            native = checkpoints.SevenNetCheckpoint(path)
            model = native.build_model(enable_cueq=False, enable_flash=False, enable_oeq=False)
            config = native.config
        tuned = torch.load(path, map_location="cpu", weights_only=False).get(_TUNED)
    except MissingDependencyError:
        raise
    except Exception as error:  # a pickle can fail in any way
        why = unreadable(error)
        raise ModelError(
            f"{path} is not a readable SevenNet checkpoint ({why}); give a file saved "
            "by sevenn or tunesmith."
        ) from None
    # sevenn has brought weights of older versions into today's order: not to be done again
    config["version"] = module("sevenn").__version__
    for accelerator in ("cuequivariance_config", "use_flash_tp", "use_oeq"):
        config.pop(accelerator, None)
    return _by_element(Checkpoint(config, dict(model.state_dict()), tuned))


def _by_element(checkpoint: Checkpoint) -> Checkpoint:
    """With a shift for every element, where the file has one for all."""
    shift = f"{RESCALE}.shift"
    if checkpoint.heads or checkpoint.state[shift].numel() > 1:
        return checkpoint
    count = len(checkpoint.config["_type_map"])
    scale = f"{RESCALE}.scale"
    state = dict(checkpoint.state)
    state |= {k: state[k].expand(count).clone() for k in (shift, scale)}
    config = {**checkpoint.config, "shift": state[shift].tolist(), "scale": state[scale].tolist()}
    return Checkpoint(config, state, checkpoint.tuned)


def choose_head(checkpoint: Checkpoint, head: str | None, source: str) -> str | None:
    """The modality that is meant, None where there is one. Raises `ModelError` where it is unclear.

    Of a checkpoint that tunesmith wrote it is the tuned one, unless another is named.
    """
    heads = checkpoint.heads
    if not heads:
        if head is not None:
            raise ModelError(f"{source} has one head; leave head out.")
        return None
    if head is None:
        head = checkpoint.tuned
    if head not in heads:
        problem = "has several heads" if head is None else f"has no head {head!r}"
        raise ModelError(f"{source} {problem}; set model.head to one of {', '.join(heads)}.")
    return head


def write(checkpoint: Checkpoint, path: Path, state: Weights, head: str | None) -> None:
    """A checkpoint with other weights that sevenn loads, float32 as sevenn's own.

    Remembered as trusted, since it is ours.
    """
    state = {k: v.detach().cpu().float() for k, v in state.items()}
    # nothing of the moment in it: a run that was killed and resumed writes the same bytes
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    content = {
        "config": checkpoint.config,
        "epoch": 0,
        "model_state_dict": state,
        "optimizer_state_dict": {},
        "scheduler_state_dict": {},
        "time": "by tunesmith",
        "hash": digest.hexdigest()[:32],
        _TUNED: head,
    }
    save(content, path)
    trust(path)


def calculator(path: Path, head: str | None) -> Calculator:
    """sevenn's own ASE calculator of a file that was checked to be trusted."""
    with trusted(path) as (copied, _), quiet():
        native: Calculator = module("sevenn.calculator").SevenNetCalculator(
            str(copied), device="cpu", modal=head
        )
    return native
