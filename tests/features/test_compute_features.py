"""Activations and tangent kernels by other routes; streams and what the cache knows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

import fitted
from tunesmith.core import Weights
from tunesmith.data import extxyz
from tunesmith.errors import ConfigError, DataError, ModelError, RunFolderError
from tunesmith.features import feature_rows
from tunesmith.features.compute_features import (
    NTK,
    REPRESENTATIONS,
    Activation,
    Representation,
    compute,
    stream,
)
from tunesmith.features.ntk import projection
from tunesmith.posterior.ensemble import Ensemble, open_model
from tunesmith.potentials.mace.mace_potential import MACEPotential
from tunesmith.settings import build

EMBEDDING = "node_embedding.linear.weight"
CLOSE = {"rtol": 2e-6, "atol": 2e-6}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted.base_file(tmp_path_factory.mktemp("base") / "base.model")


@pytest.fixture(scope="module")
def model(base: Path) -> Ensemble:
    return open_model(base, dtype="float64")


@pytest.fixture(scope="module")
def frames() -> list[Atoms]:
    rng = np.random.default_rng(1)
    found = [molecule(name) for name in ("CH3OH", "CH4", "H2O", "CO2")]
    found[2:2] = [bulk("C", cubic=True), Atoms("O")]
    for atoms in found:
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    return found


def plain_gradients(model: Ensemble, frames: list[Atoms], names: list[str]) -> np.ndarray:
    """By mace's own modules and one backward pass per structure."""
    potential = model.potential
    native = potential._native  # type: ignore[attr-defined]
    leaves = dict(native.named_parameters())
    found = []
    for atoms in frames:
        graph = potential.graph(atoms)
        n = len(graph)
        shifts = graph.unit_shifts @ graph.cell
        energy = native(
            {
                "positions": graph.positions,
                "node_attrs": torch.nn.functional.one_hot(graph.species, 3).double(),
                "edge_index": graph.edges,
                "shifts": shifts,
                "unit_shifts": graph.unit_shifts,
                "cell": graph.cell,
                "batch": torch.zeros(n, dtype=torch.long),
                "ptr": torch.tensor([0, n]),
            },
            compute_force=False,
        )["energy"]
        parts = torch.autograd.grad(energy.sum(), [leaves[n] for n in names])
        found.append(torch.cat([p.flatten() for p in parts]).numpy())
    return np.array(found)


def test_ntk_is_the_gradient_of_every_structure(model: Ensemble, frames: list[Atoms]) -> None:
    found = compute(NTK(), frames, model)
    expected = plain_gradients(model, frames, [EMBEDDING])
    assert found.shape == (len(frames), 12)
    assert found.dtype == np.float32
    assert np.abs(expected).max() > 0.1
    batch = model.potential.batch([model.potential.graph(a) for a in frames])
    exact = model.potential.embedding_gradient(model.weights[0], batch).flatten(1).numpy()
    np.testing.assert_allclose(exact, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert not found[1].reshape(3, 4)[2].any(), "methane has no oxygen"
    only = compute(NTK(elements=("O", "H")), [frames[3], frames[4]], model)
    np.testing.assert_allclose(
        only, found[[3, 4]].reshape(2, 3, 4)[:, [0, 2]].reshape(2, 8), **CLOSE
    )


def test_ntk_is_what_finite_differences_say(model: Ensemble, frames: list[Atoms]) -> None:
    weights, direction = model.weights[0], torch.linspace(-1, 1, 12, dtype=torch.float64)

    def energies(step: float) -> np.ndarray:
        moved = {**weights, EMBEDDING: weights[EMBEDDING] + step * direction}
        return Ensemble(model.potential, [moved], model.e0s).predict(frames).mean.energy

    slope = (energies(1e-4) - energies(-1e-4)) / 2e-4
    found = compute(NTK(), frames, model).astype(float) @ direction.numpy()
    np.testing.assert_allclose(found, slope, rtol=1e-5, atol=1e-6)


def test_activations_are_means_over_atoms(model: Ensemble, frames: list[Atoms]) -> None:
    """Structure by structure, column by column."""
    potential, found = model.potential, compute(Activation(), frames, model)
    assert found.shape == (len(frames), 8)
    for atoms, row in zip(frames, found, strict=True):
        own = [potential.graph(atoms)]
        atomic = potential.features(potential.weights(), potential.batch(own)).numpy()
        np.testing.assert_allclose(row, [np.mean(column) for column in atomic.T], **CLOSE)


@pytest.mark.parametrize("kind", [NTK(), Activation(), NTK(weights="readouts", columns=7)])
def test_company_does_not_matter(
    kind: Representation, model: Ensemble, frames: list[Atoms]
) -> None:
    together = compute(kind, frames, model)
    for size in (1, 2):
        np.testing.assert_allclose(compute(kind, frames, model, batch_size=size), together, **CLOSE)
    turned = compute(kind, frames[::-1], model)[::-1]
    np.testing.assert_allclose(turned, together, **CLOSE)


@pytest.mark.parametrize("kind", [NTK(), Activation()])
def test_symmetry(kind: Representation, model: Ensemble, frames: list[Atoms]) -> None:
    moved = []
    for atoms in frames:
        other = atoms[np.random.default_rng(2).permutation(len(atoms))]
        other.rotate(40, (1, 2, -1), rotate_cell=True)
        other.translate([0.3, -5.0, 2.0])
        moved.append(other)
    expected = compute(kind, frames, model)
    np.testing.assert_allclose(compute(kind, moved, model), expected, **CLOSE)
    bent = [a.copy() for a in frames]
    for atoms in bent:
        atoms.positions[0] += 0.1
    changed = np.abs(compute(kind, bent, model) - expected).max(1)
    assert (changed[[0, 1, 2, 4, 5]] > 2e-5).all()


def test_several_members_are_their_mean_weights(base: Path, frames: list[Atoms]) -> None:
    model = open_model(base, dtype="float64")
    members = fitted.members(base, 3)
    mean: Weights = {
        name: sum(members.expand(i)[name] for i in range(3)) / 3 for name in model.weights[0]
    }
    for kind in (NTK(), Activation()):
        found = compute(kind, frames, Ensemble.of(model.potential, members))
        single = compute(kind, frames, Ensemble(model.potential, [mean], model.e0s))
        np.testing.assert_allclose(found, single, **CLOSE)
        assert np.abs(found - compute(kind, frames, model)).max() > 1e-3


# --------------------------------------------------------------------- random projection


def test_a_projection_keeps_inner_products() -> None:
    """On average exactly, and with the variance it is said to have."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 300, generator=generator, dtype=torch.float64)
    y = y + 0.5 * x
    columns, trials = 40, 2000
    found = np.empty(trials)
    for seed in range(trials):
        a, b = projection(300, columns, seed)(torch.stack([x, y]))
        found[seed] = a @ b
    exact = float(x @ y)
    variance = float(x @ x * (y @ y) + exact**2 - 2 * (x * y) @ (x * y)) / columns
    assert abs(found.mean() - exact) < 4 * np.sqrt(variance / trials)
    # of a variance over n trials the relative standard error is about sqrt(2 / n)
    assert found.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / trials))


def test_named_weights_are_projected(model: Ensemble, frames: list[Atoms]) -> None:
    """Onto so many columns that none takes two of them: inner products then are exact."""
    names = [n for n in model.potential.names.readouts]
    expected = plain_gradients(model, frames, names)
    found = compute(NTK(weights="readouts", columns=100_000, seed=3), frames, model)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, rtol=1e-5, atol=1e-5)
    other = compute(NTK(weights="readouts", columns=100_000, seed=4), frames, model)
    assert not np.array_equal(found, other)
    embedding = compute(NTK(columns=100_000), frames, model)
    exact = plain_gradients(model, frames, [EMBEDDING])
    np.testing.assert_allclose(embedding @ embedding.T, exact @ exact.T, rtol=1e-5, atol=1e-5)


def test_defaults_of_a_projection() -> None:
    assert NTK().columns is None
    assert NTK(weights="readouts").columns == 1024
    assert NTK(columns=50).seed == 0
    with pytest.raises(ConfigError, match="nothing is drawn"):
        build(NTK, {"seed": 3})
    with pytest.raises(ConfigError, match="no effect on a projection"):
        build(NTK, {"columns": 3, "elements": ["H"]})


# ----------------------------------------------------------------------------- refusals


class Bodiless:
    """A potential of a package whose models have no species embedding."""

    def __init__(self, potential: Any) -> None:
        self.potential = potential

    def __getattr__(self, name: str) -> Any:
        if name == "capabilities":
            known = self.potential.capabilities
            return type(known)(**{**vars(known), "embedding": False})
        return getattr(self.potential, name)


def test_what_has_no_representation_is_refused(model: Ensemble, frames: list[Atoms]) -> None:
    poor = Ensemble(Bodiless(model.potential), model.weights, model.e0s)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"models of mace have no species embedding.*activation"):
        compute(NTK(), frames, poor)
    compute(Activation(), frames, poor)
    with pytest.raises(ModelError, match="'ntk' asks a model"):
        compute(NTK(), frames)
    with pytest.raises(ConfigError, match=r"weights: no weight .* 'readout'; did you mean"):
        compute(NTK(weights="readout"), frames, model)
    with pytest.raises(ModelError, match="does not know N;"):
        compute(NTK(elements="N"), frames, model)
    with pytest.raises(DataError, match="structure 0: has C, but"):
        compute(NTK(elements=("H", "O")), frames, model)
    with pytest.raises(ConfigError, match="'Xx' is no element"):
        NTK(elements="Xx")
    with pytest.raises(DataError, match=r"structure 1: contains N, which the model"):
        compute(Activation(), [frames[0], molecule("NH3")], model)
    with pytest.raises(DataError, match="no structure"):
        compute(Activation(), [], model)
    with pytest.raises(ConfigError, match="batch_size"):
        compute(Activation(), frames, model, batch_size=0)
    odd = frames[0].copy()
    odd.positions[2, 1] = np.nan
    with pytest.raises(DataError, match="structure 1: positions or cell are not finite"):
        compute(NTK(), [frames[0], odd], model)


def test_vectors_that_are_no_numbers_are_refused(model: Ensemble, frames: list[Atoms]) -> None:
    broken = {**model.weights[0]}
    broken[EMBEDDING] = broken[EMBEDDING].clone()
    broken[EMBEDDING][-1] = np.inf  # of oxygen
    with pytest.raises(DataError, match=r"structure 2: its activation representation is not"):
        compute(Activation(), frames[1:], Ensemble(model.potential, [broken], model.e0s))


def test_kinds_by_name() -> None:
    assert REPRESENTATIONS.get("ntk") is NTK
    kernels = {name: REPRESENTATIONS.get(name).kernel for name in REPRESENTATIONS.entries}
    assert kernels.pop("morgan") == "tanimoto"
    assert set(kernels.values()) == {"cosine"}


# ------------------------------------------------------------------------------ streams


@pytest.fixture
def pool(frames: list[Atoms], tmp_path: Path) -> Path:
    extxyz.write(tmp_path / "pool.xyz", frames)
    return tmp_path / "pool.xyz"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that a network was asked about."""
    found: list[int] = []
    asked = MACEPotential.embedding_gradient

    def counted(self: MACEPotential, weights: Weights, batch: Any) -> torch.Tensor:
        found.append(len(batch))
        return asked(self, weights, batch)

    monkeypatch.setattr(MACEPotential, "embedding_gradient", counted)
    return found


@pytest.mark.parametrize("small", [True, False])
def test_a_stream_is_the_same_in_pieces(
    model: Ensemble,
    frames: list[Atoms],
    pool: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    calls: list[int],
    small: bool,
) -> None:
    if not small:
        monkeypatch.setattr(feature_rows, "_SMALL", 0)
    expected = compute(NTK(), frames, model, batch_size=4)
    calls.clear()
    done: list[int] = []
    sources: list[Any] = [pool, [str(pool)], frames, (a for a in frames)]
    for source in sources:
        found = stream(NTK(), source, model, batch_size=4, progress=done.append)
        assert isinstance(found, np.memmap) is not small
        assert found.dtype == np.float32
        assert not found.flags.writeable
        np.testing.assert_array_equal(found, expected)
    assert calls == len(sources) * [4, 2]
    assert done == len(sources) * [4, 6]
    twice = stream(NTK(), [pool, pool], model, cache=tmp_path / "cache")
    np.testing.assert_allclose(twice, np.concatenate([expected, expected]), **CLOSE)


def test_large_structures_make_small_batches(model: Ensemble, calls: list[int]) -> None:
    crystal = bulk("C", cubic=True).repeat((5, 5, 5))
    compute(NTK(), [crystal, crystal, crystal[:900], molecule("CH4")], model)
    assert calls == [2, 2]


def test_the_cache_computes_once(
    model: Ensemble, frames: list[Atoms], pool: Path, tmp_path: Path, calls: list[int]
) -> None:
    cache = tmp_path / "cache"
    for source in (pool, frames):
        first = stream(NTK(), source, model, cache=cache, batch_size=2)
        assert calls == [2, 2, 2]
        # another batch size is no other result
        again = stream(NTK(), source, model, cache=cache, batch_size=5)
        assert calls == [2, 2, 2]
        assert again.tobytes() == first.tobytes()
        calls.clear()
    assert len(list(cache.iterdir())) == 2


Change = Callable[[Ensemble, list[Atoms]], tuple[Representation, Ensemble, list[Atoms]]]


def other_weights(model: Ensemble, frames: list[Atoms]) -> Any:
    moved = {k: w.clone() for k, w in model.weights[0].items()}
    moved["readouts.0.linear.weight"][0] += 1e-9
    return NTK(), Ensemble(model.potential, [moved], model.e0s), frames


def other_place(model: Ensemble, frames: list[Atoms]) -> Any:
    moved = [a.copy() for a in frames]
    moved[3].positions[0, 0] = np.nextafter(moved[3].positions[0, 0], 9)
    return NTK(), model, moved


def other_precision(model: Ensemble, frames: list[Atoms]) -> Any:
    return NTK(), open_model(model.potential.base.source), frames


CHANGES: dict[str, Change] = {
    "weights": other_weights,
    "positions": other_place,
    "precision": other_precision,
    "order": lambda model, frames: (NTK(), model, frames[::-1]),
    "number": lambda model, frames: (NTK(), model, frames[:-1]),
    "settings": lambda model, frames: (NTK(columns=5), model, frames),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_cache_sees_a_change_of(
    change: str, model: Ensemble, frames: list[Atoms], tmp_path: Path, calls: list[int]
) -> None:
    stream(NTK(), frames, model, cache=tmp_path)
    calls.clear()
    kind, other, structures = CHANGES[change](model, frames)
    found = stream(kind, structures, other, cache=tmp_path)
    assert calls == [len(structures)]
    np.testing.assert_array_equal(found, compute(kind, structures, other))


def test_the_cache_sees_other_packages(
    model: Ensemble,
    frames: list[Atoms],
    tmp_path: Path,
    calls: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tunesmith.features import feature_cache

    asked: list[str] = []
    stream(NTK(), frames, model, cache=tmp_path)

    def newer(package: str) -> str:
        asked.append(package)
        return "1e9"

    monkeypatch.setattr(feature_cache, "version", newer)
    calls.clear()
    stream(NTK(), frames, model, cache=tmp_path)
    assert calls == [len(frames)]
    assert {"tunesmith", "torch", "mace-torch", "numpy"} <= set(asked)


@pytest.mark.parametrize("damage", ["cut", "empty", "long", "flipped", "other"])
def test_a_damaged_cache_is_made_again(
    damage: str, model: Ensemble, frames: list[Atoms], tmp_path: Path, calls: list[int]
) -> None:
    whole = stream(NTK(), frames, model, cache=tmp_path).tobytes()
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    if damage == "other":
        np.save(file, np.zeros((6, 12)))  # float64
    else:
        changed = {"cut": content[:-4], "empty": b"", "long": content + b"0"}
        changed["flipped"] = content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]
        file.write_bytes(changed[damage])
    calls.clear()
    assert stream(NTK(), frames, model, cache=tmp_path).tobytes() == whole
    assert calls == [len(frames)]
    assert file.read_bytes() == content


def test_what_fails_leaves_nothing_behind(
    model: Ensemble, frames: list[Atoms], tmp_path: Path
) -> None:
    bad = [*frames, molecule("NH3")]
    with pytest.raises(DataError, match="structure 6"):
        stream(NTK(), bad, model, cache=tmp_path / "cache", batch_size=3)
    assert list((tmp_path / "cache").iterdir()) == []
    extxyz.write(tmp_path / "bad.xyz", bad)
    with pytest.raises(DataError, match=r"bad\.xyz#6: contains N"):
        stream(NTK(), tmp_path / "bad.xyz", model, cache=tmp_path / "cache")
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="cannot write"):
        stream(NTK(), frames, model, cache=tmp_path / "file")
    with pytest.raises(DataError, match="no such file"):
        stream(NTK(), tmp_path / "none.xyz", model)
    with pytest.raises(DataError, match="cannot be read"):
        stream(NTK(), tmp_path / "none.xyz", model, cache=tmp_path)
    with pytest.raises(DataError, match="looked at twice"):
        stream(NTK(), iter(frames), model, cache=tmp_path)


def test_a_generator_is_not_read_ahead(model: Ensemble, frames: list[Atoms]) -> None:
    drawn = []

    def endless() -> Iterator[Atoms]:
        for i in range(20):
            drawn.append(i)
            yield frames[i % 2]

    seen: list[int] = []
    stream(NTK(), endless(), model, batch_size=4, progress=lambda n: seen.append(len(drawn)))
    assert seen == [5, 9, 13, 17, 20]


def test_the_model_of_one_member_is_that_member(model: Ensemble) -> None:
    assert model.network().weights is model.weights[0]
