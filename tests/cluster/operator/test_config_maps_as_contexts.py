"""A ConfigMap reaches agents as soon as its owner labels it."""

from __future__ import annotations

from typing import Any

from guildnet.kube import CONFIG_MAPS


async def test_a_config_map_is_a_context_once_it_is_marked(org: Any, node: Any) -> None:
    await org.configure()
    await org.add("ours", context=[{"name": "settings", "configMap": "guildnet-org"}])
    await org.add("rules", context=[{"name": "rules", "configMap": "coding-rules"}])
    async with org.operated():
        await org.reaches("ours", "Accepted", "False", "PolicyDenied")
        await org.reaches("rules", "Accepted", "False", "ConfigMapNotFound")
        metadata = {"name": "coding-rules", "namespace": org.namespace}
        await org.admin.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        await org.reaches("rules", "Accepted", "False", "PolicyDenied")
        mark = {"metadata": {"labels": {"guildnet.io/use": "context"}}}
        await org.admin.patch(CONFIG_MAPS, "coding-rules", mark, org.namespace)
        await org.reaches("rules", "Accepted", "True", "Valid")
