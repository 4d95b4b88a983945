"""The peer that serves the API server: no credential of the cluster, and nothing but TCP 6443."""

from __future__ import annotations

import json
from typing import Any

from guildnet_operator.cluster_peer import ClusterPeer, environment, peer_manifests

PEER = ClusterPeer(
    org="acme",
    namespace="agents",
    image="localhost/guildnet-mesh:latest",
    login_server="https://headscale.example",
    api_server_ports=(443, 6443),
    api_server="10.96.0.1:443",
)


def of_kind(kind: str) -> dict[str, Any]:
    [found] = [obj for obj in peer_manifests(PEER) if obj["kind"] == kind]
    return found


def test_it_forwards_one_port_and_leaves_tls_alone() -> None:
    template = of_kind("Deployment")["spec"]["template"]
    serve = json.loads(template["metadata"]["annotations"]["guildnet.io/mesh-serve"])
    assert serve == {"TCP": {"6443": {"TCPForward": "10.96.0.1:443"}}}


def test_it_has_no_kubernetes_token_and_meets_the_restricted_standard() -> None:
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert environment(PEER)["TS_KUBE_SECRET"] == ""


def test_it_keeps_its_name_and_needs_its_key_once() -> None:
    """A peer whose state is lost joins as another, with another name."""
    found = of_kind("Deployment")["spec"]
    volumes = {v["name"]: v for v in found["template"]["spec"]["volumes"]}
    assert volumes["state"]["persistentVolumeClaim"] == {"claimName": "guildnet-mesh-agents"}
    assert found["strategy"] == {"type": "Recreate"}
    assert environment(PEER)["TS_HOSTNAME"] == "acme-api"
    assert environment(PEER)["TS_AUTH_ONCE"] == "true"
    [secret] = [s["secret"] for s in volumes["files"]["projected"]["sources"] if "secret" in s]
    assert secret["optional"] is True


def test_the_key_is_in_no_argument_and_no_variable() -> None:
    """I8"""
    assert environment(PEER)["TS_AUTHKEY"].startswith("file:")


def test_nothing_in_the_cluster_may_connect_to_it() -> None:
    policy = of_kind("NetworkPolicy")["spec"]
    deployment = of_kind("Deployment")["spec"]
    assert policy["podSelector"] == deployment["selector"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == []
    blocks = [to["ipBlock"] for rule in policy["egress"] for to in rule.get("to", ())]
    assert {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]} in blocks


def test_orgs_that_share_a_cluster_have_peers_of_their_own() -> None:
    other = ClusterPeer("globex", "globex-agents", "i", "https://headscale.example", (443,))
    own = {(obj["kind"], obj["metadata"]["name"]) for obj in peer_manifests(PEER)}
    assert own.isdisjoint((o["kind"], o["metadata"]["name"]) for o in peer_manifests(other))
