"""Stored kubeconfigs: one context each, without references to programs or files.

A kubeconfig must not make the reconciler run programs or read paths of its host (I9), so exec
plugins, auth providers and token files are refused. Certificates in files are embedded, as `kubectl
config view --flatten` does.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from guildnet.errors import ConfigurationError
from guildnet.state_folder import kubeconfig_path, private_folder, write_private

_RUNS_PROGRAMS = ("exec", "auth-provider")
_CERTIFICATES = ("certificate-authority", "client-certificate", "client-key")
_MAX_CERTIFICATE_BYTES = 64 * 1024
_MAX_BYTES = 1024 * 1024
_LOG_IN_WITH = (
    "Use a service account's token (`kubectl create token`) or a client certificate; "
    "`kubectl config view --raw --flatten --minify` prints a kubeconfig with either."
)


def store_kubeconfig(name: str, config: Mapping[str, Any]) -> Path:
    """Store or replace a kubeconfig; the file is readable by its owner alone from the start."""
    import yaml

    path = kubeconfig_path(name)
    try:
        private_folder(path.parent)
        write_private(path, yaml.safe_dump(dict(config), sort_keys=False).encode())
    except OSError as error:
        raise ConfigurationError(f"cannot write: {error.strerror}", place=str(path)) from error
    return path


def read_kubeconfig(
    path: Path, *, context: str | None, namespace: str | None = None
) -> dict[str, Any]:
    """The kubeconfig at `path`, reduced to one context: by default the current one.

    `namespace`, where given, becomes the namespace of that context. Raises ConfigurationError
    where the file cannot be read, is not a kubeconfig, lacks the context, its cluster or its user,
    logs in by a program or a token file, or has a field that the client refuses.
    """
    place = str(path)
    config = _parsed(_bounded(path, _MAX_BYTES), place)
    wanted = context or config.get("current-context")
    if not wanted:
        raise ConfigurationError(
            "it has no current context", place=place, cure="Give one with --context."
        )
    chosen = _named(config, "contexts", "context", wanted, place)
    if namespace is not None:
        chosen["namespace"] = namespace
    cluster = _named(config, "clusters", "cluster", str(chosen.get("cluster")), place)
    user = _named(config, "users", "user", str(chosen.get("user")), place)
    refused = [*_refused(cluster), *_refused(user)]
    if refused:
        raise ConfigurationError("; ".join(refused), place=place, cure=_LOG_IN_WITH)
    if not cluster.get("server"):
        raise ConfigurationError(f"the cluster of context {wanted!r} has no server", place=place)
    stored = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": wanted,
        "contexts": [{"name": wanted, "context": chosen}],
        "clusters": [{"name": chosen["cluster"], "cluster": _flattened(cluster, path.parent)}],
        "users": [{"name": chosen["user"], "user": _flattened(user, path.parent)}],
    }
    check_kubeconfig(stored, place)
    return stored


def check_kubeconfig(config: Mapping[str, Any], place: str) -> None:
    """Raise ConfigurationError for a kubeconfig that the client would refuse later."""
    from guildnet.kube.kubeconfig import connection_of

    connection_of(config, None, None, place)


def _bounded(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read: {error.strerror}", place=str(path)) from error
    if len(data) > max_bytes:
        raise ConfigurationError(f"larger than {max_bytes:,} bytes", place=str(path))
    return data


def _parsed(data: bytes, place: str) -> Mapping[str, Any]:
    from guildnet.kube.kubeconfig_data import parsed

    config = parsed(data, place)
    if not isinstance(config.get("contexts"), list):
        raise ConfigurationError(
            "not a kubeconfig: it has no list of contexts",
            place=place,
            cure="Give a kubeconfig file, such as ~/.kube/config.",
        )
    return config


def _named(
    config: Mapping[str, Any], section: str, key: str, name: str, place: str
) -> dict[str, Any]:
    entries = [e for e in config.get(section) or [] if isinstance(e, dict)]
    for entry in entries:
        if entry.get("name") == name and isinstance(entry.get(key), dict):
            return dict(entry[key])
    known = ", ".join(str(entry.get("name")) for entry in entries) or "none"
    raise ConfigurationError(f"{key} {name!r} not found (in the file: {known})", place=place)


def _refused(part: Mapping[str, Any]) -> Iterator[str]:
    for key in _RUNS_PROGRAMS:
        if key in part:
            yield f"{key} logs in by a program, which is not supported"
    if "tokenFile" in part and "token" not in part:
        yield "tokenFile refers to another file, which is not supported"


def _flattened(part: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`part` with certificates embedded and without paths."""
    flat = {k: v for k, v in part.items() if k not in (*_CERTIFICATES, "tokenFile")}
    for key in _CERTIFICATES:
        if key in part and f"{key}-data" not in part:
            data = _bounded(folder / str(part[key]), _MAX_CERTIFICATE_BYTES)
            flat[f"{key}-data"] = base64.b64encode(data).decode()
    return flat
