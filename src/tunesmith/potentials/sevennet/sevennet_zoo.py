"""SevenNet's models by name: those inside the installed sevenn package."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tunesmith.core import Base
from tunesmith.errors import MissingDependencyError, ModelError
from tunesmith.potentials.entries import Compute, ZooEntry, installed
from tunesmith.potentials.file_kind import FileContent
from tunesmith.potentials.potential import Potential
from tunesmith.potentials.trust import checked, trusted
from tunesmith.registry import nearest

PACKAGE = "sevennet"
IMPORTED = "sevenn"
FILES = "a SevenNet checkpoint"
#: SevenNet needs a later e3nn than MACE
INSTALL = (
    "`make env-7net`, or pip install 'tunesmith[sevennet]' in an environment without mace-torch"
)


@dataclass(frozen=True)
class _Shipped:
    """A checkpoint inside the package. sha256: of that of sevenn 0.13.0; heads: its modalities."""

    file: str
    sha256: str
    domain: str
    heads: tuple[str, ...] = ()


MODELS = {
    "7net-0": _Shipped(
        "SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
        "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36",
        "crystals, PBE+U (MPtrj)",
    ),
    "7net-0_22May2024": _Shipped(
        "SevenNet_0__22May2024/checkpoint_sevennet_0.pth",
        "5d389fafd512e6ae2830d74d0b66ffc49a55d3832653ff8e7bf7f1343013c1d1",
        "the same, an earlier training",
    ),
    "7net-l3i5": _Shipped(
        "SevenNet_l3i5/checkpoint_l3i5.pth",
        "a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d",
        "the same, l up to 3: slower, more accurate",
    ),
    "7net-mf-0": _Shipped(
        "SevenNet_MF_0/checkpoint_sevennet_mf_0.pth",
        "81791329b37d445f46b531578c182c41792d98c7814222c9e5dde276402225fd",
        "crystals, PBE+U or r2SCAN (MPtrj and others)",
        ("PBE", "R2SCAN"),
    ),
}


def entries() -> list[ZooEntry]:
    """Those of the package, and any checkpoint."""
    here = installed(IMPORTED)
    lacking = "" if here else INSTALL
    found = [
        ZooEntry(
            names=tuple(_names(name)),
            package=PACKAGE,
            elements="89 elements",
            domain=model.domain,
            licence="MIT",
            available=here,
            how_to_get=lacking,
        )
        for name, model in MODELS.items()
    ]
    file = ZooEntry(
        names=("FILE",),
        package=PACKAGE,
        elements="its own elements",
        domain="any SevenNet checkpoint, after `tunesmith trust FILE`",
        licence="its own",
        available=here,
        how_to_get=lacking,
    )
    return [*found, file]


def _names(*models: str) -> list[str]:
    """As they are asked for, of some models or all."""
    return [
        f"{name}:{head}" if head else name
        for name in models or MODELS
        for head in MODELS[name].heads or ("",)
    ]


def answers(name: str) -> bool:
    """Names that start as SevenNet's do."""
    return name.lower().startswith(("7net", "sevennet"))


def named(name: str, head: str | None, compute: Compute) -> Potential:
    """A model of the installed package; of a multi-fidelity one a head is named, after a colon or
    as ``head``.

    Raises `ModelError` for other names and for a file that is not the one known here.
    """
    family, _, own = name.partition(":")
    model = MODELS.get(family)
    if model is None or (own and own not in model.heads):
        raise ModelError(f"there is no model {name!r}; {nearest(name, _names())}")
    if head is not None and own not in ("", head):
        raise ModelError(f"{name}: model.head says {head!r}; name one head.")
    if not installed(IMPORTED):
        raise MissingDependencyError(f"{name} needs sevenn; {INSTALL}.")
    path = _package() / "pretrained_potentials" / model.file

    def check(digest: str) -> None:
        if digest != model.sha256:
            raise ModelError(
                f"{path} is not the file that sevenn 0.13.0 ships as {name} (its sha256 is "
                f"{digest[:12]}…); install sevenn again."
            )

    with checked(path, check) as (copied, digest):
        return _potential(copied, own or head, compute, name, digest)


def recognises(content: FileContent) -> bool:
    """A dictionary with the keys of sevenn's checkpoints."""
    return content.words >= {"config", "model_state_dict", "_type_map"}


def from_file(path: Path, head: str | None, default: str | None, compute: Compute) -> Potential:
    """A trusted checkpoint; one that tunesmith wrote knows its own head, so that ``default`` has
    no say. Raises `TrustError` for any other, `ModelError` where a head is to be named."""
    with trusted(path) as (copied, digest):
        return _potential(copied, head, compute, str(path.resolve()), digest)


def _potential(
    path: Path, head: str | None, compute: Compute, source: str, digest: str
) -> Potential:
    from tunesmith.potentials.sevennet import sevennet_files
    from tunesmith.potentials.sevennet.sevennet_potential import SevenNetPotential

    checkpoint = sevennet_files.load(path)
    chosen = sevennet_files.choose_head(checkpoint, head, source)
    # a name says its head itself
    base = Base(source, digest, PACKAGE, None if source.endswith(f":{chosen}") else chosen)
    return SevenNetPotential(checkpoint, chosen, base, dtype=compute.dtype, device=compute.device)


def _package() -> Path:
    """Where sevenn is installed, without importing it."""
    spec = find_spec(IMPORTED)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])
