"""`org add --mesh` changes the way to the server, and not how its certificate is verified."""

from __future__ import annotations

from typing import Any

import pytest

from guildnet.errors import ConfigurationError
from guildnet_cli.mesh.kubeconfig import DEFAULT_PROXY, over_mesh


def config(**cluster: Any) -> dict[str, Any]:
    entry = {"server": "https://10.0.0.2:6443", "certificate-authority-data": "Q0E=", **cluster}
    return {"current-context": "c", "clusters": [{"name": "k", "cluster": entry}], "users": []}


def changed(given: dict[str, Any], proxy: str = DEFAULT_PROXY, **more: Any) -> dict[str, Any]:
    cluster: dict[str, Any] = over_mesh("acme", given, proxy=proxy, **more)["clusters"][0][
        "cluster"
    ]
    return cluster


def test_the_server_is_the_peer_and_its_certificate_that_of_the_address_before() -> None:
    assert changed(config()) == {
        "server": "https://acme-api:6443",
        "certificate-authority-data": "Q0E=",
        "tls-server-name": "10.0.0.2",
        "proxy-url": "http://127.0.0.1:1055",
    }


def test_a_given_server_name_stays() -> None:
    given = config(**{"tls-server-name": "kubernetes.example"})
    assert changed(given)["tls-server-name"] == "kubernetes.example"


def test_the_proxy_of_the_given_kubeconfig_is_replaced_or_dropped() -> None:
    given = config(**{"proxy-url": "http://proxy.example:3128"})
    assert changed(given, "socks5://127.0.0.1:1055")["proxy-url"] == "socks5://127.0.0.1:1055"
    assert "proxy-url" not in changed(given, "none")


def test_a_peer_of_another_name_or_address_can_be_given() -> None:
    assert changed(config(), host="acme-api-1")["server"] == "https://acme-api-1:6443"
    assert (
        changed(config(), host="fd7a:115c:a1e0::9")["server"] == "https://[fd7a:115c:a1e0::9]:6443"
    )


def test_a_server_without_tls_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="does not use TLS"):
        changed(config(server="http://127.0.0.1:8080"))


def test_what_was_given_is_not_changed() -> None:
    given = config()
    changed(given)
    assert given == config()
