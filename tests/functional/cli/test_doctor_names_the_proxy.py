"""`guildnet doctor` of a cluster behind a mesh whose local proxy is down."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from guildnet_cli.cluster.checks import check_one
from guildnet_cli.cluster.org_cluster import OrgCluster


async def test_the_proxy_is_named_with_what_to_do(tmp_path: Path) -> None:
    """I10"""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
    clusters = [{"name": "c", "cluster": {"server": "https://acme-api:6443", "proxy-url": proxy}}]
    contexts = [{"name": "here", "context": {"cluster": "c"}}]
    config = {"clusters": clusters, "contexts": contexts, "current-context": "here"}
    (tmp_path / "config").write_text(json.dumps(config))

    [reach] = await check_one(OrgCluster("acme", tmp_path / "config", None, "agents"))

    assert not reach.good
    assert f"through the proxy {proxy}" in reach.message
    assert "`tailscale status`" in reach.cure
    assert "guildnet org add acme" in reach.cure
