"""`guildnet org add --mesh`: a kubeconfig for the cluster's peer on the mesh. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from guildnet.errors import ConfigurationError
from guildnet.mesh import CLUSTER_PORT, cluster_peer_name

DIRECT = "none"
"""In place of a proxy's URL: this machine's tailscaled has a network interface."""
DEFAULT_PROXY = "http://127.0.0.1:1055"
"""The address that Tailscale's documentation gives the proxy of a userspace tailscaled."""


def over_mesh(
    org: str, config: Mapping[str, Any], *, proxy: str, host: str | None = None
) -> dict[str, Any]:
    """The kubeconfig with one context `config`, for the cluster's peer and through `proxy`.

    `host`: the peer's name or address; by default the one that `org install --mesh` gives it. The
    server's certificate is verified as before: for the name or address that it was reached by.
    Raises ConfigurationError for a server that speaks no TLS.
    """
    entry = config["clusters"][0]
    cluster = dict(entry["cluster"])
    server = urlsplit(str(cluster["server"]))
    if server.scheme != "https":
        raise ConfigurationError(
            "the server does not use TLS, and the peer serves the cluster's own TLS port",
            place="kubeconfig",
            cure="Give a kubeconfig whose server is an https:// URL.",
        )
    name = host or cluster_peer_name(org)
    shown = f"[{name}]" if ":" in name else name
    cluster["tls-server-name"] = cluster.get("tls-server-name") or server.hostname
    cluster["server"] = f"https://{shown}:{CLUSTER_PORT}"
    cluster.pop("proxy-url", None)
    if proxy != DIRECT:
        cluster["proxy-url"] = proxy
    return {**config, "clusters": [{**entry, "cluster": cluster}]}
