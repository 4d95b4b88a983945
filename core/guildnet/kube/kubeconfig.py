"""A kubeconfig, which may hold data only, as the client library's configuration (I9).

Exec plugins and auth providers run programs, and references to files read them, on whatever
machine opens the kubeconfig: all are refused, with the way out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import yaml
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import (
    SERVICE_TOKEN_FILENAME,
    load_incluster_config,
)

from guildnet.errors import ConfigurationError

MAX_BYTES = 1024 * 1024
_CURE = "embed everything in it: kubectl config view --raw --flatten --minify"
_REFUSED_OF_CLUSTER = ("certificate-authority",)
_REFUSED_OF_USER = (
    "exec",
    "auth-provider",
    "tokenFile",
    "client-certificate",
    "client-key",
    "as",
    "as-uid",
    "as-groups",
    "as-user-extra",
)


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


def from_kubeconfig(
    path: Path,
    context: str | None,
    namespace: str | None,
    known: Mapping[str, Connection] = MappingProxyType({}),
) -> Connection:
    """The connection of a context (the current one when None is named).

    One of `known`, by its key, lends its certificates: reading them costs 0.3 MiB and some
    milliseconds each. Raises ConfigurationError for a file that is missing, no kubeconfig, or
    refused.
    """
    place = str(path)
    config = _read(path)
    chosen = context or config.get("current-context")
    if not isinstance(chosen, str) or not chosen:
        raise ConfigurationError("no context is chosen", place=place, cure="name a context")
    link = _named(config, "contexts", "context", chosen, place)
    cluster = _named(config, "clusters", "cluster", str(link.get("cluster")), place)
    user = _named(config, "users", "user", str(link.get("user")), place) if "user" in link else {}
    _refuse(cluster, _REFUSED_OF_CLUSTER, place)
    _refuse(user, _REFUSED_OF_USER, place)
    own_namespace = namespace or str(link.get("namespace") or "default")
    key = _key(cluster, user)
    if key in known:
        same = known[key]
        return replace(same, place=f"cluster {chosen}", namespace=own_namespace)
    # OpenSSL takes keys from files alone; these are gone as soon as it has read them.
    with TemporaryDirectory(prefix="guildnet-") as folder:
        configuration = _configuration(cluster, user, Path(folder), place)
        try:
            made = _connection(configuration, f"cluster {chosen}", own_namespace)
            return replace(made, key=key)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ConfigurationError(
                f"its certificates cannot be used: {error}", place=place, cure=_CURE
            ) from error


def _key(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> str:
    return hashlib.sha256(
        repr((sorted(cluster.items()), sorted(user.items()))).encode()
    ).hexdigest()


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
    # Looking for proxies and ~/.netrc at every request costs more than the request itself: the
    # proxy is settled here, once.
    configuration.client_session_kwargs = {"trust_env": False}
    if not configuration.proxy:
        configuration.proxy = _environment_proxy(str(configuration.host))
    return Connection(configuration, RESTClientObject(configuration), place, namespace)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"the kubeconfig cannot be read: {error.strerror}",
            place=str(path),
            cure="guildnet org add NAME --kubeconfig FILE stores it",
        ) from error
    if len(data) > MAX_BYTES:
        raise ConfigurationError(
            f"the kubeconfig is larger than {MAX_BYTES} bytes", place=str(path)
        )
    try:
        config = yaml.safe_load(data)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        # The error's own text would show lines of the file, and with them its keys (I8).
        raise ConfigurationError("the kubeconfig is no valid YAML", place=str(path)) from error
    if not isinstance(config, dict):
        raise ConfigurationError("this is no kubeconfig", place=str(path))
    return config


def _named(
    config: Mapping[str, Any], section: str, key: str, name: str, place: str
) -> Mapping[str, Any]:
    entries = config.get(section)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name:
            value = entry.get(key)
            return value if isinstance(value, dict) else {}
    raise ConfigurationError(f"there is no {key} {name!r} in {section}", place=place)


def _refuse(section: Mapping[str, Any], refused: tuple[str, ...], place: str) -> None:
    for key in refused:
        if section.get(key):
            raise ConfigurationError(
                f"it holds {key!r}, which is not taken", place=place, cure=_CURE
            )


def _configuration(
    cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path, place: str
) -> Configuration:
    server = str(cluster.get("server") or "").rstrip("/")
    if urlsplit(server).scheme not in ("https", "http") or not urlsplit(server).hostname:
        raise ConfigurationError("its cluster has no server URL", place=place)
    configuration = Configuration()
    configuration.host = server
    configuration.verify_ssl = cluster.get("insecure-skip-tls-verify") is not True
    configuration.tls_server_name = cluster.get("tls-server-name")
    configuration.proxy = cluster.get("proxy-url")
    authority = _decoded(cluster, "certificate-authority-data", place)
    configuration.ca_cert_data = authority.decode("ascii", "replace") if authority else None
    certificate = _decoded(user, "client-certificate-data", place)
    key = _decoded(user, "client-key-data", place)
    if certificate and key:
        configuration.cert_file = _stored(folder / "certificate", certificate)
        configuration.key_file = _stored(folder / "key", key)
    elif user.get("token"):
        configuration.api_key["BearerToken"] = f"Bearer {user['token']}"
    elif user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}"
        configuration.api_key["BearerToken"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return configuration


def _decoded(section: Mapping[str, Any], key: str, place: str) -> bytes | None:
    value = section.get(key)
    if not value:
        return None
    try:
        return base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigurationError(f"its {key} is no base64", place=place) from error


def _stored(path: Path, data: bytes) -> str:
    path.touch(mode=0o600)
    path.write_bytes(data)
    return str(path)


def _environment_proxy(host: str) -> str | None:
    parts = urlsplit(host)
    if not parts.hostname or urllib.request.proxy_bypass(parts.hostname):
        return None
    return urllib.request.getproxies().get(parts.scheme)
