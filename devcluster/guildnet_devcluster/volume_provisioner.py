"""Provisions volumes as folders on the host, which its nodes see: a program that runs on the host.

Kubernetes only binds claims to existing volumes. This program creates the default StorageClass and
a volume for each of its claims, and deletes it with its content once it is released.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guildnet.errors import GuildNetError, KubeUnavailable

from .kube_client import KubeClient

STORAGE_CLASS = "devcluster"
PROVISIONER = "guildnet.io/devcluster"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
_CLAIMS = "/api/v1/persistentvolumeclaims"
_VOLUMES = "/api/v1/persistentvolumes"
#: Duration of one watch; released volumes are deleted at least this often.
_WATCH_SECONDS = 5

_log = logging.getLogger(__name__)


def storage_class() -> dict[str, Any]:
    """The default StorageClass."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


def wants_volume(claim: dict[str, Any]) -> bool:
    """Whether `claim` waits for a volume of this provisioner."""
    spec, status = claim["spec"], claim.get("status", {})
    is_pending = status.get("phase") == "Pending" and not spec.get("volumeName")
    is_ours = spec.get("storageClassName") == STORAGE_CLASS
    return bool(is_pending and is_ours and "deletionTimestamp" not in claim["metadata"])


def volume_for(claim: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The PersistentVolume in `folder` that only `claim` can bind."""
    meta, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"pvc-{meta['uid']}",
            "annotations": {_PROVISIONED_BY: PROVISIONER},
        },
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": STORAGE_CLASS,
            "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
        },
    }


def is_released(volume: dict[str, Any]) -> bool:
    """Whether `volume` is ours and its claim was deleted."""
    annotations = volume["metadata"].get("annotations", {})
    ours = annotations.get(_PROVISIONED_BY) == PROVISIONER
    return bool(ours and volume.get("status", {}).get("phase") == "Released")


@dataclass(frozen=True, slots=True)
class Folders:
    """The folder that contains a folder for each volume, as this host and as a node sees it."""

    host: Path
    node: Path


def serve(api: KubeClient, folders: Folders) -> None:
    """Provision volumes, forever; retry while the API server is down."""
    while True:
        try:
            _pass(api, folders)
        except KubeUnavailable as error:
            _log.warning("%s", error)
            time.sleep(1)
        except (GuildNetError, OSError, KeyError):
            _log.exception("provisioning failed; retrying")
            time.sleep(1)


def _pass(api: KubeClient, folders: Folders) -> None:
    """Process all volumes and claims, then changes of claims until the watch ends."""
    api.ensure(_CLASSES, storage_class())
    for volume in api.items(_VOLUMES)[0]:
        if is_released(volume):
            _remove(api, volume, folders)
    claims, version = api.items(_CLAIMS)
    for claim in claims:
        _provision(api, claim, folders)
    watch = f"{_CLAIMS}?watch=true&resourceVersion={version}"
    for event in api.watch(watch, _WATCH_SECONDS):
        if event["type"] == "ERROR":
            return
        if event["type"] != "DELETED":
            _provision(api, event["object"], folders)


def _provision(api: KubeClient, claim: dict[str, Any], folders: Folders) -> None:
    if not wants_volume(claim):
        return
    own = folders.host / claim["metadata"]["uid"]
    own.mkdir(parents=True, exist_ok=True)
    # The kubelet does not apply fsGroup to hostPath volumes, so every user may write.
    own.chmod(0o777)
    api.ensure(_VOLUMES, volume_for(claim, folders.node / own.name))


def _remove(api: KubeClient, volume: dict[str, Any], folders: Folders) -> None:
    name = volume["metadata"]["name"]
    path = Path(volume["spec"]["hostPath"]["path"])
    if path.parent == folders.node:
        shutil.rmtree(folders.host / path.name, ignore_errors=True)
    api.request("DELETE", f"{_VOLUMES}/{name}")


def main() -> None:
    """Run `python -m guildnet_devcluster.volume_provisioner --kubeconfig FILE --folder DIR`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--node-folder", type=Path, help="where nodes see it, if elsewhere")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    folders = Folders(arguments.folder, arguments.node_folder or arguments.folder)
    serve(KubeClient(arguments.kubeconfig), folders)


if __name__ == "__main__":
    main()
