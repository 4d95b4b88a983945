"""Resolves the org's egress to addresses, because a NetworkPolicy takes no names.

Many names resolve to a few of their addresses at a time. So a resolved address stays allowed for an
hour after it was last seen: otherwise each lookup could cut connections in use.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from guildnet.addresses import is_forbidden
from guildnet_operator.cache import Cache
from guildnet_operator.internal_errors import describe_error
from guildnet_operator.lookups.cluster_dns import ClusterDns
from guildnet_operator.lookups.dns_servers import DnsServers
from guildnet_operator.references import used_model
from guildnet_operator.views import OrgSettings, TaskView

logger = logging.getLogger(__name__)

RESOLVE_TIMEOUT = timedelta(seconds=5)
KEPT_FOR = timedelta(hours=1)
_RETRY_SECONDS = 5.0
_WAIT_SECONDS = 0.2
_MAX_ADDRESSES = 128  # of one name: a policy must fit into one object of the API server

Destination = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Egress:
    """(address, port) pairs, sorted; `is_complete` False where a name could not be resolved."""

    addresses: tuple[Destination, ...] = ()
    is_complete: bool = True


UNRESOLVED = Egress(is_complete=False)


def egress_destinations(task: TaskView, org: OrgSettings) -> tuple[Destination, ...]:
    """The org's egress as (host, port), or the task's copy if the org's settings are missing.

    The endpoint of the task's model and the mesh's control server are added. A Headscale server
    is its agents' relay as well; other relays are for the org to list.
    """
    implied = (*_model_endpoint(task, org), *((org.mesh.address,) if org.mesh else ()))
    if org.egress is not None:
        return (*org.egress, *implied)
    own = task.spec.get("agent", {}).get("egress", ())
    return (*((entry["host"], entry["port"]) for entry in own), *implied)


def _model_endpoint(task: TaskView, org: OrgSettings) -> tuple[Destination, ...]:
    model = used_model(task.spec, org.models)
    if model is None:
        return ()
    try:
        parts = urlsplit(model["baseURL"])
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return ()
    return ((parts.hostname, port),) if parts.hostname else ()


class Resolver:
    """Resolves names, each again when its last answer is `keep` old.

    A name that cannot be resolved now keeps its last addresses; one that was never resolved has
    none.
    """

    def __init__(self, keep: timedelta) -> None:
        self._keep = keep.total_seconds()
        self._ask_again_at: dict[str, float] = {}
        # Lookups in progress, shared by all callers; names with a completed lookup.
        self._lookups: dict[str, asyncio.Task[None]] = {}
        self._completed: set[str] = set()
        # Each name's addresses, with the time when each was last seen.
        self._resolved: dict[str, dict[str, float]] = {}

    async def resolve(self, wanted: Iterable[Destination]) -> Egress:
        """The addresses of all destinations, without those that no task may reach."""
        wanted = list(wanted)
        found = await asyncio.gather(*(self._addresses(host) for host, _ in wanted))
        pairs = {
            (address, port)
            for (_, port), addresses in zip(wanted, found, strict=True)
            for address in addresses or ()
            if not is_forbidden(address)
        }
        return Egress(tuple(sorted(pairs)), None not in found)

    async def _addresses(self, host: str) -> tuple[str, ...] | None:
        """A name's addresses; None if it was never resolved."""
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            pass
        loop = asyncio.get_running_loop()
        lookup = self._lookups.get(host)
        if lookup is None and loop.time() >= self._ask_again_at.get(host, 0.0):
            lookup = self._lookups[host] = loop.create_task(self._ask(host))
            lookup.add_done_callback(lambda ended: self._lookup_ended(host, ended))
        if lookup is not None:
            # A lookup that hangs must not delay every reconciliation.
            timeout = _WAIT_SECONDS if host in self._completed else None
            await asyncio.wait([lookup], timeout=timeout)
        resolved = self._resolved.get(host)
        return None if resolved is None else tuple(sorted(resolved))

    def _lookup_ended(self, host: str, ended: asyncio.Task[None]) -> None:
        self._lookups.pop(host, None)
        self._completed.add(host)
        error = None if ended.cancelled() else ended.exception()
        if error is not None:
            logger.warning("cannot resolve %s: %s", host, describe_error(error))

    async def _ask(self, host: str) -> None:
        loop = asyncio.get_running_loop()
        self._ask_again_at[host] = loop.time() + _RETRY_SECONDS
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT.total_seconds()):
                answers = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, ValueError):
            return
        now = loop.time()
        fresh = {str(answer[4][0]).partition("%")[0]: now for answer in answers}
        old = self._resolved.get(host, {})
        kept = {a: at for a, at in old.items() if now - at < KEPT_FOR.total_seconds()}
        newest = sorted({**kept, **fresh}.items(), key=lambda entry: -entry[1])
        self._resolved[host] = dict(newest[:_MAX_ADDRESSES])
        self._ask_again_at[host] = now + self._keep


async def refresh(
    cache: Cache,
    resolver: Resolver,
    dns: ClusterDns,
    queue: Callable[[str], None],
    every: timedelta,
) -> None:
    """Look up names and DNS servers at intervals, and queue each AgentTask with a pod whose
    addresses have changed. Runs until cancelled."""
    before: dict[str, tuple[Egress, DnsServers]] = {}
    while True:
        await asyncio.sleep(every.total_seconds())
        servers = await dns.servers()
        after = {}
        for task in [t for t in cache.tasks() if any(p.is_alive for p in cache.pods(t.name))]:
            try:
                after[task.name] = (
                    await resolver.resolve(egress_destinations(task, cache.org())),
                    servers,
                )
            except Exception as error:  # its reconciliation reports it
                logger.warning("%s", describe_error(error), extra={"task": task.name})
                queue(task.name)
        for name, reachable in after.items():
            if before.get(name) != reachable:
                queue(name)
        before = after
