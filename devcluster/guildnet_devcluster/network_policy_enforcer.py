"""NetworkPolicies enforced on the node: a program of its own, in the node's network namespace.

As with every network plugin, a new pod's policies come into force once the API server knows its
address, a moment after its start.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from guildnet.errors import GuildNetError

from . import network_policy_rules as rules
from .kube_client import KubeClient

#: Of ClusterObjects's fields, the collection that each is.
_COLLECTIONS = {
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}
#: How long one watch lasts.
_WATCH_SECONDS = 60
#: Changes come in bursts: a pod's start alone is several.
_SETTLE_SECONDS = 0.02

_log = logging.getLogger(__name__)


class ObjectCache:
    """What the API server holds of the three collections, kept by one thread for each."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()

    def replace(self, kind: str, items: list[dict[str, Any]]) -> None:
        """All of a collection."""
        with self._lock:
            self._found[kind] = {item["metadata"]["uid"]: item for item in items}
        self._changed.set()

    def apply(self, kind: str, event: dict[str, Any]) -> None:
        """One event of a collection's watch."""
        thing = event["object"]
        with self._lock:
            if event["type"] == "DELETED":
                self._found[kind].pop(thing["metadata"]["uid"], None)
            else:
                self._found[kind][thing["metadata"]["uid"]] = thing
        self._changed.set()

    def next_change(self) -> rules.ClusterObjects | None:
        """What there is after the next change; None until every collection was read."""
        self._changed.wait()
        time.sleep(_SETTLE_SECONDS)
        self._changed.clear()
        with self._lock:
            if len(self._found) < len(_COLLECTIONS):
                return None
            return rules.ClusterObjects(
                **{kind: tuple(items.values()) for kind, items in self._found.items()}
            )


def follow(api: KubeClient, kind: str, cache: ObjectCache) -> None:
    """Keep one collection of `cache` true for ever; an API server that is away is waited for."""
    path = _COLLECTIONS[kind]
    while True:
        try:
            items, version = api.items(path)
            cache.replace(kind, items)
            for event in api.watch(f"{path}?watch=true&resourceVersion={version}", _WATCH_SECONDS):
                if event["type"] == "ERROR":
                    break
                cache.apply(kind, event)
        except GuildNetError as error:
            _log.warning("%s", error)
            time.sleep(1)


def enforce(cache: ObjectCache) -> None:
    """Write the rules whenever they differ from those written last, for ever."""
    install_jumps()
    written: dict[str, list[str]] = {}
    while True:
        objects = cache.next_change()
        wanted = rules.chains(objects) if objects else written
        if wanted != written:
            _iptables(
                "iptables-restore",
                "--noflush",
                text=rules.restore_text(wanted, written),
            )
            written = wanted
            _log.info("%d chains", len(written))


def install_jumps() -> None:
    """Have every packet that a pod sends or is sent pass the rules, before any others.

    INPUT is the way to the node's own ports. OUTPUT is left alone: the kubelet probes its pods.
    """
    _iptables(
        "iptables-restore",
        "--noflush",
        text=rules.restore_text({rules.CHAIN: []}, ()),
    )
    for chain in ("FORWARD", "INPUT"):
        _iptables("iptables", "--wait", "--insert", chain, "1", "--jump", rules.CHAIN)


def _iptables(*command: str, text: str = "") -> None:
    subprocess.run(command, input=text, text=True, check=True)


def main() -> None:
    """The program: `python -m guildnet_devcluster.network_policy_enforcer --kubeconfig FILE`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    kubeconfig: Path = parser.parse_args().kubeconfig
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    cache = ObjectCache()
    for kind in _COLLECTIONS:
        follower = (KubeClient(kubeconfig), kind, cache)
        threading.Thread(target=follow, args=follower, daemon=True).start()
    enforce(cache)


if __name__ == "__main__":
    main()
