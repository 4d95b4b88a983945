"""The ConfigMap `guildnet-org`: which org owns a namespace, and the settings of its operator."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from guildnet import labels
from guildnet.digest import canonical_json
from guildnet.errors import GitError, KubeError, KubeForbidden, KubeNotFound
from guildnet.kube import CONFIG_MAPS, NAMESPACES, KubeClient
from guildnet.org_budget import BudgetLeft, budget_left, used_part
from guildnet.outcome import Waiting
from guildnet.record import Amounts, OrgRecord
from guildnet.resources import Org, org_path
from guildnet_reconciler.capacity.threads import ThreadShare
from guildnet_reconciler.faults import DONE, Fault, StepResult
from guildnet_reconciler.org.claim_identity import data_of, objection
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.records.location import location_json
from guildnet_reconciler.source.approvals import is_left_behind
from guildnet_reconciler.source.org_source import OrgSource, SourceTree

log = logging.getLogger(__name__)


def claim_data(
    org: Org,
    *,
    state_repository: str,
    status_root: str,
    attempted: str | None,
    applied: str | None,
    namespace_uid: str | None,
    budget_left: BudgetLeft | None = None,
) -> dict[str, str]:
    """The ConfigMap's data."""
    settings = {
        "limits": org.spec.get("limits", {}),
        "models": org.models,
        "mesh": org.spec.get("mesh", {}),
        "egress": org.agent_defaults.get("egress", []),
        "dns": org.spec.get("dns", []),
        "suspend": org.suspended,
    }
    data = {
        "org": org.name,
        "stateRepository": state_repository,
        "statusRoot": status_root,
        "attempted": attempted or "",
        "applied": applied or "",
        "namespaceUID": namespace_uid or "",
        "settings": canonical_json(settings).decode(),
    }
    return data if budget_left is None else {**data, "budget": budget_left.to_json()}


def claim_object(org: Org, data: Mapping[str, str]) -> dict[str, Any]:
    """The ConfigMap as it is applied."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": labels.ORG_CONFIG_MAP,
            "namespace": org.cluster.namespace,
            "labels": {labels.MANAGED_BY: labels.RECONCILER, labels.ORG: org.name},
        },
        "data": dict(data),
    }


class Claim:
    """An org's claim to its namespace.

    `attempted` is the revision in which the org's file or a task last changed, `applied` the last
    one of which nothing is left to do. `data` is the ConfigMap's data as last read or written,
    None while it must be read.
    """

    def __init__(
        self,
        org: str,
        tree: SourceTree,
        status_branch: str,
        status: StatusWriter,
        threads: ThreadShare,
    ) -> None:
        self.attempted: str | None = None
        self.applied: str | None = None
        self.namespace_uid: str | None = None
        self.data: dict[str, str] | None = None
        self._key: tuple[str | None, str | None, str] | None = None
        self._name = org
        self._tree = tree
        self._status_branch = status_branch
        self._status = status
        self._threads = threads
        self._is_starting = False

    def remember(self, record: OrgRecord) -> None:
        """Take over what an earlier process recorded."""
        self.attempted, self.applied = record.attempted, record.applied
        self.namespace_uid = record.namespace_uid

    def expire(self) -> None:
        """Another process may write the ConfigMap: read it before the next use."""
        self.data = None

    def leave(self) -> None:
        """The org left its location."""
        self.data = self.namespace_uid = None

    async def take(self, org: Org, client: KubeClient, source: OrgSource) -> StepResult:
        """Check that the namespace is ours and has not seen a newer revision; then write the
        ConfigMap."""
        if self.data is None:
            result = await self._read(org, client, source)
            if not result.is_done:
                return result
        if source.key != self._key:
            await self._threads.run(self._attempt, source)
        if not await self._is_recorded(org):
            message = (
                f"waiting for the org's record on the branch {self._status_branch}, which cannot "
                f"be written: nothing starts before it"
            )
            return StepResult(Waiting("NotRecorded", message))
        await self.write(org, client)
        return DONE

    async def confirm(self, org: Org, client: KubeClient) -> None:
        """Nothing of the attempted revision is left to do."""
        self.applied = self.attempted
        await self.write(org, client)

    async def _is_recorded(self, org: Org) -> bool:
        """Whether the remote status branch holds a record of the org's work in this location.

        A cluster with work that no record knows must be one whose records were lost.
        """
        name, location = self._name, location_json(org.cluster)
        record = self._status.of(name).org or OrgRecord(name)
        if not record.attempted or record.location != location:
            started = replace(record, attempted=self.attempted, location=location)
            self._is_starting = self._status.put_org(started, "begins")
        if self._is_starting:
            self._is_starting = not await self._status.flush()
        return not self._is_starting

    async def _read(self, org: Org, client: KubeClient, source: OrgSource) -> StepResult:
        namespace = org.cluster.namespace
        try:
            found = await client.find(NAMESPACES, namespace)
        except KubeForbidden:
            found = None  # the work itself needs no right to get namespaces
        uid = found["metadata"]["uid"] if found else None
        existing = await client.find(CONFIG_MAPS, labels.ORG_CONFIG_MAP)
        data = data_of(existing)
        if existing is not None:
            fault = objection(data, self._wanted(org), namespace)
            if fault is not None:
                return StepResult.stalled(fault)
            forgotten = self._forgotten(data)
            if forgotten is not None:
                return forgotten
            overtaken = await self._threads.run(self._overtaken, data.get("attempted"), source)
            if overtaken is not None:
                return overtaken
        elif found and self.namespace_uid not in (None, uid):
            await _report_replaced(client, found)
        self.namespace_uid = uid
        self.data = dict(data)
        return DONE

    def _forgotten(self, data: Mapping[str, str]) -> StepResult | None:
        """Why the org may not work in a cluster that knows of work without a record: its finished
        runs could run again (I7). The branch was created again while the cluster did not answer,
        or by a reconciler of other orgs."""
        record = self._status.of(self._name).org
        is_known = record is not None and record.attempted
        if is_known or self._status.is_new or not data.get("attempted"):
            return None
        message = (
            f"the cluster knows of work of this org, but the status branch {self._status_branch} "
            f"has no record of it: push the earlier branch back, or start again without its "
            f"records with guildnet reconciler --init-status"
        )
        return StepResult.stalled(Fault("StatusBranchLost", message))

    def _overtaken(self, attempted: str | None, source: OrgSource) -> StepResult | None:
        mirror = self._tree.mirror
        if not attempted or mirror.is_ancestor(attempted, source.revision):
            return None
        if mirror.resolve(attempted) is None:
            # Another replica has usually attempted a revision newer than our last fetch.
            with suppress(GitError):
                mirror.fetch([attempted])
        if mirror.is_ancestor(source.revision, attempted):
            message = f"the cluster has already seen {attempted}, a newer revision: waiting for it"
            return StepResult(Waiting("Overtaken", message))
        if is_left_behind(mirror, source.revision, attempted, self._tree.is_trusted):
            return None
        message = (
            f"the cluster has seen {attempted}, which is no longer in the history: push that "
            f"history back, or commit with the trailer '{labels.ACCEPT_HISTORY}: {attempted}'"
        )
        return StepResult.stalled(Fault("HistoryRewritten", message))

    def _attempt(self, source: OrgSource) -> None:
        mirror, before = self._tree.mirror, self._key
        if before is None and self.attempted and mirror.resolve(self.attempted):
            paths = (org_path(self._name), f"tasks/{self._name}")
            file, tasks = (mirror.tree_id(self.attempted, path) for path in paths)
            before = (file, tasks, source.key[2])
            if not mirror.is_ancestor(self.attempted, source.revision):
                before = None  # the history was rewritten
        if before != source.key:
            self.attempted = source.revision
        self._key = source.key

    def _wanted(self, org: Org) -> dict[str, str]:
        data = claim_data(
            org,
            state_repository=self._tree.place,
            status_root=self._status_branch,
            attempted=self.attempted,
            applied=self.applied,
            namespace_uid=self.namespace_uid,
            budget_left=self._budget_left(org),
        )
        before = self.data or {}
        if not org.spec and "settings" in before:
            data["settings"] = before["settings"]  # its file is gone: running tasks keep theirs
        return data

    def _budget_left(self, org: Org) -> BudgetLeft | None:
        budget, spent = self._budget(org)
        today = datetime.now(UTC).date()
        return budget_left(budget, today, usd=spent.cost, tokens=spent.tokens)

    def budget_used(self, org: Org) -> float | None:
        """The used part of today's budget, of the limit of which most is used; None without a
        budget."""
        budget, spent = self._budget(org)
        return used_part(budget, usd=spent.cost, tokens=spent.tokens)

    def _budget(self, org: Org) -> tuple[Mapping[str, Any], Amounts]:
        """The org's limits for a day, and what it has used today."""
        spent = self._status.spent(org.name, datetime.now(UTC).date())
        return org.spec.get("limits", {}).get("budget", {}), spent

    def is_budget_outdated(self, org: Org) -> bool:
        """Whether more of the org's budget is used than the ConfigMap says."""
        left = self._budget_left(org)
        if left is None or self.data is None:
            return False
        return self.data.get("budget") != left.to_json()

    async def release(self, org: Org, client: KubeClient) -> None:
        """Delete the ConfigMap if it is still ours."""
        found = await client.find(CONFIG_MAPS, labels.ORG_CONFIG_MAP)
        if found is None:
            return
        if objection(data_of(found), self._wanted(org), org.cluster.namespace) is None:
            meta = found["metadata"]
            with suppress(KubeNotFound):
                await client.delete(
                    CONFIG_MAPS,
                    labels.ORG_CONFIG_MAP,
                    uid=meta["uid"],
                    resource_version=meta["resourceVersion"],
                )

    async def write(self, org: Org, client: KubeClient) -> None:
        """Apply the ConfigMap if it differs."""
        data = self._wanted(org)
        if data != self.data:
            obj = claim_object(org, data)
            await client.apply(obj, field_manager=labels.RECONCILER)
            self.data = data


async def _report_replaced(client: KubeClient, namespace: Mapping[str, Any]) -> None:
    involved = {"apiVersion": "v1", "kind": "Namespace", "metadata": namespace["metadata"]}
    message = "the namespace was created again: the org's AgentTasks are created again from git"
    try:
        await client.create_event(
            involved, reason="ClusterReplaced", message=message, component=labels.RECONCILER
        )
    except KubeError as error:
        log.warning("no event on namespace: %s", error)
