"""Passes in float32 that leave no doubt: against float64 where rounding would tell otherwise."""

import numpy as np
import pytest

import brute
from tunesmith.acquire import lcmd
from tunesmith.acquire.lcmd.cluster_members import ClusterMembers
from tunesmith.acquire.lcmd.leading_coordinates import leading_coordinates
from tunesmith.acquire.lcmd.nearest import Rounding, nearest_centres, rounding
from tunesmith.acquire.points import Points


def between(n: int, d: int, off: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points about the middle of one of nine centres and another, by `off` of a typical length."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((9, d)) * 0.8 ** np.arange(d)
    # of one length, so that the middle is as far from both for angles too
    z = (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)
    a, b = rng.integers(0, 9, (2, n))
    x = (z[a].astype(float) + z[b]) / 2 + off * rng.standard_normal((n, d))
    return x.astype(np.float32), z


def squares(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """All squared distances, without cancellation."""
    return ((x[:, None].astype(float) - z[None].astype(float)) ** 2).sum(2)


@pytest.mark.parametrize("kernel", ["linear", "cosine"])
@pytest.mark.parametrize("off", [0.0, 1e-8, 1e-6, 1e-3])
def test_the_nearest_centre_is_that_of_float64(off: float, kernel: str) -> None:
    x, z = between(3000, 40, off)
    points, known = Points(x, kernel), Points(z, kernel)
    centres = known.vectors(np.arange(9))
    rounded = rounding(points, centres)
    owner, squared, unsure = nearest_centres(points, centres, leading_coordinates(points), rounded)
    exact = squares(points.vectors(np.arange(3000)), centres)
    own = exact[np.arange(3000), owner]
    assert (own - exact.min(1) < 1e-12).all()
    assert (np.abs(squared - own) <= rounded.error(squared)).all()
    assert (unsure > 100) == (off < 1e-4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kernel", ["linear", "cosine"])
@pytest.mark.parametrize("kind", brute.POOLS)
def test_distances_are_as_near_to_those_of_float64_as_is_said(
    kind: str, kernel: str, dtype: type
) -> None:
    x, z = brute.pool(kind, kernel)
    points, every = Points(x.astype(dtype), kernel), np.arange(400)
    one = Points(z.astype(np.float64), kernel).vectors(np.arange(1))[0]
    found = points.distances32(every, one.astype(np.float32)).astype(float)
    exact, rounded = points.distances(every, one), rounding(points, one[None])
    assert (np.abs(found - exact) <= rounded.error(found)).all()
    assert (exact <= rounded.most(found)).all()
    total = rounded.error(np.array([found.sum()]), 400)[0]
    assert abs(found.sum() - exact.sum()) <= total
    assert total < 1e-3 * max(exact.sum(), 1e-3)


def halves(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two clusters, one the image of the other but for what float32 sums cannot tell."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((200, 24))
    centre = 40 * np.eye(24)[:1]
    other = x * (1 + 1e-8 * rng.standard_normal((200, 1)))
    return np.vstack([centre + x, other - centre])[rng.permutation(400)], np.vstack(
        [centre, -centre]
    )


def follows(seed: int) -> bool:
    x, labelled = halves(seed)
    picks = lcmd(x, labelled, 30)
    # by sums of differences: the dense kernel's cancellation is larger than what is tried here
    for i, pick in enumerate(picks):
        d = squares(x, np.vstack([labelled, x[picks[:i]]]))
        owner, own = d.argmin(1), d.min(1)
        sums = np.bincount(owner, own)
        if sums[owner[pick]] < sums.max() * (1 - 1e-13):
            return False
        if own[pick] < own[owner == owner[pick]].max() * (1 - 1e-13):
            return False
    return True


def test_clusters_alike_up_to_rounding_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(follows(seed) for seed in range(6))
    # without a bound on the rounding they are not
    monkeypatch.setattr(Rounding, "error", lambda self, v, count=1: np.zeros_like(v))
    assert not all(follows(seed) for seed in range(6))


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_points_that_are_closer_are_never_left_out(offset: float) -> None:
    """Also such as the leading directions describe completely, whose rest is all rounding."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1500, 40)) * 0.6 ** np.arange(40)
    x[::3, 10:] = 0
    x[::3] += 1e-4 * x[1::3] * (np.arange(40) > 20)
    points = Points((x + offset).astype(np.float32), "linear")
    centres = points.vectors(np.arange(30))
    leading, rounded = leading_coordinates(points), rounding(points, centres)
    assert leading is not None
    owner, squared, _ = nearest_centres(points, centres, leading, rounded)
    members = ClusterMembers(owner, leading, rounded)
    members.append_all(squared, 30)
    parts = [(c, int((owner == c).sum())) for c in range(30)]
    left = 0
    for row in range(100, 160):
        found = members.within(parts, row)
        exact = points.distances(np.arange(1500), points.vectors(np.array([row]))[0])
        assert set(np.flatnonzero(exact < squared)) <= set(found)
        left += len(found)
    assert left < 0.3 * 60 * 1500


@pytest.mark.parametrize("rows", [60, 400])
def test_leading_directions_of_wide_points_are_those_of_the_columns_that_are_used(
    rows: int,
) -> None:
    """More columns than rows, or than are not zero: against a singular value decomposition."""
    rng = np.random.default_rng(rows)
    x = np.zeros((rows, 1200))
    used = rng.choice(1200, 200, replace=False)
    x[:, used] = rng.standard_normal((rows, 200)) * 0.7 ** np.arange(200)
    points = Points(x.astype(np.float32), "linear")
    found = leading_coordinates(points)
    assert found is not None
    directions = found._directions[:-1, :-2].astype(float)
    np.testing.assert_allclose(directions.T @ directions, np.eye(14), atol=1e-6)
    exact = np.linalg.svd(x - x.mean(0), full_matrices=False).Vh[:14]
    np.testing.assert_allclose(
        np.linalg.svd(exact @ directions).S, np.ones(14), atol=1e-5, err_msg="another subspace"
    )


def test_members_are_kept_in_order_as_they_leave() -> None:
    rng = np.random.default_rng(0)
    owner, distance = rng.integers(0, 5, 300).astype(np.int32), rng.random(300)
    members = ClusterMembers(owner, None, Rounding(0, 0))
    members.append_all(distance, 5)
    for new in range(5, 15):
        rows = rng.choice(np.flatnonzero(owner < 5), 20, replace=False)
        lost = np.bincount(owner[rows], minlength=15)
        owner[rows], distance[rows] = new, distance[rows] / 2
        members.left(lost)
        members.append(rows, distance[rows])
        least = rng.random(new + 1)
        parts, n = members.farther(least)
        expected = np.flatnonzero(distance > least[owner])
        assert (members.within(parts, 0) == expected).all()
        assert len(expected) <= n
        assert members.first(0, 0.0)[0] == np.where(owner == 0, distance, -1).argmax()
        for cluster in range(new + 1):
            here = np.flatnonzero(owner == cluster)
            assert (members.of(cluster) == here[np.argsort(-distance[here])]).all()
