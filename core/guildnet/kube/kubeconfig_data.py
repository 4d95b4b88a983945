"""Read a kubeconfig: one set of rules for every component. Pure, except for reading the file.

Each field is read as kubectl reads it, or refused by name. No message shows a value (I8).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import yaml

from guildnet.errors import ConfigurationError
from guildnet.proxies import HTTP, SOCKS, checked_proxy

PROXY_SCHEMES = (*HTTP, *SOCKS)
MAX_BYTES = 1024 * 1024
CURE = "embed credentials and certificates: kubectl config view --raw --flatten --minify"
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
_CERTIFICATE = re.compile(
    rb"-----BEGIN (TRUSTED )?CERTIFICATE-----.+?-----END (TRUSTED )?CERTIFICATE-----", re.DOTALL
)
_LONGEST_SERVER = 2048


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one API server, and with which credential. `authorities` and `certificate` are
    PEM; `authorization` is the value of the HTTP header."""

    context: str
    namespace: str
    server: str
    proxy: str | None = None
    tls_server_name: str | None = None
    is_verified: bool = True
    authorities: str | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    authorization: str | None = None
    secrets: tuple[str, ...] = ()
    """The values that no message may show."""


def read_file(path: Path) -> Mapping[str, Any]:
    """The parsed kubeconfig at `path`. Raises a ConfigurationError that names the path."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"the kubeconfig cannot be read: {error.strerror}",
            place=str(path),
            cure="store one with guildnet org add NAME --kubeconfig FILE",
        ) from error
    return parsed(data, str(path))


def parsed(data: bytes, place: str) -> Mapping[str, Any]:
    """Parse the kubeconfig in `data`, which is YAML or JSON with any indentation."""
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"the kubeconfig is larger than {MAX_BYTES} bytes", place=place)
    try:
        config = yaml.load(data, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, LookupError) as error:
        # The error's own text would show lines of the file, and with them its keys (I8).
        raise ConfigurationError("it is not valid YAML", place=place) from error
    if not isinstance(config, dict):
        raise ConfigurationError("it is not a kubeconfig", place=place)
    return config


def access(
    config: Mapping[str, Any], context: str | None, namespace: str | None, place: str
) -> Access:
    """The cluster and user of a context; None means the current context.

    Raises a ConfigurationError that names the field which is missing, refused or malformed.
    """
    chosen = context or config.get("current-context")
    if not isinstance(chosen, str) or not chosen:
        raise ConfigurationError(
            "the kubeconfig has no current context", place=place, cure="name a context"
        )
    link = named(config, "contexts", "context", chosen, place)
    cluster = named(config, "clusters", "cluster", _name(link, "cluster"), place)
    user = named(config, "users", "user", _name(link, "user"), place) if link.get("user") else {}
    _refuse(cluster, _REFUSED_OF_CLUSTER, place)
    _refuse(user, _REFUSED_OF_USER, place)
    return _access(chosen, namespace or _text(link, "namespace", place), cluster, user, place)


def named(
    config: Mapping[str, Any], section: str, key: str, name: str, place: str
) -> Mapping[str, Any]:
    """The entry `name` of a section; ConfigurationError if it is missing."""
    entries = config.get(section)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name:
            value = entry.get(key)
            return value if isinstance(value, dict) else {}
    raise ConfigurationError(f"there is no {key} {name!r} in {section}", place=place)


def _access(
    context: str,
    namespace: str | None,
    cluster: Mapping[str, Any],
    user: Mapping[str, Any],
    place: str,
) -> Access:
    server = _server(cluster, place)
    skips = cluster.get("insecure-skip-tls-verify")
    if skips not in (None, True, False):
        raise _malformed("insecure-skip-tls-verify", "neither true nor false", place)
    authorities = _authorities(cluster, place)
    if skips and authorities:
        raise ConfigurationError(
            "the kubeconfig sets both certificate-authority-data and insecure-skip-tls-verify",
            place=place,
            cure="remove insecure-skip-tls-verify",
        )
    proxy = _text(cluster, "proxy-url", place)
    certificate, key = _key_pair(user, place)
    authorization, secrets = _authorization(user, place)
    return Access(
        context=context,
        namespace=namespace or "default",
        server=server,
        proxy=checked_proxy(proxy, f"{place}: proxy-url", PROXY_SCHEMES) if proxy else None,
        tls_server_name=_text(cluster, "tls-server-name", place),
        is_verified=not skips,
        authorities=authorities,
        certificate=certificate,
        key=key,
        authorization=authorization,
        secrets=(*secrets, *_proxy_secrets(proxy), *([key.decode("latin-1")] if key else ())),
    )


# --- the cluster ----------------------------------------------------------------------------


def _server(cluster: Mapping[str, Any], place: str) -> str:
    value = (_text(cluster, "server", place) or "").strip().rstrip("/")
    parts = _split(value)
    if parts is None or parts.scheme not in ("https", "http") or not parts.hostname:
        raise ConfigurationError(
            "the kubeconfig's server is not a URL such as https://host:6443", place=place
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise _malformed("server", "a URL with user information or a query", place)
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ConfigurationError(
            "the kubeconfig's server is an http:// URL, which sends the credential unencrypted",
            place=place,
            cure="write the https:// URL of the API server",
        )
    return value


def _split(url: str) -> SplitResult | None:
    if len(url) > _LONGEST_SERVER or any(not 0x20 < ord(char) < 0x7F for char in url):
        return None
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 else None
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _authorities(cluster: Mapping[str, Any], place: str) -> str | None:
    data = _decoded(cluster, "certificate-authority-data", place)
    if data is None:
        return None
    # Text between the certificates of a bundle is a comment and may have any encoding.
    found = [match[0].decode("ascii", "replace") for match in _CERTIFICATE.finditer(data)]
    if not found:
        raise _malformed("certificate-authority-data", "without a PEM certificate", place)
    return "\n".join(found) + "\n"


# --- the user -------------------------------------------------------------------------------


def _key_pair(user: Mapping[str, Any], place: str) -> tuple[bytes | None, bytes | None]:
    certificate = _decoded(user, "client-certificate-data", place)
    key = _decoded(user, "client-key-data", place)
    if (certificate is None) != (key is None):
        missing = "client-key-data" if key is None else "client-certificate-data"
        raise ConfigurationError(f"the kubeconfig's {missing} is missing", place=place, cure=CURE)
    if key is not None and b"ENCRYPTED" in key:
        raise _malformed("client-key-data", "encrypted with a passphrase", place)
    return certificate, key


def _authorization(user: Mapping[str, Any], place: str) -> tuple[str | None, tuple[str, ...]]:
    """The value of the Authorization header, and the secrets in it."""
    token = (_text(user, "token", place) or "").strip()
    name, password = _text(user, "username", place), _text(user, "password", place) or ""
    if token and name:
        raise ConfigurationError(
            "the kubeconfig sets both a token and a username",
            place=place,
            cure="remove one of them",
        )
    if token:
        if any(not 0x20 < ord(char) < 0x7F for char in token):
            raise _malformed("token", "not allowed in an HTTP header", place)
        return f"Bearer {token}", (token,)
    if name:
        pair = f"{name}:{password}"
        encoded = base64.b64encode(pair.encode(errors="replace")).decode()
        return f"Basic {encoded}", (password, pair, encoded)
    return None, ()


def _proxy_secrets(proxy: str | None) -> Iterator[str]:
    parts = urlsplit(proxy) if proxy else None
    if parts is not None and parts.password:
        yield parts.password


# --- fields ---------------------------------------------------------------------------------


def _name(link: Mapping[str, Any], key: str) -> str:
    return str(link.get(key))


def _text(section: Mapping[str, Any], key: str, place: str) -> str | None:
    value = section.get(key)
    if value is not None and not isinstance(value, str):
        raise _malformed(key, "not a string: write it in quotes", place)
    return value or None


def _decoded(section: Mapping[str, Any], key: str, place: str) -> bytes | None:
    value = _text(section, key, place)
    if value is None:
        return None
    try:
        # Ignore line breaks, as kubectl does: `base64 FILE` wraps its lines.
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed(key, "not base64", place) from error


def _refuse(section: Mapping[str, Any], refused: tuple[str, ...], place: str) -> None:
    for key in refused:
        if section.get(key):
            raise ConfigurationError(
                f"the kubeconfig sets {key!r}, which is not supported", place=place, cure=CURE
            )


def _malformed(key: str, problem: str, place: str) -> ConfigurationError:
    return ConfigurationError(f"the kubeconfig's {key} is {problem}", place=place)
