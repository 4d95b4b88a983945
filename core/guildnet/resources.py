"""Org and Task as written in their files. Immutable; only `loading` creates them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from guildnet.digest import digest

# The fields that define a run: changing one of them, and only these, starts the next run.
RUN_FIELDS = ("prompt", "context", "agent", "verify", "pullRequest", "rerun")

DEFAULT_MAX_ACTIVE = 5


@dataclass(frozen=True, slots=True)
class Source:
    """The origin of a resource: its path, its blob id, and the revision it was read at."""

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
    """How many deletions one pass may make without a person's approval."""

    enabled: bool = True
    max_percent: int = 20
    min_objects: int = 5

    def budget(self, recorded: int) -> int:
        """Deletions allowed in one pass over an org with `recorded` tasks."""
        return max(self.min_objects, recorded * self.max_percent // 100)


@dataclass(frozen=True)
class Org:
    """One organisation. `spec` is the whole spec of the file, for fields without an attribute."""

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
        """A digest of everything that is merged into each task of the org."""
        if not self.models:
            return digest(self.agent_defaults)
        models = [[name, model["names"][0]] for name, model in self.models.items()]
        return digest({"agent": self.agent_defaults, "models": models})


@dataclass(frozen=True)
class Task:
    """One task of one org. `spec` is as written, without defaults and merged values."""

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
        """A digest of RUN_FIELDS as written; equal digests mean the same run."""
        return digest({name: self.spec[name] for name in RUN_FIELDS if name in self.spec})


def org_path(org: str) -> str:
    return f"orgs/{org}.yaml"


def task_path(org: str, task: str) -> str:
    return f"tasks/{org}/{task}.yaml"
