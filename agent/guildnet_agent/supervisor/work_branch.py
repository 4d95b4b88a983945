"""The branches that a run's work goes to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WorkBranch:
    """Where the work of the published context goes: its branch, and the run it is of.

    ``checkpoints`` is the branch of the run's work in progress. ``may_continue``: the branch is an
    earlier run's whose pull request is open, so it is gone on with although its commits name
    another run.
    """

    name: str
    trailer: str
    checkpoints: str
    may_continue: bool = False
