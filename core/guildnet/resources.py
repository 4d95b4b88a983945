"""Org and Task as people write them. Immutable; built only by `loading`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from guildnet.digest import digest

# What the agent is asked to do. An edit of one of these starts the next run; of no other field.
RUN_FIELDS = ("prompt", "context", "agent", "pullRequest", "rerun")

DEFAULT_MAX_ACTIVE = 5


@dataclass(frozen=True, slots=True)
class Source:
    """Where a resource was read: its path, its blob, and the revision it was read at."""

    path: str
    blob: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class ClusterRef:
    """A kubeconfig by name, never by path, and the namespace in that cluster."""

    kubeconfig: str
    namespace: str
    context: str | None = None


@dataclass(frozen=True, slots=True)
class PrunePolicy:
    """How many deletions one step may make without somebody's word."""

    enabled: bool = True
    max_percent: int = 20
    min_objects: int = 5

    def budget(self, recorded: int) -> int:
        """Deletions allowed in one step of an org with `recorded` tasks."""
        return max(self.min_objects, recorded * self.max_percent // 100)


@dataclass(frozen=True)
class Org:
    """One organisation. `spec` is the file's own, for what has no field of its own here."""

    name: str
    cluster: ClusterRef
    spec: Mapping[str, Any]
    source: Source
    prune: PrunePolicy = field(default_factory=PrunePolicy)

    @property
    def suspended(self) -> bool:
        return bool(self.spec.get("suspend", False))

    @property
    def max_active(self) -> int:
        return int(self.spec.get("limits", {}).get("maxActive", DEFAULT_MAX_ACTIVE))

    @property
    def agent_defaults(self) -> Mapping[str, Any]:
        defaults: Mapping[str, Any] = self.spec.get("agent", {})
        return defaults

    @property
    def models(self) -> Mapping[str, Any]:
        """The model endpoints by name, in the order of the file."""
        models: Mapping[str, Any] = self.spec.get("models", {})
        return models

    @cached_property
    def defaults_digest(self) -> str:
        """Changes when something that flows into every task changes."""
        if not self.models:
            return digest(self.agent_defaults)
        models = [[name, model["names"][0]] for name, model in self.models.items()]
        return digest({"agent": self.agent_defaults, "models": models})


@dataclass(frozen=True)
class Task:
    """One task of one org. `spec` is as written: no defaults, nothing merged."""

    org: str
    name: str
    spec: Mapping[str, Any]
    source: Source
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.org}/{self.name}"

    @cached_property
    def run_digest(self) -> str:
        """Digest of what the agent is asked to do, as written; equal digests are the same run."""
        return digest({name: self.spec[name] for name in RUN_FIELDS if name in self.spec})


def org_path(org: str) -> str:
    return f"orgs/{org}.yaml"


def task_path(org: str, task: str) -> str:
    return f"tasks/{org}/{task}.yaml"
