"""Turn a kubeconfig into the client library's configuration (I9).

Exec plugins and auth providers run programs, and file references read files, on the machine that
opens the kubeconfig. All of them are refused; the error names the remedy.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
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
from guildnet.kube.credential_end import first_end
from guildnet.kube.kubeconfig_data import CURE, PROXY_SCHEMES, Access, access, read_file
from guildnet.proxies import environment_proxy as _environment_proxy
from guildnet.redact import Redactor


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach one API server. `place` names it in errors; `namespace` is the context's.

    `http` is the library's HTTP client with its certificates loaded. `key` is a hash of server,
    proxy, TLS settings and credential: two connections may be shared if their keys are equal.
    `ends` is when the first of its certificates and its token expires, if anything says so.
    """

    configuration: Configuration
    http: RESTClientObject
    place: str
    namespace: str
    key: str = ""
    ends: datetime | None = None
    redact: Redactor = field(default_factory=lambda: Redactor(()))


def from_kubeconfig(
    path: Path,
    context: str | None,
    namespace: str | None,
    known: Mapping[str, Connection] = MappingProxyType({}),
) -> Connection:
    """The connection of a context; None means the current context.

    Certificates are reused from the entry of `known` with the same key: loading them takes 0.3 MiB
    and some milliseconds. Raises ConfigurationError if the file is missing, is not a kubeconfig, or
    holds a refused field.
    """
    return connection_of(read_file(path), context, namespace, str(path), known)


def connection_of(
    config: Mapping[str, Any],
    context: str | None,
    namespace: str | None,
    place: str,
    known: Mapping[str, Connection] = MappingProxyType({}),
) -> Connection:
    """Like `from_kubeconfig`, for a parsed kubeconfig; `place` names it in errors."""
    to = access(config, context, namespace, place)
    key = _key(to)
    if key in known:
        return replace(known[key], place=f"cluster {to.context}", namespace=to.namespace)
    # OpenSSL reads keys only from files; these are deleted as soon as they are loaded.
    with TemporaryDirectory(prefix="guildnet-") as folder:
        try:
            configuration = _configuration(to, Path(folder))
            made = _connection(configuration, f"cluster {to.context}", to.namespace)
        except (ssl.SSLError, OSError, ValueError, TypeError) as error:
            detail = Redactor(to.secrets).message(str(error))[:200]
            raise ConfigurationError(
                f"the kubeconfig's certificates cannot be loaded: {detail}", place=place, cure=CURE
            ) from error
    return replace(made, key=key, ends=first_end(to), redact=Redactor(to.secrets))


def _key(to: Access) -> str:
    return hashlib.sha256(repr(replace(to, context="", namespace="")).encode()).hexdigest()


def from_incluster(namespace: str | None = None) -> Connection:
    """The connection of the pod's service account, by default for the pod's own namespace.

    ConfigurationError outside a cluster.
    """
    configuration = Configuration()
    try:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        own = Path(SERVICE_TOKEN_FILENAME).with_name("namespace").read_text().strip()
        made = _connection(configuration, "this cluster", namespace or own)
        return replace(made, key="in-cluster")
    except (ConfigException, OSError) as error:
        raise ConfigurationError(
            f"no service account of a pod was found: {error}", cure="give a kubeconfig"
        ) from error


def _connection(configuration: Configuration, place: str, namespace: str) -> Connection:
    if not configuration.proxy:
        configuration.proxy = _environment_proxy(str(configuration.host), PROXY_SCHEMES)
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
