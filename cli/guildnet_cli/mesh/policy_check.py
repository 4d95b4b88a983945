"""How a policy in force differs from what `guildnet mesh policy` prints. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from guildnet.mesh import CLUSTER_TAG

Json = Mapping[str, Any]


class NotPlain(ValueError):
    """The policy in force is not JSON with comment lines, so it cannot be compared."""


def parse_policy(text: str) -> Json:
    """A policy in HuJSON, if it is JSON but for whole lines of comments. Raises NotPlain."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("//"))
    try:
        found = json.loads("\n".join(lines))
    except (ValueError, RecursionError) as error:
        raise NotPlain("it is not plain JSON") from error
    if not isinstance(found, dict):
        raise NotPlain("it is not an object")
    return found


def differences(wanted: Json, in_force: Json, tags: tuple[str, ...]) -> list[str]:
    """In words, what `in_force` lacks of the `wanted` policy of one org, and what else it lets
    reach the org's `tags` or the API servers of clusters. Rules for other peers are not ours.

    Raises NotPlain for a policy of another shape.
    """
    try:
        return [*_tags(wanted, in_force), *_groups(wanted, in_force),
                *_rules(wanted, in_force, {*tags, CLUSTER_TAG})]  # fmt: skip
    except (TypeError, AttributeError, KeyError) as error:
        raise NotPlain("it has another shape") from error


def _tags(wanted: Json, in_force: Json) -> Iterator[str]:
    owned = in_force.get("tagOwners") or {}
    for tag in wanted["tagOwners"]:
        if tag not in owned:
            yield f"tagOwners lacks {tag}"


def _groups(wanted: Json, in_force: Json) -> Iterator[str]:
    groups = in_force.get("groups") or {}
    for group, people in wanted["groups"].items():
        found = set(groups.get(group) or ())
        for login in sorted(set(people) - found):
            yield f"{login} is not in {group}"
        for login in sorted(found - set(people)):
            yield f"{login} is in {group} and not in spec.mesh.people"


def _rules(wanted: Json, in_force: Json, own: set[str]) -> Iterator[str]:
    accepted = set(_pairs(in_force))
    expected = set(_pairs(wanted))
    for source, destination in sorted(expected - accepted):
        yield f"no rule lets {source} reach {destination}"
    for source, destination in sorted(accepted - expected):
        if destination.rpartition(":")[0] in {*own, "*"}:
            yield f"{source} reaches {destination} as well"
    if in_force.get("grants"):
        yield "it has grants, which are not compared"


def _pairs(policy: Json) -> Iterator[tuple[str, str]]:
    for rule in policy.get("acls") or ():
        for source in rule["src"]:
            for destination in rule["dst"]:
                yield str(source), str(destination)
