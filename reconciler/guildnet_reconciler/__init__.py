"""The reconciler: from the source branch to AgentTasks, and from their status to the status branch.

Way in: `main.run`. Way of a commit: `triggers` -> `scheduler` -> `repository_pass` (fetch, verify,
diff) -> `org_pass` (load, plan, guard, apply, prune, report) -> `status_branch`.
"""
