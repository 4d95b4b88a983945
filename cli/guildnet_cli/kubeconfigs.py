"""A kubeconfig as GuildNet stores it: one context, data only.

Exec plugins, auth providers and references to other files never get in: what a reconciler holds
must not run programs or read paths of its host (I9). Certificates that lie in files beside it are
written into it, as `kubectl config view --flatten` does.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from guildnet.errors import ConfigurationError

_RUNS_PROGRAMS = ("exec", "auth-provider")
_CERTIFICATES = ("certificate-authority", "client-certificate", "client-key")
_MAX_CERTIFICATE_BYTES = 64 * 1024
_MAX_BYTES = 1024 * 1024
_LOG_IN_WITH = (
    "Use a service account's token or a client certificate; `kubectl create token` makes the "
    "first, `kubectl config view --raw --flatten --minify` writes either out."
)


def read_kubeconfig(
    path: Path, *, context: str | None, namespace: str | None = None
) -> dict[str, Any]:
    """The kubeconfig at `path`, reduced to one context (the current one when none is named).

    `namespace` becomes that context's own.

    Raises ConfigurationError when it cannot be read, is not a kubeconfig, misses what the context
    names, runs a program to log in, takes its token from a file, or holds what the client refuses.
    """
    from guildnet.kube.kubeconfig import connection_of

    place = str(path)
    config = _parsed(_bounded(path, _MAX_BYTES), place)
    wanted = context or config.get("current-context")
    if not wanted:
        raise ConfigurationError(
            "it has no current context", place=place, cure="Name one with --context."
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
        raise ConfigurationError(f"context {wanted!r} names no server", place=place)
    stored = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": wanted,
        "contexts": [{"name": wanted, "context": chosen}],
        "clusters": [{"name": chosen["cluster"], "cluster": _flattened(cluster, path.parent)}],
        "users": [{"name": chosen["user"], "user": _flattened(user, path.parent)}],
    }
    connection_of(stored, None, None, place)  # what is stored is what the client takes
    return stored


def _bounded(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", place=str(path)) from error
    if len(data) > max_bytes:
        raise ConfigurationError(f"larger than {max_bytes:,} bytes", place=str(path))
    return data


def _parsed(data: bytes, place: str) -> Mapping[str, Any]:
    from guildnet.kube.kubeconfig_data import parsed

    config = parsed(data, place)
    if not isinstance(config.get("contexts"), list):
        raise ConfigurationError(
            "it is not a kubeconfig: it lists no contexts",
            place=place,
            cure="Name a kubeconfig file, such as ~/.kube/config.",
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
    raise ConfigurationError(f"it has no {key} {name!r} (it has: {known})", place=place)


def _refused(part: Mapping[str, Any]) -> Iterator[str]:
    for key in _RUNS_PROGRAMS:
        if key in part:
            yield f"{key} runs a program to log in, which is not supported"
    if "tokenFile" in part and "token" not in part:
        yield "tokenFile refers to another file, whose token may change"


def _flattened(part: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`part` with certificates as data and without any path."""
    flat = {k: v for k, v in part.items() if k not in (*_CERTIFICATES, "tokenFile")}
    for key in _CERTIFICATES:
        if key in part and f"{key}-data" not in part:
            data = _bounded(folder / str(part[key]), _MAX_CERTIFICATE_BYTES)
            flat[f"{key}-data"] = base64.b64encode(data).decode()
    return flat
