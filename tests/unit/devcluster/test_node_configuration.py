"""Configuration of the node's programs, for several nodes on one ordinary machine."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from guildnet.errors import ConfigurationError
from guildnet_devcluster import node_files
from guildnet_devcluster.layout import Layout
from guildnet_devcluster.node_network import NodeNetwork
from guildnet_devcluster.pki import KeyPair

FIRST = Layout("one", Path("/state/devcluster/one"))
SECOND = Layout("two", Path("/state/devcluster/two"))
PAIR = KeyPair(Path("/pki/k.crt"), Path("/pki/k.key"))


def kubelet(layout: Layout) -> dict[str, object]:
    whole: dict[str, object] = json.loads(
        node_files.kubelet_config(layout, Path("/pki/ca.crt"), PAIR)
    )
    return whole


def test_two_kubelets_never_share_a_cgroup_root_or_a_folder() -> None:
    """I2: a kubelet kills unknown pods under its cgroup root, so each has its own."""
    first, second = kubelet(FIRST), kubelet(SECOND)
    for key in ("cgroupRoot", "containerRuntimeEndpoint", "podLogsDir", "volumePluginDir"):
        assert first[key] != second[key], key
    assert first["cgroupRoot"] == "/gn-one"


def test_kubelet_runs_with_cgroup_v1_and_few_capabilities() -> None:
    """Without these settings no pod runs on an ordinary machine."""
    config = kubelet(FIRST)
    assert config["failCgroupV1"] is False
    assert config["failSwapOn"] is False
    assert config["oomScoreAdj"] == 0


def test_kubelet_authenticates_clients() -> None:
    """I8: the kubelet authenticates and authorizes requests for logs and exec."""
    config = kubelet(FIRST)
    assert config["authentication"] == {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": True},
        "x509": {"clientCAFile": "/pki/ca.crt"},
    }
    assert config["authorization"] == {"mode": "Webhook"}
    assert config["readOnlyPort"] == 0


def test_two_containerds_share_nothing() -> None:
    """I2: neither sees or removes the other's containers."""

    def settings(layout: Layout) -> dict[str, object]:
        return tomllib.loads(node_files.containerd_config(layout, Path("/c/runc")))

    first, second = settings(FIRST), settings(SECOND)
    for key in ("root", "state", "grpc"):
        assert first[key] != second[key], key
    plugins = first["plugins"]
    assert isinstance(plugins, dict)
    runtime = plugins["io.containerd.cri.v1.runtime"]
    assert runtime["restrict_oom_score_adj"] is True
    assert runtime["netns_mounts_under_state_dir"] is True
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["BinaryName"] == "/c/runc"
    images = plugins["io.containerd.cri.v1.images"]
    assert images["pinned_images"]["sandbox"] == node_files.PAUSE_IMAGE


def test_networks_of_slots_never_overlap() -> None:
    """I3: pods of different clusters never share addresses."""
    subnets = {
        subnet
        for slot in range(1, 255)
        for subnet in (NodeNetwork(slot).link_subnet, NodeNetwork(slot).pod_subnet)
    }
    assert len(subnets) == 2 * 254
    conflist = json.loads(node_files.cni_config(FIRST, NodeNetwork(7)))
    assert conflist["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "198.19.7.0/24"}]]
    # The name of a link has at most 15 characters on Linux.
    assert max(len(NodeNetwork(slot).host_link) for slot in range(1, 255)) <= 15


def test_runtime_paths_fit_into_a_unix_socket_address() -> None:
    """A deep state directory must not make the socket's path too long (107 bytes)."""
    deep = Layout("a" * 40, Path("/" + "/".join(["deep"] * 100)))
    assert len(str(deep.containerd_socket)) < 100


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "..", "a" * 41, "a b", "a\n"])
def test_invalid_names_are_refused(name: str) -> None:
    """I9: no name escapes the state directory. I10: the error describes valid names."""
    with pytest.raises(ConfigurationError) as failure:
        Layout.of(name)
    assert failure.value.cure is not None
    assert "40" in failure.value.cure


def test_process_ids_of_a_pod_are_limited() -> None:
    limit = kubelet(FIRST)["podPidsLimit"]
    assert isinstance(limit, int)
    assert 0 < limit <= 4096
