"""The names of an agent's peer, of its tag and of its user on the control server. Pure."""

from __future__ import annotations

from guildnet.digest import sha256_hex

#: The tag of the reconcilers' machines, which reach the API servers of clusters. No org's
#: `default_tag` can equal this one or the next.
RECONCILER_TAG = "tag:gn-reconciler"
#: The tag of the peers that serve the API server of a cluster, and the TCP port that they serve.
CLUSTER_TAG = "tag:gn-cluster"
CLUSTER_PORT = 6443

_MAX_LABEL = 63  # of a DNS label, which a peer's name is
_HASH_CHARACTERS = 8
_IDENTITY_CHARACTERS = 10


def peer_name(task: str, org: str) -> str:
    """The name that the peer of a task's agent asks for: `<task>-<org>`.

    At most 63 characters: a longer name keeps its beginning and ends in a hash of the whole.
    """
    whole = f"{task}-{org}"
    if len(whole) <= _MAX_LABEL:
        return whole
    kept = whole[: _MAX_LABEL - _HASH_CHARACTERS - 1].rstrip("-")
    return f"{kept}-{sha256_hex(f'{task}/{org}'.encode())[:_HASH_CHARACTERS]}"


def cluster_peer_name(org: str) -> str:
    """The name of the peer that serves the API server of an org's cluster."""
    return f"{org}-api"


def default_tag(org: str) -> str:
    """The tag of an org's agents where `spec.mesh.tags` sets none."""
    return f"tag:guildnet-{org}"


def user_name(org: str, namespace_uid: str) -> str:
    """The Headscale user that owns the agents' peers of one org in one namespace of one cluster.

    Two clusters may have an org of the same name on one control server. Their users differ, so
    neither operator takes the other's peers for its own.
    """
    identity = sha256_hex(namespace_uid.encode())[:_IDENTITY_CHARACTERS]
    return f"guildnet-{org}-{identity}"
