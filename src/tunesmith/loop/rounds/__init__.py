"""Rounds from a pool: the loop with all candidates known beforehand.

Steps of dynamics and rounds share labels, store, tools and what begins and ends a run
(`tunesmith.loop.job`). Not their course: a step asks about one structure and goes on from it; a
round chooses among all that are left, and its model starts from the pretrained weights again.
"""

from tunesmith.loop.rounds.estimate import estimate
from tunesmith.loop.rounds.job import run
from tunesmith.loop.rounds.outputs import show
from tunesmith.loop.rounds.prepare import prepare

__all__ = ["estimate", "prepare", "run", "show"]
