"""When an agent's next pod, or its present one, needs an auth key. Pure.

A key is for one pod: whatever pod comes after it gets another.
"""

from __future__ import annotations

from datetime import timedelta

from guildnet_operator.decisions.inputs import Observed
from guildnet_operator.decisions.mesh import is_connected, was_refused

#: Time for an image to be pulled; a key that ends before its pod joins is replaced.
LIFETIME = timedelta(minutes=10)
#: A pod that is created now must still be able to use it.
_LEAST_LEFT = timedelta(minutes=2)
#: The kubelet may need so long to show a new key to a running pod.
_REPLACED_AFTER = timedelta(minutes=2)


def needs_key(o: Observed) -> bool:
    """Whether to make a key; asked only for an agent whose pod is wanted."""
    pod = o.pod
    if pod is None and o.pods_left:
        return False  # an earlier pod is still ending
    if is_connected(o):
        return False
    secret = o.children.get("Secret")
    key = secret.mesh_key if secret is not None else None
    if key is None:
        return True
    if pod is None or pod.name != o.status.get("pod"):
        # The pod of a new start: what an earlier start used is used up.
        if key.made_for != o.triple:
            return True
        if pod is None:
            return key.expires_at - o.now < _LEAST_LEFT
    if o.now - key.made_at < _REPLACED_AFTER:
        return False
    return key.expires_at <= o.now or was_refused(o)
