"""Structures as vectors: by name, of a list at once, or streamed from files of any length.

    ntk = REPRESENTATIONS.get("ntk")()
    pool = stream(ntk, "pool.xyz", open_model("organic-xs"), cache=Path("cache"))

Rows follow the structures' order, float32. A posterior of several members is represented by its
mean weights.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from ase import Atoms

from tunesmith.core import Frame
from tunesmith.data.checks import check_structures
from tunesmith.data.stream import Stream
from tunesmith.errors import ConfigError, DataError
from tunesmith.features import feature_rows
from tunesmith.features.activation import Activation
from tunesmith.features.feature_cache import key_of
from tunesmith.features.morgan import Morgan
from tunesmith.features.ntk import NTK
from tunesmith.features.representation import HasNetwork, Network, Representation
from tunesmith.features.soap import SOAP
from tunesmith.registry import REPRESENTATIONS

__all__ = [
    "NTK",
    "REPRESENTATIONS",
    "SOAP",
    "Activation",
    "Morgan",
    "Representation",
    "compute",
    "stream",
]

#: one or more files, or the structures themselves; frames say where they came from
Source = str | Path | Iterable[str | Path | Atoms | Frame]
#: structures in one batch; of more small molecules the arrays leave the caches of a CPU
BATCH = 32
#: atoms in one batch, where structures are large
_ATOMS = 2048


def compute(
    representation: Representation,
    structures: Sequence[Atoms | Frame],
    posterior: HasNetwork | None = None,
    *,
    batch_size: int = BATCH,
) -> np.ndarray:
    """The vector of every structure (n, d), float32.

    posterior: asked by representations that need a model. batch_size: structures at most computed
    together, which changes the last bits at most. Raises `DataError`, naming the structure, for
    one that cannot be represented, and what `Representation.prepare` raises.
    """
    network = _network(representation, posterior)
    return np.concatenate(list(_blocks(representation, structures, network, batch_size)))


def stream(
    representation: Representation,
    source: Source,
    posterior: HasNetwork | None = None,
    *,
    cache: Path | None = None,
    batch_size: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """`compute` in bounded memory, of files or structures of any number: (n, d) float32, read-only.

    source: looked at twice by the cache, and by SOAP where its elements are not named, which an
    iterator does not allow. The result is in memory if it is small, else a memory map: of a file in
    ``cache``, where it is found again as long as the model, the representation, the packages and
    the structures stay what they are, or of a temporary file. progress: called with the number of
    structures done. Raises as `compute`, `DataError` also for unreadable files, `RunFolderError`
    where the cache cannot be written.
    """
    if isinstance(source, str | Path):
        source = [source]
    if cache is not None and isinstance(source, Iterator):
        raise DataError(
            "a cache needs structures that can be looked at twice; give files or a list, or leave "
            "the cache out."
        )

    network = _network(representation, posterior)

    def blocks() -> Iterator[np.ndarray]:
        done = 0
        for block in _blocks(representation, source, network, batch_size):
            yield block
            done += len(block)
            if progress is not None:
                progress(done)

    if cache is None:
        with TemporaryFile(prefix="tunesmith-") as file:
            return feature_rows.read(file, *feature_rows.write(file, blocks()))
    path = cache / f"{key_of(representation, source, network)}.npy"
    found = feature_rows.load(path)
    return feature_rows.save(path, blocks()) if found is None else found


def _network(representation: Representation, posterior: HasNetwork | None) -> Network | None:
    """What a representation asks, if it asks a model."""
    return posterior.network() if posterior is not None and representation.needs_model else None


def _blocks(
    representation: Representation, source: Source, network: Network | None, batch_size: int
) -> Iterator[np.ndarray]:
    """Vectors batch by batch. Raises `DataError` for a source without structures."""
    if batch_size < 1:
        raise ConfigError(f"batch_size: {batch_size} is too small; use 1 or more.")
    if representation.needs_elements and not isinstance(source, Iterator):
        found = (f.atoms.numbers.tolist() for f in _frames(source))
        representation = representation.for_elements(set(chain.from_iterable(found)))
    describe = representation.prepare(network)
    known = network.potential.elements if network else None
    empty = True
    for batch in _batches(_frames(source), batch_size):
        check_structures(batch, known)
        block = np.asarray(describe(batch), np.float32)
        if (bad := ~np.isfinite(block).all(1)).any():
            raise DataError(
                f"{batch[int(np.argmax(bad))].origin}: its {representation.kind} representation is "
                "not finite; remove the frame, or look at what is odd about it."
            )
        yield block
        empty = False
    if empty:
        raise DataError("there is no structure to represent; check the files named as data.")


def _frames(source: Source) -> Iterator[Frame]:
    """Structures one by one with where they came from, in the source's order."""
    for i, item in enumerate([source] if isinstance(source, str | Path) else source):
        if isinstance(item, str | Path):
            yield from Stream([Path(item)])
        else:
            yield item if isinstance(item, Frame) else Frame(item, None, f"structure {i}")


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    atoms = 0
    for frame in frames:
        if batch and (len(batch) == size or atoms + len(frame.atoms) > _ATOMS):
            yield batch
            batch, atoms = [], 0
        batch.append(frame)
        atoms += len(frame.atoms)
    if batch:
        yield batch
