"""What a restore needs and git does not hold: files of this machine, and Secrets of clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guildnet import labels
from guildnet.digest import readable_json
from guildnet.errors import GuildNetError
from guildnet.kube import PERSISTENT_VOLUME_CLAIMS, SECRETS, KubeClient
from guildnet.names import is_name
from guildnet_reconciler.triggers.kubeconfig_secrets import kubeconfig_in

#: What of the state folder cannot be made again from git: every other file can.
STATE_FILES = (
    "kube/*.config",
    "notify/*/*",
    "reconciler-token",
    "dashboard/session.key",
    "talos/*/secrets.yaml",
    "talos/*/talosconfig",
    "bootstrap/*/webhook-secret",
    "bootstrap/*/git/*",
)
#: Kubernetes and Helm make these Secrets themselves.
_MADE_AGAIN = (
    "helm.sh/release.v1",
    "kubernetes.io/service-account-token",
    "bootstrap.kubernetes.io/token",
)
_KEPT_ANNOTATIONS = (labels.HOSTS,)
MAX_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to keep. `name` is its path in the archive.

    `content` None: it cannot be read, and `problem` says why; or it cannot be kept in an archive
    at all, and `instead` says what to do about it.
    """

    name: str
    content: bytes | None = None
    problem: str = ""
    instead: str = ""


AGE_IDENTITY = Item(
    "age identity",
    instead="keep the private key apart from the backup: it opens it, and Talos secrets in git",
)


def local_items(state: Path, files: Sequence[Path]) -> list[Item]:
    """The files of the state folder, and the other `files` and those in the folders among them."""
    own = [found for pattern in STATE_FILES for found in sorted(state.glob(pattern))]
    items = [_file(f"state/{path.relative_to(state)}", path) for path in own]
    for path in dict.fromkeys(path.expanduser().absolute() for path in files):
        inside = sorted(each for each in path.rglob("*") if each.is_file())
        items += [_file(f"files{each}", each) for each in (inside if path.is_dir() else [path])]
    return items


def _file(name: str, path: Path) -> Item:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return Item(name, problem=str(error.strerror))
    if len(content) > MAX_FILE_BYTES:
        return Item(name, problem=f"larger than {MAX_FILE_BYTES} bytes")
    return Item(name, content)


async def org_items(client: KubeClient, org: str) -> list[Item]:
    """The Secrets that the org's tasks and its mesh use. A cluster that does not answer is one
    item with its problem."""
    place = f"secrets/{org}"
    peer = f"guildnet-mesh-{client.namespace}"
    system = labels.OPERATOR_NAMESPACE
    try:
        found = await client.list_all(SECRETS, label_selector=labels.USE)
        found += filter(None, [await client.find(SECRETS, peer, system)])
        claim = await client.find(PERSISTENT_VOLUME_CLAIMS, peer, system)
    except GuildNetError as error:
        return [Item(place, problem=str(error))]
    items = list(_secrets(place, found))
    if claim is not None:
        how = (
            f"made again by `guildnet org install {org} --mesh` and `guildnet org add {org} --mesh`"
        )
        items.append(Item(f"{place}/{system}/{peer} (state of the API server's peer)", instead=how))
    return items


async def control_plane_items(client: KubeClient) -> tuple[list[Item], dict[str, bytes]]:
    """Every Secret of the control plane's namespace that a person made, and the kubeconfigs in
    them by name."""
    place = "secrets/control-plane"
    try:
        found = await client.list_all(SECRETS)
    except GuildNetError as error:
        return [Item(place, problem=str(error))], {}
    kubeconfigs = {
        secret["metadata"]["name"]: content
        for secret in found
        if (secret["metadata"].get("labels") or {}).get(labels.USE) == labels.USE_KUBECONFIG
        and isinstance(content := kubeconfig_in(secret), bytes)
        and is_name(secret["metadata"]["name"])
    }
    return list(_secrets(place, found)), kubeconfigs


def _secrets(place: str, found: Sequence[Mapping[str, Any]]) -> Iterator[Item]:
    for secret in found:
        meta = secret["metadata"]
        if secret.get("type") not in _MADE_AGAIN:
            name = f"{place}/{meta['namespace']}/{meta['name']}.json"
            yield Item(name, readable_json(_as_applied(secret)))


def _as_applied(secret: Mapping[str, Any]) -> dict[str, Any]:
    """The Secret as `kubectl apply -f` takes it."""
    meta = secret["metadata"]
    annotations = meta.get("annotations") or {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": meta.get("labels") or {},
            "annotations": {
                key: annotations[key] for key in _KEPT_ANNOTATIONS if key in annotations
            },
        },
        "type": secret.get("type", "Opaque"),
        "data": secret.get("data") or {},
    }
