"""What every exchangeable part of a run must be: its law, and what it says it can do.

A part is the frozen settings of one section of a configuration, registered under its ``kind``
(`tunesmith.registry`), here or in a package of one's own. Capabilities are declared, with the
default that most parts have, so that nobody asks these parts what attributes they have.
`tunesmith.testing.parts_contract` holds the tests of their laws.

| section | class | law |
|---|---|---|
| ``tune.sampler`` | `Sampler` | a function of problem and seed, however often it is interrupted |
| ``tune.anchor`` | `Anchor` | its penalty is minus the log of the Gaussian of `std`, over n |
| ``tune.loss`` | `Loss` | a mean over the batch, smallest where predictions are the labels |
| ``tune.subspace`` | `SubspaceRule` | its start expands to the model, unless it is fresh |
| ``tune.spread`` | `Spread` | the mean stays the members', whatever its error bars come from |
| ``explore`` | `Dynamics` | a state is a value: the same step from it, also when it was packed |
| | `PoolExplorer`, `FrameExplorer` | no candidate twice; over when all rounds are done |
| ``acquire``, from a pool | `Acquirer` | n different candidates, in whatever order they stand |
| ``acquire``, of dynamics | `Criterion` | whoever is more uncertain is labelled sooner |
| ``acquire``, of ``cago`` | `FrameRule` | frames by lot, as they are, unless it says otherwise |
| ``reference`` | `ReferenceRule` | equal structures have equal labels; nothing is raised |
| ``calibrate`` | `Law` | the calibrated spread rises with the raw one |
| ``check`` | `Check` | it changes nothing of what it examines, and finds the same again |

What comes of them is a `Posterior`. Beside them stand protocols where they are used:
`tunesmith.core` for `Reference`, `tunesmith.loop.recipe` for recipes,
`tunesmith.potentials.potential` for backends.
"""

from tunesmith.contracts.check_parts import Check, Examined, Health
from tunesmith.contracts.part import Part
from tunesmith.contracts.posterior_parts import ClosedForm, Law, Posterior, Spread
from tunesmith.contracts.run_parts import (
    Acquirer,
    Candidates,
    Criterion,
    Dynamics,
    FrameExplorer,
    FrameRule,
    PoolExplorer,
    ReferenceRule,
    Rounds,
)
from tunesmith.contracts.tune_parts import Anchor, Loss, Sampler, SubspaceRule

__all__ = [
    "Acquirer",
    "Anchor",
    "Candidates",
    "Check",
    "ClosedForm",
    "Criterion",
    "Dynamics",
    "Examined",
    "FrameExplorer",
    "FrameRule",
    "Health",
    "Law",
    "Loss",
    "Part",
    "PoolExplorer",
    "Posterior",
    "ReferenceRule",
    "Rounds",
    "Sampler",
    "Spread",
    "SubspaceRule",
]
