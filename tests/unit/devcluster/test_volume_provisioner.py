"""Which claims get a volume, and which volumes are deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guildnet_devcluster.volume_provisioner import (
    PROVISIONER,
    STORAGE_CLASS,
    is_released,
    storage_class,
    volume_for,
    wants_volume,
)


def claim(**changed: Any) -> dict[str, Any]:
    spec = {
        "storageClassName": STORAGE_CLASS,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "5Gi"}},
        **changed.get("spec", {}),
    }
    metadata = {"namespace": "agents", "name": "work", "uid": "u-1", **changed.get("metadata", {})}
    return {
        "metadata": metadata,
        "spec": spec,
        "status": {"phase": "Pending"},
        **changed.get("top", {}),
    }


def volume(phase: str, provisioner: str) -> dict[str, Any]:
    annotations = {"pv.kubernetes.io/provisioned-by": provisioner}
    return {"metadata": {"annotations": annotations}, "status": {"phase": phase}}


def test_volume_for_a_pending_claim() -> None:
    """The volume names the claim's UID, so a later claim of the same name cannot bind it."""
    pending = claim()
    assert wants_volume(pending)
    made = volume_for(pending, Path("/volumes/u-1"))
    assert made["metadata"]["name"] == "pvc-u-1"
    assert made["spec"]["claimRef"]["uid"] == "u-1"
    assert made["spec"]["capacity"] == {"storage": "5Gi"}
    assert made["spec"]["hostPath"]["path"] == "/volumes/u-1"
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Delete"


@pytest.mark.parametrize(
    "other",
    [
        claim(spec={"storageClassName": "other"}),
        claim(spec={"volumeName": "chosen-by-hand"}),
        claim(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        claim(top={"status": {"phase": "Bound"}}),
    ],
)
def test_other_claims_are_ignored(other: dict[str, Any]) -> None:
    """I2: claims of other provisioners are ignored."""
    assert not wants_volume(other)


def test_only_own_released_volumes_are_deleted() -> None:
    """I2: foreign volumes and bound volumes are never deleted."""
    assert is_released(volume("Released", PROVISIONER))
    assert not is_released(volume("Bound", PROVISIONER))
    assert not is_released(volume("Released", "other.example/provisioner"))
    assert not is_released({"metadata": {}, "status": {"phase": "Released"}})


def test_storage_class_is_the_default() -> None:
    """PVCs need no setting for the devcluster."""
    annotations = storage_class()["metadata"]["annotations"]
    assert annotations["storageclass.kubernetes.io/is-default-class"] == "true"
