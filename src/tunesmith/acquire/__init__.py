"""Which structures are labelled: criteria on predictions, and rules on feature vectors."""

from tunesmith.acquire.greedy import (
    RULES,
    Picks,
    choose,
    kcenter,
    lcmd,
    posterior_variance,
    random,
    top,
)

__all__ = [
    "RULES",
    "Picks",
    "choose",
    "kcenter",
    "lcmd",
    "posterior_variance",
    "random",
    "top",
]
