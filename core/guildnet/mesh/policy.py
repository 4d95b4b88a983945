"""The control server's policy for the orgs of a state repository. Pure.

Both Headscale and Tailscale read it. It uses only what both implement: `groups`, `tagOwners` and
`acls`, no `grants` and no `tests` (Headscale 0.26 ignores those, and would test nothing).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from guildnet.labels import EDITOR_PORT
from guildnet.mesh.names import CLUSTER_PORT, CLUSTER_TAG, RECONCILER_TAG, default_tag
from guildnet.mesh.settings import MeshSettings

_OWN_TAGS = (RECONCILER_TAG, CLUSTER_TAG)
#: What `default_tag` begins with, whatever the org.
_DEFAULT_TAG = default_tag("")

Json = dict[str, Any]


def tag_problems(org: str, spec: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(place below spec, message) of each given tag that can never be one of this org's agents."""
    for index, tag in enumerate(spec.get("mesh", {}).get("tags", ())):
        place = ("mesh", "tags", index)
        if tag in _OWN_TAGS:
            yield place, f"{tag} is reserved for reconcilers and clusters; use another tag"
        elif tag.startswith(_DEFAULT_TAG) and tag != default_tag(org):
            other = tag.removeprefix(_DEFAULT_TAG)
            yield place, f"{tag} is reserved for the agents of an org {other}; use another tag"


def shared_tags(orgs: Mapping[str, MeshSettings]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(org, tag, the other orgs) for each tag that several orgs of one control server have."""
    holders: dict[tuple[str, str], list[str]] = {}
    for org, mesh in orgs.items():
        for tag in mesh.tags:
            holders.setdefault((mesh.login_server, tag), []).append(org)
    for (_, tag), names in holders.items():
        for org in names if len(names) > 1 else ():
            yield org, tag, tuple(sorted(other for other in names if other != org))


def mesh_policy(orgs: Mapping[str, MeshSettings]) -> Json:
    """The policy of the control server of `orgs`, which share no tag.

    An org's people reach its agents' editors; whoever has the reconciler's tag reaches the API
    servers of clusters; nobody reaches anything else. Agents and clusters are no source of any
    rule.
    """
    agents = {org: mesh.tags[0] for org, mesh in sorted(orgs.items())}
    people = {_group(org): sorted(mesh.people) for org, mesh in sorted(orgs.items()) if mesh.people}
    tags = sorted({*_OWN_TAGS, *(tag for mesh in orgs.values() for tag in mesh.tags)})
    return {
        "groups": people,
        # Only administrators, and the API credentials that they create, can assign these tags.
        "tagOwners": {tag: [] for tag in tags},
        "acls": [
            _accept(RECONCILER_TAG, f"{CLUSTER_TAG}:{CLUSTER_PORT}"),
            *(
                _accept(_group(org), f"{tag}:{EDITOR_PORT}")
                for org, tag in agents.items()
                if _group(org) in people
            ),
        ],
    }


def policy_text(policy: Json, login_server: str) -> str:
    """The policy as HuJSON: JSON with a comment that says where it comes from."""
    return (
        f"// The policy of {login_server} for the orgs of a GuildNet state repository.\n"
        "// Written by `guildnet mesh policy`. What no rule accepts is refused.\n"
        f"{json.dumps(policy, indent=2)}"
    )


def _group(org: str) -> str:
    return f"group:guildnet-{org}"


def _accept(source: str, destination: str) -> Json:
    return {"action": "accept", "proto": "tcp", "src": [source], "dst": [destination]}
