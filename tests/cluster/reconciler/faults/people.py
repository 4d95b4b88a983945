"""The other actors while a reconciler is killed repeatedly: committers, an operator, a rival.

All that they choose comes from one seed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.reconciler.conftest import Site, org_file, task_file

from guildnet import labels
from guildnet.errors import KubeConflict, KubeNotFound
from guildnet.kube import AGENT_TASKS, KubeClient

STEADY = ("steady-0", "steady-1")
"""Tasks that are never edited or deleted."""
CROWD = tuple(f"crowd-{number}" for number in range(6))
"""Tasks that go all at once, which is more than the budget, and need an approval."""
BUSY = tuple(f"busy-{number}" for number in range(4))
"""Tasks that are added, edited, broken, deleted and added again."""
BAD = "kind: [Task\n"
OVER_TTL = "ttlAfterFinished: 1s\n"


@dataclass
class Committers:
    """Change the source branch; `files` is how each task stands in its tip, None where it has
    no file. `is_approved` says whether the crowd may go."""

    site: Site
    rng: random.Random
    files: dict[str, str | None] = field(default_factory=dict)
    is_approved: bool = False
    words: int = 0

    def begin(self) -> None:
        org = org_file(
            namespace=self.site.namespace, more="prune: {maxPercent: 0, minObjects: 3}\n"
        )
        self._commit({name: task_file(name) for name in (*STEADY, *CROWD, *BUSY)}, org=org)

    def change(self) -> None:
        """One commit of some kind."""
        kinds: tuple[Callable[[], None], ...] = (
            self._edit,
            self._edit,
            self._spoil,
            self._delete,
            self._delete,
            self._bring_back,
            self._crowd_goes,
            self._approve,
        )
        self.rng.choice(kinds)()

    def settle(self) -> None:
        """What was left open is mended or approved."""
        self._commit({n: task_file(n, self._word()) for n, c in self.files.items() if c == BAD})
        self._approve()

    def _edit(self) -> None:
        more = self.rng.choice(("", OVER_TTL))
        self._commit({self.rng.choice(BUSY): task_file("X", self._word(), more)})

    def _spoil(self) -> None:
        self._commit({self.rng.choice(BUSY): BAD})

    def _delete(self) -> None:
        self._commit({self.rng.choice(BUSY): None})

    def _bring_back(self) -> None:
        """With its first prompt: a finished run stays finished."""
        names = (*BUSY, *CROWD) if self.is_approved else BUSY
        self._commit({self.rng.choice(names): task_file("X")})

    def _crowd_goes(self) -> None:
        self._commit(dict.fromkeys(CROWD))

    def _approve(self) -> None:
        self.is_approved = True
        note = {"orgs/acme/approvals.txt": self._word()}
        self.site.repo.commit(note, "go\n\nApprove-Deletions: acme")

    def _word(self) -> str:
        self.words += 1
        return f"word {self.words}"

    def _commit(
        self, tasks: dict[str, str | None], message: str = "change", org: str | None = None
    ) -> None:
        tree: dict[str, str | None] = {"orgs/acme.yaml": org} if org else {}
        for name, content in tasks.items():
            if content is None and self.files.get(name) is None:
                continue
            named = content.replace("{name: X}", f"{{name: {name}}}") if content else None
            tree[f"tasks/acme/{name}.yaml"] = self.files[name] = named
        self.site.repo.commit(tree, message)


@dataclass
class Operator:
    """Handles and ends what it sees, as the operator would; keeps what it reported, and what
    should not have been. `reported` maps (task, run) to its result."""

    client: KubeClient
    rng: random.Random
    committers: Committers
    reported: dict[tuple[str, int], str] = field(default_factory=dict)
    first_uid: dict[str, str] = field(default_factory=dict)
    wrongs: list[str] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            for obj in await self.client.list_all(AGENT_TASKS):
                if obj["metadata"].get("labels", {}).get(labels.MANAGED_BY):
                    self._look(obj)
                    await self._act(obj)
            await asyncio.sleep(0.1)

    def _look(self, obj: dict[str, Any]) -> None:
        meta, run = obj["metadata"], obj["spec"]["run"]
        name, status = meta["name"], obj.get("status", {})
        if (name, run) in self.reported and status.get("run") != run:
            self.wrongs.append(f"I7: run {run} of {name} is finished and would run again")
        self.first_uid.setdefault(name, meta["uid"])
        highest = max((r for n, r in self.reported if n == name), default=0)
        if run < highest:
            self.wrongs.append(f"I7: {name} went back from run {highest} to {run}")
        if "deletionTimestamp" not in meta:
            return
        if name in STEADY:
            self.wrongs.append(f"I1: {name} was never taken from git and is deleted")
        if name in CROWD and not self.committers.is_approved:
            self.wrongs.append(f"I1: {name} is deleted beyond the budget without approval")

    async def _act(self, obj: dict[str, Any]) -> None:
        run, status = obj["spec"]["run"], obj.get("status", {})
        is_going = "deletionTimestamp" in obj["metadata"]
        if status.get("run") != run:
            if not is_going:
                begun = {"run": run, "attempt": 1, "start": 1, "conditions": []}
                await self._tell(obj, {**begun, "finishedAt": None, "history": _history(status)})
        elif not status.get("finishedAt") and (is_going or self.rng.random() < 0.3):
            result = "Cancelled" if is_going else self.rng.choice(("TaskSucceeded", "TaskFailed"))
            if await self._tell(obj, _end(result)):
                self.reported[obj["metadata"]["name"], run] = result

    async def _tell(self, obj: dict[str, Any], status: dict[str, Any]) -> bool:
        meta = obj["metadata"]
        patch = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": status}
        try:
            await self.client.patch(AGENT_TASKS, meta["name"], patch, subresource="status")
        except (KubeConflict, KubeNotFound):
            return False
        return True


def _end(result: str) -> dict[str, Any]:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    values = (("Succeeded", str(result == "TaskSucceeded")), ("Finished", "True"))
    conditions = [
        {"type": kind, "status": value, "reason": result, "message": "", "lastTransitionTime": now}
        for kind, value in values
    ]
    return {"finishedAt": now, "conditions": conditions}


def _history(status: dict[str, Any]) -> list[dict[str, Any]]:
    """What the operator keeps of a run when the next starts."""
    earlier = list(status.get("history", ()))
    if not status.get("run"):
        return earlier
    result = next((c["reason"] for c in status["conditions"] if c["type"] == "Succeeded"), None)
    entry = {"run": status["run"], "result": result or "Superseded", "attempts": 1, "starts": 1}
    return [entry, *earlier][:10]
