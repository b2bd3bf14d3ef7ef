"""Rounds: the loop in which a batch is proposed, labelled and learnt at a time.

One course, whoever proposes: a pool its candidates (`from_pool`), dynamics and attacks structures
that they make (`from_dynamics`). Steps of dynamics and rounds share labels, store, tools and what
begins and ends a run (`tunesmith.loop.run`). Not their course: a step asks about one structure and
goes on from it; a round proposes a batch, and its model learns all labels anew.
"""

from tunesmith.loop.rounds.rounds_estimate import estimate
from tunesmith.loop.rounds.rounds_outputs import show
from tunesmith.loop.rounds.rounds_run import prepare, run

__all__ = ["estimate", "prepare", "run", "show"]
