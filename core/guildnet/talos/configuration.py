"""Machine configurations on the machines: what differs from git, and applying it.

The machine itself judges each configuration in a dry run before it gets it: offline validation
accepts versions of Kubernetes that the machine refuses.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from guildnet.errors import TalosError, TalosRefused, TalosUnavailable
from guildnet.state_folder import write_private
from guildnet.talos.cluster import TalosCluster
from guildnet.talos.differences import changed_lines, changes_kubernetes
from guildnet.talos.machines import MachineState, probe
from guildnet.talos.spec import Machine
from guildnet.talos.talosctl import MAX_OUTPUT_BYTES, Talosctl, at_machine

APPLY_TIMEOUT = timedelta(seconds=60)
_WITH_REBOOT = "Applied configuration with a reboot"
_NEEDS_REBOOT = "can't be applied in immediate mode"
_WRONG_FINGERPRINT = "doesn't match the provided fingerprints"


class Mode(StrEnum):
    """How a machine takes a configuration over: at once and only without a reboot, as it sees fit,
    at its next boot, or for a minute on trial."""

    NO_REBOOT = "no-reboot"
    AUTO = "auto"
    STAGED = "staged"
    TRY = "try"


@dataclass(frozen=True, slots=True)
class Difference:
    """How a machine differs from git. `lines` is a diff without keys: empty for a machine that is
    as git says, and for one that has no configuration yet (`maintenance`). `needs_reboot` says that
    the machine cannot take the change over while it runs; `version` is that of its Talos."""

    machine: Machine
    state: MachineState
    lines: tuple[str, ...] = ()
    needs_reboot: bool = False
    version: str = ""

    @property
    def is_same(self) -> bool:
        return self.state is MachineState.OURS and not self.lines


def difference(
    cluster: TalosCluster, machine: Machine, wanted: bytes, *, configured_only: bool = False
) -> Difference:
    """Compare a machine with its rendered configuration; changes nothing.

    With `configured_only`, a machine without a configuration is sent nothing: it cannot prove who
    it is, and even a dry run would hand it the cluster's keys.

    Raises TalosUnavailable where it does not answer, TalosRefused where it is another cluster's,
    is not the machine of the fingerprint, or refuses the configuration.
    """
    found = probe(cluster.tool, machine)
    if found.state is MachineState.UNREACHABLE:
        raise unreachable(machine, found.message)
    if found.state is MachineState.FOREIGN:
        raise foreign(machine, found.message)
    in_maintenance = found.state is MachineState.MAINTENANCE
    if in_maintenance and configured_only:
        return Difference(machine, found.state, version=found.version)
    said = _apply(cluster, machine, wanted, in_maintenance=in_maintenance, dry_run=True)
    if in_maintenance:
        return Difference(machine, found.state, version=found.version)
    try:
        lines = changed_lines(said, cluster.bundle.redact)
    except ValueError as error:
        raise TalosRefused(f"cannot read the dry run: {error}", place=machine.address) from error
    return Difference(machine, found.state, tuple(lines), _WITH_REBOOT in said, found.version)


def apply(
    cluster: TalosCluster,
    machine: Machine,
    wanted: bytes,
    mode: Mode,
    *,
    configured_only: bool = False,
) -> Difference:
    """Give a machine its configuration where it differs; what differed before.

    Raises as `difference` does, and TalosRefused where the mode does not allow the change, or where
    it would change the version of Kubernetes: `upgrade-k8s` does that, program by program.
    """
    found = difference(cluster, machine, wanted, configured_only=configured_only)
    if changes_kubernetes(found.lines):
        raise TalosRefused(
            "runs another version of Kubernetes than git says; nothing was applied",
            place=machine.address,
            cure=f"Run `guildnet talos upgrade-k8s {cluster.spec.org}`, or correct "
            "spec.talos.kubernetesVersion.",
        )
    if not found.is_same:
        in_maintenance = found.state is MachineState.MAINTENANCE
        if in_maintenance and configured_only:
            return found
        if in_maintenance:
            # It is a new machine, whatever was bootstrapped at this address before.
            cluster.state.bootstrap.unlink(missing_ok=True)
        # A machine without a configuration has nothing that a reboot could be needed for.
        chosen = Mode.AUTO if in_maintenance else mode
        _apply(cluster, machine, wanted, in_maintenance=in_maintenance, mode=chosen)
    return found


def _apply(
    cluster: TalosCluster,
    machine: Machine,
    wanted: bytes,
    *,
    in_maintenance: bool,
    dry_run: bool = False,
    mode: Mode = Mode.AUTO,
) -> str:
    tool: Talosctl = cluster.tool
    where = at_machine(machine.address)
    if in_maintenance:
        trusted = ("--cert-fingerprint", machine.fingerprint) if machine.fingerprint else ()
        where = ("--insecure", "--nodes", machine.address, *trusted)
    with tempfile.TemporaryDirectory(prefix="apply-", dir=tool.home) as scratch:
        file = Path(scratch) / "machine.yaml"
        write_private(file, wanted)
        how = ("--dry-run",) if dry_run else ("--mode", str(mode))
        words = ("apply-config", *where, "--file", str(file), *how)
        done = tool.finished(*words, timeout=APPLY_TIMEOUT)
    if done.timed_out or done.status != 0:
        failure = tool.failure(done, "apply-config", APPLY_TIMEOUT, machine.address)
        raise _explained(failure, machine)
    if done.is_cut:
        message = f"talosctl apply-config printed more than {MAX_OUTPUT_BYTES:,} bytes"
        raise TalosRefused(message, place=machine.address)
    # The report goes to standard error.
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def _explained(error: TalosError, machine: Machine) -> TalosError:
    if _WRONG_FINGERPRINT in error.message:
        return TalosRefused(
            "its certificate does not have the fingerprint that the org gives: it is another "
            "machine, or it has booted again",
            place=machine.address,
            cure="Compare spec.talos.certificateFingerprints with the fingerprint on the machine's "
            "console.",
            is_foreign=True,
        )
    if _NEEDS_REBOOT in error.message:
        # Talos adds a diff of its own, whose lines hold keys.
        return TalosRefused(
            "the change needs a reboot; nothing was applied",
            place=machine.address,
            cure="Give --mode staged and reboot the machine when it suits, or --mode auto, which "
            "reboots it now.",
        )
    if "too new to be used" in error.message or "too old to be used" in error.message:
        error.cure = "Set spec.talos.kubernetesVersion to a version that this Talos supports."
    return error


def unreachable(machine: Machine, message: str) -> TalosError:
    """The error for a machine that gave no answer."""
    return TalosUnavailable(
        f"does not answer: {message}",
        place=machine.address,
        cure="Check that the machine is on and runs Talos, and that its port 50000 is reachable.",
    )


def foreign(machine: Machine, message: str) -> TalosRefused:
    """The error for a machine that another cluster's secrets have configured."""
    return TalosRefused(
        f"belongs to another cluster, or was configured with other secrets: {message}",
        place=machine.address,
        cure="Check the address. If it is this cluster's, put the secrets back that made it; to "
        "take the machine over, reset it first (talosctl reset), which deletes its data.",
        is_foreign=True,
    )
