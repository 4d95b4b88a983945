"""An org's `spec.notify`: its receivers, and the rules that a schema cannot express. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from guildnet.addresses import forbidden_scope
from guildnet.urls import url_fault

FAILED = "Failed"
BUDGET_EXCEEDED = "BudgetExceeded"
HELD = "Held"
CLUSTER_UNREACHABLE = "ClusterUnreachable"
EVENTS = (FAILED, BUDGET_EXCEEDED, HELD, CLUSTER_UNREACHABLE)

_NEEDED = {"webhook": ("url",), "slack": (), "matrix": ("url", "room")}


@dataclass(frozen=True, slots=True)
class Receiver:
    """One entry of `spec.notify`; `secret` is a name, never a value."""

    name: str
    type: Literal["webhook", "slack", "matrix"]
    secret: str
    url: str = ""
    room: str = ""
    on: tuple[str, ...] = EVENTS


def receivers_of(spec: Mapping[str, Any]) -> dict[str, Receiver]:
    """The receivers of a valid org by name."""
    found = (
        Receiver(
            entry["name"],
            entry["type"],
            entry["secret"],
            url=entry.get("url", ""),
            room=entry.get("room", ""),
            on=tuple(entry.get("on", EVENTS)),
        )
        for entry in spec.get("notify", ())
    )
    return {receiver.name: receiver for receiver in found}


def notify_problems(spec: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(place below spec, message) of each rule that an org's `notify` breaks."""
    seen: set[str] = set()
    for index, entry in enumerate(spec.get("notify", ())):
        place = ("notify", index)
        if entry["name"] in seen:
            yield (*place, "name"), f"a second receiver named {entry['name']!r}"
        seen.add(entry["name"])
        needed = _NEEDED[entry["type"]]
        for field in ("url", "room"):
            if field in needed and field not in entry:
                yield place, f"{field} is missing, which type {entry['type']} needs"
            if field in entry and field not in needed:
                yield (*place, field), _superfluous(entry["type"], field)
        if "url" in needed and "url" in entry:
            problem = receiver_url_problem(entry["url"])
            if problem is not None:
                yield (*place, "url"), problem


def _superfluous(kind: str, field: str) -> str:
    if (kind, field) == ("slack", "url"):
        return (
            "whoever knows the URL of an incoming webhook can post: store it as the secret "
            "(guildnet notify secret ORG NAME) and remove url"
        )
    return f"{field} has no meaning for type {kind}"


def receiver_url_problem(url: str) -> str | None:
    """Why no notification may be sent to a URL; None when it may. A host name is judged again by
    its addresses when a notification is sent."""
    fault = url_fault(url)
    if fault is not None:
        return f"not a usable URL: {fault}"
    parts = urlsplit(url)
    if parts.scheme != "https":
        return "write an https URL: a notification names tasks and their errors"
    host = (parts.hostname or "").rstrip(".").lower()
    if host.rpartition(".")[2] == "localhost":
        return f"{host} is loopback: the reconciler sends nothing there"
    try:
        scope = forbidden_scope(host)
    except ValueError:
        return None
    return f"{host} is {scope}: the reconciler sends nothing there" if scope else None
