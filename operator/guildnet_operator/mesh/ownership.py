"""Which peers of a control server are this operator's, and which of those nobody needs. Pure.

Several orgs, and several clusters with an org of the same name, may share one control server.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from guildnet_operator.mesh.control_server import Peer

#: A younger peer whose pod was never seen may be one whose pod the watch has not reported yet.
UNSEEN_FOR = timedelta(minutes=2)


@dataclass(frozen=True)
class Owner:
    """How this operator's peers are recognised: one of the tags, and the user.

    `known_ids`: peers that its own agents reported as theirs; where the control server has no
    users, these alone are its own.
    """

    user: str
    tags: tuple[str, ...]
    known_ids: frozenset[str] = frozenset()

    def owns(self, peer: Peer) -> bool:
        if not set(self.tags) & set(peer.tags):
            return False
        return peer.owner == self.user if peer.owner else peer.id in self.known_ids


def without_pod(
    peers: Iterable[Peer],
    owner: Owner,
    *,
    live: Collection[str],
    seen: Collection[str],
    now: datetime,
) -> tuple[list[Peer], list[Peer]]:
    """(the own peers whose pod is gone, those to look at again after `UNSEEN_FOR`).

    `live`: hostnames of the agents that have a pod. `seen`: those that had one earlier.
    """
    suspects = [p for p in peers if owner.owns(p) and p.hostname not in live]
    gone = [p for p in suspects if p.hostname in seen or now - p.created_at > UNSEEN_FOR]
    return gone, [p for p in suspects if p not in gone]
