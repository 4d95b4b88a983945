"""What needs no cluster: the problems of a work tree, and what a commit would do.

`guildnet validate` and `guildnet plan` are made of these. They decide by the same steps as a
pass does; for a plan the old tree stands in for the cluster.
"""

from __future__ import annotations

from guildnet_reconciler.offline.planning import PlanRow, plan_between, plan_trees, plan_work_tree
from guildnet_reconciler.offline.validation import validate_tree
from guildnet_reconciler.steps.differences import FieldChange, differing

__all__ = [
    "FieldChange",
    "PlanRow",
    "differing",
    "plan_between",
    "plan_trees",
    "plan_work_tree",
    "validate_tree",
]
