"""Looks up the cluster's DNS servers, and notices when there are others."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path

from guildnet.errors import KubeError, KubeForbidden, KubeUnavailable
from guildnet.kube import ENDPOINT_SLICES, SERVICES, KubeClient
from guildnet_operator.lookups.dns_servers import (
    NAMESPACE,
    SERVICE,
    SLICES_OF_SERVICE,
    WELL_KNOWN,
    Address,
    DnsServers,
    nameservers,
    servers_of,
)

logger = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")
_MAX_BYTES = 64 * 1024
_RETRY_SECONDS = 10.0


class ClusterDns:
    """The cluster's DNS servers, looked up again when the last answer is `keep` old.

    `own` are the name servers of the operator's own pod, which agents' pods are given as well.
    A failed look-up keeps the last answer.
    """

    def __init__(self, client: KubeClient, keep: timedelta, own: tuple[Address, ...]) -> None:
        self._client = client
        self._keep = keep.total_seconds()
        self._own = own
        self._found = WELL_KNOWN
        self._look_again_at = 0.0
        self._lock = asyncio.Lock()
        self._has_looked = False
        self._reported = ""

    async def servers(self) -> DnsServers:
        """The servers as far as they are known. Raises nothing: agents work also without."""
        # While one looks again, the others go on with the last answer.
        if not (self._has_looked and self._lock.locked()):
            async with self._lock:
                await self._look_if_due()
        addresses = tuple(sorted({*self._found.addresses, *self._own}))
        return DnsServers(self._found.pods, addresses)

    async def _look_if_due(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._look_again_at:
            return
        self._look_again_at = loop.time() + _RETRY_SECONDS
        try:
            if await self._look():
                self._look_again_at = loop.time() + self._keep
        finally:
            self._has_looked = True

    async def _look(self) -> bool:
        """Whether the cluster gave an answer, be it a refusal."""
        try:
            service = await self._client.find(SERVICES, SERVICE, NAMESPACE)
            if service is None:
                self._report(f"there is no Service {SERVICE} in {NAMESPACE}")
                self._found = WELL_KNOWN
                return True
            slices = await self._client.list_all(
                ENDPOINT_SLICES, NAMESPACE, label_selector=SLICES_OF_SERVICE
            )
        except KubeForbidden as error:
            self._report(f"the operator may not read it: {error.message}")
            self._found = WELL_KNOWN
            return True
        except KubeUnavailable:
            return False
        except KubeError as error:
            self._report(error.message)
            return False
        except Exception as error:  # whatever a cluster answers, agents go on with what is known
            self._report(f"its answer cannot be understood: {type(error).__name__}")
            return False
        self._report("")
        self._found = servers_of(service, slices)
        return True

    def _report(self, problem: str) -> None:
        if problem and problem != self._reported:
            logger.warning(
                "Service %s in %s is not read, so agents may ask the DNS pods with well-known "
                "labels: %s. If they cannot resolve names, run `guildnet org install` again or set "
                "spec.dns in the org's file",
                SERVICE,
                NAMESPACE,
                problem,
            )
        self._reported = problem


def own_nameservers(path: Path = RESOLV_CONF) -> tuple[Address, ...]:
    """The name servers of the pod that this process runs in."""
    try:
        with path.open("rb") as file:
            return nameservers(file.read(_MAX_BYTES).decode("utf-8", "replace"))
    except OSError:
        return ()
