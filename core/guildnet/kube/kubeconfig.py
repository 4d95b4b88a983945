"""A kubeconfig, which may hold data only, as the client library's configuration (I9).

Exec plugins and auth providers run programs, and references to files read them, on whatever
machine opens the kubeconfig: all are refused, with the way out.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import (
    SERVICE_TOKEN_FILENAME,
    load_incluster_config,
)

from guildnet.errors import ConfigurationError
from guildnet.kube.kubeconfig_data import CURE, Access, access, read_file
from guildnet.kube.proxies import environment_proxy as _environment_proxy
from guildnet.redact import Redactor


@dataclass(frozen=True, slots=True)
class Connection:
    """How one API server is reached: `place` names it, `namespace` is the context's own.

    `http` is the library's HTTP client, its certificates in memory already. `key` is equal for the
    same server reached in the same way with the same credential, and says nothing of it.
    """

    configuration: Configuration
    http: RESTClientObject
    place: str
    namespace: str
    key: str = ""
    redact: Redactor = field(default_factory=lambda: Redactor(()))


def from_kubeconfig(
    path: Path,
    context: str | None,
    namespace: str | None,
    known: Mapping[str, Connection] = MappingProxyType({}),
) -> Connection:
    """The connection of a context (the current one when None is named).

    One of `known`, by its key, lends its certificates: reading them costs 0.3 MiB and some
    milliseconds each. Raises ConfigurationError for a file that is missing, not a kubeconfig, or
    refused.
    """
    return connection_of(read_file(path), context, namespace, str(path), known)


def connection_of(
    config: Mapping[str, Any],
    context: str | None,
    namespace: str | None,
    place: str,
    known: Mapping[str, Connection] = MappingProxyType({}),
) -> Connection:
    """As `from_kubeconfig`, of a kubeconfig that has been read already; `place` names it."""
    to = access(config, context, namespace, place)
    key = _key(to)
    if key in known:
        return replace(known[key], place=f"cluster {to.context}", namespace=to.namespace)
    # OpenSSL takes keys from files alone; these are gone as soon as it has read them.
    with TemporaryDirectory(prefix="guildnet-") as folder:
        try:
            configuration = _configuration(to, Path(folder))
            made = _connection(configuration, f"cluster {to.context}", to.namespace)
        except (ssl.SSLError, OSError, ValueError, TypeError) as error:
            words = Redactor(to.secrets).message(str(error))[:200]
            raise ConfigurationError(
                f"its certificates cannot be used: {words}", place=place, cure=CURE
            ) from error
    return replace(made, key=key, redact=Redactor(to.secrets))


def _key(to: Access) -> str:
    return hashlib.sha256(repr(replace(to, context="", namespace="")).encode()).hexdigest()


def from_incluster() -> Connection:
    """The connection of the pod's service account; ConfigurationError outside of a cluster."""
    configuration = Configuration()
    try:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        namespace = Path(SERVICE_TOKEN_FILENAME).with_name("namespace").read_text().strip()
        return _connection(configuration, "this cluster", namespace)
    except (ConfigException, OSError) as error:
        raise ConfigurationError(
            f"this is no pod with a service account: {error}", cure="give a kubeconfig"
        ) from error


def _connection(configuration: Configuration, place: str, namespace: str) -> Connection:
    if not configuration.proxy:
        configuration.proxy = _environment_proxy(str(configuration.host))
    return Connection(configuration, RESTClientObject(configuration), place, namespace)


def _configuration(to: Access, folder: Path) -> Configuration:
    configuration = Configuration()
    configuration.host = to.server
    configuration.verify_ssl = to.is_verified
    configuration.tls_server_name = to.tls_server_name
    configuration.proxy = to.proxy
    configuration.ca_cert_data = to.authorities
    if to.certificate and to.key:
        configuration.cert_file = _stored(folder / "certificate", to.certificate)
        configuration.key_file = _stored(folder / "key", to.key)
    if to.authorization:
        configuration.api_key["BearerToken"] = to.authorization
    return configuration


def _stored(path: Path, data: bytes) -> str:
    path.touch(mode=0o600)
    path.write_bytes(data)
    return str(path)
