"""Looks up the cluster's DNS servers."""

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
_WHERE = f"Service {SERVICE} in {NAMESPACE}"
_MAX_BYTES = 64 * 1024
_RETRY_SECONDS = 10.0


class ClusterDns:
    """The cluster's DNS servers, looked up again when the last answer is `keep` old.

    `own`: the name servers of the operator's own pod, which the kubelet gives to agents' pods as
    well. A failed lookup keeps the last answer.
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
        """The servers known so far. Never raises: an agent without them still runs."""
        # During a later lookup, other callers get the last answer at once.
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
        """Look up; return whether the API server answered, even with a refusal."""
        try:
            service = await self._client.find(SERVICES, SERVICE, NAMESPACE)
            if service is None:
                self._report(f"there is no {_WHERE}")
                self._found = WELL_KNOWN
                return True
            slices = await self._client.list_all(
                ENDPOINT_SLICES, NAMESPACE, label_selector=SLICES_OF_SERVICE
            )
        except KubeForbidden as error:
            self._report(f"the operator may not read {_WHERE}: {error.message}")
            self._found = WELL_KNOWN
            return True
        except KubeUnavailable:
            return False
        except KubeError as error:
            self._report(f"cannot read {_WHERE}: {error.message}")
            return False
        except Exception as error:  # no answer of an API server may stop agents
            self._report(f"the answer on {_WHERE} cannot be read: {type(error).__name__}")
            return False
        self._report("")
        self._found = servers_of(service, slices)
        return True

    def _report(self, problem: str) -> None:
        if problem and problem != self._reported:
            logger.warning(
                "%s. Agents may query the pods with well-known DNS labels instead; if they cannot "
                "resolve names, run `guildnet org install` again, or set spec.dns in the org's "
                "file",
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
