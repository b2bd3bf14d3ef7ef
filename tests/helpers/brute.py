"""The rules written densely, and pools to try them on."""

import numpy as np

KERNELS = ("linear", "cosine", "tanimoto")
POOLS = ("random", "decaying", "clustered", "duplicated", "offset")


def pool(kind: str, kernel: str, n: int = 400, d: int = 40, m: int = 7, seed: int = 0) -> tuple:
    """Features (n, d) and labelled ones (m, d), bits for the Tanimoto kernel."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n + m, d))
    if kind == "decaying":
        x *= 0.7 ** np.arange(d)
    elif kind == "clustered":
        x = 4 * rng.standard_normal((12, d))[rng.integers(0, 12, n + m)] + 0.3 * x
    elif kind == "duplicated":
        x = x[rng.integers(0, (n + m) // 3, n + m)]
    elif kind == "offset":
        x = 0.1 * x + 30
    if kernel == "tanimoto":
        x = (x > np.quantile(x, 0.7, axis=1, keepdims=True)).astype(float)
    return x[:n], x[n:]


def gram(x: np.ndarray, z: np.ndarray, kernel: str) -> np.ndarray:
    """k of all pairs, (n, m)."""
    if kernel == "tanimoto":
        both = [(z.astype(bool) & a).sum(1) for a in x.astype(bool)]
        either = [(z.astype(bool) | a).sum(1) for a in x.astype(bool)]
        return np.array(both) / np.array(either)
    if kernel == "cosine":
        x, z = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, z))
    return np.asarray(x @ z.T)


class Dense:
    """What each rule makes largest, from the matrix of all pairs."""

    def __init__(self, x: np.ndarray, labelled: np.ndarray, kernel: str) -> None:
        self.n = len(x)
        both = np.vstack([x, labelled])
        self.k = gram(both, both, kernel)
        own = np.diag(self.k)
        self.squared = np.maximum(own[:, None] + own - 2 * self.k, 0)
        self.labelled = list(range(self.n, len(both)))

    def values(self, rule: str, taken: list[int], noise: float = 1e-3) -> np.ndarray:
        """For each candidate what the rule makes largest, −inf for those it may not take."""
        known = self.labelled + taken
        if rule == "posterior-variance":
            some = self.k[known, : self.n]
            solved = np.linalg.solve(
                self.k[np.ix_(known, known)] + noise * np.eye(len(known)), some
            )
            found = np.diag(self.k)[: self.n] - (some * solved).sum(0)
        else:
            d = self.squared[: self.n][:, known]
            found = d.min(1)
            if rule == "lcmd":
                left = np.setdiff1d(np.arange(self.n), taken)
                owner = d.argmin(1)
                sums = np.bincount(owner[left], found[left], len(known))
                found[sums[owner] < sums.max() * (1 - 1e-9)] = -np.inf
        found[taken] = -np.inf
        return found

    def follows(self, rule: str, picks: np.ndarray, tolerance: float = 1e-9) -> bool:
        """Whether each pick is a largest one, up to ties."""
        for i, pick in enumerate(picks):
            found = self.values(rule, list(picks[:i]))
            if not found[pick] >= found.max() - tolerance * max(self.k.max(), 1):
                return False
        return True
