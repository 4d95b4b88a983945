"""What is kept of a demo that failed, before it is cleaned away: logs, and what clusters say."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import suppress
from pathlib import Path

from guildnet import labels
from guildnet.errors import GuildNetError
from guildnet.kube import AGENT_TASKS, DEPLOYMENTS, EVENTS, PODS, KubeClient
from guildnet_cli.demo.grounds import ORGS
from guildnet_cli.demo.surroundings import Surroundings

_MAX_LOG_BYTES = 4 * 1024 * 1024


def save(surroundings: Surroundings, folder: Path) -> None:
    """Write it into `folder`, in place of an earlier demo's; what cannot be had is left out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for log in surroundings.logs:
        with suppress(OSError):
            shutil.copy2(log, folder / log.name)
    for name, content in asyncio.run(_of_clusters(surroundings)).items():
        (folder / name).write_bytes(content)


async def _of_clusters(surroundings: Surroundings) -> dict[str, bytes]:
    """File name -> content: objects, none of which holds a secret, and the operators' logs."""
    found: dict[str, bytes] = {}
    try:
        for org in ORGS:
            told = await _of_cluster(surroundings.client(org))
            found |= {f"{org}-{name}": content for name, content in told.items()}
    finally:
        await surroundings.close()
    return found


async def _of_cluster(client: KubeClient) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    system = labels.OPERATOR_NAMESPACE
    for name, kind, namespace in (
        ("agenttasks.json", AGENT_TASKS, client.namespace),
        ("pods.json", PODS, client.namespace),
        ("events.json", EVENTS, client.namespace),
        ("operators.json", DEPLOYMENTS, system),
    ):
        with suppress(GuildNetError):
            objects = await client.list_all(kind, namespace)
            found[name] = json.dumps(objects, indent=1).encode()
    with suppress(GuildNetError):
        selector = f"{labels.APP_NAME}={labels.OPERATOR}"
        for pod in await client.list_all(PODS, system, label_selector=selector):
            name = pod["metadata"]["name"]
            found[f"{name}.log"] = await client.pod_log(
                name, container="operator", namespace=system, max_bytes=_MAX_LOG_BYTES
            )
    return found
