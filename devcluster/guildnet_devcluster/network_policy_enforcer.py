"""Enforces NetworkPolicies on the node: a program that runs in the node's network namespace.

As with other network plugins, the policies of a new pod take effect once the API server knows its
address, shortly after its start.
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

#: Field of ClusterObjects -> path of its collection.
_COLLECTIONS = {
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}
#: Duration of one watch.
_WATCH_SECONDS = 60
#: Changes come in bursts; the start of a pod alone causes several.
_SETTLE_SECONDS = 0.02

_log = logging.getLogger(__name__)


class ObjectCache:
    """The current objects of the three collections; one thread updates each collection."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()

    def replace(self, kind: str, items: list[dict[str, Any]]) -> None:
        """Replace a whole collection."""
        with self._lock:
            self._found[kind] = {item["metadata"]["uid"]: item for item in items}
        self._changed.set()

    def apply(self, kind: str, event: dict[str, Any]) -> None:
        """Apply one watch event."""
        found = event["object"]
        with self._lock:
            if event["type"] == "DELETED":
                self._found[kind].pop(found["metadata"]["uid"], None)
            else:
                self._found[kind][found["metadata"]["uid"]] = found
        self._changed.set()

    def next_change(self) -> rules.ClusterObjects | None:
        """Wait for a change and return all objects; None until every collection has been listed."""
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
    """Keep one collection of `cache` up to date, forever; retry while the API server is down."""
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
    """Keep the packet filter up to date, forever."""
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
    """Insert jumps that send every packet from or to a pod through the rules first.

    INPUT covers the node's own ports. OUTPUT is not filtered, because the kubelet probes its pods.
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
    """Run `python -m guildnet_devcluster.network_policy_enforcer --kubeconfig FILE`."""
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
