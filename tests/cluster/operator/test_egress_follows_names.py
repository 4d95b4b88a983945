"""A NetworkPolicy while its agent works: open to what the org's names are now, and written to
only when that is something else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from guildnet.kube import NETWORK_POLICIES


class Names:
    """What `git.example` resolves to; the machine resolves every other name."""

    def __init__(self) -> None:
        self.addresses = ["192.0.2.1"]
        self.asked = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        resolve = loop.getaddrinfo

        async def getaddrinfo(host: Any, *given: Any, **named: Any) -> Any:
            if host != "git.example":
                return await resolve(host, *given, **named)
            self.asked += 1
            if not self.addresses:
                raise OSError("no answer")
            return [(2, 1, 6, "", (address, 0)) for address in self.addresses]

        patch.setattr(loop, "getaddrinfo", getaddrinfo)


async def test_a_running_agents_policy_follows_its_egress_names(
    org: Any, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I4: only changed addresses are written. I1: a name that does not resolve closes nothing."""
    names = Names()
    names.install(monkeypatch)
    org.settings = replace(org.settings, egress_refresh=timedelta(seconds=1))
    await org.configure(egress=[{"host": "git.example", "port": 443}])
    await org.add("open")
    async with org.operated():
        await node.run_pod("open")
        await org.reaches("open", "Ready", "True", "AgentServing")
        assert await _opened(org) == ["192.0.2.1/32"]
        version = await _version(org)
        await _asked_again(org, names)
        assert await _version(org) == version
        names.addresses = ["192.0.2.2"]
        await org.comes_to(lambda: _is_open_to(org, "192.0.2.2/32"), "the new address is open")
        assert await _opened(org) == ["192.0.2.1/32", "192.0.2.2/32"]
    version = await _version(org)
    names.addresses = []
    async with org.operated():
        await _asked_again(org, names)
        await org.add("later")
        await node.run_pod("later")
        await org.reaches("later", "Ready", "True", "AgentServing")
        assert await _version(org) == version, "an operator that can resolve nothing closes nothing"


async def test_removed_egress_closes_for_running_agents(org: Any, node: Any) -> None:
    await org.configure(egress=[{"host": "192.0.2.7", "port": 443}])
    await org.add("open")
    async with org.operated():
        await node.run_pod("open")
        await org.reaches("open", "Ready", "True", "AgentServing")
        assert await _opened(org) == ["192.0.2.7/32"]
        await org.configure(egress=[])

        async def is_closed() -> bool:
            return await _opened(org) == []

        await org.comes_to(is_closed, "the removed egress is closed")


async def _asked_again(org: Any, names: Names) -> None:
    begun = names.asked

    async def is_asked() -> bool:
        return names.asked >= begun + 3

    await org.comes_to(is_asked, "the name is asked for three times more")


async def _policy(org: Any) -> dict[str, Any]:
    found = await org.admin.list_all(NETWORK_POLICIES, org.namespace)
    policy: dict[str, Any] = next(p for p in found if p["metadata"]["name"].startswith("open-"))
    return policy


async def _version(org: Any) -> str:
    return str((await _policy(org))["metadata"]["resourceVersion"])


async def _opened(org: Any) -> list[str]:
    """The addresses allowed on port 443."""
    return [
        to["ipBlock"]["cidr"]
        for rule in (await _policy(org))["spec"]["egress"]
        if any(port["port"] == 443 for port in rule["ports"])
        for to in rule["to"]
    ]


async def _is_open_to(org: Any, cidr: str) -> bool:
    return cidr in await _opened(org)
