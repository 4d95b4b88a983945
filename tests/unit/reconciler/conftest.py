"""Orgs, tasks and what is observed of them, made of plain values."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guildnet.loading import load_org, load_task
from guildnet.resources import Org, Source, Task, org_path, task_path

ORG = b"""\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {name: acme}
spec:
  cluster: {kubeconfig: acme, namespace: agents}
  agent: {preset: shell, command: [sh, -c, "true"]}
"""


@pytest.fixture(scope="session")
def org() -> Org:
    return load_org(ORG, Source(org_path("acme"), "b0", "r0"))


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    def make(name: str = "fix", prompt: str = "do it", *, blob: str = "b1", more: str = "") -> Task:
        text = (
            "apiVersion: guildnet.io/v1alpha1\nkind: Task\n"
            f"metadata: {{name: {name}}}\nspec:\n  prompt: {prompt}\n{more}"
        )
        return load_task(text.encode(), Source(task_path("acme", name), blob, "r1"))

    return make
