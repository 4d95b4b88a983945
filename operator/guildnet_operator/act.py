"""Carries out a decision: child objects, artifacts, status, command to the agent, in this order.

An object that does not differ is not written (I4). A start is in the status before it is sent to
the agent, so that an operator that restarts knows of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from guildnet import labels
from guildnet.errors import AgentError, KubeConflict, KubeError, KubeNotFound
from guildnet.kube import (
    AGENT_TASKS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    SECRETS,
    KubeClient,
)
from guildnet_operator.agents.sessions import AgentSessions
from guildnet_operator.cache import Cache
from guildnet_operator.decisions.actions import Start, Stop
from guildnet_operator.decisions.events import Transition, transitions
from guildnet_operator.decisions.inputs import Observed, collectable
from guildnet_operator.manifests import (
    Plan,
    agent_deployment,
    agent_network_policy,
    agent_secret,
    editor_service,
    workspace_claim,
)
from guildnet_operator.manifests.artifacts import artifacts_config_map
from guildnet_operator.manifests.secret import document_digest, document_patch
from guildnet_operator.mesh.keeper import MeshKeeper
from guildnet_operator.metrics import Metrics
from guildnet_operator.views import DIGEST, TaskView

logger = logging.getLogger(__name__)


class Actor:
    """Writes to the cluster and to agents; records its own writes in the cache."""

    def __init__(
        self,
        client: KubeClient,
        cache: Cache,
        agents: AgentSessions,
        mesh: MeshKeeper,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._cache = cache
        self._agents = agents
        self._mesh = mesh
        self._metrics = metrics

    async def apply_children(self, o: Observed, plan: Plan) -> None:
        """Apply all child objects. Raises KubeForbidden (by quota or policy) and KubeInvalid."""
        made = await asyncio.gather(
            self._ensure_secret(o, plan),
            self._ensure_claim(o, plan),
            self.ensure_policy(o, plan),
            self._ensure(o, editor_service(plan)),
            return_exceptions=True,
        )
        for error in made:
            if isinstance(error, BaseException):
                raise error  # of several errors always the same one
        await self._mesh.provide_key(o, plan, wait="Deployment" not in o.children)
        await self._ensure(o, agent_deployment(plan))

    async def park(self, o: Observed) -> None:
        """Scale the Deployment to zero; keep everything else."""
        deployment = o.children.get("Deployment")
        if deployment is None or deployment.replicas == 0:
            return
        patch: dict[str, Any] = {"spec": {"replicas": 0}, "metadata": {"uid": deployment.uid}}
        try:
            written = await self._client.patch(
                DEPLOYMENTS, deployment.name, patch, o.task.namespace, field_manager=labels.OPERATOR
            )
        except (KubeNotFound, KubeConflict):
            return  # deleted, or another object of the same name, which is not ours (I2)
        self._cache.wrote_child(_typed(written, "apps/v1", "Deployment"))

    async def ensure_policy(self, o: Observed, plan: Plan) -> None:
        """Apply the NetworkPolicy: the addresses of egress names change while a pod runs.

        While a name cannot be resolved, an existing policy stays as it is (I1).
        """
        if plan.egress_complete or "NetworkPolicy" not in o.children:
            await self._ensure(o, agent_network_policy(plan))

    async def _ensure(self, o: Observed, wanted: dict[str, Any]) -> None:
        child = o.children.get(wanted["kind"])
        same = child is not None and child.digest == wanted["metadata"]["annotations"][DIGEST]
        replicas = wanted["spec"].get("replicas")
        if same and child is not None and (replicas is None or child.replicas == replicas):
            return
        written = await self._client.apply(wanted, field_manager=labels.OPERATOR)
        self._cache.wrote_child(written)

    async def _ensure_claim(self, o: Observed, plan: Plan) -> None:
        if "PersistentVolumeClaim" not in o.children:
            await self._create(workspace_claim(plan))

    async def _ensure_secret(self, o: Observed, plan: Plan) -> None:
        child = o.children.get("Secret")
        if child is None:
            await self._create(agent_secret(plan))
        elif child.digest != document_digest(plan):
            patch = document_patch(plan)
            patch["metadata"]["uid"] = child.uid
            written = await self._client.patch(
                SECRETS, child.name, patch, o.task.namespace, field_manager=labels.OPERATOR
            )
            self._cache.wrote_child(_typed(written, "v1", "Secret"))

    async def _create(self, wanted: dict[str, Any]) -> None:
        written = await self._client.create(wanted, field_manager=labels.OPERATOR)
        self._cache.wrote_child(_typed(written, wanted["apiVersion"], wanted["kind"]))

    # --- artifacts --------------------------------------------------------------------------

    async def collect(self, o: Observed) -> bool:
        """Fetch the missing artifacts and store all of them in one ConfigMap.

        False if the agent did not deliver them; the caller tries again later.
        """
        state, pod = o.reported, o.assigned_pod
        if state is None or pod is None:
            return False
        wanted, _ = collectable(state)
        collected = o.collected
        try:
            address = await self._agents.address(o.task, pod)
            bodies = {
                artifact.name: await self._agents.api.artifact(address, artifact)
                for artifact in wanted
                if collected.get(artifact.name) != artifact.sha256
            }
        except AgentError as error:
            self._agents.collecting_failed(o.task.name, str(error))
            return False
        digests = {artifact.name: artifact.sha256 for artifact in wanted}
        config_map = artifacts_config_map(o.task, digests, bodies)
        await self._write_artifacts(o, config_map, digests)
        self._agents.collected(o.task.name)
        return True

    async def _write_artifacts(
        self, o: Observed, config_map: dict[str, Any], digests: Mapping[str, str]
    ) -> None:
        """Create the ConfigMap, or patch it: add new bodies and remove those no longer listed."""
        child = o.children.get("ConfigMap")
        if child is None:
            await self._create(config_map)
            return
        left = {name: None for name in o.collected if name not in digests}
        patch: dict[str, Any] = {
            "metadata": {"annotations": config_map["metadata"]["annotations"], "uid": child.uid},
            "binaryData": {**left, **config_map["binaryData"]},
        }
        written = await self._client.patch(
            CONFIG_MAPS, child.name, patch, o.task.namespace, field_manager=labels.OPERATOR
        )
        self._cache.wrote_child(_typed(written, "v1", "ConfigMap"))

    # --- status and command -----------------------------------------------------------------

    async def write_status(
        self, observed: TaskView, wanted: Mapping[str, Any], now: datetime
    ) -> bool:
        """Write the status; return whether that changed it.

        KubeConflict when the status has changed since the decision was made from it.
        """
        patch = status_patch(observed.status, wanted)
        if not patch:
            return False
        body = {"metadata": {"resourceVersion": observed.resource_version}, "status": patch}
        written = await self._client.patch(
            AGENT_TASKS,
            observed.name,
            body,
            observed.namespace,
            subresource="status",
            field_manager=labels.OPERATOR,
        )
        if written["metadata"]["resourceVersion"] == observed.resource_version:
            return False  # the CRD is older than this operator, and lacks the fields that differ
        self._cache.wrote_task(written)
        self._metrics.status_written(observed.status, wanted, now)
        for transition in transitions(observed.status, wanted):
            await self._emit(observed, transition, wanted.get("run"))
        return True

    async def _emit(self, task: TaskView, transition: Transition, run: int | None) -> None:
        """Log it and create an Event. A failed Event delays nothing."""
        level = logging.WARNING if transition.warning else logging.INFO
        extra = {"task": task.name, "run": run}
        logger.log(level, "%s: %s", transition.reason, transition.message, extra=extra)
        try:
            await self._client.create_event(
                task.reference,
                reason=transition.reason,
                message=transition.message[:1024],
                component=labels.OPERATOR,
                warning=transition.warning,
            )
        except KubeError as error:
            logger.warning("cannot create an Event: %s", error, extra=extra)

    async def command(self, o: Observed, command: Start | Stop) -> None:
        """Send the command to the agent. Raises AgentError when the agent did not take it."""
        address = await self._agents.address(o.task, command.pod)
        if isinstance(command, Start):
            usage = o.status.get("usage")
            state = await self._agents.api.start(address, o.triple, o.spec, usage)
        else:
            state = await self._agents.api.stop(address, command.reason)
            self._agents.record_stop(o.task.name, command.pod, state.triple, command.reason)
        self._agents.record_state(o.task.name, command.pod, state)


def status_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch between two values; objects field by field, lists whole, None removes."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if old == value:
            continue
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            patch[key] = status_patch(old, value)
        else:
            patch[key] = value
    return patch


def _typed(body: dict[str, Any], api_version: str, kind: str) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, **body}
