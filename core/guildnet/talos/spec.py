"""`spec.talos` of an org as a value, and what follows from it alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from guildnet.resources import Org

Role = Literal["controlplane", "worker"]
ALL = "all"
CONTROL_PLANE: Role = "controlplane"
WORKER: Role = "worker"
SECRETS_FILE = "secrets.yaml.age"


def patch_folder(org: str) -> str:
    """Where an org's patches lie in its state repository."""
    return f"orgs/{org}/talos"


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch file and the machines that it is for: `all`, a role, or one address."""

    path: str
    target: str = ALL


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine: the address of its Talos API, its role, and the fingerprint of the certificate
    that it shows before it is configured, if the org gives one."""

    address: str
    role: Role
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class TalosSpec:
    """The Talos cluster of one org. Versions have the form `v1.13.0`."""

    org: str
    endpoint: str
    version: str
    config_version: str
    kubernetes_version: str
    machines: tuple[Machine, ...]
    patches: tuple[Patch, ...] = ()
    age_recipients: tuple[str, ...] = ()
    reconcile: Literal["report", "apply"] | None = None

    @property
    def control_planes(self) -> tuple[Machine, ...]:
        return tuple(machine for machine in self.machines if machine.role == CONTROL_PLANE)

    @property
    def workers(self) -> tuple[Machine, ...]:
        return tuple(machine for machine in self.machines if machine.role == WORKER)

    @property
    def secrets_path(self) -> str:
        """The file in the state repository with the encrypted secrets."""
        return f"{patch_folder(self.org)}/{SECRETS_FILE}"

    def machine(self, address: str) -> Machine | None:
        """The machine with this address."""
        return next((found for found in self.machines if found.address == address), None)

    def patches_for(self, machine: Machine) -> tuple[Patch, ...]:
        """The patches of a machine in the order in which they apply: those for all machines, for
        its role, for it alone, each group in the order of the file."""
        order = (ALL, machine.role, machine.address)
        return tuple(p for target in order for p in self.patches if p.target == target)


def talos_of(org: Org) -> TalosSpec | None:
    """The org's Talos cluster; None for an org without one."""
    if "talos" not in org.spec:
        return None
    written: Mapping[str, Any] = org.spec["talos"]
    prints: Mapping[str, str] = written.get("certificateFingerprints", {})
    roles: tuple[tuple[str, Role], ...] = (("controlPlanes", CONTROL_PLANE), ("workers", WORKER))
    return TalosSpec(
        org=org.name,
        endpoint=written["endpoint"],
        version=written["version"],
        config_version=written.get("configVersion", written["version"]),
        kubernetes_version=with_v(written["kubernetesVersion"]),
        machines=tuple(
            Machine(address, role, prints.get(address))
            for field, role in roles
            for address in written.get(field, ())
        ),
        patches=tuple(
            Patch(entry["path"], entry.get("target", ALL)) for entry in written.get("patches", ())
        ),
        age_recipients=tuple(written.get("ageRecipients", ())),
        reconcile=written.get("reconcile"),
    )


def with_v(version: str) -> str:
    """`1.36.2` and `v1.36.2` as `v1.36.2`."""
    return f"v{version.removeprefix('v')}"
