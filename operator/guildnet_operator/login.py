"""The credentials that kopf's watches use: those of the operator's own client."""

from __future__ import annotations

import base64
import dataclasses
import os
from pathlib import Path
from typing import Any

import kopf

from guildnet.kube.kubeconfig_data import access, read_file
from guildnet.proxies import checked_proxy, environment_proxy
from guildnet_operator.settings import Settings


def login(registry: kopf.OperatorRegistry, settings: Settings) -> None:
    """Register the only login: the pod's service account, or the given kubeconfig."""

    @kopf.on.login(registry=registry, retries=3)
    def credentials(**given: Any) -> kopf.ConnectionInfo | None:
        if settings.kubeconfig is None:
            return _by_address(kopf.login_with_service_account(**given))
        return connection_info(settings.kubeconfig, settings.context, settings.namespace)


def _by_address(found: kopf.ConnectionInfo | None) -> kopf.ConnectionInfo | None:
    """The same credentials for the API server's address, which the kubelet puts into every pod's
    environment: kopf's `kubernetes.default.svc` needs DNS."""
    host, port = (
        os.environ.get("KUBERNETES_SERVICE_HOST"),
        os.environ.get("KUBERNETES_SERVICE_PORT"),
    )
    if found is None or not host:
        return found
    authority = f"[{host}]" if ":" in host else host
    return dataclasses.replace(found, server=f"https://{authority}:{port or 443}")


def connection_info(
    path: Path, context: str | None, namespace: str | None = None
) -> kopf.ConnectionInfo:
    """A kubeconfig's context as kopf takes it.

    Raises ConfigurationError where the operator's own client would refuse the file as well.
    """
    to = access(read_file(path), context, namespace, str(path))
    scheme, _, token = (to.authorization or "").partition(" ")
    return kopf.ConnectionInfo(
        server=to.server,
        ca_data=to.authorities,
        insecure=not to.is_verified,
        certificate_data=_encoded(to.certificate),
        private_key_data=_encoded(to.key),
        scheme=scheme or None,
        token=token or None,
        # kopf's client speaks HTTP proxies only.
        proxy_url=checked_proxy(to.proxy, f"{path}: proxy-url")
        if to.proxy
        else environment_proxy(to.server),
        default_namespace=to.namespace,
    )


def _encoded(data: bytes | None) -> bytes | None:
    """base64: kopf takes PEM as it is only where nothing precedes it."""
    return None if data is None else base64.b64encode(data)
