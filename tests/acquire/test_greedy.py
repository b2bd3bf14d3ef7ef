"""Selection rules against dense brute force and scikit-learn; the order and the type of a pool."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct

import brute
from tunesmith.acquire import RULES, choose, kcenter, lcmd, posterior_variance, random, top
from tunesmith.acquire.greedy import by_cluster, by_distance, by_variance
from tunesmith.acquire.points import Points
from tunesmith.errors import ConfigError, DataError

BY_FEATURES = ("posterior-variance", "lcmd", "kcenter")
FUNCTIONS = dict(zip(BY_FEATURES, (posterior_variance, lcmd, kcenter), strict=True))


@pytest.mark.parametrize("kernel", brute.KERNELS)
@pytest.mark.parametrize("kind", brute.POOLS)
def test_every_pick_is_the_largest_of_the_dense_kernel(kind: str, kernel: str) -> None:
    x, labelled = brute.pool(kind, kernel)
    dense = brute.Dense(x, labelled, kernel)
    for rule in BY_FEATURES:
        picks = FUNCTIONS[rule](x, labelled, 30, kernel=kernel)
        assert len(set(picks)) == 30
        assert dense.follows(rule, picks), rule


@pytest.mark.parametrize("rule", BY_FEATURES)
def test_the_checker_sees_a_wrong_pick(rule: str) -> None:
    x, labelled = brute.pool("random", "linear")
    picks = FUNCTIONS[rule](x, labelled, 10)
    assert not brute.Dense(x, labelled, "linear").follows(rule, picks[[0, 1, 2, 4, 3]])


@pytest.mark.parametrize(("m", "n", "d"), [(60, 5, 8), (3, 50, 8), (60, 50, 8)])
def test_more_conditioning_points_than_features(m: int, n: int, d: int) -> None:
    x, labelled = brute.pool("random", "linear", n=120, d=d, m=m)
    picks = posterior_variance(x, labelled, n)
    # variances are all near the noise then, and close to each other
    assert brute.Dense(x, labelled, "linear").follows("posterior-variance", picks, 1e-12)


def test_scores_are_the_variances_of_scikit_learn() -> None:
    x, labelled = brute.pool("decaying", "linear")
    found = choose("posterior-variance", x, labelled, 12, noise=0.01)
    for i in range(12):
        known = np.vstack([labelled, x[found.indices[:i]]])
        process = GaussianProcessRegressor(DotProduct(0, "fixed"), alpha=0.01, optimizer=None)
        std = process.fit(known, np.zeros(len(known))).predict(x, return_std=True)[1]
        std[found.indices[:i]] = 0
        assert found.scores[i] == pytest.approx(std.max() ** 2, rel=1e-9)
        assert std[found.indices[i]] == pytest.approx(std.max(), rel=1e-9)


@pytest.mark.parametrize("kernel", brute.KERNELS)
def test_distances_and_nearest_labelled_rows_of_the_picks(kernel: str) -> None:
    x, labelled = brute.pool("decaying", kernel)
    squared = brute.Dense(x, labelled, kernel).squared
    for rule in ("lcmd", "kcenter"):
        found = choose(rule, x, labelled, 8, kernel=kernel)
        for i, pick in enumerate(found.indices):
            known = [*range(400, 407), *found.indices[:i]]
            assert found.scores[i] ** 2 == pytest.approx(squared[pick, known].min(), abs=1e-12)
        nearest = squared[found.indices, 400 + found.nearest]
        assert np.allclose(nearest, squared[found.indices, 400:].min(1), atol=1e-12)


@pytest.mark.parametrize("kernel", brute.KERNELS)
@pytest.mark.parametrize("rule", BY_FEATURES)
def test_a_candidate_that_is_labelled_is_never_first(rule: str, kernel: str) -> None:
    x, labelled = brute.pool("random", kernel)
    x[::2] = labelled[np.arange(200) % 7]
    picks = FUNCTIONS[rule](x, labelled, 20, kernel=kernel)
    assert (picks % 2 == 1).all()


@pytest.mark.parametrize("kernel", ["linear", "cosine"])
@pytest.mark.parametrize("rule", BY_FEATURES)
@pytest.mark.parametrize("kind", ["random", "decaying", "clustered"])
def test_the_order_of_the_pool_does_not_matter(kind: str, rule: str, kernel: str) -> None:
    x, labelled = brute.pool(kind, kernel)
    order = np.random.default_rng(5).permutation(len(x))
    picks = FUNCTIONS[rule](x, labelled, 40, kernel=kernel)
    assert (order[FUNCTIONS[rule](x[order], labelled, 40, kernel=kernel)] == picks).all()


@pytest.mark.parametrize("rule", BY_FEATURES)
@pytest.mark.parametrize("kind", ["random", "decaying", "offset"])
def test_a_memory_map_in_half_precision_is_its_numbers_in_float64(
    kind: str, rule: str, tmp_path: Path
) -> None:
    x, labelled = brute.pool(kind, "linear")
    np.save(tmp_path / "pool.npy", x.astype(np.float16))
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    picks = FUNCTIONS[rule](mapped, labelled.astype(np.float32), 30)
    wide = mapped.astype(np.float64), labelled.astype(np.float32).astype(np.float64)
    assert (picks == FUNCTIONS[rule](*wide, 30)).all()


@pytest.mark.parametrize("factor", [1e-25, 1e-12, 1e14, 1e25])
@pytest.mark.parametrize("kind", ["random", "decaying"])
def test_the_scale_of_the_features_does_not_matter(kind: str, factor: float) -> None:
    """Nor does what float32 cannot hold."""
    x, labelled = brute.pool(kind, "linear")
    for rule in BY_FEATURES:
        picks = choose(rule, x, labelled, 30)
        scaled = choose(rule, factor * x, factor * labelled, 30, noise=1e-3 * factor**2)
        assert (picks.indices == scaled.indices).all()


@pytest.mark.parametrize("kernel", brute.KERNELS)
@pytest.mark.parametrize("rule", BY_FEATURES)
def test_without_labels_the_first_is_nearest_the_mean(rule: str, kernel: str) -> None:
    x, _ = brute.pool("random", kernel)
    picks = choose(rule, x, None, 10, kernel=kernel)
    assert (picks.nearest == -1).all()
    first = picks.indices[0]
    if rule == "posterior-variance" and kernel == "linear":
        assert first == (x**2).sum(1).argmax()
    elif kernel == "tanimoto":
        mean = x.mean(0)
        k = [a @ mean / (a @ a + mean @ mean - a @ mean) for a in x]
        assert first == np.argmax(k)
    else:
        y = x if kernel == "linear" else x / np.linalg.norm(x, axis=1, keepdims=True)
        assert first == np.linalg.norm(y - y.mean(0), axis=1).argmin()
    # and then all goes on as if that one were labelled
    rest = np.delete(x, first, 0)
    after = FUNCTIONS[rule](rest, x[[first]], 9, kernel=kernel)
    assert (after + (after >= first) == picks.indices[1:]).all()


def test_the_whole_pool_can_be_taken_also_of_copies() -> None:
    x = np.repeat(np.eye(3), 4, axis=0)
    for rule in BY_FEATURES:
        for labelled in (None, x[:1], x):
            assert sorted(FUNCTIONS[rule](x, labelled, 12)) == list(range(12))


def test_bounds_leave_little_to_compute() -> None:
    """On features with a decaying spectrum; and each pair the bounds exclude was truly farther."""
    x, labelled = (Points(a, "linear") for a in brute.pool("decaying", "linear", n=4000, m=30))
    work = by_cluster(x, labelled, 60)[2]
    assert work.pairs == 59 * 4000
    assert work.moved <= work.compared <= work.coordinates < 0.05 * work.pairs
    assert work.coordinates < 0.3 * work.triangle < 0.1 * work.pairs
    assert work.passes == 0
    assert by_variance(x, labelled, 60, 1e-3)[2] < 0.1 * 60 * 4000
    assert by_distance(x, labelled, 60)[2] < 0.1 * 60 * 4000


def test_random_features_share_their_passes() -> None:
    x, labelled = (Points(a, "linear") for a in brute.pool("random", "linear", n=4000, d=64, m=30))
    work = by_cluster(x, labelled, 60)[2]
    assert 1 < work.passes < 30
    assert work.moved <= work.compared < 1.05 * work.moved < 0.05 * work.pairs


def test_memory_is_of_the_pool_s_length_not_its_square() -> None:
    x = np.random.default_rng(0).standard_normal((40_000, 24), dtype=np.float32)
    for rule in BY_FEATURES:
        tracemalloc.start()
        FUNCTIONS[rule](x, x[:9] + 1, 5)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 400 * len(x) + 20e6


def test_top_and_random() -> None:
    scores = np.array([1.0, 3.0, 2.0, 3.0, -np.inf])
    assert list(top(scores, 3)) == [1, 3, 2]
    found = choose("top", np.eye(5), np.eye(5)[3:], 2, scores=scores)
    assert list(found.indices) == [1, 3]
    assert list(found.scores) == [3.0, 3.0]
    assert found.nearest[1] == 0
    drawn = choose("random", np.eye(5), None, 5, rng=np.random.default_rng(1))
    assert sorted(drawn.indices) == [0, 1, 2, 3, 4]
    assert np.isnan(drawn.scores).all()
    again = random(5, 5, np.random.default_rng(1))
    assert (drawn.indices == again).all()
    assert (again == random(np.eye(5), 5, np.random.default_rng(1))).all()
    often = [random(5, 2, np.random.default_rng(i)) for i in range(2000)]
    counts = np.bincount(np.concatenate(often), minlength=5)
    assert (abs(counts - 800) < 5 * np.sqrt(2000 * 0.4 * 0.6)).all()


def _bad(x: np.ndarray, value: float) -> np.ndarray:
    x = x.copy()
    x[[3, 5]] = value
    return x


X = np.random.default_rng(0).standard_normal((9, 4))


@pytest.mark.parametrize(
    ("error", "says", "change"),
    [
        (
            DataError,
            r"pool: 2 of 9 rows .* not finite numbers \(row 3, 5",
            {"pool": _bad(X, np.nan)},
        ),
        (DataError, "pool: 2 of 9 rows", {"pool": _bad(X, np.inf)}),
        (DataError, "labelled: 2 of 9 rows", {"labelled": _bad(X, np.nan)}),
        (DataError, "2 of 9 rows are all zero", {"pool": _bad(X, 0), "kernel": "cosine"}),
        (DataError, "compares bits", {"kernel": "tanimoto", "labelled": None}),
        (DataError, "the pool has 9; ask for fewer", {"n": 10}),
        (DataError, "nothing to select", {"pool": X[:0]}),
        (DataError, "one row per structure", {"pool": X[0]}),
        (DataError, "one row per structure", {"pool": X.astype(complex)}),
        (DataError, "4 features for each structure, the labelled set 3", {"labelled": X[:, :3]}),
        (ConfigError, "n is 0", {"n": 0}),
        (ConfigError, "kernel 'rbf' is unknown", {"kernel": "rbf"}),
        (ConfigError, "there is no 'lmcd'; did you mean 'lcmd'", {"rule": "lmcd"}),
        (ConfigError, "noise is 0", {"noise": 0.0, "rule": "posterior-variance"}),
        (ConfigError, "noise is -1", {"noise": -1.0, "rule": "posterior-variance"}),
        (ConfigError, "noise is nan", {"noise": np.nan, "rule": "posterior-variance"}),
        (ConfigError, "scores are given", {"scores": X[:, 0]}),
        (ConfigError, "needs scores", {"rule": "top"}),
        (ConfigError, "needs a random generator", {"rule": "random"}),
        (DataError, "3 scores of 9", {"rule": "top", "scores": X[:3, 0]}),
        (DataError, "one number per candidate", {"rule": "top", "scores": X}),
        (DataError, "2 scores are not numbers", {"rule": "top", "scores": _bad(X, np.nan)[:, 0]}),
    ],
)
def test_what_cannot_be_selected_from_is_refused(
    error: type[Exception], says: str, change: dict
) -> None:
    given = {"rule": "lcmd", "pool": X, "labelled": X + 1, "n": 2} | change
    with pytest.raises(error, match=says):
        choose(given.pop("rule"), given.pop("pool"), given.pop("labelled"), given.pop("n"), **given)


def test_rules_by_name_are_the_functions() -> None:
    x, labelled = brute.pool("decaying", "linear")
    assert set(RULES) == {*BY_FEATURES, "top", "random"}
    for rule, function in FUNCTIONS.items():
        assert (choose(rule, x, labelled, 9).indices == function(x, labelled, 9)).all()
        assert (choose(rule, x, labelled[:0], 9).indices == function(x, None, 9)).all()
