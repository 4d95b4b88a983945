"""The ConfigMap `guildnet-org`: whom a namespace belongs to, and what the operator needs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from guildnet import labels
from guildnet.digest import canonical_json
from guildnet.errors import GitError, KubeError, KubeForbidden, KubeNotFound
from guildnet.kube import CONFIG_MAPS, NAMESPACES, KubeClient
from guildnet.outcome import Done, Outcome, Stalled, Waiting
from guildnet.record import OrgRecord
from guildnet.resources import Org, org_path
from guildnet_reconciler.capacity.threads import ThreadShare
from guildnet_reconciler.faults import Fault
from guildnet_reconciler.org.claim_identity import data_of, objection
from guildnet_reconciler.org.state import OrgState
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
    return {
        "org": org.name,
        "stateRepository": state_repository,
        "statusRoot": status_root,
        "attempted": attempted or "",
        "applied": applied or "",
        "namespaceUID": namespace_uid or "",
        "settings": canonical_json(settings).decode(),
    }


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
    """An org's hold of its namespace, and the revisions that are written down there."""

    def __init__(
        self,
        state: OrgState,
        tree: SourceTree,
        status_branch: str,
        status: StatusWriter,
        threads: ThreadShare,
    ) -> None:
        self._state = state
        self._tree = tree
        self._status_branch = status_branch
        self._status = status
        self._threads = threads
        self._begins = False

    async def take(self, org: Org, client: KubeClient, source: OrgSource) -> Outcome:
        """Make sure that the namespace is ours, and that nobody has gone beyond this revision."""
        if self._state.claimed is None:
            outcome = await self._look(org, client, source)
            if not isinstance(outcome, Done):
                return outcome
        if source.key != self._state.key:
            await self._threads.run(self._attempt, source)
        if not await self._is_on_record(org):
            where = f"the branch {self._status_branch} cannot be written"
            return Waiting("NotRecorded", f"nothing begins before its record says so: {where}")
        await self.write(org, client)
        return Done()

    async def _is_on_record(self, org: Org) -> bool:
        """Whether the remote status branch says that the org is at work in this place. Nothing
        begins before: a cluster that knows of work which no record knows has lost its records."""
        name, location = self._state.name, location_json(org.cluster)
        record = self._status.of(name).org or OrgRecord(name)
        if not record.attempted or record.location != location:
            begun = replace(record, attempted=self._state.attempted, location=location)
            self._begins = self._status.put_org(begun, "begins")
        if self._begins:
            self._begins = not await self._status.flush()
        return not self._begins

    async def _look(self, org: Org, client: KubeClient, source: OrgSource) -> Outcome:
        namespace = org.cluster.namespace
        try:
            found = await client.find(NAMESPACES, namespace)
        except KubeForbidden:
            found = None  # the right to look at namespaces is not needed for work
        uid = found["metadata"]["uid"] if found else None
        existing = await client.find(CONFIG_MAPS, labels.ORG_CONFIG_MAP)
        data = data_of(existing)
        if existing is not None:
            fault = objection(data, self._data(org), namespace)
            if fault is not None:
                self._state.fault = fault
                return Stalled(fault.reason, fault.message)
            forgotten = self._forgotten(data)
            if forgotten is not None:
                return forgotten
            overtaken = await self._threads.run(self._overtaken, data.get("attempted"), source)
            if overtaken is not None:
                return overtaken
        elif found and self._state.namespace_uid not in (None, uid):
            await _report_replaced(client, found)
        self._state.namespace_uid = uid
        self._state.claimed = dict(data)
        return Done()

    def _forgotten(self, data: Mapping[str, str]) -> Outcome | None:
        """Why a cluster that remembers work of which there is no record may not be worked with:
        its finished runs could run again (I7). The branch was made anew while the cluster was
        silent, or by a reconciler of other orgs."""
        record = self._status.of(self._state.name).org
        is_known = record is not None and record.attempted
        if is_known or self._status.begun_anew or not data.get("attempted"):
            return None
        message = (
            f"the cluster remembers work of this org that the status branch "
            f"{self._status_branch} does not know of, so that branch is not the one it was: push "
            f"the earlier one back, or begin anew without its records with "
            f"guildnet reconciler --init-status"
        )
        self._state.fault = Fault("StatusBranchLost", message)
        return Stalled("StatusBranchLost", message)

    def _overtaken(self, attempted: str | None, source: OrgSource) -> Outcome | None:
        mirror = self._tree.mirror
        if not attempted or mirror.is_ancestor(attempted, source.revision):
            return None
        if mirror.resolve(attempted) is None:
            # What another replica has taken up is newer than our last fetch, as a rule.
            with suppress(GitError):
                mirror.fetch([attempted])
        if mirror.is_ancestor(source.revision, attempted):
            return Waiting("Overtaken", f"the cluster has seen {attempted}, which is newer")
        if is_left_behind(mirror, source.revision, attempted, self._tree.is_trusted):
            return None
        message = (
            f"{attempted}, which the cluster has seen, is not in the history any more: commit with "
            f"the trailer '{labels.ACCEPT_HISTORY}: {attempted}', or push that history back"
        )
        self._state.fault = Fault("HistoryRewritten", message)
        return Stalled("HistoryRewritten", message)

    def _attempt(self, source: OrgSource) -> None:
        """The org's revision is the one in which its file or a task last changed."""
        state, mirror = self._state, self._tree.mirror
        before = state.key
        if before is None and state.attempted and mirror.resolve(state.attempted):
            paths = (org_path(state.name), f"tasks/{state.name}")
            file, tasks = (mirror.tree_id(state.attempted, path) for path in paths)
            before = (file, tasks, source.key[2])
            if not mirror.is_ancestor(state.attempted, source.revision):
                before = None  # a history that was left behind
        if before != source.key:
            state.attempted = source.revision
        state.key = source.key

    def _data(self, org: Org) -> dict[str, str]:
        data = claim_data(
            org,
            state_repository=self._tree.place,
            status_root=self._status_branch,
            attempted=self._state.attempted,
            applied=self._state.applied,
            namespace_uid=self._state.namespace_uid,
        )
        before = self._state.claimed or {}
        if not org.spec and "settings" in before:
            data["settings"] = before["settings"]  # its file is gone; what runs keeps what it had
        return data

    async def release(self, org: Org, client: KubeClient) -> None:
        """Give the namespace back, where it is ours still."""
        found = await client.find(CONFIG_MAPS, labels.ORG_CONFIG_MAP)
        if found is None:
            return
        if objection(data_of(found), self._data(org), org.cluster.namespace) is None:
            meta = found["metadata"]
            with suppress(KubeNotFound):
                await client.delete(
                    CONFIG_MAPS,
                    labels.ORG_CONFIG_MAP,
                    uid=meta["uid"],
                    resource_version=meta["resourceVersion"],
                )

    async def write(self, org: Org, client: KubeClient) -> None:
        data = self._data(org)
        if data != self._state.claimed:
            obj = claim_object(org, data)
            await client.apply(obj, field_manager=labels.RECONCILER)
            self._state.claimed = data


async def _report_replaced(client: KubeClient, namespace: Mapping[str, Any]) -> None:
    involved = {"apiVersion": "v1", "kind": "Namespace", "metadata": namespace["metadata"]}
    message = "the namespace is a new one: the org is laid out in it again from git"
    try:
        await client.create_event(
            involved, reason="ClusterReplaced", message=message, component=labels.RECONCILER
        )
    except KubeError as error:
        log.warning("no event on namespace: %s", error)
