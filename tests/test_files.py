"""Our own files: whole or not at all, whatever happens meanwhile."""

import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule

from tunesmith import files, tensor_files
from tunesmith.core import Frame
from tunesmith.data.formats import write_frames
from tunesmith.errors import CheckpointError, RunFolderError
from tunesmith.features import feature_rows
from tunesmith.potentials import saving

#: a large thing of every kind, written to a path
LARGE = {
    "tensors": lambda path: tensor_files.write(path, {"a": torch.ones(10**5)}, {}),
    "text": lambda path: files.write_text(path, "a" * 10**6),
    "record": lambda path: files.write_record(path, {"a": "a" * 10**6}),
    "model": lambda path: saving.save(torch.nn.Linear(300, 300), path),
    "rows": lambda path: feature_rows.save(path, [np.ones((10**4, 16), np.float32)]),
    "frames": lambda path: write_frames(path, [Frame(molecule("C60"), None, "")] * 100),
}
Write = Callable[[Path], object]


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file can grow beyond 100 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, heard)


@pytest.mark.parametrize("write", LARGE.values(), ids=LARGE)
def test_a_full_disk_leaves_what_was_there(write: Write, tmp_path: Path, full_disk: None) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(RunFolderError, match=f"{path}.*room"):
        write(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", LARGE.values(), ids=LARGE)
def test_what_a_killed_process_half_wrote_goes_with_the_next(write: Write, tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path = tmp_path / "a[b]"  # not a pattern
    (tmp_path / f".{path.name}.{dead.pid}.part").write_text("half")
    write(path)
    assert not list(tmp_path.glob("*.part"))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        other = tmp_path / f".{path.name}.{alive.pid}.part"
        other.write_text("being written")
        write(path)
        assert other.exists()
        alive.kill()


def test_records_and_tensors_know_a_changed_bit(tmp_path: Path) -> None:
    record, tensors = tmp_path / "record.json", tmp_path / "t.safetensors"
    files.write_record(record, {"a": [1, 2.5, None], "b": {"c": "ü"}})
    tensor_files.write(tensors, {"x": torch.arange(5.0)}, {"e0": {"H": -13.58}, "law": [1.4, 0.9]})
    assert files.read_record(record) == {"a": [1, 2.5, None], "b": {"c": "ü"}}
    assert files.read_record(tmp_path / "none") is None
    rng = np.random.default_rng(1)
    for path in (record, tensors):
        content = path.read_bytes()
        every = [(place, 1 << bit) for place in range(len(content)) for bit in range(8)]
        some = rng.permutation(len(every))[:100] if path == record else range(len(every))
        for place, bit in (every[i] for i in some):
            changed = bytearray(content)
            changed[place] ^= bit
            path.write_bytes(bytes(changed))
            if path == record:
                assert files.read_record(path) in (None, {"a": [1, 2.5, None], "b": {"c": "ü"}})
            else:
                with pytest.raises(CheckpointError, match=r"damaged.*; delete it"):
                    tensor_files.read(path)


def test_rows_of_a_cache_know_a_changed_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    feature_rows.save(path, [np.arange(12, dtype=np.float32).reshape(4, 3)])
    content = bytearray(path.read_bytes())
    assert feature_rows.load(path) is not None
    for place in range(len(content)):  # the header, which numpy reads as Python, too
        content[place] ^= 1 << place % 8
        path.write_bytes(bytes(content))
        assert feature_rows.load(path) is None
        content[place] ^= 1 << place % 8
    for length in (0, 5, 31, 32, 100):
        path.write_bytes(bytes(content[:length]))
        assert feature_rows.load(path) is None
