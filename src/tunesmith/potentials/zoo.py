"""Models known by name, and how any model argument becomes a potential."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ModelError, PluginError
from tunesmith.potentials.entries import Backend, Compute, ZooEntry
from tunesmith.potentials.file_kind import content_of
from tunesmith.potentials.potential import MAIN_HEAD, Potential
from tunesmith.registry import BACKENDS, nearest

if TYPE_CHECKING:
    import torch


def known(refused: list[str] | None = None) -> list[ZooEntry]:
    """Every model that can be asked for by name, and whether it can be loaded here.

    refused: takes a sentence for every backend of another package that cannot be used.
    """
    refused = [] if refused is None else refused
    return [e for _, found in _ask(lambda b: b.entries(), refused) for e in found]


def load(
    source: str,
    *,
    head: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
) -> Potential:
    """A potential from a name, a model file or a run folder (its final.model).

    Of several heads one is named, but for a run folder, whose "Default" is the tuned one.

    Raises `ModelError` (unknown name, missing or unreadable file, head not named), `TrustError`
    for a pickle nobody vouched for, `MissingDependencyError` without the model's package.
    """
    compute = Compute(_dtype(dtype), _device(device))
    path = Path(source).expanduser()
    refused: list[str] = []
    if not path.exists():
        found = _ask(lambda b: b.answers(source), refused, until=True)
        if len(own := [b for b, answers in found if answers]) > 1:
            raise ModelError(f"{source}: {_names(own)} each have models of that name; {_UNINSTALL}")
        if own:
            return own[0].named(source, head, compute)
    default = None
    if path.is_dir():
        path, default = path / "final.model", MAIN_HEAD
        if not path.is_file():
            raise ModelError(f"{source} holds no final.model; finish it with `tunesmith tune`.")
    if not path.is_file():
        if "/" in source:  # no model's name has one
            raise ModelError(
                f"{source}: there is no such model file or run folder; check the path."
            )
        names = [name for e in known() for name in e.names if name != "FILE"]
        said = f"there is no model {source!r}, by name or as a file; {nearest(source, names)}"
        raise ModelError(_beside(said, refused))
    return backend_of(path).from_file(path, head, default, compute)


_UNINSTALL = "uninstall the package of one of them."


def backend_of(path: Path) -> Backend:
    """Whose model file it is: every backend is asked, and nothing of the file is run.

    Raises `ModelError` where none knows it, or more than one.
    """
    content, refused = content_of(path), list[str]()
    asked = _ask(lambda b: b.recognises(content), refused)
    own = [b for b, recognised in asked if recognised]
    if len(own) > 1:
        raise ModelError(f"{path}: {_names(own)} each take it for a file of theirs; {_UNINSTALL}")
    if not own:
        kinds = "; ".join(backend.FILES for backend, _ in asked)
        said = f"{path} is no model file of a kind that is known here ({kinds}); give one of these."
        raise ModelError(_beside(said, refused))
    return own[0]


def _ask(
    question: Callable[[Backend], Any], refused: list[str], *, until: bool = False
) -> list[tuple[Backend, Any]]:
    """Every backend with its answer, our own first; those of other packages that cannot be used
    are left out, and a sentence on each is added to ``refused``.

    until: whether others are asked only where none of our own says yes.
    """
    found = [(own, question(own)) for own in map(BACKENDS.own, BACKENDS.entries)]
    if until and any(answer for _, answer in found):
        return found
    for name, package in BACKENDS.others():
        try:
            backend: Backend = BACKENDS.get(name)
            if name != backend.PACKAGE:
                raise ModelError(f"its PACKAGE is {backend.PACKAGE!r}, which must be its name")
            found.append((backend, question(backend)))
        except PluginError as error:
            refused.append(str(error))
        except Exception as error:  # what another package does can fail in any way
            refused.append(
                f"the backend {name!r} of the package {package} fails ({type(error).__name__}: "
                f"{error}); repair that package or uninstall it."
            )
    return found


def _names(backends: list[Backend]) -> str:
    return " and ".join(backend.PACKAGE for backend in backends)


def _beside(said: str, refused: list[str]) -> str:
    """A sentence, and what may be why: a backend that could not be asked."""
    return said if not refused else f"{said.rstrip('.')}; but {'; '.join(refused)}"


def shipped_frames(model: str, which: str) -> Path:
    """A file of labelled frames shipped with an embedded model.

    which: "replay" (drawn from its training molecules) or "forgetting" (other molecules of the
    same kind, to measure what fine-tuning forgot). Raises `ModelError` where there is none.
    """
    path = Path(__file__).parent / model.replace("-", "_") / f"{which}.xyz"
    if which not in ("replay", "forgetting") or not path.is_file():
        raise ModelError(
            f"{model} ships no {which!r} frames; organic-xs has replay and forgetting."
        )
    return path


def _dtype(name: str) -> "torch.dtype":
    import torch

    if name not in ("float32", "float64"):
        raise ModelError(f"there is no precision {name!r}; use float32 or float64.")
    return torch.float64 if name == "float64" else torch.float32


def _device(name: str) -> "torch.device":
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise ModelError(f"the device {name!r} is not here; use cpu.") from None
    return device
