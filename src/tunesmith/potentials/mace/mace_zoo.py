"""MACE's models by name: the embedded one, and those mace-torch itself downloads."""

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tunesmith.core import Base
from tunesmith.errors import ModelError
from tunesmith.potentials.entries import Compute, ZooEntry, installed
from tunesmith.potentials.file_kind import FileContent
from tunesmith.potentials.potential import Potential
from tunesmith.potentials.trust import sha256
from tunesmith.registry import nearest

PACKAGE = "mace"
IMPORTED = "mace"
FILES = "a model saved by mace-torch"
#: MACE pins another e3nn than SevenNet
INSTALL = "`make env`, or pip install 'tunesmith[mace]' in an environment without sevenn"


@dataclass(frozen=True)
class _Family:
    """Models that mace-torch downloads by one of its tables of addresses.

    table: of mace.calculators.foundations_models. variants: our name → its name there.
    """

    table: str
    variants: dict[str, str]
    elements: str
    domain: str
    licence: str
    heads: bool = False


_MP = ("small", "medium", "large", "small-0b", "medium-0b", "small-0b2", "medium-0b2", "large-0b2")
#: family → what it is; "family:variant" is a model's name, "family:head" of one with heads
FAMILIES = {
    "mace-mp": _Family(
        "mace_mp_urls",
        {name: name for name in (*_MP, "medium-0b3", "medium-mpa-0")},
        "89 elements",
        "crystals, PBE+U (MPtrj; medium-mpa-0: and Alexandria)",
        "MIT",
    ),
    "mace-off": _Family(
        "mace_off_urls",
        {name: name for name in ("small", "medium", "large")},
        "H C N O F P S Cl Br I",
        "organic molecules, ωB97M-D3(BJ) (SPICE)",
        "ASL (academic)",
    ),
    "mace-omat-0": _Family(
        "mace_mp_urls",
        {"small": "small-omat-0", "medium": "medium-omat-0"},
        "89 elements",
        "crystals and their dynamics, PBE+U (OMat24)",
        "ASL (academic)",
    ),
    "mace-matpes": _Family(
        "mace_mp_urls",
        {"pbe": "mace-matpes-pbe-0", "r2scan": "mace-matpes-r2scan-0"},
        "89 elements",
        "crystals, PBE or r2SCAN (MatPES)",
        "ASL (academic)",
    ),
    "mace-mh-1": _Family(
        "mace_mp_urls",
        {"": "mh-1"},
        "89 elements",
        "crystals, surfaces, molecules: a head each",
        "see its release",
        heads=True,
    ),
}


def entries() -> list[ZooEntry]:
    """organic-xs, what can be downloaded, and any file."""
    here = installed(IMPORTED)
    lacking = "" if here else INSTALL
    embedded = ZooEntry(
        names=("organic-xs",),
        package=PACKAGE,
        elements="H C N O",
        domain="small closed-shell molecules, GFN2-xTB; embedded",
        licence="MIT",
        available=here,
        how_to_get=lacking,
    )
    file = ZooEntry(
        names=("FILE",),
        package=PACKAGE,
        elements="its own elements",
        domain="any MACE energy model, after `tunesmith trust FILE`",
        licence="its own",
        available=here,
        how_to_get=lacking,
    )
    found = [entry for name in FAMILIES for entry in _downloadable(name, lacking)]
    return [embedded, *found, file]


def _downloadable(name: str, lacking: str) -> list[ZooEntry]:
    """A family's models that were downloaded already, and those that were not."""
    family = FAMILIES[name]
    got = [] if lacking else [v for v, path in _cached(family).items() if path.is_file()]
    left = [v for v in family.variants if v not in got]
    how = lacking or "name one, with a network: mace-torch downloads it"
    return [
        ZooEntry(
            names=tuple(f"{name}:{v or 'HEAD'}" for v in variants),
            package=PACKAGE,
            elements=family.elements,
            domain=family.domain,
            licence=family.licence,
            available=variants is got,
            how_to_get="" if variants is got else how,
        )
        for variants in (got, left)
        if variants
    ]


def _names() -> list[str]:
    return [f"{name}:{v or 'HEAD'}" for name, own in FAMILIES.items() for v in own.variants]


def answers(name: str) -> bool:
    """Names that start as MACE's do."""
    return name == "organic-xs" or name.startswith("mace-")


def named(name: str, head: str | None, compute: Compute) -> Potential:
    """The embedded model, or one that mace-torch downloads, of which a head may be named.

    Raises `ModelError` for an unknown name and without a network, `TrustError` for a downloaded
    file until the user vouches for it.
    """
    if name == "organic-xs":
        if head is not None:
            raise ModelError("organic-xs has a single head; leave model.head out.")
        return _embedded("organic_xs", name, compute)
    family, _, variant = name.partition(":")
    own = FAMILIES.get(family)
    if own is None:
        there = nearest(name, _names())
        if likely := next((f for f in FAMILIES if family.startswith(f)), None):
            of_it = ", ".join(n for n in _names() if n.startswith(f"{likely}:"))
            there = f"of {likely} there are {of_it}."
        raise ModelError(f"there is no model {name!r}; {there}")
    if own.heads:
        if head is not None and variant not in ("", head):
            raise ModelError(f"{name}: model.head says {head!r}; name one head.")
        head, variant = variant or head, ""
    if variant not in own.variants:
        raise ModelError(f"there is no model {name!r}; {nearest(name, _names())}")
    return from_file(_downloaded(name, own, variant), head, None, compute)


def recognises(content: FileContent) -> bool:
    """A pickle of mace's own network."""
    return content.imports("mace")


def from_file(path: Path, head: str | None, default: str | None, compute: Compute) -> Potential:
    """A trusted ``.model`` file. Raises as `mace_files.load`."""
    from tunesmith.potentials.mace import mace_files
    from tunesmith.potentials.mace.mace_potential import MACEPotential

    module, digest, named = mace_files.load(path, head, default)
    base = Base(str(path.resolve()), digest, PACKAGE, named)
    return MACEPotential(module, base, dtype=compute.dtype, device=compute.device)


def _embedded(folder: str, name: str, compute: Compute) -> Potential:
    """A model shipped inside the package: JSON description and safetensors, no pickle."""
    from tunesmith import tensor_files
    from tunesmith.potentials.mace import mace_files
    from tunesmith.potentials.mace.mace_potential import MACEPotential

    place = resources.files("tunesmith.potentials") / folder
    with resources.as_file(place) as path:
        description: dict[str, Any] = json.loads((path / "model.json").read_text())
        weights, _ = tensor_files.read(path / "weights.safetensors", "install tunesmith again")
        digest = sha256(path / "weights.safetensors")
    module = mace_files.build(description["network"])
    state = module.state_dict()
    for key, value in weights.items():
        state[key].copy_(value)
    base = Base(name, digest, PACKAGE)
    return MACEPotential(module, base, dtype=compute.dtype, device=compute.device)


def _addresses(family: _Family) -> dict[str, str]:
    from tunesmith.potentials.mace import mace_files

    native = mace_files.foundations()
    table: dict[str, str] = getattr(native, family.table)
    return {ours: table[theirs] for ours, theirs in family.variants.items()}


def _cached(family: _Family) -> dict[str, Path]:
    """Where mace-torch keeps what it has downloaded; nothing where it keeps nothing at all."""
    # its own words (get_cache_dir), which would take seconds to import
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mace"
    if not folder.is_dir() or not any(folder.iterdir()):
        return {}
    return {v: folder / _file_name(url) for v, url in _addresses(family).items()}


def _file_name(address: str) -> str:
    """As mace's download_mace_mp_checkpoint calls the file of an address."""
    return "".join(c for c in address.rpartition("/")[2] if c.isalnum() or c == "_")


def _downloaded(name: str, family: _Family, variant: str) -> Path:
    """The file of a model, by mace-torch's own download where it is not here yet."""
    from tunesmith.potentials.mace import mace_files

    native = mace_files.foundations()
    address = _addresses(family)[variant]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # its licence notes, not our result
            return Path(native.download_mace_mp_checkpoint(address))
    except (OSError, RuntimeError) as error:
        target = native.get_cache_dir() / _file_name(address)
        raise ModelError(
            f"{name} could not be downloaded ({error}); with a network run this again, without "
            f"one fetch {address} elsewhere and save it as {target}."
        ) from None
