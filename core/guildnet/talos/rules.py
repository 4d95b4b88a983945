"""The rules for `spec.talos` that its schema cannot express. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from guildnet.talos.spec import ALL, CONTROL_PLANE, WORKER, patch_folder
from guildnet.talos.versions import kubernetes_problem, minor_of, talos_problem
from guildnet.urls import url_fault

Place = tuple[str | int, ...]
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.yaml")


def org_talos_problems(org: str, spec: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """(place below spec, message) of each problem of an org's machines; `spec` matches the
    schema."""
    if "talos" in spec:
        for below, message in _problems(org, spec["talos"]):
            yield ("talos", *below), message


def _problems(org: str, talos: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    if not talos["endpoint"].startswith("https://"):
        yield ("endpoint",), "not an https URL: the Kubernetes API is served by TLS alone"
    yield from _version_problems(talos)
    yield from _address_problems(talos)
    yield from _patch_problems(org, talos)


def _version_problems(talos: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    version = talos["version"]
    too_old = talos_problem(version)
    if too_old is not None:
        yield ("version",), too_old
    created = talos.get("configVersion", version)
    if minor_of(created) > minor_of(version):
        yield ("configVersion",), f"{created} is newer than version, {version}"
    unfit = kubernetes_problem(version, talos["kubernetesVersion"])
    if unfit is not None:
        yield ("kubernetesVersion",), unfit


def _address_problems(talos: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    seen: set[str] = set()
    for field in ("controlPlanes", "workers"):
        for index, address in enumerate(talos.get(field, ())):
            in_url = f"[{address}]" if ":" in address else address
            fault = url_fault(f"https://{in_url}")
            if fault is not None:
                yield (field, index), f"{address!r} is not an IP address or a host name"
            if address in seen:
                yield (field, index), f"{address!r} is listed twice"
            seen.add(address)
    for address in talos.get("certificateFingerprints", {}):
        if address not in seen:
            yield ("certificateFingerprints", address), f"{address!r} is not a machine of this org"


def _patch_problems(org: str, talos: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    machines = {*talos["controlPlanes"], *talos.get("workers", ())}
    folder = patch_folder(org)
    seen: set[tuple[str, str]] = set()
    for index, patch in enumerate(talos.get("patches", ())):
        path, target = patch["path"], patch.get("target", ALL)
        parent, _, name = path.rpartition("/")
        if parent != folder or not _FILE.fullmatch(name):
            yield ("patches", index, "path"), f"{path!r} is not {folder}/<name>.yaml"
        if target not in (ALL, CONTROL_PLANE, WORKER) and target not in machines:
            yield (
                ("patches", index, "target"),
                f"{target!r} is not all, controlplane, worker or a machine of this org",
            )
        if (path, target) in seen:
            yield ("patches", index), f"{path!r} is listed twice for {target}"
        seen.add((path, target))
