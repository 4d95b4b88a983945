"""The branches that a run's work is pushed to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WorkBranch:
    """The branch for the work of the published context, and the run's trailer.

    ``checkpoints`` is the branch for the run's work in progress. ``may_continue``: the branch
    belongs to an earlier run whose pull request is open, so this run continues on it although its
    commits name the other run.
    """

    name: str
    trailer: str
    checkpoints: str
    may_continue: bool = False
