"""kopf's credentials, from where the operator's own client has its."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import kopf
import yaml

from guildnet_operator.settings import Settings


def login(registry: kopf.OperatorRegistry, settings: Settings) -> None:
    """Register the one way in: the pod's service account, or the kubeconfig that was given."""

    @kopf.on.login(registry=registry, retries=3)
    def credentials(**given: Any) -> kopf.ConnectionInfo | None:
        if settings.kubeconfig is None:
            return _by_address(kopf.login_with_service_account(**given))
        return connection_info(settings.kubeconfig, settings.context)


def _by_address(found: kopf.ConnectionInfo | None) -> kopf.ConnectionInfo | None:
    """The same, at the address every pod is told: kopf's `kubernetes.default.svc` needs DNS."""
    host, port = (
        os.environ.get("KUBERNETES_SERVICE_HOST"),
        os.environ.get("KUBERNETES_SERVICE_PORT"),
    )
    if found is None or not host:
        return found
    authority = f"[{host}]" if ":" in host else host
    return dataclasses.replace(found, server=f"https://{authority}:{port or 443}")


def connection_info(path: Path, context: str | None) -> kopf.ConnectionInfo:
    """A kubeconfig's context as kopf takes it.

    The operator's own client has opened the same file before and refused what is not plain data.
    """
    config = yaml.safe_load(path.read_bytes())
    chosen = _named(config["contexts"], context or config["current-context"])["context"]
    cluster = _named(config["clusters"], chosen["cluster"])["cluster"]
    user = _named(config["users"], chosen["user"])["user"] if "user" in chosen else {}
    return kopf.ConnectionInfo(
        server=cluster["server"],
        ca_data=cluster.get("certificate-authority-data"),
        insecure=cluster.get("insecure-skip-tls-verify"),
        certificate_data=user.get("client-certificate-data"),
        private_key_data=user.get("client-key-data"),
        token=user.get("token"),
        username=user.get("username"),
        password=user.get("password"),
        proxy_url=cluster.get("proxy-url"),
        default_namespace=chosen.get("namespace"),
    )


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)
