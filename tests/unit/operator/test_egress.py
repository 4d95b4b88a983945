"""The org's egress as addresses: one stays allowed for an hour after it was last resolved."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from guildnet_operator.lookups.egress import Egress, Resolver, egress_destinations
from guildnet_operator.views import OrgSettings, TaskView

REFRESH = timedelta(minutes=5)


class Names:
    """The machine's resolver and clock; unknown names cannot be resolved."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.hanging: set[str] = set()
        self.now = 1000.0

    async def getaddrinfo(self, host: str, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        await asyncio.sleep(3600 if host in self.hanging else 0)
        if host not in self.known:
            raise socket.gaierror(f"{host}: no answer")
        return [(2, 1, 6, "", (address, 0)) for address in self.known[host]]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    made = Names()
    loop = asyncio.get_running_loop()
    started, time = loop.time(), loop.time
    monkeypatch.setattr(loop, "getaddrinfo", made.getaddrinfo)
    monkeypatch.setattr(loop, "time", lambda: made.now + (time() - started))
    return made


async def addresses(resolver: Resolver, *hosts: str) -> Egress:
    return await resolver.resolve([(host, 443) for host in hosts])


async def test_a_name_is_resolved_again_when_its_answer_is_old(names: Names) -> None:
    resolver = Resolver(REFRESH)
    names.known["git.example"] = ["192.0.2.1"]
    assert await addresses(resolver, "git.example") == Egress((("192.0.2.1", 443),))
    names.known["git.example"] = ["192.0.2.2"]
    names.now += 290
    assert await addresses(resolver, "git.example") == Egress((("192.0.2.1", 443),))
    assert names.asked == ["git.example"]
    names.now += 20
    both = (("192.0.2.1", 443), ("192.0.2.2", 443))
    assert (await addresses(resolver, "git.example")).addresses == both


async def test_names_that_answer_in_turn_change_nothing(names: Names) -> None:
    """I4: otherwise each lookup would cut an agent's connections."""
    resolver = Resolver(REFRESH)
    seen = []
    for number in range(6):
        names.known["git.example"] = [f"192.0.2.{number % 2}"]
        seen.append((await addresses(resolver, "git.example")).addresses)
        names.now += 301
    assert len(set(seen[1:])) == 1


async def test_an_address_no_longer_resolved_closes_within_an_hour(names: Names) -> None:
    resolver = Resolver(REFRESH)
    names.known["git.example"] = ["192.0.2.1"]
    await addresses(resolver, "git.example")
    names.known["git.example"] = ["192.0.2.2"]
    names.now += 3601
    assert (await addresses(resolver, "git.example")).addresses == (("192.0.2.2", 443),)


async def test_an_unresolved_name_is_reported_and_keeps_its_addresses(names: Names) -> None:
    """I1"""
    resolver = Resolver(REFRESH)
    assert await addresses(resolver, "git.example", "192.0.2.9") == Egress(
        (("192.0.2.9", 443),), is_complete=False
    )
    names.known["git.example"] = ["192.0.2.1"]
    names.now += 6
    whole = Egress((("192.0.2.1", 443), ("192.0.2.9", 443)))
    assert await addresses(resolver, "git.example", "192.0.2.9") == whole
    names.known.clear()
    names.now += 7200
    assert await addresses(resolver, "git.example", "192.0.2.9") == whole


@pytest.mark.parametrize("answer", ["169.254.169.254", "127.0.0.1", "fe80::1%eth0", "224.0.0.1"])
async def test_no_name_opens_a_forbidden_address(names: Names, answer: str) -> None:
    names.known["metadata.example"] = [answer]
    assert await addresses(Resolver(REFRESH), "metadata.example") == Egress(())


async def test_concurrent_callers_share_one_lookup(names: Names) -> None:
    """Otherwise an agent's first policy would lack a name that another's lookup is resolving."""
    names.known["git.example"] = ["192.0.2.1"]
    resolver = Resolver(REFRESH)
    found = await asyncio.gather(*(addresses(resolver, "git.example") for _ in range(5)))
    assert set(found) == {Egress((("192.0.2.1", 443),))}
    assert names.asked == ["git.example"]


async def test_a_name_that_hangs_delays_only_the_first_reconciliation(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guildnet_operator.lookups.egress.RESOLVE_TIMEOUT", timedelta(seconds=0.3))
    names.known["git.example"] = ["192.0.2.1"]
    names.hanging.add("dead.example")
    resolver = Resolver(REFRESH)
    await addresses(resolver, "git.example", "dead.example")
    monkeypatch.setattr("guildnet_operator.lookups.egress.RESOLVE_TIMEOUT", timedelta(hours=1))
    names.now += 10
    found = await asyncio.wait_for(addresses(resolver, "git.example", "dead.example"), 10)
    assert found == Egress((("192.0.2.1", 443),), is_complete=False)
    names.now += 10
    await asyncio.wait_for(addresses(resolver, "git.example", "dead.example"), 10)
    assert names.asked.count("dead.example") == 2, "one look-up is under way at a time"


async def test_the_addresses_of_one_name_are_bounded(names: Names) -> None:
    names.known["git.example"] = [f"10.1.{n // 250}.{n % 250}" for n in range(5000)]
    found = await addresses(Resolver(REFRESH), "git.example")
    assert len(found.addresses) == 128


@pytest.mark.parametrize("host", ["a\x00b", "x" * 70 + ".example", "\ud800.example"])
async def test_an_invalid_name_is_unresolved(host: str) -> None:
    assert await addresses(Resolver(REFRESH), host) == Egress((), is_complete=False)


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("https://model.example/v1", ("model.example", 443)),
        ("http://model.example", ("model.example", 80)),
        ("https://model.example:8443", ("model.example", 8443)),
        ("https://[fd00::1]:8443/v1", ("fd00::1", 8443)),
    ],
)
def test_the_endpoint_of_a_tasks_model_is_open_to_that_task_alone(
    url: str, opened: tuple[str, int]
) -> None:
    org = OrgSettings("acme", egress=(("git.example", 443),), models={"main": {"baseURL": url}})
    with_model = a_task({"agent": {"model": {"use": "main"}}})
    assert egress_destinations(with_model, org) == (("git.example", 443), opened)
    assert egress_destinations(a_task({"agent": {}}), org) == (("git.example", 443),)


def a_task(spec: dict[str, Any]) -> TaskView:
    created = datetime(2026, 1, 1, tzinfo=UTC)
    return TaskView("fix", "agents", "u", 1, "7", created, "acme", spec, {})
