"""How the step size and the noise of a chain change on its way (on-the-fly paper, B.5)."""

import math

#: α, β and ε of a chain's friction and mass
FRICTION, BETA, EPSILON = 0.1, 0.999, 1e-4
#: smallest step size of a schedule: the velocity's rescaling needs one
FLOOR = 1e-8


def per_label(i: int, steps: int, rate: float) -> tuple[float, float]:
    """γ and the noise's factor in step i (from 0) of the update after a label.

    Cosine from ``rate`` to the floor; the first fifth without noise, then its standard deviation
    rises linearly over a twentieth (400 and 100 of 2000).
    """
    return cosine(i, steps, rate), ramped(i, steps)


def ramped(i: int, steps: int) -> float:
    """Factor of the noise in step i: none for a fifth of the steps, then linear over a twentieth.

    Until a mass has seen gradients, weights whose gradient is zero at first (a noise head's) have
    m̂ = 1/ε, and noise would throw them far off.
    """
    return min(1.0, max(0.0, (i - steps / 5) / max(steps / 20, 1)))


def cosine(i: int, steps: int, rate: float) -> float:
    """γ_0/2 (cos(π i / L) + 1), never below the floor."""
    return max(FLOOR, rate / 2 * (math.cos(math.pi * i / steps) + 1))


def cyclical(i: int, cycle: int, rate: float) -> float:
    """γ of a long chain on a fixed data set: the cosine starts anew every ``cycle`` steps, one
    sample at the end of each."""
    return cosine(i % cycle, cycle, rate)


def converging(i: int, steps: int, first: float, last: float) -> float:
    """γ of the convergence phase before the cycles: exponential decay from first to last."""
    return max(FLOOR, first * (last / first) ** (i / steps))
