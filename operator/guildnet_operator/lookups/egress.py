"""Resolves the org's openings to addresses, because a NetworkPolicy takes no names.

Many names answer with some of their addresses at a time, so an address stays open for an hour after
it was last seen: otherwise each look-up could close connections in use.
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
REMEMBERED = timedelta(hours=1)
_RETRY_SECONDS = 5.0
_PATIENCE_SECONDS = 0.2
_MAX_ADDRESSES = 128  # of one name: a policy must fit into one object of the API server

Destination = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Egress:
    """(address, port) pairs, sorted; `is_complete` False where a name could not be resolved."""

    addresses: tuple[Destination, ...] = ()
    is_complete: bool = True


UNRESOLVED = Egress(is_complete=False)


def egress_destinations(task: TaskView, org: OrgSettings) -> tuple[Destination, ...]:
    """(host, port) of the org; of the task where the org's settings are missing.

    The endpoint of the model that the task uses is open as well.
    """
    model = _model_endpoint(task, org)
    if org.egress is not None:
        return (*org.egress, *model)
    own = task.spec.get("agent", {}).get("egress", ())
    return (*((entry["host"], entry["port"]) for entry in own), *model)


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
    """Resolves names, and asks for each again when the last answer is `keep` old.

    A name that cannot be resolved now keeps its last addresses; one that never could opens
    nothing.
    """

    def __init__(self, keep: timedelta) -> None:
        self._keep = keep.total_seconds()
        self._ask_again_at: dict[str, float] = {}
        # Look-ups under way, which all who want the name wait for; names that one has ended for.
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._looked: set[str] = set()
        # Each name's addresses, with the time each was last seen.
        self._told: dict[str, dict[str, float]] = {}

    async def resolve(self, wanted: Iterable[Destination]) -> Egress:
        """The addresses of all openings, without those that no task may reach."""
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
        """None where the name has never been resolved."""
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            pass
        loop = asyncio.get_running_loop()
        looking = self._looking.get(host)
        if looking is None and loop.time() >= self._ask_again_at.get(host, 0.0):
            looking = self._looking[host] = loop.create_task(self._ask(host))
            looking.add_done_callback(lambda ended: self._looked_up(host, ended))
        if looking is not None:
            # A name that hangs must not hold up every pass for as long as it hangs.
            patience = _PATIENCE_SECONDS if host in self._looked else None
            await asyncio.wait([looking], timeout=patience)
        told = self._told.get(host)
        return None if told is None else tuple(sorted(told))

    def _looked_up(self, host: str, ended: asyncio.Task[None]) -> None:
        self._looking.pop(host, None)
        self._looked.add(host)
        error = None if ended.cancelled() else ended.exception()
        if error is not None:
            logger.warning("looking up %s: %s", host, describe_error(error))

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
        old = self._told.get(host, {})
        kept = {a: at for a, at in old.items() if now - at < REMEMBERED.total_seconds()}
        newest = sorted({**kept, **fresh}.items(), key=lambda entry: -entry[1])
        self._told[host] = dict(newest[:_MAX_ADDRESSES])
        self._ask_again_at[host] = now + self._keep


async def refresh(
    cache: Cache,
    resolver: Resolver,
    dns: ClusterDns,
    queue: Callable[[str], None],
    every: timedelta,
) -> None:
    """Look up names and DNS servers again every so often, and queue each AgentTask whose pod is up
    and whose addresses have changed. Until cancelled."""
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
            except Exception as error:  # its own reconciliation meets and reports it as well
                logger.warning("%s", describe_error(error), extra={"task": task.name})
                queue(task.name)
        for name, reachable in after.items():
            if before.get(name) != reachable:
                queue(name)
        before = after
