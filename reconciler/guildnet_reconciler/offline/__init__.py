"""What needs no cluster: the problems of a work tree, and what a commit would do.

`guildnet validate`, `guildnet plan` and `guildnet mesh policy` are made of these. They decide by
the same steps as a pass does; for a plan the old tree stands in for the cluster.
"""

from __future__ import annotations

from guildnet_reconciler.offline.planning import PlanRow, plan_between, plan_trees, plan_work_tree
from guildnet_reconciler.offline.tree import mesh_orgs
from guildnet_reconciler.offline.validation import read_work_tree, validate_tree
from guildnet_reconciler.steps.differences import FieldChange, differing

__all__ = [
    "FieldChange",
    "PlanRow",
    "differing",
    "mesh_orgs",
    "plan_between",
    "plan_trees",
    "plan_work_tree",
    "read_work_tree",
    "validate_tree",
]
