"""Reading and writing CHGNet's own checkpoints, and its calculator.

A checkpoint is a dictionary of tensors and plain values. `load` has torch read nothing else
(``weights_only``), so that no file can run code here and none needs `tunesmith trust`; the
package's own `CHGNet.from_file`, which would run what a pickle says, is never called.
"""

import contextlib
import hashlib
import importlib
import io
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from tunesmith.core import Tensor
from tunesmith.errors import MissingDependencyError, ModelError
from tunesmith.potentials.saving import save

#: a torch.nn.Module of chgnet, whose attributes torch's types do not know
NativeModule = Any

_E0S = "composition_model.fc.weight"
_PRINTED = "CHGNet "


@dataclass(frozen=True)
class Checkpoint:
    """What a CHGNet file holds.

    args: of the network, plain values. module: in the precision of the file's weights. e0s: eV of
    the elements from hydrogen on (94,), in the file's precision, which the module may not have.
    """

    args: dict[str, Any]
    module: NativeModule
    e0s: Tensor


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what chgnet prints of every network it makes; let all else through."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        lines = printed.getvalue().splitlines(keepends=True)
        sys.stdout.writelines(line for line in lines if not line.startswith(_PRINTED))


def module(name: str) -> ModuleType:
    """Import a module of chgnet. Raises `MissingDependencyError` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"CHGNet models need chgnet ({error}); install it with "
            "`pip install 'tunesmith[chgnet]'`."
        ) from None


def build(args: dict[str, Any]) -> NativeModule:
    """A network of chgnet, weights drawn from torch's generator, ready to evaluate."""
    native = module("chgnet.model.model")
    with quiet():
        return native.CHGNet(**args).eval()


def load(path: Path) -> tuple[Checkpoint, str]:
    """A checkpoint and its sha256. Raises `ModelError` for a file that is none, or holds more
    than tensors and plain values, or a network whose energy is no sum over atoms."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}; give a model file.") from None
    try:
        held = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        state, args = held["model"]["state_dict"], held["model"]["model_args"]
    except (pickle.UnpicklingError, EOFError, KeyError, RuntimeError, TypeError, ValueError):
        raise ModelError(
            f"{path} is not a CHGNet checkpoint of tensors and plain values only, and nothing else "
            'is read; save one by torch.save({"model": model.as_dict()}, …).'
        ) from None
    return _checkpoint(path, args, state), hashlib.sha256(content).hexdigest()


def _checkpoint(path: Path, args: dict[str, Any], state: dict[str, Tensor]) -> Checkpoint:
    # as CHGNet.load knows of 0.2.0, whose file does not say it
    args = args | {"mlp_out_bias": "atom_conv_layers.0.mlp_out.layers.1.bias" in state}
    args["version"] = None  # it is not that version any more once tuned
    try:
        network = build(args)
        if any(w.dtype == torch.float64 for name, w in state.items() if name != _E0S):
            network = network.double()
        network.load_state_dict(state)
    except MissingDependencyError:
        raise
    except Exception as error:  # arguments and weights can be wrong in any way
        reason = " ".join(str(error).split())[:100]
        raise ModelError(
            f"{path} is not a CHGNet model that chgnet can build ({reason}); give a file saved by "
            "chgnet or tunesmith."
        ) from None
    reference = network.composition_model
    if not network.mlp_first:
        raise ModelError(
            f"{path}: its energy is read from averaged features, not summed over atoms, which "
            "tunesmith does not support; use a CHGNet with mlp_first=True."
        )
    if reference is not None and reference.is_intensive != network.is_intensive:
        raise ModelError(
            f"{path}: its network counts energies per atom and its reference energies do not, or "
            "the other way round; give a file where both are the same."
        )
    e0s = state.get(_E0S, torch.zeros(1, network.atom_embedding.embedding.num_embeddings))
    return Checkpoint(args, network, e0s[0].detach())


def write(
    source: Checkpoint, path: Path, weights: dict[str, Tensor], e0s: dict[int, float]
) -> None:
    """Save a copy of a checkpoint with other weights, by the module's names, and E0s (eV).

    In the precision they come in; chgnet itself reads all of it as float32.
    """
    state = {k: v.detach().clone() for k, v in source.module.state_dict().items()}
    state |= {k: v.detach().cpu().clone() for k, v in weights.items()}
    table = source.e0s.double()
    for z, energy in e0s.items():
        table[z - 1] = energy
    args = dict(source.args)
    if source.module.composition_model is None:
        # either is overwritten by the weights; they differ in what they are summed to
        args["composition_model"] = "MPtrj" if source.module.is_intensive else "MPF"
    held = {"model": {"state_dict": state | {_E0S: table[None]}, "model_args": args}}
    save(held, path)
