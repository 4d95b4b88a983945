"""Whether a missing status branch existed before, according to the orgs' clusters.

They are asked only if the state directory does not know (I7). A cluster that does not answer is
asked again by its org's claim, before anything starts there.
"""

from __future__ import annotations

import asyncio
import logging

from guildnet import labels
from guildnet.errors import ConfigurationError, GuildNetError, KubeError
from guildnet.kube import CONFIG_MAPS
from guildnet.loading import MAX_FILE_BYTES
from guildnet.redact import Redactor
from guildnet.resources import Org
from guildnet_reconciler.capacity.shared import Capacity
from guildnet_reconciler.faults import described
from guildnet_reconciler.org.connection import OrgConnection
from guildnet_reconciler.settings import Settings
from guildnet_reconciler.source.follow import Repository
from guildnet_reconciler.steps.load import load_org_file

log = logging.getLogger(__name__)

KNOWN_WITHIN_SECONDS = 5


async def any_cluster_remembers(
    settings: Settings, capacity: Capacity, repository: Repository
) -> bool:
    """Whether the cluster of any org at the source branch's tip knows a status branch.

    False if the source branch cannot be fetched: the first pass reports that.
    """
    try:
        orgs = await asyncio.to_thread(_orgs, settings, repository)
    except GuildNetError:
        return False
    answers = await asyncio.gather(
        *(_remembers(settings, capacity, repository.place, org) for org in orgs),
        return_exceptions=True,
    )
    for org, answer in zip(orgs, answers, strict=True):
        if isinstance(answer, BaseException):
            error = described(answer, Redactor(()))
            log.error(
                "its cluster could not be asked whether a status branch existed: %s",
                error,
                extra={"org": org.name},
            )
    return True in answers


def _orgs(settings: Settings, repository: Repository) -> list[Org]:
    mirror = repository.mirror
    tip = mirror.fetch([settings.branch])[settings.branch]
    found = [
        load_org_file(
            file, None, tip, lambda ids: mirror.read_blobs(ids, max_bytes=MAX_FILE_BYTES)
        )[0]
        for file in repository.peek(tip).orgs.values()
    ]
    return [org for org in found if org is not None and settings.is_mine(org.name)]


async def _remembers(
    settings: Settings, capacity: Capacity, state_repository: str, org: Org
) -> bool:
    try:
        cluster = OrgConnection.open(settings, capacity, org.name, org.cluster, lambda _v, _c: None)
    except ConfigurationError:
        return False
    try:
        async with asyncio.timeout(KNOWN_WITHIN_SECONDS):
            found = await cluster.client.find(CONFIG_MAPS, labels.ORG_CONFIG_MAP)
    except (KubeError, TimeoutError):
        return False  # one cluster that is down does not keep the others waiting (I3)
    finally:
        await cluster.close()
    data = (found or {}).get("data") or {}
    mine = {"stateRepository": state_repository, "statusRoot": settings.status_branch}
    return bool(data.get("attempted")) and all(data.get(k) == v for k, v in mine.items())
